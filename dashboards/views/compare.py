"""Compare: is the candidate as good as what we have, in one workload?"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import streamlit as st
from markupsafe import Markup

from dashboards import charts, controls, markup, queries, show, state
from dashboards.figures import Scope, Sums
from dashboards.markup import PILL, SMALL
from dashboards.names import check_asks, side_color, side_name
from dashboards.sides import Apart, Side
from dashboards.views import evidence, explained
from dashboards.views.parts import card, csv_button, draw, hinted
from dashboards.words import language, t, term, theme
from pipeline import stats
from pipeline.stats import Estimate

Shown = Callable[[float | None], str]


def page() -> None:
    """Filters above; figures are drawn again every few seconds."""
    with st.container(horizontal=True, vertical_alignment="center", key="filters"):
        workload = controls.workload(everything=False)
        seconds = controls.time_range("24h")
    _figures(controls.scope(seconds, workload))


@st.fragment(run_every=15)
def _figures(scope: Scope) -> None:
    with state.store_needed():
        if not state.explain():
            return
        of = queries.apart(scope.workload)
        found = sorted(queries.sums(scope, of), key=lambda s: (s.arm != "baseline", -s.calls))
        baseline = next((s for s in found if s.arm == "baseline"), None)
        candidates = [s for s in found if s.arm == "candidate"]
        if not found or not candidates:
            st.info(t("compare.nothing"), icon=":material/balance:")
        else:
            if baseline is None:
                st.warning(t("compare.no_baseline"), icon=":material/info:")
            _compare(scope, of, baseline, _picked(candidates))


def _picked(candidates: list[Sums]) -> list[Sums]:
    if len(candidates) < 2:
        return candidates
    names = {s.side.key: side_name(s.side, language()) for s in candidates}
    chosen = st.pills(
        t("compare.candidates"), list(names), selection_mode="multi", default=list(names),
        format_func=names.__getitem__, key="candidates",
    )  # fmt: skip
    return [s for s in candidates if s.side.key in chosen] or candidates


def _compare(scope: Scope, of: Apart, baseline: Sums | None, candidates: list[Sums]) -> None:
    sides = ([baseline] if baseline else []) + candidates
    shown = {s.side for s in candidates}
    judged = [v for v in queries.verdicts(scope.workload) or [] if of.judged(v) in shown]
    evidence.gates(scope.workload, judged, of)
    evidence.path(scope.workload, judged, of)
    figures = figures_of(scope, sides, of)
    with card("compare.figures"):
        st.html(_table(scope, figures, baseline, sides))
        st.caption(t("compare.intervals"))
        csv_button(
            csv_rows(scope, figures, baseline, sides),
            f"compare-{scope.workload}.csv",
            "compare_csv",
        )
    left, right = st.columns(2)
    with left:
        explained.taxonomy(scope, sides)
        explained.cost(scope, baseline, sides)
        explained.conformance(scope, sides)
    with right:
        _latency(sides)
        explained.checks(sides)
        evidence.disagreement(scope.workload, {s.side for s in sides})
    explained.parts(scope, sides)


def _latency(sides: list[Sums]) -> None:
    """Share of calls that were at least so fast, of one of the two latencies."""
    with card("compare.latency"):
        what = controls.in_url(
            "latency", ["duration", "first_token"], "duration", st.segmented_control,
            label=t("compare.latency"), format_func=lambda key: t(f"figure.{key}"), label_visibility="collapsed",
        )  # fmt: skip
        rows = [
            {"name": side_name(s.side, language()), "ms": ms, "share": share}
            for s in sides
            for ms, share in stats.cumulative(getattr(s, f"{what}_buckets"))
        ]
        colors = {side_name(s.side, language()): side_color(s.side, theme()) for s in sides}
        draw(charts.distribution(rows, colors)) if rows else st.caption(t("nothing_to_draw"))


class Figure:
    """One line of the comparison: how it is named and shown, and each side's estimate.

    `better` is −1 where less is better, +1 where more is, 0 where neither is; `calls` are the filters that
    find the calls behind it, besides workload, side and time.
    """

    def __init__(
        self,
        name: str,
        help_: str,
        shown: Shown,
        better: int,
        values: dict[Side, Estimate | None],
        *,
        share: bool = False,
        calls: dict[str, str] | None = None,
    ) -> None:
        self.calls = calls or {}
        self.name, self.help, self.shown, self.better = name, help_, shown, better
        self.values, self.share = values, share

    def against(self, side: Side, baseline: Side) -> Estimate | None:
        """The difference of two shares with its interval; None for anything else."""
        if not self.share:
            return None
        return stats.difference(self.values[side], self.values[baseline])


def figures_of(scope: Scope, sides: list[Sums], of: Apart) -> list[Figure]:
    """Everything that is compared, in the order it is shown."""
    money = partial(show.money, currency=scope.currency)
    spreads = {kind: queries.spreads(scope, kind, of) for kind in ("cost", "input", "output")}

    def figure(
        key: str,
        shown: Shown,
        better: int,
        value: Callable[[Sums], Estimate | None],
        *,
        share: bool = False,
        **calls: str,
    ) -> Figure:
        return Figure(
            t(key),
            t(f"{key}.help"),
            shown,
            better,
            {s.side: value(s) for s in sides},
            share=share,
            calls=calls,
        )

    def mean(kind: str) -> Callable[[Sums], Estimate | None]:
        return lambda s: stats.mean(spreads[kind][s.side]) if s.side in spreads[kind] else None

    percent = partial(show.percent, digits=2)
    found = [
        figure(
            "compare.provider_failures",
            percent,
            -1,
            lambda s: s.provider_failure_rate,
            share=True,
            failure="*",
        ),
        figure(
            "compare.all_failures", percent, -1, lambda s: s.failure_rate, share=True, failure="*"
        ),
        figure(
            "compare.ttft_p50",
            show.milliseconds,
            -1,
            lambda s: stats.latency(s.first_token_buckets, 0.5),
        ),
        figure(
            "compare.ttft_p95",
            show.milliseconds,
            -1,
            lambda s: stats.latency(s.first_token_buckets, 0.95),
        ),
        figure(
            "compare.duration_p50",
            show.milliseconds,
            -1,
            lambda s: stats.latency(s.duration_buckets, 0.5),
        ),
        figure(
            "compare.duration_p95",
            show.milliseconds,
            -1,
            lambda s: stats.latency(s.duration_buckets, 0.95),
        ),
        figure("compare.input_tokens", show.count, 0, mean("input")),
        figure("compare.output_tokens", show.count, 0, mean("output")),
        figure("compare.cost", money, -1, mean("cost")),
        figure("compare.quality", percent, 1, lambda s: s.quality, share=True),
    ]
    checks = sorted({name for s in sides for name in s.check_calls})
    return found + [
        Figure(
            term("check", name),
            check_asks(name, language()),
            percent,
            1,
            {s.side: s.check(name) for s in sides},
            share=True,
            calls={"check": name},
        )
        for name in checks
    ]


def _table(scope: Scope, figures: list[Figure], baseline: Sums | None, sides: list[Sums]) -> Markup:
    heads: list[Markup] = [hinted("compare.figure")]
    for s in sides:
        heads.append(markup.side(s.side, language(), theme()))
        if baseline and s is not baseline:
            heads.append(hinted("compare.difference"))
    return markup.table(heads, (_line(scope, figure, baseline, sides) for figure in figures))


def _line(scope: Scope, figure: Figure, baseline: Sums | None, sides: list[Sums]) -> list[Markup]:
    cells = [markup.HINT.format(figure.help, figure.name)]
    for s in sides:
        estimate = figure.values[s.side]
        note = t("compare.rests_on", n=show.count(estimate.n)) if estimate else ""
        span = show.span(estimate, figure.shown)
        cells.append(
            SMALL.format(
                explained.calls_link(figure.shown(estimate.value), scope, s.side, **figure.calls)
                if estimate
                else markup.UNKNOWN,
                f"{span} · {note}" if span else note,
            )
        )
        if baseline and s is not baseline:
            cells.append(_difference(figure, s.side, baseline.side))
    return cells


def _difference(figure: Figure, side: Side, baseline: Side) -> Markup:
    gap = figure.against(side, baseline)
    if gap is not None:
        tone = _tone(gap, figure.better)
        return PILL.format(tone, show.points(gap.value, 2)) + Markup("<small>{}</small>").format(
            show.span(gap, partial(show.points, digits=2))
        )
    ours, theirs = figure.values[side], figure.values[baseline]
    if ours is None or theirs is None or not theirs.value:
        return markup.UNKNOWN
    tone = "plain"
    if figure.better and (ours.high < theirs.low or ours.low > theirs.high):
        tone = "good" if (ours.value - theirs.value) * figure.better > 0 else "bad"
    return PILL.format(tone, f"× {ours.value / theirs.value:.2f}")


def _tone(gap: Estimate, better: int) -> str:
    """Good or bad only where the whole interval lies on one side of zero."""
    if gap.low <= 0 <= gap.high:
        return "plain"
    return "good" if gap.value * better > 0 else "bad"


def csv_rows(
    scope: Scope, figures: list[Figure], baseline: Sums | None, sides: list[Sums]
) -> list[dict[str, Any]]:
    """The comparison as a table of plain numbers: shares in 0..1, times in ms, money in the scope's currency."""
    rows = []
    for figure in figures:
        for s in sides:
            estimate = figure.values[s.side]
            gap = figure.against(s.side, baseline.side) if baseline and s is not baseline else None
            rows.append({
                "workload": scope.workload, "figure": figure.name, **explained.told(s.side), "arm": s.arm,
                "value": estimate and estimate.value, "low": estimate and estimate.low,
                "high": estimate and estimate.high, "calls": estimate and estimate.n,
                "difference": gap and gap.value, "difference_low": gap and gap.low,
                "difference_high": gap and gap.high, "currency": scope.currency,
                "seconds": scope.seconds, "at": datetime.now(UTC).isoformat(timespec="seconds"),
            })  # fmt: skip
    return rows
