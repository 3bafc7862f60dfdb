"""What the judge folded live is what the stored units give again, whatever came when."""

from typing import Any

import msgspec
import pytest
from test_judging import T0, World, conversations
from verdict_units import unit

from pipeline.store import verdicts as stored
from pipeline.verdicts.judge import fold, start
from pipeline.verdicts.plan import gates_of
from pipeline.verdicts.units import Pair, failures_of, of_pair


@pytest.fixture
def world(store_settings: Any, store: Any, catalog: Any) -> World:
    return World(store_settings, store, catalog)


@pytest.mark.parametrize("earlier", [True, False], ids=["began earlier", "old time"])
def test_calls_that_come_after_a_failure_was_told_leave_a_replay_the_same_bits(
    world, earlier: bool
) -> None:
    """A long call of a conversation told as failed, begun before others that are judged; or a slow producer's clock."""
    judge = world.judge()
    calls = [call | {"share": 0.5 if n < 45 else 0.3} for n, call in enumerate(conversations(60, failing=0.3))]  # fmt: skip
    told = {**calls[57], "conversation_id": "told", "fault": "provider"}
    world.come([*calls[:56], told])
    world.tick(judge, later=3000)
    (pair,) = judge._pairs.values()
    assert pair.state.told.place == (told["started_at"] + 1000, "told")
    judged = len(stored.read_units(world.client, "chat"))
    assert 20 < judged < 56
    if earlier:
        long = {"started_at": T0 + 20_500, "arm": "candidate", "share": 0.5, "fault": ""}
        world.come([told | long | {"received_at": T0 + 61_000}])
    else:
        slow = {"started_at": told["started_at"] - 500, "conversation_id": "slow"}
        world.come([told | slow])
    world.tick(judge)
    world.tick(judge)
    (pair,) = judge._pairs.values()
    units = of_pair(stored.read_units(world.client, "chat"), world.plan, "chat", "kimi")
    assert len(units) == 57 + (not earlier)
    state = start(gates_of(world.plan, "chat"), workload="chat", candidate="moonshot/kimi-k2.6")
    state = fold(state, units, failures=failures_of(units))
    assert msgspec.json.encode(state) == msgspec.json.encode(pair.state)
    assert sum(unit.failed_at is not None for unit in units) == sum(u.failed for u in units)
    assert world.shown()["late_units"] == 0


@pytest.mark.parametrize("source", [stored.USERS, stored.PAIRS], ids=["users", "pairs"])
def test_a_batch_is_there_whole_or_not_at_all_and_so_is_what_is_known_as_judged(
    store: Any, source: Any
) -> None:
    """One part, though the client sends it in blocks: an engine that dies leaves no half of it behind."""
    found = [unit(n, candidate=True) for n in range(40_000)]
    if source is stored.PAIRS:
        same = ("workload", "provider", "conversation_id", "assigned_at", "closed_at")
        found = [Pair(**{name: getattr(u, name) for name in same}) for u in found]
    store.set_client_setting("min_insert_block_size_rows", 1000)
    stored.insert_units(store, source, stored.Batch(1, "one"), found[:-10], found[-10:], {})
    parts = f"SELECT count() FROM system.parts WHERE table = '{source.kept}' AND database = currentDatabase()"
    assert store.command(parts) == 1
    assert stored.judged_count(store, source) == 40_000
    asked = [("support", "c0000000"), ("support", "c0039999"), ("support", "c0040000")]
    assert stored.already_judged(store, source, asked) == set(asked[:2])
