"""The numbers of a report that are reckoned from its snapshot. Pure; no words."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pipeline import savings
from pipeline.progress import planned_at, planned_share
from pipeline.report.snapshot import ArmSums, Snapshot, Verdict
from pipeline.savings import Saving
from pipeline.verdicts.plan import Plan, Stage, Workload

STALE = timedelta(minutes=15)
BEHIND = 0.05  # of the traffic: less behind the plan is not worth a word
WORST_FIRST = ("ROLLBACK", "BLOCKED", "HOLD", "PROMOTE")
OF_BILL = ("list_cost", "granted", "covered", "fee", "net_cost")


def ms(at: datetime) -> int:
    """UTC ms of a moment."""
    return round(at.timestamp() * 1000)


def age(snapshot: Snapshot) -> timedelta | None:
    """How old the newest call was; None without any."""
    newest = snapshot.stored.last_stored_at
    return None if newest is None else max(timedelta(0), snapshot.taken_at - newest)


def stale(snapshot: Snapshot) -> bool:
    """True if no call has come in lately."""
    found = age(snapshot)
    return found is not None and found > STALE


def actual(snapshot: Snapshot, workload: str = "") -> float | None:
    """The candidates' share of users' calls in the last 15 minutes: one workload's or all; None without calls."""
    counts = [
        count for key, count in snapshot.recent.items() if workload in ("", key)
    ]  # (migrated, calls)
    calls = sum(n for _, n in counts)
    return sum(m for m, _ in counts) / calls if calls else None


def planned(snapshot: Snapshot, workload: str = "") -> float | None:
    """The share that should have moved by now; of all workloads, None if nothing is known of the traffic."""
    if snapshot.plan is None:
        return None
    at = ms(snapshot.taken_at)
    if workload:
        return planned_at(snapshot.plan.workloads[workload], at)
    return planned_share(snapshot.plan, at, snapshot.weights)


def done_and_moving(snapshot: Snapshot, plan: Plan) -> tuple[int, int]:
    """How many workloads have moved by plan, and how many have begun to."""
    shares = [planned_at(work, ms(snapshot.taken_at)) for work in plan.workloads.values()]
    done = sum(share >= 1 - 1e-9 for share in shares)
    return done, sum(share > 0 for share in shares) - done


def coming(work: Workload, at: datetime) -> Stage | None:
    """The stage after the one in force."""
    return next((stage for stage in work.stages if stage.starts > at), None)


def last_stage(plan: Plan) -> datetime | None:
    """When the last stage of the last workload begins."""
    return max((work.stages[-1].starts for work in plan.workloads.values() if work.stages), default=None)  # fmt: skip


def actual_curve(snapshot: Snapshot, workload: str = "") -> tuple[tuple[datetime, float], ...]:
    """The migrated share per step of time, over all workloads by their traffic or of one."""
    sums: dict[datetime, tuple[int, int]] = {}
    for step in snapshot.curve:
        if workload in ("", step.workload):
            migrated, calls = sums.get(step.at, (0, 0))
            sums[step.at] = (migrated + step.migrated, calls + step.calls)
    return tuple((at, migrated / calls) for at, (migrated, calls) in sorted(sums.items()) if calls)


def planned_curve(snapshot: Snapshot, workload: str = "") -> tuple[tuple[datetime, float], ...]:
    """The planned share at each change of stage, from the first known call to the plan's end.

    By the plan as it was frozen; the plan in force where that is not known, or has no such workload.
    """
    plan = snapshot.frozen.plan if snapshot.frozen else snapshot.plan
    if plan and workload and workload not in plan.workloads:
        plan = snapshot.plan
    if plan is None:
        return ()
    works = [plan.workloads[workload]] if workload else list(plan.workloads.values())
    starts = [stage.starts.astimezone(UTC) for work in works for stage in work.stages]
    begin = min((step.at for step in snapshot.curve), default=snapshot.taken_at)
    ends = [snapshot.taken_at, *starts, *([plan.deadline.astimezone(UTC)] if plan.deadline else [])]
    moments = sorted({begin, snapshot.taken_at, max(ends), *(at for at in starts if at >= begin)})
    shares = [
        planned_at(works[0], ms(at)) if workload else planned_share(plan, ms(at), snapshot.weights)
        for at in moments
    ]
    return tuple(
        (at, share) for at, share in zip(moments, shares, strict=True) if share is not None
    )


def saved(snapshot: Snapshot) -> dict[str, Saving]:
    """What was saved, by workload of the plan."""
    rows = [
        {name: getattr(row, name) for name in row.__struct_fields__} for row in snapshot.saved
    ]  # as they come from the store
    return savings.savings(rows)


def verdict_of(snapshot: Snapshot, workload: str) -> Verdict | None:
    """The workload's worst newest verdict over its candidates; None if the judge has not spoken."""
    found = [v for v in snapshot.verdicts if v.workload == workload]
    return min(found, key=lambda v: (_rank(v), -ms(v.at)), default=None)


def badness(snapshot: Snapshot, workload: str) -> tuple[int, float]:
    """Sorts workloads by verdict, the worst first, and then by how far they are behind the plan."""
    verdict = verdict_of(snapshot, workload)
    behind = (planned(snapshot, workload) or 0) - (actual(snapshot, workload) or 0)
    return (_rank(verdict) if verdict else len(WORST_FIRST), -behind)


def _rank(verdict: Verdict) -> int:
    return (
        WORST_FIRST.index(verdict.verdict) if verdict.verdict in WORST_FIRST else len(WORST_FIRST)
    )


def arm_sums(snapshot: Snapshot, workload: str, arm: str) -> list[ArmSums]:
    """A workload's providers in that arm, busiest first."""
    found = [row for row in snapshot.arms if (row.workload, row.arm) == (workload, arm)]
    return sorted(found, key=lambda row: (-row.calls, row.provider))


def month_bill(snapshot: Snapshot) -> dict[str, Decimal] | None:
    """Sums of the current month in the report's currency; None if nothing is priced or a rate is missing."""
    rates = {rate.currency: rate.rate for rate in snapshot.rates} | {snapshot.currency: Decimal(1)}
    month = snapshot.taken_at.date().replace(day=1)
    rows = [row for row in snapshot.months if row.begin == month and row.currency]
    if not rows or {row.currency for row in rows} - rates.keys():
        return None
    return {
        name: sum((getattr(row, name) * rates[row.currency] for row in rows), Decimal(0))
        for name in OF_BILL
    }


def missing_rates(snapshot: Snapshot) -> list[str]:
    """Currencies of costs that have no exchange rate into the report's."""
    known = {rate.currency for rate in snapshot.rates} | {snapshot.currency, ""}
    return sorted({row.currency for row in snapshot.months} - known)


def most(counts: Iterable[tuple[str, float]], n: int) -> list[str]:
    """The names with the largest sums, largest first."""
    sums: dict[str, float] = {}
    for name, value in counts:
        sums[name] = sums.get(name, 0) + value
    return sorted(sums, key=lambda name: (-sums[name], name))[:n]
