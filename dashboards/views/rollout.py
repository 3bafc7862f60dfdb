"""Rollout: how far are we, when are we done, what does it save, what is in the way?"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import streamlit as st
from markupsafe import Markup

from dashboards import ahead, controls, queries, show, state
from dashboards.markup import joined
from dashboards.names import candidate_name
from dashboards.verdicts import Verdict
from dashboards.views.burn_up import burn_up
from dashboards.views.evidence import VERDICTS
from dashboards.views.export import report_button
from dashboards.views.feed import event_feed
from dashboards.views.money import beside, cost_by_month, saving_corrected, share, span
from dashboards.views.parts import card, utc_ms, viewer_offset
from dashboards.views.workloads import blockers, of, show_blockers, workloads
from dashboards.words import language, named, t
from pipeline.progress import planned_at, planned_share
from pipeline.savings import Saving, total
from pipeline.verdicts.plan import Plan

HELD_NAMED = 2  # workloads under "not in sight": the table has them all
FIGURE = Markup('<div title="{}"><b>{}</b><span>{}</span><small>{}</small></div>')


def page() -> None:
    """The whole page follows the data; it changes slowly."""
    with st.container(horizontal=True, vertical_alignment="center", key="filters"):
        seconds = controls.time_range("all")
        report_button()
    _figures(seconds)
    cost_by_month()
    saving_corrected()


@st.fragment(run_every=15)
def _figures(seconds: int) -> None:
    with state.store_needed():
        plan = queries.plan()
        if plan is None:
            st.info(t("rollout.no_plan"), icon=":material/edit_note:")
        elif state.explain():
            _all(plan, seconds)


def _all(plan: Plan, seconds: int) -> None:
    now = queries.bounds().now
    actual = queries.shares_now()
    currency = queries.settings().report_currency
    savings = queries.savings(currency)
    verdicts = queries.verdicts() or []
    st.html(
        Markup('<p class="sentence">{}</p>').format(
            sentence(plan, now, queries.migrated_now(), verdicts)
        )
    )
    with st.container(border=True, key="card-summary"):
        st.html(_summary(plan, now, savings, verdicts, currency))
    with card("rollout.burn_up"):
        burn_up(plan, seconds, now, actual, verdicts)
    with card("rollout.workloads"):
        workloads(plan, now, actual, savings, verdicts, currency)
    left, right = st.columns(2)
    with left, card("rollout.blockers"):
        show_blockers(blockers(plan, now, actual, verdicts))
    with right, card("rollout.incidents"):
        event_feed(controls.scope(seconds, ""))


def sentence(
    plan: Plan, now: datetime, migrated: float | None, verdicts: Sequence[Verdict] = ()
) -> str:
    """Where we are, in a sentence or two."""
    at = utc_ms(now)
    done = sum(planned_at(work, at) >= 1 for work in plan.workloads.values())
    began = sum(planned_at(work, at) > 0 for work in plan.workloads.values())
    values = {
        "migration": plan.migration,
        "share": show.percent(migrated, 0),
        "done": done,
        "moving": began - done,
        "all": len(plan.workloads),
    }
    words = t("rollout.sentence" if migrated is not None else "rollout.sentence_quiet", **values)
    said = [v.verdict for v in verdicts]
    if said:
        counts = {kind.lower(): said.count(kind) for kind in VERDICTS}
        words += t("rollout.sentence_verdicts", **counts)
    return words + (_deadline(plan.deadline, now) if plan.deadline else "")


def _deadline(deadline: datetime, now: datetime) -> str:
    days = (deadline - now).total_seconds() / 86_400
    key = "rollout.deadline" if days >= 0 else "rollout.overdue"
    return t(key, days=show.count(abs(days)))


def _summary(
    plan: Plan,
    now: datetime,
    savings: Mapping[str, Saving],
    verdicts: Sequence[Verdict],
    currency: str,
) -> Markup:
    saving = total(savings.values())
    known = saving.calls > 0
    per_month = monthly_saving(plan, savings, queries.weights())
    figures = [
        ("rollout.migrated", show.percent(queries.migrated_now(), 1), ""),
        ("rollout.planned", show.percent(planned_share(plan, utc_ms(now), queries.weights()), 1), ""),
        ("rollout.finish", *_finish(plan, now, verdicts)),
        ("rollout.paid", show.money(saving.paid if known else None, currency), t("rollout.calls", n=show.count(saving.calls))),
        ("rollout.would_be", show.money(saving.baseline_would_be if known else None, currency), ""),
        ("rollout.saved", show.money(saving.saved if known else None, currency), beside(span(saving, currency), share(saving)) if known else ""),
        ("rollout.per_month", show.money(per_month, currency), ""),
    ]  # fmt: skip
    return Markup('<div class="figures">{}</div>').format(
        joined(FIGURE.format(t(f"{key}.help"), value, t(key), note) for key, value, note in figures)
    )


def _finish(plan: Plan, now: datetime, verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """When the last stage of the last workload is expected, and the band; or "not in sight" and what holds it up."""
    works = {key: work for key, work in plan.workloads.items() if work.stages}
    if not works:
        return show.UNKNOWN, ""
    if held := held_up(plan, now, verdicts):
        told = t("rollout.never.held", who="; ".join(held[:HELD_NAMED]))
        more = len(held) - HELD_NAMED
        return t("rollout.never"), told + (t("rollout.never.more", n=more) if more > 0 else "")
    least, middle, most = (
        _latest(ahead.done_at(w, of(k, verdicts), utc_ms(now), case) for k, w in works.items())
        for case in ahead.CASES
    )
    return middle, "" if least == most else f"{least} – {most}"


def held_up(plan: Plan, now: datetime, verdicts: Sequence[Verdict]) -> list[str]:
    """The workloads that stay where they are, each with the candidates it waits for."""
    found = []
    for key, work in plan.workloads.items():
        holding = ahead.holding(work, of(key, verdicts), utc_ms(now))
        who = ", ".join(sorted({candidate_name(plan, v, language()) for v in holding}))
        if holding:
            found.append(f"{named(work.name, key)} ({who})")
    return found


def _latest(ends: Iterable[int | None]) -> str:
    """The last of the days; in words if one is not expected."""
    days = list(ends)
    return (
        t("rollout.never")
        if None in days
        else show.day_ms(max(d for d in days if d), viewer_offset())
    )


def monthly_saving(
    plan: Plan, savings: Mapping[str, Saving], calls_per_day: Mapping[str, int]
) -> Decimal | None:
    """What 30 days will save at the plan's last stages: the saving per migrated call so far, times the calls of
    the last day that will have moved by then. None if no saving is known."""
    found = [
        saving.saved
        / saving.calls
        * Decimal(work.stages[-1].migrated)
        * calls_per_day.get(key, 0)
        * 30
        for key, work in plan.workloads.items()
        if work.stages and (saving := savings.get(key)) and saving.calls
    ]
    return sum(found, Decimal(0)) if found else None
