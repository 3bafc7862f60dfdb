"""The charts. Pure: rows and colours in, an Altair chart out. Values are shown as they are given."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import altair as alt
import pandas as pd

HEIGHT = 240
FEW = 3  # moments
NARROW = 400  # pixels: a phone
Row = Mapping[str, Any]
GRID: dict[str, Any] = {"domain": False, "ticks": False, "tickCount": 5}
ACCENT = {"light": "#0B6E6E", "dark": "#4FC3B8"}  # the page's own colour
EXPECTED = "#C9822B"  # what is forecast
MARK = "#7F8694"  # stage changes and plans
SHAPES = {
    "stage_changed": "triangle-down",
    "verdict": "diamond",
    "deadline": "square",
    "plan": "cross",
}
KIND_COLORS = {  # input, cache read, cache write, output
    "light": ["#0B6E6E", "#8CC5BF", "#C9A227", "#33508A"],
    "dark": ["#4FC3B8", "#1F6D66", "#E0C25A", "#8FB0EA"],
}
# Okabe and Ito's, told apart by colour-blind people: no provider's, so that gates are not taken for one.
GATE_COLORS = [
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8A8F98",
    "#B8A400",
]
DASHES = [[1, 0], [5, 4], [1, 3]]
HEAT = {"light": ["#E7F1EE", "#0B6E6E"], "dark": ["#17302E", "#7FE3D6"]}  # few calls, many calls
LABELS = {  # how a unit is written beside an axis
    "%": "format(datum.value, '.1~%')",
    "ms": "datum.value >= 1000 ? format(datum.value / 1000, '~r') + ' s' : format(datum.value, '~r') + ' ms'",
    "tokens/s": "format(datum.value, '~r') + ' tok/s'",
    "USD": "'$' + format(datum.value, '~r')",
    "CNY": "'¥' + format(datum.value, '~r')",
}
TIMES = "hours(datum.value) + minutes(datum.value) == 0 ? timeFormat(datum.value, '%m-%d') : timeFormat(datum.value, '%H:%M')"
FONT = "Inter, 'Segoe UI', 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', sans-serif"
INK = {"light": ("#5B6663", "#E4E8E5"), "dark": ("#A3B0AD", "#2A3634")}  # text, grid


def styled(chart: alt.Chart | alt.LayerChart, theme: str) -> alt.Chart | alt.LayerChart:
    """The chart in the page's own look, light or dark."""
    ink, grid = INK[theme]
    return (
        chart.configure(background="transparent", font=FONT, padding={"left": 2, "right": 8, "top": 6, "bottom": 2})
        .configure_axis(labelColor=ink, titleColor=ink, gridColor=grid, labelFontSize=12, titleFontSize=12, titleFontWeight="normal",
                        domainColor=grid, tickColor=grid, labelPadding=6)
        .configure_legend(labelColor=ink, labelFontSize=12, symbolSize=80, rowPadding=4, columnPadding=16, offset=10)
        .configure_view(stroke=None)
    )  # fmt: skip


def _colors(palette: Mapping[str, str], symbol: str = "circle") -> alt.Color:
    """One colour per provider's name; palette: name → colour."""
    return alt.Color(
        "name:N",
        scale=alt.Scale(domain=list(palette), range=list(palette.values())),
        legend=_legend(symbol),
    )


def _legend(symbol: str, columns: int = 3, narrow: int = 2) -> alt.Legend:
    """Under the chart, in so many columns; fewer and shorter ones on a phone."""

    def either(on_phone: int, else_: int) -> alt.ExprRef:
        return alt.ExprRef(f"width < {NARROW} ? {on_phone} : {else_}")

    return alt.Legend(
        title=None, orient="bottom", columns=either(narrow, columns), labelLimit=either(210 // narrow, 190), symbolType=symbol,
        symbolStrokeWidth=3 if symbol == "stroke" else 0,
    )  # fmt: skip


def _time() -> alt.X:
    return alt.X(
        "at:T",
        title=None,
        axis=alt.Axis(
            labelOverlap=True,
            tickCount=alt.ExprRef(f"width < {NARROW} ? 3 : 6"),
            grid=False,
            labelExpr=TIMES,
            tickMinStep=60_000,
        ),
    )


def shares(rows: Sequence[Row], marks: Sequence[Row], palette: Mapping[str, str]) -> alt.LayerChart:
    """Who answers which share of the users' calls; marks (at, kind, label) are stage changes and verdicts."""
    ranks = {name: rank for rank, name in enumerate(palette)}
    areas = (
        alt.Chart(pd.DataFrame({"at": row["at"], "name": row["name"], "calls": row["calls"], "rank": ranks[row["name"]]} for row in rows))
        .mark_area(interpolate="step-after", line=False, opacity=0.92)
        .encode(
            x=_time(),
            y=alt.Y("calls:Q", stack="normalize", title=None, axis=alt.Axis(format="%", **GRID)),
            color=_colors(palette),
            order=alt.Order("rank:Q"),
            tooltip=[alt.Tooltip("name:N", title=" "), alt.Tooltip("at:T", format="%m-%d %H:%M", title=" "),
                     alt.Tooltip("calls:Q", format=",", title=" ")],
        )
    )  # fmt: skip
    return alt.layer(areas, *_rules(marks, "#FFFFFF")).properties(height=HEIGHT + 60)


def _rules(marks: Sequence[Row], color: str) -> list[alt.Chart]:
    if not marks:
        return []
    data = pd.DataFrame({"kind": "stage_changed", **mark} for mark in marks)
    tip = [alt.Tooltip("label:N", title=" "), alt.Tooltip("at:T", format="%m-%d %H:%M", title=" ")]
    rule = (
        alt.Chart(data)
        .mark_rule(strokeDash=[3, 3], strokeWidth=1.5, color=color)
        .encode(x="at:T", tooltip=tip)
    )
    flag = alt.Chart(data).mark_point(filled=True, size=90, color=color, opacity=1, stroke="#15211F", strokeWidth=0.5).encode(
        x="at:T", y=alt.value(5), tooltip=tip,
        shape=alt.Shape("kind:N", legend=None, scale=alt.Scale(domain=list(SHAPES), range=list(SHAPES.values()))),
    )  # fmt: skip
    return [rule, flag]


def lines(
    rows: Sequence[Row], fields: Sequence[str], palette: Mapping[str, str], unit: str
) -> alt.Chart:
    """Curves per provider; the first field is drawn whole, a second dashed, a third dotted. unit: a key of LABELS."""
    data = pd.DataFrame(rows).melt(["at", "name"], list(fields), "field", "value").dropna()
    data["value"] = data["value"].astype(float)
    nothing = not data["value"].any()  # zero belongs at the foot, not in the middle
    scale = alt.Scale(domain=[0, 0.01 if unit == "%" else 1]) if nothing else alt.Undefined
    few = data["at"].nunique() <= FEW  # a line through a single moment cannot be seen
    return (
        alt.Chart(data)
        .mark_line(strokeWidth=2, strokeJoin="round", point=few)
        .encode(
            x=_time(),
            y=alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(labelExpr=LABELS[unit], **GRID)),
            color=_colors(palette, "stroke"),
            strokeDash=alt.StrokeDash("field:N", scale=alt.Scale(domain=list(fields), range=DASHES[: len(fields)]), legend=None),
            tooltip=[alt.Tooltip("name:N", title=" "), alt.Tooltip("at:T", format="%m-%d %H:%M", title=" "),
                     alt.Tooltip("value:Q", format=".2%" if unit == "%" else ",.4~r", title=" ")],
        )
        .properties(height=HEIGHT)
    )  # fmt: skip


def failures(rows: Sequence[Row], palette: Mapping[str, str]) -> alt.Chart:
    """Failures of each class (kind) as a share of a provider's calls; kinds come most frequent first."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            y=alt.Y("kind:N", sort=kinds, title=None, axis=alt.Axis(labelLimit=160, domain=False, ticks=False)),
            yOffset=alt.YOffset("name:N", sort=list(palette)),
            x=alt.X("rate:Q", title=None, axis=alt.Axis(labelExpr=LABELS["%"], **GRID)),
            color=_colors(palette),
            tooltip=[alt.Tooltip("name:N", title=" "), alt.Tooltip("kind:N", title=" "),
                     alt.Tooltip("rate:Q", format=".2%", title=" "), alt.Tooltip("calls:Q", format=",", title=" ")],
        )
        .properties(height=HEIGHT + 60)
    )  # fmt: skip


def heatmap(cells: Sequence[Row], theme: str) -> alt.Chart:
    """Calls by time and latency; each column's shares add up to 1. Cells: at, from_ms, to_ms, calls, share."""
    data = pd.DataFrame(cells)
    times = sorted(data["at"].unique())
    step = min((b - a for a, b in pairwise(times)), default=pd.Timedelta(minutes=1))
    data["end"] = data["at"] + step
    return (
        alt.Chart(data)
        .mark_rect()
        .encode(
            x=_time(), x2="end:T",
            y=alt.Y("from_ms:Q", title=None, scale=alt.Scale(type="log", nice=False),
                    axis=alt.Axis(labelExpr=LABELS["ms"], grid=False, domain=False, ticks=False, tickCount=6)),
            y2="to_ms:Q",
            color=alt.Color("share:Q", scale=alt.Scale(range=HEAT[theme], type="sqrt"), legend=None),
            tooltip=[alt.Tooltip("at:T", format="%m-%d %H:%M", title=" "), alt.Tooltip("from_ms:Q", format=",.0f", title="> ms"),
                     alt.Tooltip("to_ms:Q", format=",.0f", title="≤ ms"), alt.Tooltip("calls:Q", format=",", title="n"),
                     alt.Tooltip("share:Q", format=".1%", title=" ")],
        )
        .properties(height=HEIGHT)
    )  # fmt: skip


def distribution(rows: Sequence[Row], palette: Mapping[str, str]) -> alt.Chart:
    """Share of calls that took at most so many ms, on a logarithmic scale."""
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("ms:Q", title=None, scale=alt.Scale(type="log", nice=False), axis=alt.Axis(labelExpr=LABELS["ms"], tickCount=6, grid=False, labelOverlap=True)),
            y=alt.Y("share:Q", title=None, axis=alt.Axis(format="%", **GRID)),
            color=_colors(palette, "stroke"),
            tooltip=[alt.Tooltip("name:N", title=" "), alt.Tooltip("ms:Q", format=",.0f"), alt.Tooltip("share:Q", format=".1%", title=" ")],
        )
        .properties(height=HEIGHT)
    )  # fmt: skip


def stacked(rows: Sequence[Row], unit: str, theme: str) -> alt.Chart:
    """A bar per provider, made of the kinds of tokens its calls cost; rows: name, kind, order, cost."""
    data = pd.DataFrame(rows)
    kinds = list(dict.fromkeys(data["kind"]))
    return (
        alt.Chart(data)
        .mark_bar(height=alt.RelativeBandSize(0.7))
        .encode(
            y=alt.Y("name:N", sort=list(dict.fromkeys(data["name"])), title=None, axis=alt.Axis(labelLimit=180, domain=False, ticks=False)),
            x=alt.X("cost:Q", title=None, axis=alt.Axis(labelExpr=LABELS[unit], **GRID)),
            color=alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=KIND_COLORS[theme][: len(kinds)]), legend=_legend("square", 2, narrow=1)),
            order="order:Q",
            tooltip=[alt.Tooltip("name:N", title=" "), alt.Tooltip("kind:N", title=" "), alt.Tooltip("cost:Q", format=",.4~r", title=" ")],
        )
        .properties(height=96 + 34 * data["name"].nunique())
    )  # fmt: skip


def evidence(rows: Sequence[Row], thresholds: Mapping[str, float | None]) -> alt.LayerChart:
    """Log e-values over time, a colour per gate, a dash per side; thresholds: side → where it decides."""
    data = pd.DataFrame(rows)
    sides = list(thresholds)
    which = _legend("stroke", narrow=1)
    which.symbolStrokeColor = MARK
    dash = alt.StrokeDash(
        "side:N", scale=alt.Scale(domain=sides, range=DASHES[: len(sides)]), legend=which
    )
    curves = (
        alt.Chart(data)
        .mark_line(strokeWidth=2, point=data["at"].nunique() <= FEW)
        .encode(
            x=_time(),
            y=alt.Y("log_e:Q", title=None, axis=alt.Axis(**GRID)),
            color=alt.Color("gate:N", scale=alt.Scale(range=GATE_COLORS), legend=_legend("stroke", narrow=1)),
            strokeDash=dash,
            tooltip=[alt.Tooltip("gate:N", title=" "), alt.Tooltip("side:N", title=" "), alt.Tooltip("at:T", format="%m-%d %H:%M", title=" "),
                     alt.Tooltip("log_e:Q", format=".2f", title="ln e")],
        )
    )  # fmt: skip
    lines = [
        {"side": side, "log_e": value} for side, value in thresholds.items() if value is not None
    ]
    if not lines:
        return alt.layer(curves).properties(height=HEIGHT + 60)
    rule = alt.Chart(pd.DataFrame(lines)).mark_rule(color=MARK, strokeWidth=1.5).encode(
        y="log_e:Q", strokeDash=dash, tooltip=["side:N", alt.Tooltip("log_e:Q", format=".2f")]
    )  # fmt: skip
    return alt.layer(curves, rule).properties(height=HEIGHT + 60)


def burn_up(
    actual: Sequence[Row],
    planned: Sequence[Row],
    expected: Sequence[Row],
    marks: Sequence[Row],
    accent: str,
    *,
    names: tuple[str, str, str],
) -> alt.LayerChart:
    """Migrated share of the traffic over time (area) against the plan (dashed) and the forecast (dotted, with its fan).

    expected: at, least, middle, most; names of the three.
    """
    y = alt.Y(
        "share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", **GRID)
    )
    tip = [
        alt.Tooltip("what:N", title=" "),
        alt.Tooltip("at:T", format="%m-%d %H:%M", title=" "),
        alt.Tooltip("share:Q", format=".1%", title=" "),
    ]
    color = alt.Color(
        "what:N",
        scale=alt.Scale(domain=list(names), range=[accent, MARK, EXPECTED]),
        legend=_legend("stroke"),
    )
    layers: list[Any] = []
    if actual:
        data = pd.DataFrame(actual).assign(what=names[0])
        layers.append(alt.Chart(data).mark_area(opacity=0.18, color=accent).encode(x=_time(), y=y))
        layers.append(
            alt.Chart(data)
            .mark_line(strokeWidth=2.5)
            .encode(x=_time(), y=y, color=color, tooltip=tip)
        )
    if planned:
        data = pd.DataFrame(planned).assign(what=names[1])
        layers.append(
            alt.Chart(data)
            .mark_line(strokeWidth=2, strokeDash=[5, 4], interpolate="step-after")
            .encode(x=_time(), y=y, color=color, tooltip=tip)
        )
    if expected:
        data = pd.DataFrame(expected).assign(what=names[2], share=lambda d: d["middle"])
        band = alt.Chart(data).mark_area(opacity=0.25, color=EXPECTED, interpolate="step-after")
        layers.append(band.encode(x=_time(), y=alt.Y("most:Q", title=None), y2="least:Q"))
        middle = alt.Chart(data).mark_line(
            strokeWidth=2, strokeDash=[1, 3], interpolate="step-after"
        )
        layers.append(middle.encode(x=_time(), y=y, color=color, tooltip=tip))
    return alt.layer(*layers, *_rules(marks, MARK)).properties(height=HEIGHT + 40)


def bars(rows: Sequence[Row], color: str) -> alt.Chart:
    """Calls per minute."""
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar(color=color, width=alt.RelativeBandSize(0.75))
        .encode(
            x=alt.X(
                "at:T",
                timeUnit="yearmonthdatehoursminutes",
                title=None,
                axis=alt.Axis(labelOverlap=True, tickCount=6, grid=False, format="%H:%M"),
            ),
            y=alt.Y("calls:Q", title=None, axis=alt.Axis(**GRID)),
            tooltip=[
                alt.Tooltip("at:T", format="%H:%M", title=" "),
                alt.Tooltip("calls:Q", format=",", title=" "),
            ],
        )
        .properties(height=180)
    )
