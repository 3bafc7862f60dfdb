"""Rollout: what was saved, and what every month cost."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import streamlit as st
from markupsafe import Markup

from dashboards import controls, markup, queries, show
from dashboards.costs import Bills, three_ways, token_ratios, warmed
from dashboards.markup import HINT, SMALL, joined
from dashboards.names import short_name
from dashboards.queries import AMOUNTS, BILL_S, RANGES, Bill
from dashboards.views.parts import card, hinted
from dashboards.words import language, named, t, theme
from pipeline.savings import Saving
from pipeline.scoring.net_cost import NetCost
from pipeline.store.connect import StoreError
from pipeline.verdicts.plan import Plan

BOLD = Markup("<b>{}</b>")
BLOCK = Markup("<div>{}</div>")


def span(saving: Saving, currency: str) -> str:
    """The 95 % interval of what was saved."""
    if saving.interval is None:
        return ""
    low, high = saving.interval
    return f"{show.money(low, currency)} – {show.money(high, currency)}"


def beside(*parts: str) -> str:
    """What there is of them; calls may be known before an interval is."""
    return " · ".join(filter(None, parts))


def share(saving: Saving) -> str:
    """The saving as a share of what the baseline would have cost."""
    whole = saving.baseline_would_be
    return show.percent(float(saving.saved / whole) if whole else None, 0)


def saved(saving: Saving | None, currency: str) -> str:
    """The sum and its share, where both are known."""
    if saving is None or not saving.calls:
        return show.UNKNOWN
    if not saving.baseline_would_be:
        return show.UNKNOWN
    return f"{show.money(saving.saved, currency)} ({share(saving)})"


@st.fragment(run_every=BILL_S)
def saving_corrected() -> None:
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
        markup.with_small(show.money(saving.saved, currency), span(saving, currency)),
        markup.with_small(show.money(warm.saved, currency), span(warm, currency)) if warm else markup.UNKNOWN,
    ]  # fmt: skip


def _per_1000(cost: Decimal | None) -> Decimal | None:
    return None if cost is None else 1000 * cost


def _ratios(baseline: Bills, candidate: Bills) -> str:
    found = token_ratios(baseline, candidate)
    return f"× {found[0]:.2f} · × {found[1]:.2f}" if found else show.UNKNOWN


@st.fragment(run_every=BILL_S)
def cost_by_month() -> None:
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
        return SMALL.format("", t("rollout.month.no_rate", of=", ".join(bill.no_rate)))
    return SMALL.format("", t("rollout.month.estimated") if bill.estimated else "")
