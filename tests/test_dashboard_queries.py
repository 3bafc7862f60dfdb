"""Every figure of the pages equals a recomputation from the raw rows of `calls`."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import streamlit as st
from seed_store import ENDPOINTS, PARTITIONS, VERDICTS, seeded

from dashboards import queries
from dashboards.queries import RANGES, Scope, Search
from dashboards.views.live import heat
from pipeline import stats
from pipeline.catalog import Catalog
from pipeline.scoring.net_cost import NetCost
from pipeline.settings import Settings
from pipeline.store.connect import connect, rows
from pipeline.verdicts.plan import Endpoint, MonthlyPlan, Plan

ALL = Scope(RANGES["all"], "", "USD")
SUPPORT = Scope(RANGES["all"], "support", "CNY")
SCOPES = [pytest.param(ALL, id="all"), pytest.param(SUPPORT, id="support in CNY")]

ROUNDED = 1e-6  # v_costs keeps 12 digits of each minute's converted sum

Raw = list[dict[str, Any]]


@pytest.fixture(scope="module")
def settings(clickhouse_url: str, catalog: Catalog) -> Iterator[Settings]:
    with seeded(clickhouse_url, catalog, calls=8_000) as found:
        yield found


@pytest.fixture(scope="module")
def raw(settings: Settings) -> Raw:
    """Every stored row, as it is."""
    with connect(settings) as client:
        return rows(client, "SELECT * FROM calls")


@pytest.fixture(scope="module")
def rate(settings: Settings) -> Callable[[str, str, Any], Decimal]:
    """One unit of a currency in another on a day, by the latest rate not after it."""
    with connect(settings) as client:
        rates = rows(client, "SELECT * FROM v_fx")

    def found(native: str, wanted: str, day: Any) -> Decimal:
        if native == wanted:
            return Decimal(1)
        fits = [
            r
            for r in rates
            if (r["from_currency"], r["to_currency"]) == (native, wanted) and r["valid_from"] <= day
        ]
        return Decimal(max(fits, key=lambda r: r["valid_from"])["rate"])

    return found


@pytest.fixture(autouse=True)
def of_this_store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.environ().items():
        monkeypatch.setenv(name, value)
    st.cache_data.clear()
    st.cache_resource.clear()


def users(raw: Raw, scope: Scope, provider: str) -> Raw:
    """The rows a tile is about: no shadow calls."""
    return [
        r for r in raw
        if r["provider"] == provider and r["arm"] != "shadow" and scope.workload in ("", r["workload"])
    ]  # fmt: skip


@pytest.mark.parametrize("scope", SCOPES)
def test_a_tile_counts_calls_and_failures_as_the_rows_do(scope: Scope, raw: Raw) -> None:
    for tile in queries.sums(scope):
        mine = users(raw, scope, tile.provider)
        failed = [r for r in mine if r["failure"] not in ("", "cancelled")]
        cancelled = [r for r in mine if r["failure"] == "cancelled"]
        assert tile.calls == len(mine)
        assert tile.failed == len(failed)
        assert tile.provider_failed == sum(r["fault"] == "provider" for r in mine)
        assert tile.finished == len(mine) - len(cancelled)
        assert tile.failure_rate == stats.proportion(len(failed), len(mine) - len(cancelled))
        assert sum(tile.failures.values()) == len(failed) + len(cancelled)


def test_every_provider_with_user_traffic_has_a_tile_and_shadow_alone_gives_none(raw: Raw) -> None:
    assert {s.provider for s in queries.sums(ALL)} == {row[0] for row in ENDPOINTS.values()}
    shadowed = queries.sums(Scope(RANGES["all"], "extraction", "USD"))
    assert "deepseek" in {r["provider"] for r in raw if r["workload"] == "extraction"}
    assert "deepseek" not in {s.provider for s in shadowed}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("q", [0.5, 0.95])
def test_latencies_are_within_one_percent_of_the_rows(scope: Scope, q: float, raw: Raw) -> None:
    for tile in queries.sums(scope):
        mine = users(raw, scope, tile.provider)
        for buckets, column in (
            (tile.first_token_buckets, "time_to_first_token_ms"),
            (tile.duration_buckets, "duration_ms"),
        ):
            values = sorted(r[column] for r in mine if r[column] is not None)
            assert sum(buckets.values()) == len(values)
            if values:
                exact = values[max(1, -int(-len(values) * q // 1)) - 1]
                assert stats.quantile(buckets, q) == pytest.approx(exact, rel=0.0101)


@pytest.mark.parametrize("scope", SCOPES)
def test_cost_is_the_rows_cost_at_the_days_rate(
    scope: Scope, raw: Raw, rate: Callable[..., Decimal]
) -> None:
    for tile in queries.sums(scope):
        mine = [r for r in users(raw, scope, tile.provider) if r["cost"] is not None]
        exact = sum(
            r["cost"] * rate(r["currency"], scope.currency, r["started_at"].date()) for r in mine
        )
        assert tile.priced == len(mine)
        assert tile.cost_per_1000 is not None
        assert float(tile.cost_per_1000) == pytest.approx(
            float(1000 * exact / len(mine)), rel=ROUNDED
        )


@pytest.mark.parametrize("scope", SCOPES)
def test_quality_and_each_check_are_means_of_the_rows(scope: Scope, raw: Raw) -> None:
    for tile in queries.sums(scope):
        mine = users(raw, scope, tile.provider)
        scores = [r["quality"] for r in mine if r["quality"] is not None]
        assert (tile.quality_calls, tile.quality_sum) == (len(scores), sum(scores))
        for name in tile.check_calls:
            values = [r["checks"][name] for r in mine if name in r["checks"]]
            assert tile.check(name) == stats.proportion(float(sum(values)), len(values))


def test_means_per_call_are_those_of_the_rows(raw: Raw) -> None:
    for of, column in (("input", "input_tokens"), ("output", "output_tokens")):
        for provider, spread in queries.spreads(SUPPORT, of).items():
            mine = [r for r in users(raw, SUPPORT, provider) if r["input_tokens"] is not None]
            found = stats.mean(spread)
            assert found is not None
            assert found.n == len(mine)
            assert found.value == pytest.approx(sum(r[column] for r in mine) / len(mine))
            assert found.low <= found.value <= found.high


@pytest.mark.parametrize("scope", SCOPES)
def test_a_curve_adds_up_to_its_tiles(scope: Scope) -> None:
    points = queries.timeline(scope)
    for tile in queries.sums(scope):
        assert sum(p["calls"] for p in points if p["provider"] == tile.provider) == tile.calls


def test_the_hourly_sums_are_the_sums_of_the_minutes() -> None:
    for name in ("sums", "spread"):
        parameters = ALL.parameters()
        by_minute = queries.rows(
            queries._client(), queries._sql(name, by_the_hour=False), parameters
        )
        by_hour = queries.rows(queries._client(), queries._sql(name, by_the_hour=True), parameters)
        told = (
            "provider",
            "calls",
            "failures",
            "duration_buckets",
            "findings",
            "generating_ms",
            "priced",
            "usage_n",
            "output_y",
        )
        for key in told:
            assert [r.get(key) for r in by_minute] == [r.get(key) for r in by_hour]
        costs = zip(by_minute, by_hour, strict=True)
        assert all(
            float(a.get("cost", 0)) == pytest.approx(float(b.get("cost", 0)), rel=ROUNDED)
            for a, b in costs
        )


@pytest.mark.parametrize("scope", SCOPES)
def test_findings_and_speed_are_those_of_the_rows(scope: Scope, raw: Raw) -> None:
    for tile in queries.sums(scope):
        mine = users(raw, scope, tile.provider)
        named = {f for r in mine for f in r["findings"]}
        assert tile.findings == {f: sum(f in r["findings"] for r in mine) for f in named}
        streamed = [
            r for r in mine
            if r["failure"] == "" and r["time_to_first_token_ms"] is not None and r["duration_ms"] > r["time_to_first_token_ms"]
        ]  # fmt: skip
        assert tile.generated_tokens == sum(r["output_tokens"] for r in streamed)
        assert tile.generating_ms == sum(
            r["duration_ms"] - r["time_to_first_token_ms"] for r in streamed
        )


def test_a_provider_and_a_model_narrow_the_scope(raw: Raw) -> None:
    one = Scope(RANGES["all"], "", "USD", "volcengine", "doubao-seed-1-6")
    (tile,) = queries.sums(one)
    assert tile.calls == sum(r["model"] == "doubao-seed-1-6" and r["arm"] != "shadow" for r in raw)
    assert {p["provider"] for p in queries.timeline(one)} == {"volcengine"}
    assert queries.models("volcengine")[0] == "doubao-seed-1-6"


def test_an_hour_ago_is_the_same_span_an_hour_earlier(settings: Settings) -> None:
    scope = Scope(3600, "", "USD").hour_ago
    sql = (
        "SELECT count() AS n FROM calls WHERE arm != 'shadow' AND started_at >= toStartOfMinute(now() - 7200)"
        " AND started_at < toStartOfMinute(now() - 3600)"
    )
    with connect(settings) as client:
        before = rows(client, sql)[0]["n"]
        shown = sum(s.calls for s in queries.sums(scope))
        assert shown in (before, rows(client, sql)[0]["n"])


@pytest.mark.parametrize(("by", "column"), [("model", "model"), ("stage", "stage"), ("hour", None)])
def test_parts_add_up_and_are_the_rows(by: str, column: str | None, raw: Raw) -> None:
    found = queries.slices(SUPPORT, by, -480)
    for s in found:
        mine = [
            r for r in users(raw, SUPPORT, s.provider)
            if (r[column] if column else f"{(r['started_at'].hour + 8) % 24:02}:00") == s.slice
        ]  # fmt: skip
        assert s.calls == len(mine)
        assert s.failed == sum(r["failure"] not in ("", "cancelled") for r in mine)
        assert s.quality_sum == sum(r["quality"] for r in mine if r["quality"] is not None)
    assert sum(s.calls for s in found) == sum(t.calls for t in queries.sums(SUPPORT))


@pytest.mark.parametrize("by", ["language", "tool"])
def test_parts_by_language_and_tool_are_the_rows(by: str, raw: Raw) -> None:
    """An answer that calls two tools stands in both parts; one that calls none in the part without a name."""
    scope = Scope(RANGES["all"], "code-agent", "USD")
    found = queries.slices(scope, by, 0)
    seen = set()
    for provider in {s.provider for s in found}:
        for r in users(raw, scope, provider):
            seen |= {(provider, name) for name in _parts(r, by)}
    assert {(s.provider, s.slice) for s in found} == seen
    for s in found:
        mine = [r for r in users(raw, scope, s.provider) if s.slice in _parts(r, by)]
        timed = [r["duration_ms"] for r in mine if r["duration_ms"] is not None]
        assert s.calls == len(mine)
        assert s.failed == sum(r["failure"] not in ("", "cancelled") for r in mine)
        assert s.quality_sum == sum(r["quality"] for r in mine if r["quality"] is not None)
        assert sum(s.duration_buckets.values()) == len(timed)
        if timed:
            exact = sorted(timed)[max(1, -(-len(timed) // 2)) - 1]
            assert stats.quantile(s.duration_buckets, 0.5) == pytest.approx(exact, rel=0.0101)


def _parts(row: dict[str, Any], by: str) -> list[str]:
    return [row["language"]] if by == "language" else row["tools_called"] or [""]


def test_a_heatmap_holds_every_timed_call(raw: Raw) -> None:
    cells = heat(queries.timeline(ALL), "duration_buckets")
    timed = [r["duration_ms"] for r in raw if r["arm"] != "shadow" and r["duration_ms"] is not None]
    assert sum(cell["calls"] for cell in cells) == len(timed)
    slow = [c for c in cells if c["from_ms"] >= 3000]
    edge = min(c["from_ms"] for c in slow)
    assert sum(c["calls"] for c in slow) == sum(ms > edge for ms in timed)


def test_verdicts_and_evidence_are_the_stored_ones() -> None:
    found = {(v.workload, v.candidate): v for v in queries.verdicts() or []}
    assert {key: v.verdict for key, v in found.items()} == {
        key: row[0] for key, row in VERDICTS.items()
    }
    hold = found["support", "kimi"]
    assert [g.gate for g in hold.gates] == ["failure", "score", "check:not_refused"]
    assert hold.slowest is not None and hold.slowest.gate == "check:not_refused"
    assert len(queries.verdict_changes(ALL)) == 2 * len(VERDICTS)
    assert len(queries.evidence("support")) == 12 * 3


def test_disagreement_is_the_mean_of_the_pairs() -> None:
    found = {r["check"]: r for r in queries.ask("disagreement", workload="extraction")}
    mirrored = [n for n in range(80) if n % 4]
    assert found["similar_text"]["pairs"] == len(mirrored)
    assert found["similar_text"]["disagreement"] == pytest.approx(
        sum(n % 3 / 4 for n in mirrored) / len(mirrored)
    )
    assert found["similar_text"]["noise_pairs"] == 20


def test_a_shorter_range_holds_the_rows_since_then(settings: Settings) -> None:
    def counted() -> int:
        with connect(settings) as client:
            sql = "SELECT count() AS n FROM calls WHERE started_at >= toStartOfMinute(now() - 3600) AND arm != 'shadow'"
            return int(rows(client, sql)[0]["n"])

    before, shown, after = (
        counted(),
        sum(s.calls for s in queries.sums(Scope(3600, "", "USD"))),
        counted(),
    )
    assert shown in (before, after)


def test_the_migrated_share_is_weighted_by_traffic(raw: Raw) -> None:
    found = queries.migration(RANGES["all"])
    planned = [r for r in raw if r["arm"] in ("baseline", "candidate")]
    assert sum(row["calls"] for row in found) == len(planned)
    assert sum(row["migrated"] for row in found) == sum(r["arm"] == "candidate" for r in planned)


def test_savings_compare_priced_calls_day_by_day(raw: Raw, rate: Callable[..., Decimal]) -> None:
    for workload, saving in queries.savings("USD").items():
        mine = [
            r for r in raw if r["workload"] == workload and r["arm"] in ("baseline", "candidate")
        ]
        paid = would_be = Decimal(0)
        calls, price = 0, None
        for day in sorted({r["started_at"].date() for r in mine}):
            arms: dict[str, list[Decimal]] = {"baseline": [], "candidate": []}
            for r in mine:
                if r["started_at"].date() == day and r["cost"] is not None:
                    arms[r["arm"]].append(r["cost"] * rate(r["currency"], "USD", day))
            if arms["baseline"]:
                price = sum(arms["baseline"], Decimal(0)) / len(arms["baseline"])
            if price is not None:
                paid += sum(arms["candidate"], Decimal(0))
                would_be += price * len(arms["candidate"])
                calls += len(arms["candidate"])
        assert float(saving.paid) == pytest.approx(float(paid), rel=ROUNDED)
        assert float(saving.baseline_would_be) == pytest.approx(float(would_be), rel=ROUNDED)
        assert saving.calls == calls
        assert saving.calls + saving.left_out == sum(r["arm"] == "candidate" for r in mine)


def test_the_account_balances_and_a_hole_is_seen() -> None:
    account = queries.accounts()[0]
    assert account.state == "in_flight"
    assert (
        account.produced
        == account.stored + account.rejected + account.duplicates + account.in_flight
    )
    lost = {**account.__dict__, "messages_in_flight": 0, "waiting": 0}
    assert queries.Account(**lost).state == "unbalanced"
    newer_word = {**lost, "produced_at": account.observed_at + timedelta(seconds=1)}
    assert queries.Account(**newer_word).state == "settling"
    twice = {**account.__dict__, "stored": account.stored + account.in_flight + 1}
    assert queries.Account(**twice).state == "unbalanced"
    newer_batch = {**twice, "last_batch_at": account.produced_at + timedelta(seconds=1)}
    assert queries.Account(**newer_batch).state == "settling"


def test_old_clusters_stand_apart() -> None:
    found = queries.ask("partitions")
    assert sum(bool(row["current"]) for row in found) == PARTITIONS
    assert [row["cluster"] for row in found if not row["current"]] == ["an-older-broker"]


def test_the_bill_is_the_rows_cost_per_month_and_provider_in_native_currency(
    raw: Raw, rate: Callable[..., Decimal]
) -> None:
    """The seeded plan agrees nothing, so net is list; what is unknown is counted and has no amount."""
    bill = queries.bill("USD")
    exact = Decimal(0)
    for row in bill.months:
        mine = [
            r for r in raw
            if (r["provider"], r["currency"]) == (row.provider, row.currency)
            and r["started_at"].date().replace(day=1) == row.begin
        ]  # fmt: skip
        cost = sum((r["cost"] for r in mine if row.currency), Decimal(0))
        assert row.calls == len(mine)
        assert row.unlisted == (0 if row.currency else len(mine))
        assert queries.amounts(row)["net_cost"] == (cost if row.currency else None)
        exact += cost * rate(row.currency or "USD", "USD", row.begin)
    assert sum(row.calls for row in bill.months) == len(raw)
    assert {row.currency for row in bill.months} == {"USD", "CNY", ""}
    assert float(bill.total["net_cost"]) == pytest.approx(float(exact), rel=ROUNDED)
    assert bill.estimated


def test_the_bill_has_no_total_while_a_currency_has_no_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plan paid in euros; its fee stays visible, and without calls nothing else of it is unknown."""
    today = datetime.now(UTC).date()
    fee = MonthlyPlan(price=Decimal(310), currency="EUR", starts=today.replace(day=1))
    endpoints = {"euro": Endpoint(provider="sensenova", plans=(fee,))}
    plan = Plan(migration="m", baseline="euro", endpoints=endpoints)
    monkeypatch.setattr(queries, "plan", lambda: plan)
    bill = queries.bill("USD")
    assert (bill.total, bill.no_rate) == ({}, ["EUR"])
    euros = next(row for row in bill.months if row.currency == "EUR")
    assert queries.amounts(euros)["fee"] == queries.amounts(euros)["net_cost"] == euros.fee > 0


@pytest.mark.parametrize(
    ("currency", "calls", "unlisted", "known"),
    [
        ("", 2, 2, ()),
        ("CNY", 2, 2, ("fee", "net_cost")),  # a plan pays for calls without a list price
        ("CNY", 2, 1, queries.AMOUNTS),
        ("CNY", 0, 0, queries.AMOUNTS),
    ],
)
def test_amounts_that_mean_nothing_are_unknown(currency, calls, unlisted, known) -> None:
    row = NetCost(begin=date(2026, 11, 1), provider="p", currency=currency, calls=calls, unlisted=unlisted)  # fmt: skip
    found = queries.amounts(row)
    assert tuple(name for name, amount in found.items() if amount is not None) == known


def test_a_search_finds_by_each_of_its_conditions(raw: Raw) -> None:
    one = next(r for r in raw if r["failure"] == "rate_limit")
    everything = RANGES["all"]
    for text in (one["call_id"], one["conversation_id"], one["request_id"]):
        assert one["call_id"] in {
            r["call_id"] for r in queries.search(Search(everything, text=text))
        }
    fits = {"workload": "support", "provider": "moonshot", "failure": "*"}
    found = queries.search(Search(everything, **fits), limit=10_000)
    assert len(found) == sum(
        r["workload"] == "support" and r["provider"] == "moonshot" and r["failure"] != ""
        for r in raw
    )
    cut = queries.search(Search(everything, finding="missing_message_stop"), limit=10_000)
    assert len(cut) == sum("missing_message_stop" in r["findings"] for r in raw)
    poor = queries.search(Search(everything, check="tool_calls_valid"), limit=10_000)
    assert len(poor) == sum(r["checks"].get("tool_calls_valid", 1) < 1 for r in raw)
    assert queries.search(Search(everything, "' OR 1 = 1 --")) == []


def test_a_call_is_found_whole_and_with_its_conversation(raw: Raw) -> None:
    one = raw[0]
    found = queries.call(one["call_id"])
    assert found is not None
    assert found["conversation_id"] == one["conversation_id"]
    assert one["call_id"] in {r["call_id"] for r in queries.conversation(one["conversation_id"])}
    assert queries.call("no such call") is None
    assert queries.conversation("") == []
