"""The schema: applied once, views anew, and rollups that say exactly what the rows say."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from records import STARTED, anthropic_record

from pipeline.calls import Failure, Fault, ScoredCall
from pipeline.catalog import Catalog
from pipeline.formats.cutover import encode
from pipeline.scoring.score import Rules, score_message
from pipeline.settings import Settings
from pipeline.store.connect import Client, connect, rows
from pipeline.store.insert import Batch, Scored, insert_batch
from pipeline.store.migrate import SQL, MigrationError, migrate, pending

VIEWS = [
    f"{file.stem}(version = 0)" if "{version:" in file.read_text() else file.stem
    for file in sorted((SQL / "views").glob("*.sql"))
]


def test_migrations_are_applied_once_and_views_anew(
    store: Client, store_settings: Settings, catalog: Catalog
) -> None:
    store.command("DROP VIEW v_calls")
    assert pending(store) == []
    assert migrate(store_settings, catalog) == []
    assert store.command("SELECT count() FROM v_calls") == 0
    assert store.command("SELECT count() - uniqExact(name) FROM migrations") == 0


def test_a_database_of_a_newer_version_is_refused(
    store: Client, store_settings: Settings, catalog: Catalog
) -> None:
    store.command("INSERT INTO migrations (name) VALUES ('9999_from_the_future')")
    with pytest.raises(MigrationError, match=r"9999_from_the_future.*upgrade cutover"):
        migrate(store_settings, catalog)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_read_while_there_is_nothing(migrated: Settings, view: str) -> None:
    with connect(migrated) as store:
        store.query(f"SELECT * FROM {view}")


def test_rates_are_there_in_both_directions_for_every_day(store: Client) -> None:
    found = rows(store, "SELECT * FROM v_fx")
    assert {(r["from_currency"], r["to_currency"]) for r in found} >= {
        ("USD", "CNY"),
        ("CNY", "USD"),
    }
    by_day: dict[Any, dict[str, Decimal]] = defaultdict(dict)
    for row in found:
        by_day[row["valid_from"]][row["from_currency"]] = row["rate"]
    for rates in by_day.values():
        assert abs(rates["USD"] * rates["CNY"] - 1) < Decimal("0.00001")


def test_failures_stored_as_seen_by_the_user_are_unknown_after_the_migration(
    store: Client, store_settings: Settings, catalog: Catalog, scored: ScoredCall
) -> None:
    failed = msgspec.structs.replace(scored, call_id="b", failure="overloaded", final=None)
    insert_batch(store, batch([scored, failed], 0), "worker")
    found = "SELECT call_id, final FROM v_calls ORDER BY call_id"
    assert store.query(found).result_rows == [("a", True), ("b", None)]
    for change in (
        "calls UPDATE final = true WHERE true",
        "calls MODIFY COLUMN final Bool DEFAULT true",
        "migrations DELETE WHERE name = '0080_final'",
    ):
        store.command(f"ALTER TABLE {change} SETTINGS mutations_sync = 1")
    assert migrate(store_settings, catalog) == ["0080_final"]
    store.command("ALTER TABLE calls UPDATE final = final WHERE false SETTINGS mutations_sync = 1")
    assert store.query(found).result_rows == [("a", True), ("b", None)]


@pytest.fixture
def scored(rules: Rules) -> ScoredCall:
    (call,) = score_message(encode(anthropic_record("a")), STARTED, rules)
    assert isinstance(call, ScoredCall)
    return call


def randomly_changed(call: ScoredCall, rng: random.Random, number: int) -> ScoredCall:
    """A call that differs in everything the rollup sums or groups by."""

    def maybe(draw: Callable[[], Any]) -> Any:
        return draw() if rng.random() < 0.8 else None

    cost = maybe(lambda: Decimal(rng.randrange(10**13)).scaleb(-12))
    failure = maybe(lambda: rng.choice(list(Failure)))
    names = rng.sample(
        ["delivered", "complete", "not_refused", "tool_calls_valid"], rng.randrange(4)
    )
    return msgspec.structs.replace(
        call,
        call_id=f"call {number}",
        workload=rng.choice(["support", "code"]),
        provider=rng.choice(["anthropic", "zhipu"]),
        arm=rng.choice(["baseline", "candidate", "shadow"]),
        started_at=STARTED + rng.randrange(180_000),
        time_to_first_token_ms=maybe(lambda: rng.choice([0, 1, 2, rng.randrange(90_000)])),
        duration_ms=maybe(lambda: rng.choice([0, 1, 2, rng.randrange(86_400_000)])),
        stream=maybe(lambda: rng.random() < 0.5),
        failure=failure or "",
        fault=rng.choice(list(Fault)) if failure else "",
        input_tokens=maybe(lambda: rng.randrange(10**6)),
        cache_read_input_tokens=maybe(lambda: rng.randrange(10**6)),
        cache_write_5m_input_tokens=maybe(lambda: rng.randrange(10**6)),
        cache_write_1h_input_tokens=maybe(lambda: rng.randrange(10**6)),
        output_tokens=maybe(lambda: rng.randrange(10**6)),
        cost=cost,
        currency=rng.choice(["USD", "CNY"]) if cost is not None else "",
        cost_unknown="" if cost is not None else rng.choice(["no_usage", "unknown_model"]),
        checks={name: Decimal(rng.randrange(10_001)).scaleb(-4) for name in names},
        quality=maybe(lambda: Decimal(rng.randrange(10_001)).scaleb(-4)),
    )


def batch(calls: list[ScoredCall], first: int) -> Batch:
    records = [Scored(first + i, 0, STARTED, call) for i, call in enumerate(calls)]
    return Batch(
        cluster="c", topic="t", partition=0, offset_from=first, offset_to=first + len(calls) - 1,
        received_at=STARTED, records=records, duplicates=0,
    )  # fmt: skip


def summed(calls: list[ScoredCall]) -> dict[str, Any]:
    """What one row of v_minutes must say of its calls, reckoned here from the rows themselves."""
    cost: dict[str, Decimal] = defaultdict(Decimal)
    checks: dict[str, Decimal] = defaultdict(Decimal)
    for call in calls:
        if call.cost is not None:
            cost[call.currency] += call.cost
        for name, value in call.checks.items():
            checks[name] += value
    return {
        "calls": len(calls),
        "failed": sum(c.failure not in ("", "cancelled") for c in calls),
        "provider_failed": sum(c.fault == "provider" for c in calls),
        "cancelled": sum(c.failure == "cancelled" for c in calls),
        "streams": sum(c.stream is True for c in calls),
        "with_usage": sum(
            c.input_tokens is not None and c.output_tokens is not None for c in calls
        ),
        "input_tokens": sum(c.input_tokens or 0 for c in calls),
        "cache_read_input_tokens": sum(c.cache_read_input_tokens or 0 for c in calls),
        "cache_write_input_tokens": sum(
            (c.cache_write_5m_input_tokens or 0) + (c.cache_write_1h_input_tokens or 0)
            for c in calls
        ),
        "output_tokens": sum(c.output_tokens or 0 for c in calls),
        "quality_calls": sum(c.quality is not None for c in calls),
        "quality_sum": sum((c.quality for c in calls if c.quality is not None), Decimal(0)),
        "failures": Counter(c.failure for c in calls if c.failure),
        "cost": cost,
        "priced": Counter(c.currency for c in calls if c.cost is not None),
        "unpriced": Counter(c.cost_unknown for c in calls if c.cost_unknown),
        "check_calls": Counter(name for c in calls for name in c.checks),
        "check_sums": {name: value for name, value in checks.items() if value},
    }


ADDED = (
    "calls", "failed", "provider_failed", "cancelled", "streams", "with_usage", "input_tokens",
    "cache_read_input_tokens", "cache_write_input_tokens", "output_tokens", "quality_calls", "quality_sum",
)  # fmt: skip
MERGED = (
    "failures", "cost", "priced", "unpriced", "check_calls", "check_sums", "duration_buckets",
    "first_token_buckets",
)  # fmt: skip
SUMS = f"""
    SELECT toUnixTimestamp(minute) AS at, workload, provider, arm,
        {", ".join(f"sum(r.{name}) AS {name}" for name in ADDED)},
        {", ".join(f"sumMap(r.{name}) AS {name}" for name in MERGED)}
    FROM calls_per_minute AS r GROUP BY minute, workload, provider, arm"""


def assert_rollup_equals(store: Client, calls: list[ScoredCall]) -> None:
    groups: dict[Any, list[ScoredCall]] = defaultdict(list)
    for call in calls:
        minute = call.started_at // 60_000 * 60
        groups[minute, call.workload, call.provider, call.arm].append(call)
    found = rows(store, SUMS)
    assert len(found) == len(groups)
    for row in found:
        here = groups[row["at"], row["workload"], row["provider"], row["arm"]]
        wanted = summed(here)
        row["check_sums"] = {name: value for name, value in row["check_sums"].items() if value}
        assert {name: row[name] for name in wanted} == wanted
        assert_in_buckets(row["duration_buckets"], [c.duration_ms for c in here])
        assert_in_buckets(row["first_token_buckets"], [c.time_to_first_token_ms for c in here])


def assert_in_buckets(buckets: dict[int, int], values: list[int | None]) -> None:
    """Bucket b holds the values in (1.02^(b-1), 1.02^b], and bucket 0 those up to 1."""
    known = sorted(max(value, 1) for value in values if value is not None)
    held = [b for b, count in sorted(buckets.items()) for _ in range(count)]
    assert len(held) == len(known)
    for bucket, value in zip(held, known, strict=True):
        assert 1.02 ** (bucket - 1) * 0.999999 < value <= 1.02**bucket * 1.000001


@pytest.mark.parametrize("seed", range(3))
def test_the_rollup_says_to_the_last_digit_what_the_rows_say(
    store: Client, scored: ScoredCall, seed: int
) -> None:
    rng = random.Random(seed)
    calls = [randomly_changed(scored, rng, number) for number in range(400)]
    for first in range(0, 400, 100):
        insert_batch(store, batch(calls[first : first + 100], first), "w")
    assert_rollup_equals(store, calls)
    for first in (0, 300, 100):  # again, with the same tokens
        insert_batch(store, batch(calls[first : first + 100], first), "w")
    store.command("OPTIMIZE TABLE calls_per_minute FINAL")
    assert_rollup_equals(store, calls)
    assert store.command("SELECT count() FROM calls") == 400
    assert store.query("SELECT count(), sum(stored) FROM ledger").result_rows == [(4, 400)]
