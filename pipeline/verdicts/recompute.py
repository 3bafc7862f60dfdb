"""Verdicts from units alone, without any server: the same numbers as the service's, to the bit."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.verdicts.autopilot import leads_to_all
from pipeline.verdicts.judge import fold, judge, start
from pipeline.verdicts.plan import Plan, Stage, Workload, gates_of
from pipeline.verdicts.shown import gate_rows, last_at
from pipeline.verdicts.state import State
from pipeline.verdicts.units import Pair, Unit, failures_of, of_pair, shadows_of
from pipeline.verdicts.verdict import Facts, Verdict

Place = tuple[int, str]
_SAME_SHARE = 1e-6
STEPS = 100  # points of an evidence path, at most


def recompute(
    plan: Plan,
    workload: str,
    candidate: str,
    units: Sequence[Unit],
    pairs: Sequence[Pair] = (),
    epoch: int = 1,
) -> tuple[Verdict, list[dict[str, Any]]]:
    """The verdict on a candidate (an endpoint's name) and the path of its evidence.

    The accounts are taken for balanced and the units for complete: nothing here could tell.
    """
    mine, key = of_pair(units, plan, workload, candidate), plan.arm_key(candidate)
    shadows = shadows_of(pairs, plan, workload, candidate)
    state = start(gates_of(plan, workload), workload=workload, candidate=key, epoch=epoch)
    facts = facts_of(plan, workload, mine, shadows)
    verdict, path = judge(state, facts), []
    failures, done = failures_of(mine), Progress()
    stops = _stops([*mine, *shadows])
    for until in stops:
        before = done
        told = bisect_right(failures, until, key=lambda unit: unit.failure_place)
        done = Progress(
            units=_up_to(mine, until),
            pairs=_up_to(shadows, until),
            failures=told if until < stops[-1] else len(failures),
        )
        state = fold(
            state,
            mine[before.units : done.units],
            shadows[before.pairs : done.pairs],
            failures=failures[before.failures : done.failures],
        )
        verdict = judge(state, facts)
        path.append(_point(verdict, state, done))
    return verdict, path


class Progress(NamedTuple):
    """How many units, pairs and failures have been folded."""

    units: int = 0
    pairs: int = 0
    failures: int = 0


def _stops(evidence: Sequence[Unit | Pair]) -> list[Place]:
    """Places after which the evidence is looked at, the last one's among them."""
    places = sorted(each.place for each in evidence)
    step = max(1, -(-len(places) // STEPS))
    return [places[min(begin + step, len(places)) - 1] for begin in range(0, len(places), step)]


def _up_to(evidence: Sequence[Unit] | Sequence[Pair], place: Place) -> int:
    return bisect_right(evidence, place, key=lambda each: each.place)


def facts_of(plan: Plan, workload: str, units: Sequence[Unit], pairs: Sequence[Pair] = ()) -> Facts:
    """What the units themselves tell: the time is that of the last one's end."""
    ends = [unit.closed_at for unit in units] + [pair.closed_at for pair in pairs]
    now = max(ends, default=0)
    stage = _stage(plan.workloads[workload], units, now)
    return Facts(
        now=now,
        watermark=now,
        deadline=round(plan.deadline.timestamp() * 1000) if plan.deadline else None,
        final=leads_to_all(plan.workloads[workload], stage.name if stage else ""),
    )


def _stage(workload: Workload, units: Sequence[Unit], now: int) -> Stage | None:
    """The stage in force: the one with the last share that was recorded; by date where that does not tell."""
    dated = workload.stage_at(now)
    share = next((u.share for u in reversed(units) if u.share is not None), None)
    fitting = [
        stage
        for stage in workload.stages
        if share is not None and abs(stage.migrated - share) < _SAME_SHARE
    ]
    return dated if dated in fitting or not fitting else fitting[-1]


def summary(plan: Plan, verdict: Verdict, candidate: str) -> dict[str, Any]:
    """A verdict on a candidate (an endpoint's name) as a JSON object."""
    return {
        "workload": verdict.workload,
        "candidate": candidate,
        "provider": plan.endpoints[candidate].provider,
        "model": plan.endpoints[candidate].model,
        "epoch": verdict.epoch,
        "at": verdict.at,
        "verdict": str(verdict.outcome),
        "reasons": [{"code": r.code, "en": r.en, "zh": r.zh} for r in verdict.reasons],
        "units_baseline": verdict.units_baseline,
        "units_candidate": verdict.units_candidate,
        "pairs": verdict.pairs,
        "blocks": verdict.blocks,
        "late": verdict.late,
        "log_e_sample_ratio": verdict.log_e_sample_ratio,
        "gates": gate_rows(verdict),
        "drift": verdict.drift,
    }


def _point(verdict: Verdict, state: State, done: Progress) -> dict[str, Any]:
    gates = {g.name: [g.log_e_promote, g.log_e_rollback] for g in verdict.gates}
    return {"units": done.units, "pairs": done.pairs, "at": last_at(state), "log_e": gates}
