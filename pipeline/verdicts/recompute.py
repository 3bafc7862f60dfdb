"""Verdicts from units alone, without any server: the same numbers as the service's, to the bit."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from pipeline.verdicts.autopilot import leads_to_all
from pipeline.verdicts.judge import fold, judge, start
from pipeline.verdicts.plan import Plan, gates_of
from pipeline.verdicts.shown import gate_rows, last_at
from pipeline.verdicts.state import State
from pipeline.verdicts.units import Unit, failures_of, of_pair
from pipeline.verdicts.verdict import Facts, Verdict

STEPS = 100  # points of an evidence path, at most


def recompute(
    plan: Plan, workload: str, candidate: str, units: Sequence[Unit], epoch: int = 1
) -> tuple[Verdict, list[dict[str, Any]]]:
    """The verdict on a candidate (an endpoint's name) and the path of its evidence.

    The accounts are taken for balanced and the units for complete: nothing here could tell.
    """
    mine, key = of_pair(units, plan, workload, candidate), plan.arm_key(candidate)
    state = start(gates_of(plan, workload), workload=workload, candidate=key, epoch=epoch)
    facts = facts_of(plan, workload, mine)
    verdict, path = judge(state, facts), []
    step, failures, told = max(1, -(-len(mine) // STEPS)), failures_of(mine), 0
    for begin in range(0, len(mine), step):
        part = mine[begin : begin + step]
        due = bisect_right(failures, part[-1].place, key=lambda unit: unit.failure_place)
        due = due if begin + step < len(mine) else len(failures)
        state = fold(state, part, failures=failures[told:due])
        told = due
        verdict = judge(state, facts)
        path.append(_point(verdict, state, min(begin + step, len(mine))))
    return verdict, path


def facts_of(plan: Plan, workload: str, units: Sequence[Unit]) -> Facts:
    """What the units themselves tell: the time is that of the last one's end."""
    now = max((unit.closed_at for unit in units), default=0)
    stage = plan.workloads[workload].stage_at(now)
    return Facts(
        now=now,
        watermark=now,
        deadline=round(plan.deadline.timestamp() * 1000) if plan.deadline else None,
        final=leads_to_all(plan.workloads[workload], stage.name if stage else ""),
    )


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
        "blocks": verdict.blocks,
        "late": verdict.late,
        "log_e_sample_ratio": verdict.log_e_sample_ratio,
        "gates": gate_rows(verdict),
        "drift": verdict.drift,
    }


def _point(verdict: Verdict, state: State, units: int) -> dict[str, Any]:
    gates = {g.name: [g.log_e_promote, g.log_e_rollback] for g in verdict.gates}
    return {"units": units, "at": last_at(state), "log_e": gates}
