"""Shadow pairs before the judge, over a real store: gathered once each, folded in order, the same bits again."""

import json
import random
import zipfile
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_judging import PLAN, T0, World, conversations

from pipeline import cli
from pipeline.evidence import PAIRS, export, verify
from pipeline.plan_file import load_plan
from pipeline.store import service
from pipeline.store import verdicts as stored
from pipeline.store.connect import rows
from pipeline.verdict_commands import verdicts_of
from pipeline.verdicts.judge import fold, start
from pipeline.verdicts.plan import gates_of, plan_hash
from pipeline.verdicts.units import failures_of, of_pair, shadows_of, write_pairs, write_units

PAIRED = PLAN.replace(
    "    autopilot: true\n", "    shadow: {share: 1, baseline_share: 1, budget_per_day: 9}\n"
).replace(
    "  failure: {margin: 0.1}\n",
    "  failure: {margin: 0.1}\n  pairs: {failure: {margin: 0.1}, score: {margin: 0.05}, disagreement: {margin: 0.1}}\n",
)
SHADOW_ONLY = PAIRED.replace("kimi: 0.5", "kimi: 0")
COLUMNS = (
    "cluster", "topic", "kafka_partition", "kafka_offset", "position", "received_at", "received_on",
    "call_id", "shadow_of", "conversation_id", "workload", "app", "mirrored_to", "provider", "started_at",
    "duration_ms", "failed", "twin_failed", "quality", "twin_quality", "agreement",
)  # fmt: skip


class Mirroring(World):
    """A world in which shadow calls come too."""

    def __init__(self, settings: Any, client: Any, catalog: Any, plan: str = PAIRED) -> None:
        super().__init__(settings, client, catalog)
        settings.plan.write_text(plan)
        self.plan = load_plan(settings.plan)
        document = msgspec.json.encode(self.plan).decode()
        service.insert_plan(client, plan_hash(self.plan), document)

    def mirror(self, shadows: list[dict[str, Any]]) -> None:
        """Shadow calls come as calls of their own arm, each with its pair, stored before the ledger tells of it."""
        values = []
        for offset, told in enumerate(shadows, self.offset):
            row = {
                "cluster": "k", "topic": self.settings.calls_topic, "kafka_partition": 0,
                "kafka_offset": offset, "position": 0, "received_at": told["started_at"] + 1000,
                "received_on": 20_000, "call_id": f"call-{offset}", "workload": "chat", "app": "",
                "duration_ms": 900, "failed": False, "twin_failed": False, "quality": Decimal("0.9"),
                "twin_quality": Decimal("0.9"), **told,
            }  # fmt: skip
            values.append([row[name] for name in COLUMNS])
        self.client.insert("pairs", values, column_names=COLUMNS)
        names = ("conversation_id", "started_at", "provider")
        self.come([{name: s[name] for name in names} | {"arm": "shadow"} for s in shadows])


def mirrored(
    count: int, first: int = 0, failing: float = 0.0, apart: float = 0.3, **changes: Any
) -> list[dict[str, Any]]:
    """One call a conversation, a second apart, mirrored to the candidate; two of three to the baseline too."""
    rng = random.Random(first)
    found = []
    for n in range(first, first + count):
        call = {"shadow_of": f"user-{n}", "conversation_id": f"c{n:05}", "started_at": T0 + n * 1000, **changes}  # fmt: skip
        failed = rng.random() < failing
        agreement = {"similar_text": Decimal(str(round(1 - rng.uniform(0, 2 * apart), 4)))}
        found.append(
            call
            | {"mirrored_to": "candidate", "provider": "moonshot", "failed": failed}
            | {"agreement": {"same_outcome": Decimal(0)} if failed else agreement}
        )
        if n % 3:
            own = {"similar_text": Decimal(str(round(1 - rng.uniform(0, 0.5), 4)))}
            found.append(
                call | {"mirrored_to": "baseline", "provider": "anthropic", "agreement": own}
            )
    return found


def gates_shown(world: World) -> dict[str, dict[str, Any]]:
    return {gate["gate"]: gate for gate in json.loads(world.shown()["gates"])}


@pytest.fixture
def world(store_settings: Any, store: Any, catalog: Any) -> Mirroring:
    return Mirroring(store_settings, store, catalog)


def test_replayed_or_recomputed_from_files_pairs_give_the_same_bits(
    world: Mirroring, tmp_path: Path, capsys: Any
) -> None:
    judge = world.judge()
    for part in range(4):
        world.come(conversations(75, first=75 * part, failing=0.05))
        world.mirror(mirrored(60, first=75 * part, failing=0.03))
        world.tick(judge)
    (pair,) = judge._pairs.values()
    units = of_pair(stored.read_units(world.client, "chat"), world.plan, "chat", "kimi")
    pairs = shadows_of(stored.read_pairs(world.client, "chat"), world.plan, "chat", "kimi")
    assert (len(units), len(pairs)) == (300, 240)
    assert {p.noise is None for p in pairs} == {True, False}
    state = start(gates_of(world.plan, "chat"), workload="chat", candidate="moonshot/kimi-k2.6")
    for unit in units:
        state = fold(state, [unit])
    for each in pairs:
        state = fold(state, [], [each])
    state = fold(state, [], failures=failures_of(units))
    assert msgspec.json.encode(state) == msgspec.json.encode(pair.state)

    shown = gates_shown(world)
    (again,) = verdicts_of(world.plan, write_units(units), write_pairs(pairs))["verdicts"]
    assert {gate["gate"] for gate in again["gates"]} >= {"pair:failure", "pair:score", "pair:disagreement"}  # fmt: skip
    for gate in again["gates"]:
        for name in ("log_e_promote", "log_e_rollback", "estimate", "lower", "upper"):
            assert gate[name] == shown[gate["gate"]][name], (gate["gate"], name)
    assert again["pairs"] == 240
    assert shown["pair:disagreement"]["n_candidate"] == sum(p.noise is not None for p in pairs)

    (tmp_path / "units.csv").write_text(write_units(units))
    (tmp_path / "pairs.csv").write_text(write_pairs(pairs))
    files = ["--pairs", str(tmp_path / "pairs.csv"), str(tmp_path / "units.csv")]
    cli.main(["verdict", "--plan", str(world.settings.plan), *files])
    (told,) = json.loads(capsys.readouterr().out)["verdicts"]
    assert told["gates"] == json.loads(json.dumps(again["gates"]))


def test_a_bundle_holds_the_pairs_and_a_changed_one_is_found_out(
    world: Mirroring, tmp_path: Path
) -> None:
    judge = world.judge()
    world.come(conversations(60))
    world.mirror(mirrored(40))
    world.tick(judge)
    file = tmp_path / "evidence.zip"
    file.write_bytes(export(world.client, "chat", "kimi"))
    said, wrong = verify(file)
    assert wrong == []
    assert said["path"][-1]["pairs"] == said["verdict"]["pairs"] == 40
    forged = BytesIO()
    with zipfile.ZipFile(file) as good, zipfile.ZipFile(forged, "w") as bad:
        for name in good.namelist():
            lines = good.read(name).decode().splitlines(keepends=True)
            bad.writestr(name, "".join(lines[:-1] if name == PAIRS else lines))
    file.write_bytes(forged.getvalue())
    _, wrong = verify(file)
    assert wrong == ["pairs_hash differs", "verdict differs", "path differs"]


def test_another_judge_goes_on_with_the_pairs_where_the_first_one_died(world: Mirroring) -> None:
    first, whole = world.judge("one"), mirrored(200)
    begun = next(i for i, shadow in enumerate(whole) if shadow["conversation_id"] == "c00100")
    world.come(conversations(100))
    world.mirror(whole[:begun])
    world.tick(first, later=0)  # the last ones are still open
    half = world.client.command("SELECT count() FROM paired_units")
    assert 50 < half < 100
    second = world.judge("two")
    world.mirror(whole[begun:])
    world.tick(second)
    pairs = stored.read_pairs(world.client, "chat")
    assert [pair.conversation_id for pair in pairs] == [f"c{n:05}" for n in range(200)]
    assert all((pair.noise is not None) == bool(n % 3) for n, pair in enumerate(pairs))
    assert world.client.command("SELECT count() FROM late_pairs") == 0

    world.mirror(mirrored(20, first=200))
    assert world.tick(first) == [], "the first one wakes up, is overtaken, and begins anew"
    world.tick(first)
    assert world.client.command("SELECT count() - uniqExact(conversation_id) FROM paired_units") == 0  # fmt: skip
    assert len(stored.read_pairs(world.client, "chat")) == 220
    (pair,) = first._pairs.values()
    assert pair.state.pairs == 220


def test_a_much_worse_shadow_is_sent_back_before_any_user_meets_it(
    store_settings: Any, store: Any, catalog: Any
) -> None:
    world = Mirroring(store_settings, store, catalog, SHADOW_ONLY)
    judge = world.judge()
    alone = {"arm": "baseline", "provider": "anthropic", "share": 0.0}
    users = [call | alone for call in conversations(200)]
    world.come(users)
    world.mirror(mirrored(200, apart=0.3))
    world.tick(judge)
    assert world.shown()["verdict"] == "HOLD"
    assert gates_shown(world)["pair:failure"]["state"] == "passed"
    world.mirror(mirrored(200, first=200, failing=0.7, apart=0.5))
    world.tick(judge)
    found = world.shown()
    assert found["verdict"] == "ROLLBACK"
    assert "Failures in shadow pairs" in found["reason_en"]
    assert "影子配对失败率" in found["reason_zh"]
    assert (found["units_baseline"], found["units_candidate"], found["pairs"]) == (200, 0, 400)
    noise = gates_shown(world)["pair:disagreement"]
    assert noise["baseline"] == pytest.approx(0.25, abs=0.05)  # the baseline with itself
    assert noise["estimate"] == pytest.approx(noise["candidate"] - noise["baseline"])


def test_disagreement_within_the_noise_is_no_reason_to_go_back(
    store_settings: Any, store: Any, catalog: Any
) -> None:
    """A quarter apart looks bad; the baseline is as far from itself."""
    world = Mirroring(store_settings, store, catalog, SHADOW_ONLY)
    judge = world.judge()
    world.mirror(mirrored(400, apart=0.25))
    world.tick(judge)
    gate = gates_shown(world)["pair:disagreement"]
    assert gate["candidate"] > 0.2
    assert (gate["state"], world.shown()["verdict"]) == ("passed", "PROMOTE")


def test_pairs_that_come_late_are_counted_and_those_left_out_are_not_folded(
    world: Mirroring,
) -> None:
    judge = world.judge()
    world.come(conversations(60))
    world.mirror(mirrored(60))
    world.mirror(mirrored(5, first=60, app="nightly"))
    world.tick(judge)
    (pair,) = judge._pairs.values()
    assert pair.state.pairs == 65
    before = stored.read_pairs(world.client, "chat")
    late = [dict(shadow, shadow_of="again") for shadow in mirrored(1, first=3)]
    world.mirror(late)
    world.settings.plan.write_text(PAIRED.replace("gates:\n", "gates:\n  exclude: {apps: [nightly]}\n", 1))  # fmt: skip
    world.tick(judge)
    assert stored.read_pairs(world.client, "chat") == before
    assert world.shown()["late_pairs"] == 1
    world.plan = load_plan(world.settings.plan)
    world.tick(judge)
    later = int((world.now - T0) / 1000) + 200
    world.mirror(mirrored(4, first=later) + mirrored(5, first=later + 4, app="nightly"))
    world.tick(judge)
    (pair,) = judge._pairs.values()
    assert (pair.epoch.epoch, pair.state.pairs) == (2, 4)


def test_pairs_stored_before_the_judge_knew_of_them_are_found_across_many_messages(
    world: Mirroring,
) -> None:
    """Pairs are few: what lies between them is passed over, not read."""
    world.mirror(mirrored(3))
    world.come(conversations(2500, first=10))
    world.mirror(mirrored(3, first=2600))
    world.tick(world.judge())
    assert len(stored.read_pairs(world.client, "chat")) == 6
    assert rows(world.client, "SELECT count() AS n FROM v_units WHERE arm = 'shadow'") == [{"n": 0}]
