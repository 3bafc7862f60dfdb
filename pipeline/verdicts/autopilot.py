"""Autopilot: a workload's stage moved by its verdicts. Pure: from plan and record to plan and record.

For a workload with `autopilot: on` the plan's dates are the earliest ones: a stage is entered from its
date on once every candidate of the stage before has PROMOTE. A candidate with ROLLBACK loses its share
at once, and gets it back only in a new epoch (raise the workload's `epoch` after a mend). The
record of that is a small file beside the plan, written by the worker and read by the tap.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from pipeline.verdicts.plan import Plan, Stage, Workload
from pipeline.verdicts.verdict import Outcome

_WITHOUT = " without "


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """Where one workload stands: the stage's name, since when (UTC ms), and who was sent back in which epoch."""

    stage: str
    since: int
    rolled_back: dict[str, int] = {}


class Said(msgspec.Struct, frozen=True):
    """The verdict on a candidate that counts now, and its epoch."""

    outcome: Outcome
    epoch: int
    stage: str = ""  # the stage it was made in


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A change of course and why: `action` is "promote" (to the next stage) or "rollback" (of a candidate)."""

    workload: str
    action: str
    stage_from: str
    stage: str
    candidates: tuple[str, ...]


def steered(plan: Plan, courses: Mapping[str, Course]) -> Plan:
    """The plan with each workload on autopilot held at the stage of its course."""
    changed = {
        key: msgspec.structs.replace(workload, stages=_in_force(workload, courses[key]))
        for key, workload in plan.workloads.items()
        if workload.autopilot and key in courses
    }
    return msgspec.structs.replace(plan, workloads=plan.workloads | changed) if changed else plan


def stage_named(workload: Workload, name: str) -> Stage | None:
    """The stage of that name, candidates that were sent back left out; None if the plan has none."""
    _, _, gone = name.partition(_WITHOUT)
    base = base_name(workload, name)
    found = next((stage for stage in workload.stages if stage.name == name), None)
    if found is None and gone:
        whole = next((stage for stage in workload.stages if stage.name == base), None)
        found = whole and _without(whole, gone.split(", "), whole.starts_ms)
    return found


def base_name(workload: Workload, name: str) -> str:
    """The name the plan gives a stage, whoever was sent back in it."""
    plain = any(stage.name == name for stage in workload.stages)
    return name if plain else name.partition(_WITHOUT)[0]


def leads_to_all(workload: Workload, stage: str) -> bool:
    """True if the stage after this one leaves the baseline nothing."""
    names = [each.name for each in workload.stages]
    base = base_name(workload, stage)
    number = names.index(base) + 1 if base in names else 0
    return number < len(names) and workload.stages[number].migrated >= 1 - 1e-9


def sail(
    plan: Plan, courses: Mapping[str, Course], said: Mapping[tuple[str, str], Said], now: int
) -> tuple[dict[str, Course], list[Move]]:
    """The courses after these verdicts, (workload, endpoint) → what was said; and what was moved."""
    after: dict[str, Course] = {}
    moves: list[Move] = []
    for key, workload in plan.workloads.items():
        dated = workload.stage_at(now)
        if not workload.autopilot or dated is None:
            continue
        course = courses.get(key)
        if course is None or stage_named(workload, course.stage) is None:
            course = Course(stage=dated.name, since=dated.starts_ms)
        verdicts = {name: said[key, name] for name in workload.candidates if (key, name) in said}
        course, moved = _moved(key, workload, course, verdicts, now)
        after[key] = course
        moves += moved
    return after, moves


def _moved(
    key: str, workload: Workload, course: Course, said: Mapping[str, Said], now: int
) -> tuple[Course, list[Move]]:
    moves = []
    back = {n: e for n, e in course.rolled_back.items() if n not in said or said[n].epoch <= e}
    fresh = {
        n: verdict.epoch
        for n, verdict in said.items()
        if verdict.outcome is Outcome.ROLLBACK and n not in back
    }
    before = effective_name(workload, course)
    if back != course.rolled_back or fresh:
        course = Course(stage=course.stage, since=now, rolled_back=back | fresh)
    if fresh:
        moves.append(
            Move(
                workload=key, action="rollback", stage_from=before,
                stage=effective_name(workload, course), candidates=tuple(fresh),
            )
        )  # fmt: skip
    upper = _next(workload, course, said, now)
    if upper:
        before = effective_name(workload, course)
        course = Course(stage=upper.name, since=now, rolled_back=course.rolled_back)
        moves.append(
            Move(
                workload=key, action="promote", stage_from=before,
                stage=effective_name(workload, course), candidates=tuple(said),
            )
        )  # fmt: skip
    return course, moves


def _next(workload: Workload, course: Course, said: Mapping[str, Said], now: int) -> Stage | None:
    """The stage to go up to, if its date has come and all who have a share at this one may go on."""
    names = [stage.name for stage in workload.stages]
    number = names.index(course.stage) + 1
    if number == len(names) or workload.stages[number].starts_ms > now:
        return None
    stage = workload.stages[number - 1]
    moving = [n for n, share in stage.shares.items() if share > 0 and n not in course.rolled_back]
    own = effective_name(workload, course)
    promoted = all(
        n in said and said[n].outcome is Outcome.PROMOTE and said[n].stage == own for n in moving
    )
    return workload.stages[number] if moving and promoted else None


def effective_name(workload: Workload, course: Course) -> str:
    """The name of the stage as it is in force, e.g. "half without kimi"."""
    return _in_force(workload, course)[0].name


def _in_force(workload: Workload, course: Course) -> tuple[Stage, ...]:
    """One stage; none of its own if the plan does not know the course's."""
    stage = stage_named(workload, course.stage)
    if stage is None:
        return workload.stages
    gone = [name for name in stage.shares if name in course.rolled_back]
    return (_without(stage, gone, course.since),)


def _without(stage: Stage, gone: list[str], since: int) -> Stage:
    name = f"{stage.name}{_WITHOUT}{', '.join(gone)}" if gone else stage.name
    shares = {n: 0.0 if n in gone else share for n, share in stage.shares.items()}
    return Stage(name=name, starts=datetime.fromtimestamp(since / 1000, UTC), shares=shares)
