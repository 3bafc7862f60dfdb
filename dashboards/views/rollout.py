"""Rollout: how far are we, when are we done, what does it save, what is in the way?"""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import streamlit as st
from markupsafe import Markup

from dashboards import charts, controls, markup, queries, show, state
from dashboards.markup import BAR, HINT, joined
from dashboards.names import short_name
from dashboards.queries import AMOUNTS, BILL_S, RANGES, Bill
from dashboards.views.feed import stage_label
from dashboards.views.parts import card, draw, viewer_offset
from dashboards.words import language, named, t, theme
from pipeline.progress import planned_at, planned_share
from pipeline.savings import Saving, total
from pipeline.scoring.net_cost import NetCost
from pipeline.store.connect import StoreError
from pipeline.verdicts.plan import Plan, Stage, Workload

BOLD = Markup("<b>{}</b>")
FIGURE = Markup('<div title="{}"><b>{}</b><span>{}</span></div>')
ACCENT = {"light": "#0B6E6E", "dark": "#4FC3B8"}


def page() -> None:
    """The whole page follows the data; it changes slowly."""
    seconds = controls.time_range("all")
    _figures(seconds)
    _cost_by_month()


@st.fragment(run_every=5)
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
    st.html(Markup('<p class="sentence">{}</p>').format(sentence(plan, now, _weighted(actual))))
    with st.container(border=True, key="card-summary"):
        st.html(_summary(plan, now, actual, total(savings.values()), currency))
    with card("rollout.burn_up"):
        _burn_up(plan, seconds, now)
    with card("rollout.workloads"):
        heads = [
            t(f"rollout.column.{key}")
            for key in (
                "workload",
                "stage",
                "planned",
                "actual",
                "next",
                "paid",
                "baseline",
                "saved",
            )
        ]
        st.html(markup.table(heads, _lines(plan, now, actual, savings, currency), text_columns=2))
        st.caption(t("rollout.estimate", n=show.count(total(savings.values()).left_out)))


def _weighted(actual: dict[str, float]) -> float | None:
    """The migrated share of all users' calls in the last 15 minutes."""
    calls = migrated = 0
    for row in queries.migration(RANGES["15m"]):
        calls, migrated = calls + row["calls"], migrated + row["migrated"]
    return migrated / calls if calls else None


def sentence(plan: Plan, now: datetime, migrated: float | None) -> str:
    """Where we are, in one sentence."""
    at = _ms(now)
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
    return words + (t("rollout.deadline", days=_days(plan.deadline, now)) if plan.deadline else "")


def _days(until: datetime, now: datetime) -> str:
    return f"{(until - now).total_seconds() / 86_400:,.0f}"


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _summary(
    plan: Plan, now: datetime, actual: dict[str, float], saving: Saving, currency: str
) -> Markup:
    planned = planned_share(plan, _ms(now), _weights())
    ends = [work.stages[-1].starts for work in plan.workloads.values() if work.stages]
    known = saving.calls > 0
    figures = [
        ("rollout.migrated", show.percent(_weighted(actual), 1)),
        ("rollout.planned", show.percent(planned, 1)),
        ("rollout.finish", show.moment(max(ends, default=None), viewer_offset())[:10]),
        ("rollout.paid", show.money(saving.paid if known else None, currency)),
        ("rollout.would_be", show.money(saving.baseline_would_be if known else None, currency)),
        ("rollout.saved", _saved(saving, currency)),
    ]
    return Markup('<div class="figures">{}</div>').format(
        joined(FIGURE.format(t(f"{key}.help"), value, t(key)) for key, value in figures)
    )


def _saved(saving: Saving | None, currency: str) -> str:
    if saving is None or not saving.calls:
        return show.UNKNOWN
    share = saving.saved / saving.baseline_would_be if saving.baseline_would_be else None
    return (
        f"{show.money(saving.saved, currency)} ({show.percent(float(share), 0)})"
        if share is not None
        else show.UNKNOWN
    )


def _weights() -> dict[str, int]:
    """Calls of each workload in the last day: how much it counts in the planned share."""
    calls: dict[str, int] = {}
    for row in queries.migration(RANGES["24h"]):
        calls[row["workload"]] = calls.get(row["workload"], 0) + row["calls"]
    return calls


def _burn_up(plan: Plan, seconds: int, now: datetime) -> None:
    rows = migration_curve(queries.migration(seconds))
    planned = planned_curve(plan, rows, now)
    changes = queries.stage_changes(controls.scope(seconds, ""))
    marks = [{"at": change["at"], "label": stage_label(change, plan)} for change in changes]
    if plan.deadline and planned and plan.deadline <= planned[-1]["at"]:
        marks.append({"at": plan.deadline, "label": t("rollout.deadline_mark")})
    if rows or planned:
        draw(
            charts.burn_up(
                rows,
                planned,
                marks,
                ACCENT[theme()],
                names=(t("rollout.migrated"), t("rollout.planned")),
            )
        )
    else:
        st.caption(t("nothing_to_draw"))


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
    weights = _weights()
    starts = [stage.starts for work in plan.workloads.values() for stage in work.stages]
    begin = rows[0]["at"] if rows else now
    end = max([now, *starts, *([plan.deadline] if plan.deadline else [])])
    moments = sorted({begin, now, end, *(at for at in starts if at >= begin)})
    curve = [
        {"at": at.astimezone(UTC), "share": planned_share(plan, _ms(at), weights)} for at in moments
    ]
    return [point for point in curve if point["share"] is not None]


def _lines(
    plan: Plan, now: datetime, actual: dict[str, float], savings: dict[str, Saving], currency: str
) -> list[list[Markup | str]]:
    return [
        _line(plan, key, work, now, actual.get(key), savings.get(key), currency)
        for key, work in plan.workloads.items()
    ]


def _line(
    plan: Plan,
    key: str,
    work: Workload,
    now: datetime,
    actual: float | None,
    saving: Saving | None,
    currency: str,
) -> list[Markup | str]:
    at, offset = _ms(now), viewer_offset()
    stage = work.stage_at(at)
    coming = next((s for s in work.stages if s.starts_ms > at), None)
    known = saving if saving and saving.calls else None
    return [
        markup.with_small(named(work.name, key), work.owner or t("rollout.no_owner")),
        markup.with_small(stage.name if stage else t("rollout.not_begun"), _shares(plan, stage)),
        _bar(planned_at(work, at)),
        _bar(actual),
        markup.with_small(
            coming.name if coming else t("rollout.last_stage"),
            show.moment(coming.starts, offset) if coming else "",
        ),
        show.money(known.paid if known else None, currency),
        show.money(known.baseline_would_be if known else None, currency),
        markup.with_small(
            _saved(known, currency), t("rollout.calls", n=show.count(known.calls)) if known else ""
        ),
    ]


def _shares(plan: Plan, stage: Stage | None) -> str:
    shares = stage.shares if stage else {}
    return " · ".join(
        f"{short_name(plan.endpoints[name].provider, language())} {show.percent(share, 0)}"
        for name, share in shares.items()
    )


def _bar(share: float | None) -> Markup:
    if share is None:
        return markup.UNKNOWN
    return BAR.format(round(100 * share, 1), ACCENT[theme()]) + show.percent(share, 0)


@st.fragment(run_every=BILL_S)
def _cost_by_month() -> None:
    with suppress(StoreError):  # the figures above say what is wrong with the store
        currency = queries.settings().report_currency
        bill, plan = queries.bill(currency), queries.plan()
        with card("rollout.month"):
            if bill.priced:
                st.html(_months(bill, currency))
            else:
                calls = sum(row.calls for row in bill.months)
                st.caption(t("rollout.month.empty", n=show.count(calls)))
            if bill.tokens_left:
                st.caption(t("rollout.month.left", of=_tokens_left(bill)))
            if not _terms_agreed(plan):
                st.caption(t("rollout.month.how_to_add"))


def _terms_agreed(plan: Plan | None) -> bool:
    """True if the plan names anything that makes net cost differ from list cost."""
    endpoints = plan.endpoints.values() if plan else ()
    return any(end.grants or end.plans or end.offer_taken for end in endpoints)


def _tokens_left(bill: Bill) -> str:
    return " · ".join(
        f"{short_name(provider, language())} {show.count(left)}"
        for provider, left in bill.tokens_left.items()
    )


def _months(bill: Bill, currency: str) -> Markup:
    columns = ("name", "provider", "calls", "unlisted", *AMOUNTS)
    heads = [
        HINT.format(t(f"rollout.month.{key}.help"), t(f"rollout.month.{key}")) for key in columns
    ]
    lines = [*map(_month, bill.months), _month_total(bill, currency)]
    return markup.table(heads, lines, text_columns=2)


def _month(row: NetCost) -> list[Markup | str]:
    return [
        f"{row.begin:%Y-%m}",
        markup.provider(row.provider, language(), theme()),
        show.count(row.calls),
        show.count(row.unlisted),
        *(show.money(amount, row.currency) for amount in queries.amounts(row).values()),
    ]


def _month_total(bill: Bill, currency: str) -> list[Markup | str]:
    cells = [
        show.count(sum(row.calls for row in bill.months)),
        show.count(sum(row.unlisted for row in bill.months)),
        *(show.money(bill.total.get(name), currency) for name in AMOUNTS),
    ]
    name = t("rollout.month.total", currency=currency)
    return [BOLD.format(name), _rate_note(bill), *map(BOLD.format, cells)]


def _rate_note(bill: Bill) -> Markup:
    if bill.no_rate:
        return markup.SMALL.format("", t("rollout.month.no_rate", of=", ".join(bill.no_rate)))
    return markup.SMALL.format("", t("rollout.month.estimated") if bill.estimated else "")
