"""Live: is the cutover healthy this minute, and what broke?"""

from datetime import timedelta
from typing import Any

import streamlit as st
from markupsafe import Markup

from dashboards import charts, controls, queries, show, state
from dashboards.markup import joined, spark
from dashboards.names import provider_color, provider_name, short_name
from dashboards.queries import Scope, Sums
from dashboards.views.parts import card, draw, palette, with_names
from dashboards.words import language, t, term, theme
from pipeline import stats
from pipeline.stats import Estimate
from pipeline.verdicts.plan import Plan

SPARK_BARS = 30
TILE = Markup(
    '<article class="tile" style="--tone:{color}"><header><h3 title="{full}">{name}</h3>'
    '<span class="role">{role}</span></header>'
    '<div class="big"><span title="{pace_help}"><b>{pace}</b><small>{unit}</small></span>{spark}</div><dl>{lines}</dl></article>'
)
LINE = Markup('<div><dt title="{}">{}</dt><dd>{}<small>{}</small></dd></div>')


def page() -> None:
    """Filters above, figures below; only the figures are drawn again every two seconds."""
    with st.container(horizontal=True, vertical_alignment="center"):
        seconds = controls.time_range("15m")
        workload = controls.workload()
    _figures(controls.scope(seconds, workload))


@st.fragment(run_every=2)
def _figures(scope: Scope) -> None:
    with state.store_needed():
        if state.explain():
            found = queries.sums(scope)
            if found:
                _tiles(scope, found)
                _charts(scope, found)
            else:
                st.info(t("live.nothing"), icon=":material/hourglass_empty:")


def _tiles(scope: Scope, found: list[Sums]) -> None:
    minutes = queries.bounds().recent_minutes
    curves = _curves(queries.timeline(scope))
    ranked = sorted(found, key=lambda s: (s.arm != "baseline", -s.calls))
    tiles = joined(_tile(s, minutes, curves.get(s.provider, []), scope.currency) for s in ranked)
    st.html(Markup('<div class="tiles">{}</div>').format(tiles))


def _curves(points: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Calls per step by provider, for the small bars; steps without a call count as zero."""
    steps = sorted({point["at"] for point in points})[-SPARK_BARS:]
    calls = {(point["provider"], point["at"]): float(point["calls"]) for point in points}
    return {p: [calls.get((p, at), 0.0) for at in steps] for p in {p for p, _ in calls}}


def _tile(s: Sums, minutes: float, curve: list[float], currency: str) -> Markup:
    color = provider_color(s.provider, theme())
    return TILE.format(
        color=color,
        full=provider_name(s.provider, language()),
        name=short_name(s.provider, language()),
        role=t(f"arm.{s.arm or 'none'}"),
        pace=show.pace(s.recent_calls / minutes),
        pace_help=t("live.pace.help"),
        unit=t("unit.calls_per_minute"),
        spark=spark(curve, color),
        lines=joined(
            LINE.format(t(f"{key}.help"), t(key), *shown) for key, *shown in lines(s, currency)
        ),
    )


def lines(s: Sums, currency: str) -> list[tuple[str, str, str]]:
    """The lines of a tile: words, value, and the interval or second value behind it."""
    first, whole = s.first_token_buckets, s.duration_buckets
    return [
        (
            "figure.failures",
            show.percent(_value(s.failure_rate), 2),
            show.span(s.failure_rate, show.percent),
        ),
        ("figure.first_token", *_quantiles(first)),
        ("figure.duration", *_quantiles(whole)),
        ("figure.cost", show.money(s.cost_per_1000, currency), t("unit.per_1000")),
        ("figure.quality", show.percent(_value(s.quality)), show.span(s.quality, show.percent)),
    ]


def _quantiles(buckets: dict[int, int]) -> tuple[str, str]:
    p50, p95 = (stats.quantile(buckets, q) for q in (0.5, 0.95))
    return show.milliseconds(p50), f"p95 {show.milliseconds(p95)}" if p95 else ""


def _value(estimate: Estimate | None) -> float | None:
    return estimate.value if estimate else None


def _charts(scope: Scope, found: list[Sums]) -> None:
    points = with_names(queries.timeline(scope))
    colors = palette(
        [s.provider for s in sorted(found, key=lambda s: (s.arm != "baseline", s.provider))]
    )
    left, right = st.columns(2)
    with left, card("live.share"):
        draw(charts.shares(_closed(points, scope), _marks(scope), colors))
    with right, card("live.failures"):
        _failures(found, colors)
    _curve(left, "live.first_token", points, ("first_token_p50", "first_token_p95"), colors, "ms")
    _curve(right, "live.duration", points, ("duration_p50", "duration_p95"), colors, "ms")
    _curve(left, "live.failure_rate", points, ("failure_rate",), colors, "%")
    _curve(right, "live.cost", points, ("cost_per_1000",), colors, scope.currency)


def _closed(points: list[dict[str, Any]], scope: Scope) -> list[dict[str, Any]]:
    """The points and the end of the last step, without which a stepped area does not show it."""
    last = max(point["at"] for point in points)
    end = last + timedelta(seconds=queries.bounds().step_s(scope.seconds))
    return points + [{**point, "at": end} for point in points if point["at"] == last]


def _curve(
    place: Any,
    key: str,
    points: list[dict[str, Any]],
    fields: tuple[str, ...],
    colors: dict[str, str],
    unit: str,
) -> None:
    with place, card(key):
        if any(point[field] is not None for point in points for field in fields):
            draw(charts.lines(points, fields, colors, unit))
        else:
            st.caption(t("nothing_to_draw"))


def _failures(found: list[Sums], colors: dict[str, str]) -> None:
    rows = failure_rows(found)
    if rows:
        draw(charts.failures(rows, colors))
    else:
        st.caption(t("live.no_failures"))


def failure_rows(found: list[Sums]) -> list[dict[str, Any]]:
    """Each provider's failures by class as a share of its calls, the most frequent class first."""
    counts: dict[str, int] = {}
    for s in found:
        for kind, calls in s.failures.items():
            counts[kind] = counts.get(kind, 0) + calls
    return [
        {"kind": term("failure", kind), "name": short_name(s.provider, language()),
         "calls": s.failures[kind], "rate": s.failures[kind] / s.calls}
        for kind in sorted(counts, key=lambda kind: -counts[kind])
        for s in found
        if kind in s.failures
    ]  # fmt: skip


def _marks(scope: Scope) -> list[dict[str, Any]]:
    plan = queries.plan()
    return [
        {"at": change["at"], "label": stage_label(change, plan)}
        for change in queries.stage_changes(scope)
    ]


def stage_label(change: dict[str, Any], plan: Plan | None) -> str:
    """What a stage change was, in one line: workload, stage, shares by provider."""
    endpoints = plan.endpoints if plan else {}
    parts = [
        f"{short_name(endpoints[name].provider, language()) if name in endpoints else name} {show.percent(share, 0)}"
        for name, share in change["shares"].items()
    ]
    return f"{change.get('workload', '')} · {change.get('stage', '')}: {', '.join(parts) or '0 %'}"
