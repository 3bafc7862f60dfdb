"""Live: is the cutover healthy this minute, and what broke?"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import streamlit as st
from markupsafe import Markup

from dashboards import charts, controls, queries, show, state
from dashboards.figures import Scope, Sums
from dashboards.markup import joined, spark
from dashboards.names import provider_color, provider_name, short_name
from dashboards.views.feed import event_feed, stage_label, verdict_label
from dashboards.views.parts import card, draw, palette, with_names
from dashboards.words import language, t, term, theme
from pipeline import stats
from pipeline.stats import Estimate

SPARK_BARS = 30
QUANTILE_CHOICES = [f"p{q}" for q in queries.QUANTILES]
TILE = Markup(
    '<article class="tile" style="--tone:{color}"><header><h3 title="{full}">{name}</h3>'
    '<span class="role">{role}</span></header>'
    '<div class="big"><span title="{pace_help}"><b>{pace}</b><small>{unit}</small></span>{spark}</div><dl>{lines}</dl></article>'
)
LINE = Markup(
    '<div><dt title="{}">{}</dt><dd><b>{}</b>{}</dd><dd class="more"><small>{}</small></dd></div>'
)
CHANGE = Markup('<i class="change {}" title="{}">{}</i>')
ARROWS = {1: "▲", 0: "▬", -1: "▼"}
ENOUGH = 6  # calls: with fewer a median has no 95 % interval from order statistics (2 · 0.5⁶ < 5 %)
SLIGHT = 0.005  # a change of less than half a percent is none


def page() -> None:
    """Filters above, figures below: the tiles are drawn again every two seconds, the charts every ten."""
    with st.container(horizontal=True, vertical_alignment="center", key="filters"):
        seconds = controls.time_range("15m")
        workload = controls.workload()
        provider = controls.provider()
        model = controls.model(provider)
        quantile = controls.in_url(
            "quantile", QUANTILE_CHOICES, QUANTILE_CHOICES[0], st.segmented_control,
            label=t("live.quantile"), help=t("live.quantile.help"), label_visibility="collapsed",
        )  # fmt: skip
    scope = controls.scope(seconds, workload, provider, model)
    _tiles(scope)
    _charts(scope, quantile)


@st.fragment(run_every=2)
def _tiles(scope: Scope) -> None:
    with state.store_needed():
        if not state.explain():
            return
        found = queries.sums(scope)
        if not found:
            st.info(t("live.nothing"), icon=":material/hourglass_empty:")
            return
        now, before = _by_provider(scope.recent), _by_provider(scope.hour_ago)
        curves = _curves(queries.timeline(scope))
        minutes = queries.bounds().recent_minutes
        tiles = joined(
            _tile(s, now.get(s.provider), before.get(s.provider), curves.get(s.provider, []), minutes, scope.currency)
            for s in sorted(found, key=lambda s: (s.arm != "baseline", -s.calls))
        )  # fmt: skip
        st.html(Markup('<div class="tiles">{}</div>').format(tiles))


def _by_provider(scope: Scope) -> dict[str, Sums]:
    return {s.provider: s for s in queries.sums(scope)}


def _curves(points: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Calls per step by provider, for the small bars; steps without a call count as zero."""
    steps = sorted({point["at"] for point in points})[-SPARK_BARS:]
    calls = {(point["provider"], point["at"]): float(point["calls"]) for point in points}
    return {p: [calls.get((p, at), 0.0) for at in steps] for p in {p for p, _ in calls}}


def _tile(
    s: Sums,
    now: Sums | None,
    before: Sums | None,
    curve: list[float],
    minutes: float,
    currency: str,
) -> Markup:
    color = provider_color(s.provider, theme())
    moved = changes(now, before) if now and before else {}
    return TILE.format(
        color=color,
        full=provider_name(s.provider, language()),
        name=short_name(s.provider, language()),
        role=t(f"arm.{s.arm or 'none'}"),
        pace=show.pace(now.recent_calls / minutes if now else 0),
        pace_help=t("live.pace.help"),
        unit=t("unit.calls_per_minute"),
        spark=spark(curve, color),
        lines=joined(
            LINE.format(t(f"{key}.help"), t(key), value, moved.get(key, ""), more)
            for key, value, more in lines(s, currency)
        ),
    )


def lines(s: Sums, currency: str) -> list[tuple[str, str, str]]:
    """The lines of a tile: words, value, and the interval or other values behind it."""
    return [
        ("figure.failures", show.percent(_value(s.failure_rate), 2), _span(s.failure_rate)),
        ("figure.first_token", *_quantiles(s.first_token_buckets)),
        ("figure.duration", *_quantiles(s.duration_buckets)),
        ("figure.speed", show.speed(s.tokens_per_second), t("unit.tokens", n=show.count(s.generated_tokens))),
        ("figure.cost", show.money(s.cost_per_1000, currency), t("unit.priced", n=show.count(s.priced))),
        ("figure.quality", show.percent(_value(s.quality)), _span(s.quality)),
    ]  # fmt: skip


def _span(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{show.span(estimate, show.percent)} · {t('unit.calls', n=show.count(estimate.n))}"


def _quantiles(buckets: dict[int, int]) -> tuple[str, str]:
    p50, p95, p99 = (stats.quantile(buckets, q / 100) for q in queries.QUANTILES)
    more = f"p95 {show.milliseconds(p95)} · p99 {show.milliseconds(p99)}" if p95 else ""
    return show.milliseconds(p50), more


def _value(estimate: Estimate | None) -> float | None:
    return estimate.value if estimate else None


def changes(now: Sums, before: Sums) -> dict[str, Markup]:
    """By line of a tile: the change against an hour ago, coloured only where chance does not explain it."""
    found = {
        "figure.failures": _points(now.failure_rate, before.failure_rate, -1),
        "figure.quality": _points(now.quality, before.quality, 1),
        "figure.first_token": _times(_median(now.first_token_buckets), _median(before.first_token_buckets)),
        "figure.duration": _times(_median(now.duration_buckets), _median(before.duration_buckets)),
        "figure.speed": _ratio(now.tokens_per_second, before.tokens_per_second),
        "figure.cost": _ratio(now.cost_per_1000, before.cost_per_1000),
    }  # fmt: skip
    return {key: mark for key, mark in found.items() if mark}


def _median(buckets: dict[int, int]) -> Estimate | None:
    return stats.latency(buckets, 0.5)


def _points(now: Estimate | None, before: Estimate | None, better: int) -> Markup:
    gap = stats.difference(now, before)
    if gap is None:
        return Markup("")
    tone = "" if gap.low <= 0 <= gap.high else "good" if gap.value * better > 0 else "bad"
    help_ = t("live.change.help", span=show.span(gap, lambda v: show.points(v, 2)))
    return _change(tone, help_, show.points(gap.value, 1), gap.value if round(gap.value, 3) else 0)


def _times(now: Estimate | None, before: Estimate | None) -> Markup:
    if now is None or before is None:
        return Markup("")
    told = min(now.n, before.n) >= ENOUGH
    apart = told and (now.low > before.high or now.high < before.low)
    tone = "" if not apart else "bad" if now.value > before.value else "good"
    return _ratio(now.value, before.value, tone)


def _ratio(now: Any, before: Any, tone: str = "") -> Markup:
    if not now or not before:
        return Markup("")
    change = float(now / before) - 1
    return _change(tone, t("live.change.ratio"), show.signed_percent(change), change)


def _change(tone: str, help_: str, words: str, change: float) -> Markup:
    direction = 0 if abs(change) < SLIGHT and not tone else 1 if change > 0 else -1
    return CHANGE.format(tone, help_, f"{ARROWS[direction]} {words}")


@st.fragment(run_every=10)
def _charts(scope: Scope, quantile: str) -> None:
    with state.store_needed():
        found = queries.sums(scope)
        if not found:
            return
        points = with_names(queries.timeline(scope))
        ranked = sorted(found, key=lambda s: (s.arm != "baseline", s.provider))
        colors = palette([s.provider for s in ranked])
        left, right = st.columns(2)
        with left, card("live.share"):
            draw(charts.shares(_closed(points, scope), marks(scope), colors))
        with right, card("live.events"):
            event_feed(scope)
        left, right = st.columns(2)
        with left, card("live.failures"):
            rows = failure_rows(found)
            draw(charts.failures(rows, colors)) if rows else st.caption(t("live.no_failures"))
        _curve(right, "live.failure_rate", points, ("failure_rate",), colors, "%")
        left, right = st.columns(2)
        _latency(left, "first_token", points, colors, quantile)
        _latency(right, "duration", points, colors, quantile)
        left, right = st.columns(2)
        with left, card("live.heatmap"):
            cells = heat(points, "duration_buckets")
            draw(charts.heatmap(cells, theme())) if cells else st.caption(t("nothing_to_draw"))
        _curve(right, "live.speed", points, ("tokens_per_second",), colors, "tokens/s")
        left, right = st.columns(2)
        _curve(left, "live.cost", points, ("cost_per_1000",), colors, scope.currency)
        _curve(right, "live.quality", points, ("quality",), colors, "%")


def _closed(points: list[dict[str, Any]], scope: Scope) -> list[dict[str, Any]]:
    """The points and the end of the last step, without which a stepped area does not show it."""
    last = max(point["at"] for point in points)
    end = last + timedelta(seconds=queries.bounds().step_s(scope.seconds))
    return points + [{**point, "at": end} for point in points if point["at"] == last]


def _latency(
    place: Any, what: str, points: list[dict[str, Any]], colors: dict[str, str], quantile: str
) -> None:
    """One quantile of every provider; of a single provider all three."""
    chosen = QUANTILE_CHOICES if len(colors) == 1 else [quantile]
    _curve(place, f"live.{what}", points, tuple(f"{what}_{q}" for q in chosen), colors, "ms")


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


def failure_rows(found: list[Sums]) -> list[dict[str, Any]]:
    """Each provider's failures by class as a share of its calls, the most frequent class first."""
    counts = added(s.failures for s in found)
    return [
        {"kind": term("failure", kind), "name": short_name(s.provider, language()),
         "calls": s.failures[kind], "rate": s.failures[kind] / s.calls}
        for kind in sorted(counts, key=lambda kind: -counts[kind])
        for s in found
        if kind in s.failures
    ]  # fmt: skip


def added(maps: Iterable[dict[Any, int]]) -> dict[Any, int]:
    """Counts by key, added up."""
    total: dict[Any, int] = {}
    for one in maps:
        for key, count in one.items():
            total[key] = total.get(key, 0) + count
    return total


def heat(points: list[dict[str, Any]], buckets: str) -> list[dict[str, Any]]:
    """Per step of time and class of latency (from_ms, to_ms], the calls and their share of the step's."""
    steps: dict[Any, list[dict[int, int]]] = {}
    for point in points:
        steps.setdefault(point["at"], []).append(point[buckets])
    cells = []
    for at, maps in sorted(steps.items()):
        counts = added(stats.coarse(one) for one in maps)
        calls = sum(counts.values())
        cells += [
            {"at": at, "from_ms": low, "to_ms": high, "calls": n, "share": n / calls}
            for (low, high), n in sorted(counts.items())
        ]
    return cells


def marks(scope: Scope) -> list[dict[str, Any]]:
    """Stage changes and verdicts, as marks on a time axis."""
    label: dict[str, Callable[[dict[str, Any]], str]] = {
        "stage_changed": lambda event: stage_label(event, queries.plan()),
        "verdict": verdict_label,
    }
    return [
        {"at": event["at"], "kind": event["kind"], "label": label[event["kind"]](event)}
        for event in [*queries.events(scope), *queries.verdict_changes(scope)]
        if event["kind"] in label
    ]
