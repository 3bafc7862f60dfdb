"""When the migration will be where: the plan's coming stages, as the evidence lets them begin. Pure.

A workload's next stage begins at its planned time, or when its evidence is expected (the forecast of the
slowest open gate) if that is later; the stages after it keep their distance. A workload that must go back,
or whose evidence is not expected at all, stays where it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dashboards.verdicts import Verdict
from pipeline.verdicts.plan import Stage, Workload

CASES = ("least", "middle", "most")  # of the conversations still needed: 10 %, 50 %, 90 %
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Step:
    """The migrated share of a workload from a moment (UTC ms) on."""

    at: int
    share: float


def steps(workload: Workload, verdicts: Iterable[Verdict], now: int, case: str) -> list[Step]:
    """The coming stages of a workload in one of CASES; none if it stays where it is."""
    coming = [stage for stage in workload.stages if stage.starts_ms > now]
    delay = max((_delay(v, coming, case) for v in verdicts), default=0.0)
    if not coming or delay == float("inf"):
        return []
    return [Step(round(stage.starts_ms + delay), stage.migrated) for stage in coming]


def holding(workload: Workload, verdicts: Iterable[Verdict], now: int) -> list[Verdict]:
    """The verdicts for which a workload stays where it is, whatever the others say."""
    coming = [stage for stage in workload.stages if stage.starts_ms > now]
    if not coming:
        return [v for v in verdicts if _sent_back(workload, v)]
    return [v for v in verdicts if _delay(v, coming, "middle") == float("inf")]


def _sent_back(workload: Workload, verdict: Verdict) -> bool:
    """True if a candidate of the last stage must go back: that stage's day has come, and it is not reached."""
    shares = workload.stages[-1].shares if workload.stages else {}
    return verdict.verdict == "ROLLBACK" and shares.get(verdict.candidate, 0) > 0


def _delay(verdict: Verdict, coming: list[Stage], case: str) -> float:
    if verdict.verdict in ("ROLLBACK", "BLOCKED"):
        return float("inf")
    gate = verdict.slowest
    if verdict.verdict == "PROMOTE" or gate is None or gate.forecast is None or not coming:
        return 0.0
    ahead = gate.forecast
    ready = {"least": ahead.ready_at_least, "middle": ahead.ready_at, "most": ahead.ready_at_most}[
        case
    ]
    if (
        ready is None
    ):  # the band's ends may not be told; its middle never, if it is not expected at all
        ready = None if case == "most" and ahead.most is None else ahead.ready_at
    return float("inf") if ready is None else max(0.0, ready - coming[0].starts_ms)


def done_at(workload: Workload, verdicts: Iterable[Verdict], now: int, case: str) -> int | None:
    """When the last stage begins, UTC ms; None if it is not expected. For one that began: when it did,
    unless its candidate must go back.
    """
    if not workload.stages:
        return None
    if workload.stages[-1].starts_ms <= now:
        back = any(_sent_back(workload, v) for v in verdicts)
        return None if back else workload.stages[-1].starts_ms
    found = steps(workload, verdicts, now, case)
    return found[-1].at if found else None


def fan(
    workloads: Mapping[str, Workload],
    verdicts: Iterable[Verdict],
    shares: Mapping[str, float],
    weights: Mapping[str, int],
    now: int,
    until: int,
) -> list[dict[str, float]]:
    """The migrated share of all traffic from now on: at (UTC ms) and each of CASES.

    `shares` is where each workload is now, `weights` its calls: how much it counts.
    """
    found = list(verdicts)
    total = sum(weights.get(key, 0) for key in workloads)
    if not total:
        return []
    courses = {
        (key, case): steps(work, [v for v in found if v.workload == key], now, case)
        for key, work in workloads.items()
        for case in CASES
    }
    moments = {now, until} | {
        step.at for course in courses.values() for step in course if step.at < until
    }

    def share(key: str, case: str, at: int) -> float:
        reached = [step.share for step in courses[key, case] if step.at <= at]
        return reached[-1] if reached else shares.get(key, 0.0)

    return [
        {"at": at} | {case: sum(weights.get(k, 0) * share(k, case, at) for k in workloads) / total for case in CASES}
        for at in sorted(moments)
    ]  # fmt: skip
