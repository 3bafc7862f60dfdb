"""What the pages ask the store: parameters in, plain values out. The SQL is in `sql/`.

Every answer is shared by all viewers for a moment, so that ten people watching cost as much as one.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import streamlit as st

from dashboards.costs import Bills
from dashboards.costs import bills as add_bills
from dashboards.figures import BY_THE_HOUR_S, HOUR_S, Account, Bounds, Freshness, Scope, Slice, Sums
from dashboards.names import catalog, sides
from dashboards.sides import Apart, Side
from dashboards.verdicts import Verdict
from dashboards.verdicts import read as read_verdict
from pipeline import savings as saved
from pipeline import stats
from pipeline.catalog import Catalog, Rate
from pipeline.net import free_tokens_left, monthly_costs
from pipeline.progress import PlanVersion, frozen
from pipeline.savings import Saving
from pipeline.scoring.net_cost import NetCost
from pipeline.settings import Settings
from pipeline.store.connect import Client, StoreError, connect, rows
from pipeline.store.migrate import SQL as STORE_SQL
from pipeline.verdicts.plan import Plan

SQL = (Path(__file__).parent / "sql", STORE_SQL / "queries")  # the pages' own, and those shared
SHARED_S = 1.5  # how long one answer serves everybody
BILL_S = 60  # the same for the bill and the saving, which read all usage there ever was
RANGES = {
    "5m": 300, "15m": 900, "1h": 3600, "24h": 86_400, "7d": 7 * 86_400, "all": 20 * 365 * 86_400,
}  # seconds  # fmt: skip
BY_THE_HOUR = {
    "v_minutes": "v_hours", "v_costs": "v_hourly_costs", "v_answers": "v_hourly_answers",
}  # fmt: skip
UNPRICED = ("unknown_model", "no_price", "no_usage", "flat_rate_plan")  # `Cost.unknown`
QUANTILES = (50, 95, 99)  # percent
OF_LISTED = ("list_cost", "granted", "covered")  # amounts that need a list cost
AMOUNTS = (*OF_LISTED, "fee", "net_cost")
UNKNOWN_TABLE = "code: 60,"
TOGETHER = Apart()  # a provider is one side, whatever its models
BILLS_EACH = 1000  # calls of each side whose bills are added up
_SUMS = re.compile(rf"\b({'|'.join(BY_THE_HOUR)})\b")


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """The service's settings, read once."""
    return Settings.read()


@st.cache_resource(show_spinner=False)
def _client() -> Client:
    given = settings()
    if given.dashboard_clickhouse_user:
        given = replace(
            given,
            clickhouse_user=given.dashboard_clickhouse_user,
            clickhouse_password=given.dashboard_clickhouse_password,
        )
    return connect(given)


@cache
def _sql(name: str, *, by_the_hour: bool) -> str:
    file = next(f for folder in SQL if (f := folder / f"{name}.sql").exists())
    text = file.read_text(encoding="utf-8")
    return _SUMS.sub(lambda view: BY_THE_HOUR[view[0]], text) if by_the_hour else text


@st.cache_data(ttl=SHARED_S, show_spinner=False, max_entries=500)
def ask(name: str, **parameters: Any) -> list[dict[str, Any]]:
    """The answer of `<name>.sql`, one dict a row; times are in UTC. Raises StoreError.

    A range of many days (`seconds`) is read from the views that hold the same sums by the hour.
    """
    seconds = parameters.get("seconds", 0)
    by_the_hour = seconds > BY_THE_HOUR_S and bounds().by_the_hour(seconds)
    found = rows(_client(), _sql(name, by_the_hour=by_the_hour), parameters)
    return [_utc(row) for row in found]


def ask_if_there(name: str, **parameters: Any) -> list[dict[str, Any]] | None:
    """The same; None if the store has no such view, as one of an older version."""
    try:
        return ask(name, **parameters)
    except StoreError as error:
        if UNKNOWN_TABLE in str(error):
            return None
        raise


def _utc(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
        for key, value in row.items()
    }


def bounds() -> Bounds:
    """From when to when the store knows anything."""
    found = ask("bounds")[0]
    return Bounds(_known(found["first_minute"]), found["now"])


def freshness() -> Freshness:
    """How old the numbers are and how long calls took to become visible."""
    found = ask("freshness")[0]
    found = found | {key: _known(found[key]) for key in ("last_batch_at", "last_stored_at")}
    return Freshness(**found)


def _known(at: datetime | None) -> datetime | None:
    return None if at is None or at.year == 1970 else at


def apart(workload: str) -> Apart:
    """How the sides of a workload are told apart, by the plan in force."""
    return sides(plan(), workload)


def _sided(found: list[dict[str, Any]], of: Apart) -> list[dict[str, Any]]:
    """The rows with their `provider` and `told` (the endpoint, where a model tells it) as `side`."""
    return [{"side": of.side(row.pop("provider"), row.pop("told")), **row} for row in found]


def sums(scope: Scope, of: Apart = TOGETHER) -> list[Sums]:
    """Each side's totals in the scope, each provider's without `of`; shadow calls left out."""
    return [Sums(**row) for row in _sided(ask("sums", apart=of.document, **scope.parameters()), of)]


def spreads(scope: Scope, kind: str, of: Apart = TOGETHER) -> dict[Side, stats.Spread]:
    """By side, what the interval of a mean per call needs; `kind`: cost, input or output tokens."""
    base = "cost" if kind == "cost" else "usage"
    return {
        row["side"]: stats.Spread(
            n=row[f"{base}_n"],
            minutes=row[f"{base}_minutes"],
            nn=row[f"{base}_nn"],
            y=row[f"{kind}_y"],
            yy=row[f"{kind}_yy"],
            yn=row[f"{kind}_yn"],
        )
        for row in _sided(ask("spread", apart=of.document, **scope.parameters()), of)
    }


def timeline(scope: Scope) -> list[dict[str, Any]]:
    """Each provider's figures per step of time: rates in 0..1, latencies in ms, cost per 1,000 calls."""
    step = bounds().step_s(scope.seconds)
    return [_point(row, step) for row in ask("timeline", step=step, **scope.parameters())]


def _point(row: dict[str, Any], step: int) -> dict[str, Any]:
    finished = row["calls"] - row["cancelled"]
    first, whole = row["first_token_buckets"], row["duration_buckets"]
    return {
        "at": row["at"],
        "provider": row["provider"],
        "calls": row["calls"],
        "per_minute": row["calls"] * 60 / step,
        "failure_rate": row["failed"] / finished if finished else None,
        "quality": float(row["quality_sum"]) / row["quality_calls"]
        if row["quality_calls"]
        else None,
        "cost_per_1000": float(1000 * row["cost"] / row["priced"]) if row["priced"] else None,
        "tokens_per_second": 1000 * row["generated_tokens"] / row["generating_ms"]
        if row["generating_ms"]
        else None,
        **{f"first_token_p{q}": stats.quantile(first, q / 100) for q in QUANTILES},
        **{f"duration_p{q}": stats.quantile(whole, q / 100) for q in QUANTILES},
        "first_token_buckets": first,
        "duration_buckets": whole,
    }


def workloads() -> list[str]:
    """The workloads of the plan and of the calls."""
    plan_ = plan()
    planned = list(plan_.workloads) if plan_ else []
    seen = [row["workload"] for row in ask("workloads")]
    return list(dict.fromkeys(planned + seen))


def providers() -> list[str]:
    """The providers seen, busiest first; shadow calls count here."""
    return list(dict.fromkeys(row["provider"] for row in ask("models")))


def models(provider: str) -> list[str]:
    """The models seen of a provider ("": of all), busiest first; shadow calls count here."""
    fits = (row["model"] for row in ask("models") if provider in ("", row["provider"]))
    return [model for model in dict.fromkeys(fits) if model]


def checks() -> list[str]:
    """The quality checks that were applied lately."""
    return list(ask("names")[0]["checks"])


def findings() -> list[str]:
    """The protocol findings there were lately."""
    return list(ask("names")[0]["findings"])


def plan() -> Plan | None:
    """The plan in force; None when none was recorded."""
    found = ask("plan")
    return msgspec.json.decode(found[0]["document"], type=Plan) if found else None


def frozen_plan() -> tuple[PlanVersion | None, list[PlanVersion]]:
    """The plan as it stood when the first calls were stored (None: there was none), and the changes since."""
    found = ask_if_there("plans") or []
    versions = [
        PlanVersion(row["recorded_at"], row["plan_hash"], row["set_by"], msgspec.json.decode(row["document"], type=Plan))
        for row in found
    ]  # fmt: skip
    return frozen(versions, found[0]["begun"] if found else None)


def events(scope: Scope) -> list[dict[str, Any]]:
    """What happened in the scope, oldest first: event_id, at, kind, workload, provider, and the kind's own fields."""
    return [
        {**msgspec.json.decode(row["fields"], type=dict), **row}
        for row in ask("events", seconds=scope.seconds, workload=scope.workload)
        if not scope.provider or row["provider"] in ("", scope.provider)
    ]


def stage_changes(scope: Scope) -> list[dict[str, Any]]:
    """Stage changes in the scope: at, workload, stage, shares by endpoint."""
    return [{"shares": {}} | row for row in events(scope) if row["kind"] == "stage_changed"]


def verdicts(workload: str = "") -> list[Verdict] | None:
    """The verdicts in force, of one workload or all; None if this store knows of none."""
    found = ask_if_there("verdicts", workload=workload)
    return None if found is None else [read_verdict(row) for row in found]


def evidence(workload: str) -> list[dict[str, Any]]:
    """The path of the evidence in a workload: at, candidate, gate, log e-values, estimate and interval."""
    return ask_if_there("evidence", workload=workload) or []


def slices(scope: Scope, by: str, offset: int, of: Apart = TOGETHER) -> list[Slice]:
    """What sides did, by model, stage or hour of the viewer's day; by language or tool, the most frequent ones."""
    if by in ("language", "tool"):
        found = ask(
            "answers", apart=of.document, seconds=scope.seconds, workload=scope.workload, by=by
        )
        busiest = list(dict.fromkeys(row["slice"] for row in found))
        found.sort(key=lambda row: busiest.index(row["slice"]))
    else:
        found = ask(
            "slices",
            apart=of.document,
            seconds=scope.seconds,
            workload=scope.workload,
            by=by,
            offset=offset,
        )
    return [Slice(**row) for row in _sided(found, of)]


@st.cache_data(ttl=BILL_S, show_spinner=False, max_entries=50)
def bills(scope: Scope) -> dict[Side, Bills]:
    """By side, the newest priced calls' bills line by line."""
    of = apart(scope.workload)
    found: dict[Side, list[dict[str, Any]]] = {}
    for row in ask("priced_calls", apart=of.document, seconds=scope.seconds, workload=scope.workload, each=BILLS_EACH):  # fmt: skip
        found.setdefault(of.side(row["provider"], row["told"]), []).append(row)
    return {side: add_bills(catalog(), calls, scope.currency) for side, calls in found.items()}


def disagreement(workload: str, of: Apart) -> list[dict[str, Any]]:
    """By side and comparison, how much mirrored answers differ from the baseline's, and its own from each other."""
    return _sided(ask_if_there("disagreement", apart=of.document, workload=workload) or [], of)


def verdict_changes(scope: Scope) -> list[dict[str, Any]]:
    """Changes of verdicts in the scope, oldest first, as events; none while nothing judges."""
    found = ask_if_there("verdict_history", seconds=scope.seconds, workload=scope.workload) or []
    return [
        {**row, "event_id": f"{row['workload']}/{row['candidate']}/{row['at']:%Y%m%dT%H%M%S}", "kind": "verdict"}
        for row in found
        if scope.provider in ("", row["provider"])
    ]  # fmt: skip


def migration(seconds: int) -> list[dict[str, Any]]:
    """Calls and migrated calls per step of time and workload, of the plan's two arms."""
    return ask("migration", seconds=seconds, step=bounds().step_s(seconds))


def shares_now() -> dict[str, float]:
    """By workload, the candidates' share of the users' calls in the last 15 minutes."""
    found: dict[str, tuple[int, int]] = {}
    for row in ask("migration", seconds=RANGES["15m"], step=86_400 * 366):
        migrated, calls = found.get(row["workload"], (0, 0))
        found[row["workload"]] = (migrated + row["migrated"], calls + row["calls"])
    return {workload: migrated / calls for workload, (migrated, calls) in found.items() if calls}


def migrated_now() -> float | None:
    """The migrated share of all users' calls in the last 15 minutes."""
    calls = migrated = 0
    for row in migration(RANGES["15m"]):
        calls, migrated = calls + row["calls"], migrated + row["migrated"]
    return migrated / calls if calls else None


def weights() -> dict[str, int]:
    """Calls of each workload in the last day: how much it counts in a share of all traffic."""
    calls: dict[str, int] = {}
    for row in migration(RANGES["24h"]):
        calls[row["workload"]] = calls.get(row["workload"], 0) + row["calls"]
    return calls


@st.cache_data(ttl=BILL_S, show_spinner=False)
def savings(currency: str) -> dict[str, Saving]:
    """What migrating saved, by workload: `pipeline.savings` says how it is reckoned."""
    return saved.savings(ask("savings", currency=currency))


@dataclass(frozen=True)
class Bill:
    """List and net cost per month, provider and native currency, and their total in one currency."""

    months: list[NetCost]
    total: dict[str, Decimal]  # by AMOUNTS; empty if a currency has no exchange rate
    estimated: bool  # an exchange rate in the total is
    no_rate: list[str]  # currencies
    tokens_left: dict[str, int]  # of grants, today, by provider that has any

    @property
    def priced(self) -> bool:
        """True if the cost of anything is known."""
        return any(row.currency for row in self.months)


@st.cache_data(ttl=BILL_S, show_spinner=False)
def bill(currency: str) -> Bill:
    """What every month cost up to today, the newest first; each at the rate of its first day."""
    facts, agreed, today = catalog(), plan(), bounds().now.date()
    found = monthly_costs(_client(), facts, agreed, today + timedelta(days=1))
    rated = [(row, _rate(facts, row, currency)) for row in found if row.currency]
    no_rate = sorted({row.currency for row, rate in rated if rate is None})
    return Bill(
        months=sorted(found, key=_newest_first),
        total={} if no_rate else {name: _converted(rated, name) for name in AMOUNTS},
        estimated=any(rate.estimated for _, rate in rated if rate),
        no_rate=no_rate,
        tokens_left=free_tokens_left(_client(), facts, agreed, today) if agreed else {},
    )


def _newest_first(row: NetCost) -> tuple[int, str, bool, str]:
    """By month, provider and currency, the calls of unknown cost last."""
    return -row.begin.toordinal(), row.provider, not row.currency, row.currency


def _rate(facts: Catalog, row: NetCost, currency: str) -> Rate | None:
    midnight = datetime.combine(row.begin, time(), UTC)
    return facts.fx(row.currency, currency, round(midnight.timestamp() * 1000))


def _converted(rated: Iterable[tuple[NetCost, Rate | None]], name: str) -> Decimal:
    return sum((rate.rate * getattr(row, name) for row, rate in rated if rate), Decimal(0))


def amounts(row: NetCost) -> dict[str, Decimal | None]:
    """The row's AMOUNTS: all None without a currency, those of listed calls if it has none."""
    none_listed = row.calls > 0 and row.unlisted == row.calls
    unknown = OF_LISTED if row.currency and none_listed else () if row.currency else AMOUNTS
    return {name: None if name in unknown else getattr(row, name) for name in AMOUNTS}


@dataclass(frozen=True)
class Search:
    """Which calls are looked for; "" fits everything.

    Failure "*" is any failure; `check` is a quality check that was not fully passed; `text` a whole id.
    """

    seconds: int
    workload: str = ""
    provider: str = ""
    model: str = ""
    failure: str = ""
    finding: str = ""
    check: str = ""
    text: str = ""


def search(wanted: Search, limit: int = 200) -> list[dict[str, Any]]:
    """The newest calls that fit. Looks back step by step, so that a busy store need not be read whole; ids have an index."""
    steps = () if wanted.text else RANGES.values()
    shorter = [seconds for seconds in steps if HOUR_S <= seconds < wanted.seconds]
    found: list[dict[str, Any]] = []
    for seconds in [*shorter, wanted.seconds]:
        found = ask("search", limit=limit, **asdict(replace(wanted, seconds=seconds)))
        if len(found) >= limit:
            break
    return found


def call(call_id: str) -> dict[str, Any] | None:
    """Everything about one call; None if there is none of that id."""
    found = ask("call", call=call_id)
    return found[0] if found else None


def conversation(conversation_id: str) -> list[dict[str, Any]]:
    """The calls of one conversation, oldest first."""
    return ask("conversation", conversation=conversation_id) if conversation_id else []


def accounts() -> list[Account]:
    """The account in calls of every Kafka cluster there was, the current one first."""
    return [Account(**row) for row in ask("account")]
