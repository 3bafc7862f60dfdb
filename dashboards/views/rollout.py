"""Rollout: how far are we, when are we done, what does it save, what is in the way?"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import streamlit as st
from markupsafe import Markup

from dashboards import ahead, charts, controls, markup, queries, show, state
from dashboards.costs import Bills, three_ways, token_ratios, warmed
from dashboards.markup import BAR, HINT, joined
from dashboards.names import candidate_name, short_name, side_name, sides
from dashboards.queries import AMOUNTS, BILL_S, RANGES, Bill
from dashboards.verdicts import Verdict
from dashboards.views.evidence import VERDICTS, drift_note, name_of, verdict_pill
from dashboards.views.export import report_button
from dashboards.views.feed import event_feed, stage_label, verdict_label
from dashboards.views.parts import card, csv_button, draw, hinted, viewer_offset
from dashboards.words import language, named, t, theme
from pipeline.progress import PlanVersion, planned_at, planned_share
from pipeline.savings import Saving, total
from pipeline.scoring.net_cost import NetCost
from pipeline.store.connect import StoreError
from pipeline.verdicts.plan import Plan, Stage, Workload

BOLD = Markup("<b>{}</b>")
SMALL = Markup("{}<small>{}</small>")
BLOCK = Markup("<div>{}</div>")
FIGURE = Markup('<div title="{}"><b>{}</b><span>{}</span><small>{}</small></div>')
FUTURE = 3  # the burn-up looks ahead at most so many times as far as back
BEHIND = 0.05  # of a workload's traffic: less may be chance
ACCENT = {"light": "#0B6E6E", "dark": "#4FC3B8"}


def page() -> None:
    """The whole page follows the data; it changes slowly."""
    with st.container(horizontal=True, vertical_alignment="center", key="filters"):
        seconds = controls.time_range("all")
        report_button()
    _figures(seconds)
    _cost_by_month()
    _saving_corrected()


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
    st.html(Markup('<p class="sentence">{}</p>').format(sentence(plan, now, _weighted(), verdicts)))
    with st.container(border=True, key="card-summary"):
        st.html(_summary(plan, now, actual, savings, verdicts, currency))
    with card("rollout.burn_up"):
        _burn_up(plan, seconds, now, actual, verdicts)
    with card("rollout.workloads"):
        columns = ("workload", "verdict", "stage", "actual", "next", "expected", "saved")
        heads = [
            HINT.format(t(f"rollout.column.{key}.help"), t(f"rollout.column.{key}"))
            for key in columns
        ]
        lines = [
            _line(plan, key, work, now, actual.get(key), savings.get(key), [v for v in verdicts if v.workload == key], currency)
            for key, work in plan.workloads.items()
        ]  # fmt: skip
        st.html(markup.table(heads, lines, text_columns=3))
        st.caption(t("rollout.estimate", n=show.count(total(savings.values()).left_out)))
        csv_button(
            workload_rows(plan, now, actual, savings, verdicts, currency),
            "rollout.csv",
            "rollout_csv",
        )
    left, right = st.columns(2)
    with left, card("rollout.blockers"):
        _blockers(blockers(plan, now, actual, verdicts))
    with right, card("rollout.incidents"):
        event_feed(controls.scope(seconds, ""))


def _weighted() -> float | None:
    """The migrated share of all users' calls in the last 15 minutes."""
    calls = migrated = 0
    for row in queries.migration(RANGES["15m"]):
        calls, migrated = calls + row["calls"], migrated + row["migrated"]
    return migrated / calls if calls else None


def sentence(
    plan: Plan, now: datetime, migrated: float | None, verdicts: Sequence[Verdict] = ()
) -> str:
    """Where we are, in a sentence or two."""
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
    said = [v.verdict for v in verdicts]
    if said:
        counts = {kind.lower(): said.count(kind) for kind in VERDICTS}
        words += t("rollout.sentence_verdicts", **counts)
    return words + (t("rollout.deadline", days=_days(plan.deadline, now)) if plan.deadline else "")


def _days(until: datetime, now: datetime) -> str:
    return f"{(until - now).total_seconds() / 86_400:,.0f}"


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _summary(
    plan: Plan,
    now: datetime,
    actual: dict[str, float],
    savings: dict[str, Saving],
    verdicts: Sequence[Verdict],
    currency: str,
) -> Markup:
    saving = total(savings.values())
    known = saving.calls > 0
    span = _span(saving, currency) if known else ""
    per_month = monthly_saving(plan, savings, _weights())
    figures = [
        ("rollout.migrated", show.percent(_weighted(), 1), ""),
        ("rollout.planned", show.percent(planned_share(plan, _ms(now), _weights()), 1), ""),
        ("rollout.finish", *_finish(plan, now, verdicts)),
        ("rollout.paid", show.money(saving.paid if known else None, currency), t("rollout.calls", n=show.count(saving.calls))),
        ("rollout.would_be", show.money(saving.baseline_would_be if known else None, currency), ""),
        ("rollout.saved", show.money(saving.saved if known else None, currency), _beside(span, _share(saving)) if known else ""),
        ("rollout.per_month", show.money(per_month, currency), ""),
    ]  # fmt: skip
    return Markup('<div class="figures">{}</div>').format(
        joined(FIGURE.format(t(f"{key}.help"), value, t(key), note) for key, value, note in figures)
    )


def _finish(plan: Plan, now: datetime, verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """When the last stage of the last workload is expected, and the band; "not as things are" if one is not."""
    works = {key: work for key, work in plan.workloads.items() if work.stages}
    days = {}
    for case in ahead.CASES:
        ends = [
            ahead.done_at(w, [v for v in verdicts if v.workload == k], _ms(now), case)
            for k, w in works.items()
        ]
        days[case] = (
            None if not ends or None in ends else max(end for end in ends if end is not None)
        )
    if not works:
        return show.UNKNOWN, ""
    shown = {case: show.day_ms(day, viewer_offset()) if day else "∞" for case, day in days.items()}
    if days["middle"] is None:
        return t("rollout.never"), ""
    band = "" if shown["least"] == shown["most"] else f"{shown['least']} – {shown['most']}"
    return shown["middle"], band


def monthly_saving(
    plan: Plan, savings: dict[str, Saving], calls_per_day: dict[str, int]
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


def _span(saving: Saving, currency: str) -> str:
    """The 95 % interval of what was saved."""
    if saving.interval is None:
        return ""
    low, high = saving.interval
    return f"{show.money(low, currency)} – {show.money(high, currency)}"


def _beside(*parts: str) -> str:
    """What there is of them; calls may be known before an interval is."""
    return " · ".join(filter(None, parts))


def _share(saving: Saving) -> str:
    """The saving as a share of what the baseline would have cost."""
    whole = saving.baseline_would_be
    return show.percent(float(saving.saved / whole) if whole else None, 0)


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


def _burn_up(
    plan: Plan, seconds: int, now: datetime, actual: dict[str, float], verdicts: Sequence[Verdict]
) -> None:
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
        until = _ms(planned[-1]["at"])
        expected = [
            {**row, "at": datetime.fromtimestamp(row["at"] / 1000, UTC)}
            for row in ahead.fan(plan.workloads, verdicts, actual, _weights(), _ms(now), until)
        ]
    if rows or planned:
        draw(
            charts.burn_up(
                rows,
                planned,
                expected,
                marks,
                ACCENT[theme()],
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
    last, weights = changes[-1], _weights()
    return words + t(
        "rollout.frozen.changed",
        n=len(changes),
        at=show.moment(last.at, viewer_offset()),
        by=last.set_by or t("rollout.somebody"),
        then=show.percent(planned_share(frozen.plan, _ms(now), weights), 0),
        now=show.percent(planned_share(last.plan, _ms(now), weights), 0),
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
    weights = _weights()
    starts = [stage.starts for work in plan.workloads.values() for stage in work.stages]
    begin = rows[0]["at"] if rows else now
    end = max([now, *starts, *([plan.deadline] if plan.deadline else [])])
    end = min(
        end, now + FUTURE * max(now - begin, timedelta(hours=1))
    )  # so that the past can be seen
    moments = sorted({begin, now, end, *(at for at in starts if begin <= at <= end)})
    curve = [
        {"at": at.astimezone(UTC), "share": planned_share(plan, _ms(at), weights)} for at in moments
    ]
    return [point for point in curve if point["share"] is not None]


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
    at = _ms(now)
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
        markup.with_small(*_next(work, verdicts, at)),
        markup.with_small(*_expected(plan, work, verdicts, at)),
        markup.with_small(
            _saved(known, currency),
            _beside(_span(known, currency), t("rollout.calls", n=show.count(known.calls)))
            if known
            else "",
        ),
    ]


def _said(plan: Plan, verdict: Verdict) -> Markup:
    """A candidate's verdict and why."""
    who = candidate_name(plan, verdict, language())
    return Markup('<div class="said">{}<b>{}</b><small>{}</small>{}</div>').format(
        verdict_pill(verdict.verdict), who, verdict.reason(language()), drift_note(verdict)
    )


def _next(work: Workload, verdicts: list[Verdict], at: int) -> tuple[str, str]:
    """What has to be there before the next stage: evidence, a decision, or only its day."""
    coming = next((s for s in work.stages if s.starts_ms > at), None)
    stage = coming.name if coming else t("rollout.last_stage")
    kinds = {v.verdict for v in verdicts}
    if "ROLLBACK" in kinds or "BLOCKED" in kinds:
        return t("rollout.next.decide"), stage
    waiting = [(v, g) for v in verdicts if v.verdict == "HOLD" and (g := v.slowest)]
    if waiting and (ahead_ := waiting[0][1].forecast):
        gate = name_of(waiting[0][1].gate)
        more = (
            t("gate.never")
            if ahead_.conversations is None
            else t("rollout.next.more", n=show.count(ahead_.conversations))
        )
        return more, f"{gate} · {stage}"
    planned = show.moment(coming.starts, viewer_offset()) if coming else ""
    return stage, planned


def _expected(plan: Plan, work: Workload, verdicts: list[Verdict], at: int) -> tuple[str, str]:
    """When the workload's last stage begins, and the band of the forecast; or which candidates hold it up."""
    days = [ahead.done_at(work, verdicts, at, case) for case in ("middle", "least", "most")]
    if not work.stages:
        return show.UNKNOWN, ""
    if work.stages[-1].starts_ms <= at:
        return t("rollout.at_end"), show.day_ms(work.stages[-1].starts_ms, viewer_offset())
    middle, least, most = (show.day_ms(day, viewer_offset()) if day else "∞" for day in days)
    if middle == "∞":
        held = {candidate_name(plan, v, language()) for v in ahead.holding(work, verdicts, at)}
        return t("rollout.never"), t("rollout.never.held", who=", ".join(sorted(held)))
    return middle, "" if least == most else f"{least} – {most}"


def workload_rows(
    plan: Plan,
    now: datetime,
    actual: dict[str, float],
    savings: dict[str, Saving],
    verdicts: Sequence[Verdict],
    currency: str,
) -> list[dict[str, Any]]:
    """One row per workload as plain values: shares in 0..1, money in the report's currency."""
    rows = []
    for key, work in plan.workloads.items():
        at, saving = _ms(now), savings.get(key)
        mine = [v for v in verdicts if v.workload == key]
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
    plan: Plan, now: datetime, actual: dict[str, float], verdicts: Sequence[Verdict]
) -> list[tuple[str, str, str, str]]:
    """What is in the way, worst first: kind, whom it is about, why, and the ask; all from the data."""
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
    for key, work in plan.workloads.items():
        name, gap = named(work.name, key), planned_at(work, _ms(now)) - actual.get(key, 0.0)
        if key in actual and gap > BEHIND:
            found.append(
                (
                    "HOLD",
                    name,
                    t("rollout.behind", gap=show.percent(gap, 0)),
                    t("rollout.ask.behind"),
                )
            )
        if not work.owner:
            found.append(("HOLD", name, t("rollout.no_owner"), t("rollout.ask.owner")))
    return found


def _blockers(found: list[tuple[str, str, str, str]]) -> None:
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
    return BAR.format(round(100 * share, 1), ACCENT[theme()]) + show.percent(share, 0)


@st.fragment(run_every=BILL_S)
def _saving_corrected() -> None:
    """What was saved, and what of it a cold cache and other token counts hide."""
    with suppress(StoreError):
        plan, currency = queries.plan(), queries.settings().report_currency
        found = queries.savings(currency)
        known = [key for key in plan.workloads if key in found and found[key].calls] if plan else []
        if plan is None or not known:
            return
        columns = ("workload", "billed", "uncached", "projected", "tokens", "saved", "warm")
        lines = [_corrected(plan, key, found[key], currency) for key in known]
        with card("rollout.saving"):
            st.html(markup.table([hinted(f"rollout.saving.{key}") for key in columns], lines))


def _corrected(plan: Plan, key: str, saving: Saving, currency: str) -> list[Markup | str]:
    ever, lately = controls.scope(RANGES["all"], key), controls.scope(RANGES["24h"], key)
    of = queries.apart(key)
    bills = {side: b for side, b in queries.bills(lately).items() if b.calls}
    paid = {s.side: s.cost for s in queries.sums(ever, of) if s.arm == "candidate" and s.priced}
    baseline = bills.get(of.sides[plan.baseline])
    told = {side: bills[side] for side in paid if side in bills} if baseline else {}
    warm = warmed(saving, paid, baseline, told) if baseline else None

    def each(shown: Callable[[Bills], str]) -> Markup:
        return joined(BLOCK.format(shown(side)) for side in told.values()) or markup.UNKNOWN

    def way(name: str) -> Markup:
        return each(lambda side: show.money(_per_1000(three_ways(baseline, side)[name]), currency))

    names = joined(BLOCK.format(markup.side(side, language(), theme())) for side in told)
    return [
        SMALL.format(named(plan.workloads[key].name, key), names),
        way("billed"),
        way("uncached"),
        way("projected"),
        each(lambda side: _ratios(baseline, side)),
        markup.with_small(show.money(saving.saved, currency), _span(saving, currency)),
        markup.with_small(show.money(warm.saved, currency), _span(warm, currency)) if warm else markup.UNKNOWN,
    ]  # fmt: skip


def _per_1000(cost: Decimal | None) -> Decimal | None:
    return None if cost is None else 1000 * cost


def _ratios(baseline: Bills, candidate: Bills) -> str:
    found = token_ratios(baseline, candidate)
    return f"× {found[0]:.2f} · × {found[1]:.2f}" if found else show.UNKNOWN


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
    lines = [
        *(_month(row, calls, unlisted) for row, calls, unlisted in folded(bill.months)),
        _month_total(bill, currency),
    ]
    return markup.table(heads, lines, text_columns=2)


def folded(months: Sequence[NetCost]) -> list[tuple[NetCost, int, int]]:
    """Each row with its calls and unpriced calls. Calls of unknown cost are counted with their provider's
    first row of the month; they have a row of their own only where there is no other."""
    whole: dict[tuple[Any, str], list[NetCost]] = {}
    for row in months:
        whole.setdefault((row.begin, row.provider), []).append(row)
    found = []
    for rows in whole.values():
        priced = [row for row in rows if row.currency] or rows
        unknown = [row for row in rows if row not in priced]
        for place, row in enumerate(priced):
            extra = unknown if place == 0 else []
            found.append(
                (
                    row,
                    row.calls + sum(r.calls for r in extra),
                    row.unlisted + sum(r.unlisted for r in extra),
                )
            )
    return found


def _month(row: NetCost, calls: int, unlisted: int) -> list[Markup | str]:
    return [
        f"{row.begin:%Y-%m}",
        markup.provider(row.provider, language(), theme()),
        show.count(calls),
        show.count(unlisted),
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
