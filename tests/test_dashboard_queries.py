"""Every figure of the pages equals a recomputation from the raw rows of `calls`."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
import streamlit as st
from seed_store import ENDPOINTS, PARTITIONS, VERDICTS, seeded

from dashboards import costs, queries
from dashboards.figures import Scope
from dashboards.names import short_name
from dashboards.queries import RANGES, Search
from dashboards.sides import Side
from dashboards.views import burn_up, rollout
from dashboards.views.explained import effect_rows
from dashboards.views.live import failure_rows, heat
from dashboards.words import term
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
    """Every stored row, as it is; times are in UTC."""
    with connect(settings) as client:
        return [queries._utc(row) for row in rows(client, "SELECT * FROM calls")]


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
        for side, spread in queries.spreads(SUPPORT, of).items():
            mine = [r for r in users(raw, SUPPORT, side.provider) if r["input_tokens"] is not None]
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


@pytest.mark.parametrize(
    ("asked", "sums"),
    [
        ("SELECT * FROM v_usage", "usage_by_ten_minutes"),
        (
            "SELECT provider, sum(u.calls) FROM v_usage AS u GROUP BY provider",
            "usage_by_ten_minutes",
        ),
        ("SELECT * FROM v_account", "usage_by_ten_minutes"),
        ("SELECT * FROM v_account", "standing"),
        ("SELECT * FROM v_partitions", "standing"),
        ("SELECT * FROM v_hourly_answers", "answers_by_hour_and_model"),
        ("SELECT * FROM v_disagreement", "agreement_by_model"),
    ],
)
def test_what_months_add_up_to_is_read_from_sums(asked: str, sums: str, settings: Settings) -> None:
    """The engine finds out by itself whether a query can be answered from a projection: a small change may hide it."""
    with connect(settings) as client:
        plan = client.query(f"EXPLAIN {asked}").result_rows
    assert any(f"ReadFromMergeTree ({sums})" in line for (line,) in plan)


def test_the_hourly_sums_are_the_sums_of_the_minutes() -> None:
    for name in ("sums", "spread"):
        parameters = ALL.parameters() | {"apart": queries.TOGETHER.document}
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
        pairs = zip(by_minute, by_hour, strict=True)
        assert all(
            float(a.get("cost", 0)) == pytest.approx(float(b.get("cost", 0)), rel=ROUNDED)
            for a, b in pairs
        )


CODE = Scope(RANGES["all"], "code-agent", "USD")


def of_side(raw: Raw, side: Side) -> Raw:
    """The rows of one side of the code agent, which goes to two models of one provider."""
    return [r for r in users(raw, CODE, side.provider) if side.model in ("", r["model"])]


def test_two_candidates_of_one_provider_have_sums_of_their_own(
    raw: Raw, rate: Callable[..., Decimal]
) -> None:
    of = queries.apart("code-agent")
    assert {s.key for s in of.sides.values()} == {
        "anthropic", "zhipu/glm-4.6", "zhipu/glm-4.5-air", "deepseek",
    }  # fmt: skip
    found = {s.side: s for s in queries.sums(CODE, of)}
    assert set(found) == set(of.sides.values())
    for side, s in found.items():
        mine = of_side(raw, side)
        paid = [r for r in mine if r["cost"] is not None]
        cost = sum(r["cost"] * rate(r["currency"], "USD", r["started_at"].date()) for r in paid)
        scores = [r["quality"] for r in mine if r["quality"] is not None]
        assert s.calls == len(mine) > 0
        assert s.arm == ("baseline" if side.provider == "anthropic" else "candidate")
        assert s.failed == sum(r["failure"] not in ("", "cancelled") for r in mine)
        assert (s.priced, float(s.cost)) == (len(paid), pytest.approx(float(cost), rel=ROUNDED))
        assert (s.quality_calls, s.quality_sum) == (len(scores), sum(scores))
        assert sum(s.duration_buckets.values()) == len(mine)


@pytest.mark.parametrize(
    ("kind", "column"), [("output", "output_tokens"), ("input", "input_tokens")]
)
def test_two_candidates_of_one_provider_have_means_of_their_own(
    kind: str, column: str, raw: Raw
) -> None:
    found = queries.spreads(CODE, kind, queries.apart("code-agent"))
    assert len(found) == 4
    for side, spread in found.items():
        values = [r[column] for r in of_side(raw, side) if r[column] is not None]
        mean = stats.mean(spread)
        assert mean is not None
        assert (mean.n, mean.value) == (
            len(values), pytest.approx(sum(values) / len(values)),
        )  # fmt: skip


@pytest.mark.parametrize("by", ["model", "hour", "stage", "language", "tool"])
def test_parts_of_two_candidates_of_one_provider_stand_apart(by: str, raw: Raw) -> None:
    found = queries.slices(CODE, by, 0, queries.apart("code-agent"))
    for side in {s.side for s in found}:
        mine = of_side(raw, side)
        told = [
            name
            for r in mine
            for name in (_parts(r, by) if by in ("language", "tool") else [_part(r, by)])
        ]
        assert {s.slice: s.calls for s in found if s.side == side} == Counter(told)


def _part(row: dict[str, Any], by: str) -> str:
    return f"{row['started_at'].hour:02}:00" if by == "hour" else str(row[by])


def test_pairs_of_two_models_of_one_provider_stand_apart(settings: Settings) -> None:
    """Half of the pairs of one model differ and none of the other's; the baseline's own differ by a quarter."""
    at = datetime.now(UTC)
    sent = [("baseline", "anthropic", "claude-sonnet-4-5", 0.75), ("candidate", "zhipu", "glm-4.6", 0.5),
            ("candidate", "zhipu", "glm-4.5-air", 1.0)]  # fmt: skip
    names = ["cluster", "topic", "kafka_partition", "kafka_offset", "position", "received_at", "received_on", "call_id",
             "shadow_of", "workload", "mirrored_to", "provider", "model", "started_at", "agreement"]  # fmt: skip
    with connect(settings) as client:
        client.insert("pairs", [
            ["seed", "llm.calls", 0, 2 * 10**7 + 10 * n + m, 0, at, at.date(), f"apart-{n}-{m}", f"of-{n}-{m}",
             "code-agent", to, provider, model, at, {"similar_text": agreed}]
            for n, (to, provider, model, agreed) in enumerate(sent)
            for m in range(2 + n)
        ], column_names=names)  # fmt: skip
    found = {
        r["side"].key: r for r in queries.disagreement("code-agent", queries.apart("code-agent"))
    }
    told = {
        key: (r["pairs"], r["disagreement"], r["noise_pairs"], r["excess"])
        for key, r in found.items()
    }
    assert told == {"zhipu/glm-4.6": (3, 0.5, 2, 0.25), "zhipu/glm-4.5-air": (4, 0.0, 2, -0.25)}


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
            r for r in users(raw, SUPPORT, s.side.provider)
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
    for provider in {s.side.provider for s in found}:
        for r in users(raw, scope, provider):
            seen |= {(provider, name) for name in _parts(r, by)}
    assert {(s.side.provider, s.slice) for s in found} == seen
    for s in found:
        mine = [r for r in users(raw, scope, s.side.provider) if s.slice in _parts(r, by)]
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


@pytest.mark.parametrize("days", [2, 30], ids=["row by row", "by the hour"])
def test_a_path_of_evidence_ends_every_300th_part_of_its_time_with_its_last_row(
    days: int, settings: Settings
) -> None:
    workload = f"path-{days}"
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    stored = [(begin + timedelta(minutes=7 * n), 0.001 * n) for n in range(days * 24 * 60 // 7)]
    with connect(settings) as client:
        client.insert(
            "epochs",
            [[workload, "kimi", 1, "h", "p", begin, "Chen Wei", False, "{}"]],
            column_names=["workload", "candidate", "epoch", "epoch_hash", "plan_hash", "starts_at", "set_by", "after_data", "gates"],
        )  # fmt: skip
        client.insert(
            "evidence",
            [[at, workload, "kimi", 1, "failure", n, n, log_e, None, None, None, None] for n, (at, log_e) in enumerate(stored)],
            column_names=["at", "workload", "candidate", "epoch", "gate", "units_baseline", "units_candidate", "log_e_promote",
                          "log_e_rollback", "estimate", "lower", "upper"],
        )  # fmt: skip
    found = queries.evidence(workload)
    assert 280 <= len(found) <= 310
    assert {(row["at"], row["log_e_promote"]) for row in found} <= set(stored)
    assert (found[-1]["at"], found[-1]["log_e_promote"]) == stored[-1]
    gaps = [(b["at"] - a["at"]).total_seconds() for a, b in pairwise(found)]
    assert max(gaps) <= 2 * days * 86_400 / 300 + 3600


def test_disagreement_is_the_mean_of_the_pairs() -> None:
    found = {r["check"]: r for r in queries.disagreement("extraction", queries.TOGETHER)}
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


def at_step(moment: datetime, seconds: int) -> datetime:
    """The beginning of its step."""
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def test_every_point_of_every_curve_on_live_is_made_of_its_rows(
    raw: Raw, rate: Callable[..., Decimal]
) -> None:
    """Share of traffic, failure rate, first token, duration, tokens per second, cost, quality, and a tile's bars."""
    step = queries.bounds().step_s(ALL.seconds)
    points = queries.timeline(ALL)
    assert len(points) > 100
    for point in points:
        mine = [r for r in users(raw, ALL, point["provider"]) if at_step(r["started_at"], step) == point["at"]]  # fmt: skip
        finished = [r for r in mine if r["failure"] != "cancelled"]
        failed = sum(r["failure"] != "" for r in finished)
        scores = [r["quality"] for r in mine if r["quality"] is not None]
        paid = [r["cost"] * rate(r["currency"], "USD", r["started_at"].date()) for r in mine if r["cost"] is not None]  # fmt: skip
        told = [r for r in mine if r["failure"] == "" and r["time_to_first_token_ms"] is not None and r["duration_ms"] > r["time_to_first_token_ms"]]  # fmt: skip
        streamed = sum(r["duration_ms"] - r["time_to_first_token_ms"] for r in told)
        assert (point["calls"], point["per_minute"]) == (len(mine), len(mine) * 60 / step)
        assert point["failure_rate"] == (failed / len(finished) if finished else None)
        assert point["quality"] == (float(sum(scores)) / len(scores) if scores else None)
        if paid:
            assert point["cost_per_1000"] == pytest.approx(float(1000 * sum(paid)) / len(paid), rel=ROUNDED)  # fmt: skip
        if told:
            assert point["tokens_per_second"] == 1000 * sum(r["output_tokens"] for r in told) / streamed  # fmt: skip
        for name, column in (("first_token", "time_to_first_token_ms"), ("duration", "duration_ms")):  # fmt: skip
            values = sorted(r[column] for r in mine if r[column] is not None)
            assert sum(point[f"{name}_buckets"].values()) == len(values)
            for q in queries.QUANTILES if values else ():
                exact = values[max(1, -(-len(values) * q // 100)) - 1]
                assert point[f"{name}_p{q}"] == pytest.approx(exact, rel=0.0101)


def test_failures_by_class_are_the_rows(raw: Raw) -> None:
    found = {(r["name"], r["kind"]): r for r in failure_rows(queries.sums(ALL))}
    for provider in {r["provider"] for r in raw}:
        mine = users(raw, ALL, provider)
        for kind in {r["failure"] for r in mine} - {""}:
            row = found.pop((short_name(provider, "en"), term("failure", kind)))
            assert row["calls"] == sum(r["failure"] == kind for r in mine)
            assert row["rate"] == row["calls"] / len(mine)
    assert not found


def test_calls_a_minute_are_those_of_this_minute_and_the_one_before(settings: Settings) -> None:
    sql = "SELECT count() AS n FROM calls WHERE arm != 'shadow' AND started_at >= toStartOfMinute(now() - 60)"

    def counted() -> int:
        with connect(settings) as client:
            return int(rows(client, sql)[0]["n"])

    before = counted()
    st.cache_data.clear()
    shown = sum(s.recent_calls for s in queries.sums(Scope(3600, "", "USD")))
    assert shown in (before, counted())


def test_events_are_the_stored_ones(settings: Settings) -> None:
    with connect(settings) as client:
        stored = rows(client, "SELECT event_id FROM events FINAL ORDER BY at")
    assert sorted(e["event_id"] for e in queries.events(ALL)) == sorted(r["event_id"] for r in stored)  # fmt: skip
    game = queries.events(Scope(RANGES["all"], "game", "USD"))
    assert {e["workload"] for e in game} == {"game"}


@pytest.mark.parametrize("what", ["first_token", "duration"])
def test_the_curve_of_latencies_on_compare_is_the_share_of_rows_as_fast(
    what: str, raw: Raw
) -> None:
    column = "time_to_first_token_ms" if what == "first_token" else "duration_ms"
    for s in queries.sums(SUPPORT):
        values = [r[column] for r in users(raw, SUPPORT, s.provider) if r[column] is not None]
        curve = stats.cumulative(getattr(s, f"{what}_buckets"))
        assert curve[-1][1] == 1
        for ms, share in curve:
            assert share == pytest.approx(sum(v <= ms * (1 + 1e-9) for v in values) / len(values))


def test_the_mean_cost_of_a_call_is_that_of_the_rows(
    raw: Raw, rate: Callable[..., Decimal]
) -> None:
    for side, spread in queries.spreads(SUPPORT, "cost").items():
        mine = [r for r in users(raw, SUPPORT, side.provider) if r["cost"] is not None]
        exact = sum(r["cost"] * rate(r["currency"], "CNY", r["started_at"].date()) for r in mine)
        found = stats.mean(spread)
        assert found is not None
        assert (found.n, found.value) == (len(mine), pytest.approx(float(exact) / len(mine), rel=ROUNDED))  # fmt: skip


def test_what_a_difference_in_cost_is_made_of_is_the_newest_rows_bills(
    raw: Raw, rate: Callable[..., Decimal], catalog: Catalog
) -> None:
    """Kind by kind, from the seed's own prices; the bars are cost per call, the rows below add up to the difference."""
    scope = Scope(RANGES["all"], "code-agent", "USD")
    found = queries.bills(scope)
    sides = queries.apart("code-agent").sides
    assert set(found) == set(sides.values())
    for name, side in sides.items():
        row, bill = ENDPOINTS[name], found[side]
        mine = [r for r in users(raw, scope, side.provider) if r["model"] == row[1]]
        priced = [r for r in mine if r["cost"] is not None]
        found_ = sorted(priced, key=lambda r: r["started_at"])[-queries.BILLS_EACH :]
        newest = [
            r for r in found_ if costs.lines_of(catalog, r)
        ]  # not of a dearer tier than the seed's
        assert (bill.calls, bill.left_out) == (len(newest), len(found_) - len(newest))
        cached = sum(r["cache_read_input_tokens"] for r in newest)
        tokens = {
            "input": sum(r["input_tokens"] for r in newest) - cached, "cache_read": cached, "cache_write": 0,
            "output": sum(r["output_tokens"] for r in newest),
        }  # fmt: skip
        prices = {"input": row[3], "cache_read": row[8], "cache_write": 0, "output": row[4]}
        to_usd = float(rate(row[2], "USD", newest[-1]["started_at"].date()))
        assert bill.tokens == tokens
        for kind, n in tokens.items():
            exact = n * prices[kind] / 1e6 * to_usd / len(newest)
            assert float(bill.per_call(kind)) == pytest.approx(exact, rel=ROUNDED)
    baseline = sides["claude"]
    gaps = effect_rows(scope, baseline, list(found), found)
    for side in set(found) - {baseline}:
        mine = [r for r in gaps if (r["provider"], r["model"]) == (side.provider, side.model)]
        whole = found[side].cost_per_call - found[baseline].cost_per_call
        assert float(sum(r["by_price"] + r["by_tokens"] for r in mine)) == pytest.approx(float(1000 * whole))  # fmt: skip


def migrated_share(raw: Raw, since: datetime) -> float:
    """Of the users' calls in the plan since then, the candidates' share."""
    mine = [r for r in raw if r["arm"] in ("baseline", "candidate") and r["started_at"] >= since]
    return sum(r["arm"] == "candidate" for r in mine) / len(mine)


def test_the_burn_up_is_the_rows_share_step_by_step(raw: Raw) -> None:
    seconds = RANGES["all"]
    step = queries.bounds().step_s(seconds)
    curve = burn_up.migration_curve(queries.migration(seconds))
    for point in curve:
        mine = [r for r in raw if r["arm"] in ("baseline", "candidate") and at_step(r["started_at"], step) == point["at"]]  # fmt: skip
        assert point["share"] == sum(r["arm"] == "candidate" for r in mine) / len(mine)
    assert len(curve) > 10


def test_the_dashed_line_is_the_frozen_plan_weighted_by_the_last_days_rows(raw: Raw) -> None:
    frozen, changes = queries.frozen_plan()
    now = queries.bounds().now
    assert frozen is not None and changes
    weights: dict[str, int] = {}
    since = (now - timedelta(days=1)).replace(second=0, microsecond=0)
    for r in raw:
        if r["arm"] in ("baseline", "candidate") and r["started_at"] >= since:
            weights[r["workload"]] = weights.get(r["workload"], 0) + 1
    begin = [{"at": min(r["started_at"] for r in raw)}]
    curve = burn_up.planned_curve(frozen.plan, begin, now)
    for point in curve:
        due = {
            key: max((s for s in work.stages if s.starts <= point["at"]), key=lambda s: s.starts, default=None)
            for key, work in frozen.plan.workloads.items()
        }  # fmt: skip
        exact = sum(weights[k] * sum(s.shares.values()) for k, s in due.items() if s)
        assert point["share"] == pytest.approx(exact / sum(weights.values()), abs=2e-3)
    game = frozen.plan.workloads["game"].stages[-1].starts
    assert game in [point["at"] for point in curve]
    assert game != changes[0].plan.workloads["game"].stages[-1].starts


def test_the_shares_of_now_are_those_of_the_last_quarter_of_an_hour(raw: Raw) -> None:
    since = (queries.bounds().now - timedelta(minutes=15)).replace(second=0, microsecond=0)
    recent = [r for r in raw if r["arm"] in ("baseline", "candidate") and r["started_at"] >= since]
    for workload, share in queries.shares_now().items():
        mine = [r for r in recent if r["workload"] == workload]
        assert share == pytest.approx(sum(r["arm"] == "candidate" for r in mine) / len(mine), abs=0.2)  # fmt: skip
    assert queries.migrated_now() == pytest.approx(migrated_share(raw, since), abs=0.1)  # fmt: skip


def test_the_saving_of_a_month_is_the_saving_per_call_times_the_last_days_calls(raw: Raw) -> None:
    plan, found = queries.plan(), queries.savings("USD")
    assert plan is not None
    exact = 0.0
    since = (queries.bounds().now - timedelta(days=1)).replace(second=0, microsecond=0)
    for key, work in plan.workloads.items():
        calls = sum(
            r["workload"] == key and r["arm"] in ("baseline", "candidate") and r["started_at"] >= since
            for r in raw
        )  # fmt: skip
        each = float(found[key].saved) / found[key].calls
        exact += each * sum(work.stages[-1].shares.values()) * calls * 30
    shown = rollout.monthly_saving(plan, found, queries.weights())
    assert shown is not None
    assert float(shown) == pytest.approx(exact, rel=5e-3)


def test_freshness_is_that_of_the_rows_of_the_last_five_minutes(
    settings: Settings, raw: Raw
) -> None:
    found = queries.freshness()
    assert found.last_stored_at == max(r["inserted_at"] for r in raw)
    window = [r for r in raw if r["inserted_at"] > found.now - timedelta(seconds=300)]
    delays = sorted((r["inserted_at"] - r["started_at"]).total_seconds() * 1000 - (r["duration_ms"] or 0) for r in window)  # fmt: skip
    assert found.calls == pytest.approx(len(window), abs=2)
    assert found.calls_per_second == found.calls / 300
    if found.calls == len(delays) and delays:
        assert found.p50_ms in delays
        assert found.p99_ms == pytest.approx(delays[-1], abs=1)


def test_throughput_is_the_rows_minute_by_minute(raw: Raw) -> None:
    for point in queries.ask("throughput"):
        mine = [r for r in raw if at_step(r["started_at"], 60) == point["at"]]
        assert point["calls"] == len(mine)


def test_workers_rejections_doubts_and_calls_without_a_cost_are_the_rows(
    settings: Settings, raw: Raw
) -> None:
    with connect(settings) as client:
        ledger = rows(client, "SELECT * FROM ledger WHERE inserted_at > now() - 3600")
        rejected = rows(client, "SELECT reason FROM rejected")
    (worker,) = queries.ask("workers")
    assert (worker["batches"], worker["partitions"]) == (len(ledger), PARTITIONS)
    assert worker["calls"] == sum(r["stored"] for r in ledger)
    reasons = [r["reason"] for r in rejected]
    assert {r["reason"]: r["messages"] for r in queries.ask("rejected")} == {
        reason: reasons.count(reason) for reason in reasons
    }
    unknown = [(r["provider"], r["model"], r["cost_unknown"]) for r in raw if r["cost_unknown"]]
    assert {(r["provider"], r["model"], r["reason"]): r["calls"] for r in queries.ask("unpriced")} == {
        each: unknown.count(each) for each in unknown
    }  # fmt: skip
    since = datetime.combine((queries.bounds().now - timedelta(days=1)).date(), datetime.min.time(), UTC)  # fmt: skip
    doubts = [doubt for r in raw for doubt in r["doubts"] if r["received_at"] >= since]
    shown = {r["doubt"]: r["calls"] for r in queries.ask("doubts")}
    assert sum(shown.values()) <= len(doubts)
    assert set(shown) <= set(doubts)


def test_the_partitions_are_the_ledgers_rows(settings: Settings) -> None:
    with connect(settings) as client:
        ledger = rows(client, "SELECT * FROM ledger WHERE cluster = 'seed'")
        ends = rows(client, "SELECT * FROM partitions FINAL WHERE cluster = 'seed'")
    for row in queries.ask("partitions"):
        if not row["current"]:
            continue
        mine = [r for r in ledger if r["kafka_partition"] == row["kafka_partition"]]
        (end,) = (r for r in ends if r["kafka_partition"] == row["kafka_partition"])
        read = sum(r["offset_to"] - r["offset_from"] + 1 for r in mine)
        assert (row["produced"], row["read"]) == (end["end_offset"], read)
        assert row["in_flight"] == end["end_offset"] - read
        for name in ("stored", "rejected", "duplicates"):
            assert row[name] == sum(r[name] for r in mine)
