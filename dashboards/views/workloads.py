"""Rollout: a row per workload, and what is in the way."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import streamlit as st
from markupsafe import Markup

from dashboards import ahead, charts, markup, show
from dashboards.markup import BAR, SMALL, joined
from dashboards.names import candidate_name, side_name, sides
from dashboards.queries import RANGES
from dashboards.verdicts import Verdict
from dashboards.views.evidence import VERDICTS, drift_note, name_of, verdict_pill
from dashboards.views.money import beside, saved, span
from dashboards.views.parts import csv_button, hinted, utc_ms, viewer_offset
from dashboards.words import language, named, t, theme
from pipeline.progress import planned_at
from pipeline.savings import Saving, total
from pipeline.verdicts.plan import Plan, Stage, Workload

BEHIND = 0.05  # of a workload's traffic: less may be chance
COLUMNS = ("workload", "verdict", "stage", "actual", "next", "expected", "saved")


def workloads(
    plan: Plan,
    now: datetime,
    actual: Mapping[str, float],
    savings: Mapping[str, Saving],
    verdicts: Sequence[Verdict],
    currency: str,
) -> None:
    """A row per workload, as a table and as a file."""
    lines = [
        _line(plan, key, work, now, actual.get(key), savings.get(key), of(key, verdicts), currency)
        for key, work in plan.workloads.items()
    ]
    heads = [hinted(f"rollout.column.{key}") for key in COLUMNS]
    st.html(markup.table(heads, lines, text_columns=3))
    st.caption(t("rollout.estimate", n=show.count(total(savings.values()).left_out)))
    rows = workload_rows(plan, now, actual, savings, verdicts, currency)
    csv_button(rows, "rollout.csv", "rollout_csv")


def of(workload: str, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts on one workload."""
    return [v for v in verdicts if v.workload == workload]


def _line(
    plan: Plan,
    key: str,
    work: Workload,
    now: datetime,
    actual: float | None,
    saving: Saving | None,
    verdicts: list[Verdict],
    currency: str,
) -> list[Markup | str]:
    at = utc_ms(now)
    stage = work.stage_at(at)
    known = saving if saving and saving.calls else None
    name = markup.link(
        named(work.name, key), "compare", workload=key, lang=st.query_params.get("lang", "")
    )
    return [
        SMALL.format(name, work.owner or t("rollout.no_owner")),
        joined(_said(plan, verdict) for verdict in verdicts)
        or Markup('<span class="pill plain bare">○ {}</span>').format(t("verdict.none")),
        markup.with_small(
            stage.name if stage else t("rollout.not_begun"), _shares(plan, key, stage)
        ),
        SMALL.format(
            _bar(actual), t("rollout.of_planned", share=show.percent(planned_at(work, at), 0))
        ),
        markup.with_small(*_next(plan, work, verdicts, at)),
        markup.with_small(*_expected(plan, work, verdicts, at)),
        markup.with_small(
            saved(known, currency),
            beside(span(known, currency), t("rollout.calls", n=show.count(known.calls)))
            if known
            else "",
        ),
    ]


def _said(plan: Plan, verdict: Verdict) -> Markup:
    """A candidate's verdict and why."""
    who, why = candidate_name(plan, verdict, language()), verdict.reason(language())
    return Markup(
        '<div class="said">{}<b>{}</b><small class="clamped" title="{}">{}</small>{}</div>'
    ).format(verdict_pill(verdict.verdict), who, why, why, drift_note(verdict))


def _next(plan: Plan, work: Workload, verdicts: list[Verdict], at: int) -> tuple[str, str]:
    """What has to be there before the next stage: evidence, a decision, or only its day."""
    coming = next((s for s in work.stages if s.starts_ms > at), None)
    stage = t("rollout.next.stage", stage=coming.name) if coming else t("rollout.last_stage")
    for kind in ("ROLLBACK", "BLOCKED"):
        if stopped := [v for v in verdicts if v.verdict == kind]:
            return t(f"rollout.next.{kind}"), f"{_names(plan, stopped)} · {stage}"
    gate = next((g for v in verdicts if v.verdict == "HOLD" and (g := v.slowest)), None)
    if gate and gate.forecast:
        n = gate.forecast.conversations
        more = t("gate.never") if n is None else t("rollout.next.more", n=show.count(n))
        return more, f"{name_of(gate.gate)} · {stage}"
    planned = show.moment(coming.starts, viewer_offset()) if coming else ""
    return stage, planned


def _expected(plan: Plan, work: Workload, verdicts: list[Verdict], at: int) -> tuple[str, str]:
    """When the workload's last stage begins, and the band of the forecast; or which candidates hold it up."""
    days = [ahead.done_at(work, verdicts, at, case) for case in ("middle", "least", "most")]
    if not work.stages:
        return show.UNKNOWN, ""
    if work.stages[-1].starts_ms <= at and days[0] is not None:
        return t("rollout.at_end"), show.day_ms(work.stages[-1].starts_ms, viewer_offset())
    middle, least, most = (
        show.day_ms(day, viewer_offset()) if day else t("rollout.never") for day in days
    )
    if days[0] is None:
        held = _names(plan, ahead.holding(work, verdicts, at))
        return t("rollout.never"), t("rollout.never.held", who=held)
    return middle, "" if least == most else f"{least} – {most}"


def _names(plan: Plan, verdicts: Sequence[Verdict]) -> str:
    """Whom they are about."""
    return ", ".join(sorted({candidate_name(plan, v, language()) for v in verdicts}))


def workload_rows(
    plan: Plan,
    now: datetime,
    actual: Mapping[str, float],
    savings: Mapping[str, Saving],
    verdicts: Sequence[Verdict],
    currency: str,
) -> list[dict[str, Any]]:
    """One row per workload as plain values: shares in 0..1, money in the report's currency."""
    rows = []
    for key, work in plan.workloads.items():
        at, saving = utc_ms(now), savings.get(key)
        mine = of(key, verdicts)
        stage = work.stage_at(at)
        interval = saving.interval if saving and saving.calls else None
        rows.append({
            "workload": key, "owner": work.owner, "stage": stage.name if stage else "",
            "verdicts": "; ".join(f"{sides(plan, key).judged(v).key}: {v.verdict}" for v in mine),
            "planned": planned_at(work, at), "actual": actual.get(key),
            "expected_ms": ahead.done_at(work, mine, at, "middle"),
            "saved": saving.saved if saving and saving.calls else None,
            "saved_low": interval and interval[0], "saved_high": interval and interval[1],
            "calls": saving.calls if saving else 0, "currency": currency,
        })  # fmt: skip
    return rows


def blockers(
    plan: Plan, now: datetime, actual: Mapping[str, float], verdicts: Sequence[Verdict]
) -> list[tuple[str, str, str, str]]:
    """What is in the way, worst first: kind (a verdict, BEHIND or NO_OWNER), whom it is about, why, and the ask; all from the data."""
    found: list[tuple[str, str, str, str]] = []
    for v in sorted(
        verdicts, key=lambda v: list(VERDICTS).index(v.verdict) if v.verdict in VERDICTS else 9
    ):
        work = plan.workloads.get(v.workload)
        owner = (work.owner if work else "") or t("rollout.no_owner")
        who = candidate_name(plan, v, language())
        about = f"{named(work.name if work else None, v.workload)} · {who}"
        if v.verdict in ("ROLLBACK", "BLOCKED"):
            found.append(
                (v.verdict, about, v.reason(language()), t(f"rollout.ask.{v.verdict}", owner=owner))
            )
        elif v.verdict == "HOLD" and (gate := v.slowest) and (ahead_ := gate.forecast):
            if ahead_.conversations is None or ahead_.in_time is False:
                found.append(
                    (v.verdict, about, name_of(gate.gate), t("rollout.ask.evidence", owner=owner))
                )
        elif v.verdict == "PROMOTE":
            found.append(
                (v.verdict, about, v.reason(language()), t("rollout.ask.PROMOTE", owner=owner))
            )
    at = utc_ms(now)
    for key, work in plan.workloads.items():
        name, gap = named(work.name, key), planned_at(work, at) - actual.get(key, 0.0)
        if key in actual and gap > BEHIND and not _just_begun(work, at):
            why = t("rollout.behind", gap=show.percent(gap, 0))
            found.append(("BEHIND", name, why, t("rollout.ask.behind")))
        if not work.owner:
            found.append(("NO_OWNER", name, t("rollout.no_owner"), t("rollout.ask.owner")))
    return found


def _just_begun(work: Workload, at: int) -> bool:
    """True while the stage in force is younger than the time over which the actual share is taken."""
    stage = work.stage_at(at)
    return stage is not None and at - stage.starts_ms < 1000 * RANGES["15m"]


def show_blockers(found: list[tuple[str, str, str, str]]) -> None:
    """Draws `blockers`."""
    if not found:
        st.caption(t("rollout.blockers.none"))
        return
    lines = [
        [verdict_pill(kind), SMALL.format(Markup("<b>{}</b>").format(about), why), ask]
        for kind, about, why, ask in found
    ]
    heads = [hinted(f"rollout.blockers.{key}") for key in ("state", "what", "ask")]
    st.html(markup.table(heads, lines, text_columns=3))


def _shares(plan: Plan, key: str, stage: Stage | None) -> str:
    of = sides(plan, key)
    shares = stage.shares if stage else {}
    return " · ".join(
        f"{side_name(of.sides[name], language())} {show.percent(share, 0)}"
        for name, share in shares.items()
    )


def _bar(share: float | None) -> Markup:
    if share is None:
        return markup.UNKNOWN
    return BAR.format(round(100 * share, 1), charts.ACCENT[theme()]) + show.percent(share, 0)
