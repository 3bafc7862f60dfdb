"""Rollout: the migrated share of the traffic over time, against the plan and with what is expected."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from dashboards import ahead, charts, controls, markup, queries, show
from dashboards.verdicts import Verdict
from dashboards.views.feed import stage_label, verdict_label
from dashboards.views.parts import draw, utc_ms, viewer_offset
from dashboards.words import t, theme
from pipeline.progress import PlanVersion, planned_share
from pipeline.verdicts.plan import Plan

FUTURE = 3  # the picture looks ahead at most so many times as far as back


def burn_up(
    plan: Plan, seconds: int, now: datetime, actual: dict[str, float], verdicts: Sequence[Verdict]
) -> None:
    """Draws the curves, and says which plan is drawn."""
    rows = migration_curve(queries.migration(seconds))
    frozen, plan_changes = queries.frozen_plan()
    planned = planned_curve(frozen.plan if frozen else plan, rows, now)
    changes = queries.stage_changes(controls.scope(seconds, ""))
    marks = [{"at": change["at"], "label": stage_label(change, plan)} for change in changes]
    marks += [{"at": v["at"], "kind": "verdict", "label": verdict_label(v)}
              for v in queries.verdict_changes(controls.scope(seconds, ""))]  # fmt: skip
    marks += [{"at": change.at, "kind": "plan", "label": plan_label(change)}
              for change in plan_changes if rows and change.at >= rows[0]["at"]]  # fmt: skip
    if plan.deadline and planned and plan.deadline <= planned[-1]["at"]:
        label = t("rollout.deadline_mark")
        marks.append({"at": plan.deadline, "kind": "deadline", "label": label})
    expected = []
    if planned:
        until = utc_ms(planned[-1]["at"])
        expected = [
            {**row, "at": datetime.fromtimestamp(row["at"] / 1000, UTC)}
            for row in ahead.fan(
                plan.workloads, verdicts, actual, queries.weights(), utc_ms(now), until
            )
        ]
    if rows or planned:
        draw(
            charts.burn_up(
                rows,
                planned,
                expected,
                marks,
                charts.ACCENT[theme()],
                names=(t("rollout.migrated"), t("rollout.frozen"), t("rollout.forecast")),
            )
        )
        if frozen:
            st.caption(markup.plain(frozen_label(frozen, plan_changes, now)))
    else:
        st.caption(t("nothing_to_draw"))


def plan_label(change: PlanVersion) -> str:
    """That the plan was changed, by whom and to which one."""
    by = change.set_by or t("rollout.somebody")
    return t("rollout.plan_changed", by=by, hash=change.plan_hash[:12])


def frozen_label(frozen: PlanVersion, changes: Sequence[PlanVersion], now: datetime) -> str:
    """When the plan was frozen and by whom, and what of it was changed since."""
    words = t(
        "rollout.frozen.since",
        at=show.moment(frozen.at, viewer_offset()),
        by=frozen.set_by or t("rollout.somebody"),
        hash=frozen.plan_hash[:12],
    )
    if not changes:
        return words + t("rollout.frozen.unchanged")
    last, weights = changes[-1], queries.weights()
    return words + t(
        "rollout.frozen.changed",
        n=len(changes),
        at=show.moment(last.at, viewer_offset()),
        by=last.set_by or t("rollout.somebody"),
        then=show.percent(planned_share(frozen.plan, utc_ms(now), weights), 0),
        now=show.percent(planned_share(last.plan, utc_ms(now), weights), 0),
    )


def migration_curve(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The migrated share of all users' calls per step: each workload counts as much as its traffic."""
    steps: dict[datetime, list[int]] = {}
    for row in found:
        step = steps.setdefault(row["at"], [0, 0])
        step[0] += row["migrated"]
        step[1] += row["calls"]
    return [
        {"at": at, "share": migrated / calls}
        for at, (migrated, calls) in sorted(steps.items())
        if calls
    ]


def planned_curve(plan: Plan, rows: list[dict[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """The planned share at each change of stage within the picture, and beyond now to the plan's end."""
    weights = queries.weights()
    starts = [stage.starts for work in plan.workloads.values() for stage in work.stages]
    begin = rows[0]["at"] if rows else now
    end = max([now, *starts, *([plan.deadline] if plan.deadline else [])])
    end = min(
        end, now + FUTURE * max(now - begin, timedelta(hours=1))
    )  # so that the past can be seen
    moments = sorted({begin, now, end, *(at for at in starts if begin <= at <= end)})
    curve = [
        {"at": at.astimezone(UTC), "share": planned_share(plan, utc_ms(at), weights)}
        for at in moments
    ]
    return [point for point in curve if point["share"] is not None]
