"""How far a migration should be by its plan. Pure; times are UTC ms, shares 0 to 1."""

from collections.abc import Mapping

from pipeline.verdicts.plan import Plan, Workload


def planned_at(workload: Workload, at_ms: int) -> float:
    """The share of the workload that should have moved by then."""
    stage = workload.stage_at(at_ms)
    return stage.migrated if stage else 0.0


def planned_share(plan: Plan, at_ms: int, weights: Mapping[str, int]) -> float | None:
    """The same for all workloads together, each weighted by its calls; None if no call is known."""
    known = {key: weights.get(key, 0) for key in plan.workloads}
    total = sum(known.values())
    if not total:
        return None
    return (
        sum(planned_at(plan.workloads[key], at_ms) * calls for key, calls in known.items()) / total
    )
