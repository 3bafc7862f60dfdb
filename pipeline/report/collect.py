"""Takes a snapshot of the store, keeps it there, and finds it again by its name."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Protocol, TypeVar

import msgspec

from pipeline.catalog import Catalog
from pipeline.net import free_tokens_left, monthly_costs
from pipeline.progress import PlanVersion, frozen
from pipeline.report.snapshot import (
    Account,
    ArmSums,
    DayCost,
    FrozenPlan,
    FxRate,
    Provider,
    SavedDay,
    Snapshot,
    SnapshotError,
    StageChange,
    Step,
    Stored,
    Unpriced,
    decode,
    name_of,
    verdict_from,
)
from pipeline.store.connect import Client, rows
from pipeline.store.migrate import SQL
from pipeline.verdicts.plan import Plan

PERIOD = timedelta(days=7)  # over which the arms are compared
COSTS = timedelta(days=14)  # days of the chart of costs
RECENT_S, DAY_S = 900, 86_400
STEPS_AIMED_AT = 120
EVER_S = 20 * 365 * DAY_S
UNKNOWN_COLOR = "#8A8F98"
T = TypeVar("T")


def take(client: Client, catalog: Catalog, currency: str) -> Snapshot:
    """Everything a report needs, as the store has it now. Raises StoreError."""
    return _Reader(client, catalog, currency).snapshot()


def keep(client: Client, snapshot: Snapshot) -> str:
    """Stores a snapshot; its name. Safe to repeat."""
    name = name_of(snapshot)
    client.insert(
        "reports",
        [[name, snapshot.taken_at, snapshot.encode().decode()]],
        column_names=["snapshot", "taken_at", "data"],
    )
    return name


def find(client: Client, name: str) -> Snapshot:
    """The snapshot of that name. Raises SnapshotError if there is none or its data was changed."""
    found = rows(
        client, "SELECT data FROM v_reports WHERE snapshot = {name:String}", {"name": name}
    )
    if not found:
        raise SnapshotError(f"no snapshot {name}{_known(client)}")
    snapshot = decode(found[0]["data"].encode())
    if name_of(snapshot) != name:
        raise SnapshotError(
            f"snapshot {name} is not what it was: its data was changed in the store"
        )
    return snapshot


def _known(client: Client) -> str:
    newest = rows(client, "SELECT snapshot FROM v_reports ORDER BY taken_at DESC LIMIT 3")
    names = ", ".join(row["snapshot"] for row in newest)
    return f"; the newest are {names}" if names else "; none has been taken yet"


class _OfProvider(Protocol):
    @property
    def provider(self) -> str: ...


class _Reader:
    """One look at the store, as of its clock when the look began."""

    def __init__(self, client: Client, catalog: Catalog, currency: str) -> None:
        self._client, self._catalog, self._currency = client, catalog, currency

    def snapshot(self) -> Snapshot:
        (store,) = self._ask("report_store")
        now: datetime = store["now"]
        until = now + timedelta(minutes=1)
        plan, plan_hash = self._plan()
        first = _known_time(store["first_minute"])
        period = {"since": now - PERIOD, "until": until, "currency": self._currency}
        months = monthly_costs(self._client, self._catalog, plan, _tomorrow(now))
        day_costs = self._all(DayCost, "report_costs", **{**period, "since": now - COSTS})
        arms = self._all(ArmSums, "report_arms", **period)
        verdicts = tuple(verdict_from(row) for row in self._ask("report_verdicts"))
        lists: tuple[Iterable[_OfProvider], ...] = (arms, months, day_costs, verdicts)
        seen = {row.provider for found in lists for row in found} | _planned(plan)
        return Snapshot(
            taken_at=now,
            currency=self._currency,
            stored=_stored(store, first),
            account=self._account(),
            plan=plan,
            plan_hash=plan_hash,
            frozen=self._frozen(),
            providers={name: self._provider(name) for name in sorted(seen)},
            since=max(first, now - PERIOD) if first else None,
            curve=self._curve(now, first),
            recent=self._recent(),
            weights=self._weights(),
            arms=arms,
            saved=self._all(SavedDay, "savings", currency=self._currency),
            day_costs=day_costs,
            months=tuple(months),
            tokens_left=free_tokens_left(self._client, self._catalog, plan, now.date()) if plan else {},
            rates=self._rates({row.currency for row in months} - {"", self._currency}, now.date()),
            unpriced=self._all(Unpriced, "report_unpriced"),
            stages=self._all(StageChange, "report_stages"),
            verdicts=verdicts,
        )  # fmt: skip

    def _ask(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        sql = (SQL / "queries" / f"{name}.sql").read_text(encoding="utf-8")
        return [_utc(row) for row in rows(self._client, sql, parameters)]

    def _all(self, kind: type[T], name: str, **parameters: Any) -> tuple[T, ...]:
        return tuple(msgspec.convert(row, kind) for row in self._ask(name, **parameters))

    def _plan(self) -> tuple[Plan | None, str]:
        found = rows(self._client, "SELECT plan_hash, document FROM v_plan")
        if not found:
            return None, ""
        return msgspec.json.decode(found[0]["document"], type=Plan), found[0]["plan_hash"]

    def _frozen(self) -> FrozenPlan | None:
        found = rows(self._client, "SELECT * FROM v_plans")
        versions = [
            PlanVersion(row["recorded_at"].replace(tzinfo=UTC), row["plan_hash"], row["set_by"], msgspec.json.decode(row["document"], type=Plan))
            for row in found
        ]  # fmt: skip
        begun = found[0]["begun"] if found else None
        first, changes = frozen(versions, begun and begun.replace(tzinfo=UTC))
        if first is None:
            return None
        return FrozenPlan(
            at=first.at, plan_hash=first.plan_hash, plan=first.plan, changes=len(changes)
        )

    def _account(self) -> Account | None:
        found = self._ask("report_account")
        return (
            msgspec.convert(found[0], Account, strict=False)
            if found and found[0]["produced"]
            else None
        )

    def _curve(self, now: datetime, first: datetime | None) -> tuple[Step, ...]:
        span = (now - first).total_seconds() if first else DAY_S
        step = max(60, round(span / STEPS_AIMED_AT / 60) * 60)
        return self._all(Step, "migration", seconds=EVER_S, step=step)

    def _recent(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for row in self._ask("migration", seconds=RECENT_S, step=366 * DAY_S):
            migrated, calls = found.get(row["workload"], (0, 0))
            found[row["workload"]] = (migrated + row["migrated"], calls + row["calls"])
        return found

    def _weights(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in self._ask("migration", seconds=DAY_S, step=366 * DAY_S):
            found[row["workload"]] = found.get(row["workload"], 0) + row["calls"]
        return found

    def _rates(self, currencies: set[str], day: date) -> tuple[FxRate, ...]:
        at = round(datetime.combine(day, time(), UTC).timestamp() * 1000)
        found = [(name, self._catalog.fx(name, self._currency, at)) for name in sorted(currencies)]
        return tuple(
            FxRate(currency=name, rate=rate.rate, day=rate.day, estimated=rate.estimated)
            for name, rate in found
            if rate
        )

    def _provider(self, name: str) -> Provider:
        found = self._catalog.provider(name)
        if not found:
            return Provider(en=name or "?", zh=name or "?", color=UNKNOWN_COLOR)
        names, color = found.file.name, found.file.color.light
        return Provider(en=_short(names.en), zh=_short(names.zh), color=color)


def _short(name: str) -> str:
    """Without what stands in brackets or after a slash."""
    return name.split(" (", maxsplit=1)[0].split(" / ", maxsplit=1)[0]


def _planned(plan: Plan | None) -> set[str]:
    return {endpoint.provider for endpoint in plan.endpoints.values()} if plan else set()


def _stored(row: Mapping[str, Any], first: datetime | None) -> Stored:
    newest = _known_time(row["last_stored_at"]) or _known_time(row["last_batch_at"])
    counts = {name: row[name] or 0 for name in ("calls", "shadow_calls", "rejected", "unpriced")}
    return Stored(**counts, first_at=first, last_stored_at=newest)


def _tomorrow(now: datetime) -> date:
    return now.date() + timedelta(days=1)


def _known_time(at: datetime | None) -> datetime | None:
    return None if at is None or at.year == 1970 else at


def _utc(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
        for key, value in row.items()
    }
