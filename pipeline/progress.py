"""How far a migration should be by its plan. Pure; times are UTC ms, shares 0 to 1."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from pipeline.verdicts.plan import Plan, Workload


class PlanVersion(msgspec.Struct, frozen=True):
    """A plan from when on it was in force, and who wrote it ("": not known)."""

    at: datetime
    plan_hash: str
    set_by: str
    plan: Plan


def frozen(
    versions: Iterable[PlanVersion], begun: datetime | None
) -> tuple[PlanVersion | None, list[PlanVersion]]:
    """The plan as it stood when the first calls were stored, and what came into force since, oldest first.

    Before any call, the newest; if calls came before any plan, the first.
    """
    found: list[PlanVersion] = []
    for version in sorted(versions, key=lambda version: version.at):
        if not found or found[-1].plan_hash != version.plan_hash:
            found.append(version)
    if not found:
        return None, []
    before = [version for version in found if begun is None or version.at <= begun] or found[:1]
    return before[-1], found[len(before) :]


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
