"""Charts as plain shapes, for PDF and HTML alike. Lengths are points, y grows downwards. Pure."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil, floor, log10
from statistics import median

import msgspec

from pipeline.report.document import (
    GRID,
    INK,
    MUTED,
    BarChart,
    Curve,
    Forest,
    Marker,
    Series,
    Trend,
)
from pipeline.report.numbers import SIGNS

SMALL, TINY = 7.5, 6.5  # font sizes
LEGEND = 13.0
AXIS = 14.0  # below a chart, for the labels of its x axis
ROW = 21.0  # of a forest
PAUSE = 6  # steps without data that break a line
CHARACTER = 0.52  # width of a Latin letter, as a part of the font's size; of a Chinese one 1


Place = Callable[[datetime], float]  # where a moment is


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    color: str


class Line(Shape, frozen=True, kw_only=True, tag=True):
    points: tuple[tuple[float, float], ...]
    width: float = 1.0
    dashed: bool = False


class Area(Shape, frozen=True, kw_only=True, tag=True):
    points: tuple[tuple[float, float], ...]
    opacity: float = 1.0


class Box(Shape, frozen=True, kw_only=True, tag=True):
    x: float
    y: float
    width: float
    height: float


class Dot(Shape, frozen=True, kw_only=True, tag=True):
    x: float
    y: float
    radius: float


class Label(Shape, frozen=True, kw_only=True, tag=True):
    """Text whose baseline is at y; `anchor` "start", "middle" or "end" is at x."""

    x: float
    y: float
    text: str
    size: float = SMALL
    anchor: str = "start"
    bold: bool = False


Any_ = Line | Area | Box | Dot | Label


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A drawing of that size."""

    width: float
    height: float
    shapes: tuple[Any_, ...]


def scene(chart: Trend | BarChart | Forest, width: float) -> Scene:
    """The chart drawn at that width."""
    if isinstance(chart, Trend):
        return _trend(chart, width, 128.0 if width > 300 else 112.0)
    if isinstance(chart, Forest):
        return _forest(chart, width)
    return _stacked(chart, width, 112.0) if chart.stacked else _groups(chart, width)


def text_width(text: str, size: float) -> float:
    """About how wide a text is."""
    return sum(1.0 if ord(char) > 0x2E7F else CHARACTER for char in text) * size


class _Frame:
    """Where the data is drawn, and how values become places."""

    def __init__(self, left: float, top: float, right: float, bottom: float) -> None:
        self.left, self.top, self.right, self.bottom = left, top, right, bottom

    def x(self, part: float) -> float:
        return round(self.left + part * (self.right - self.left), 2)

    def y(self, part: float) -> float:
        return round(self.bottom - part * (self.bottom - self.top), 2)


def _trend(chart: Trend, width: float, height: float) -> Scene:
    frame = _Frame(30, LEGEND + 12, width - 8, height - AXIS)
    moments = [at for curve in chart.curves for at, _ in curve.points]
    moments += [mark.at for mark in chart.markers]
    begin, end = min(moments), max(moments)
    span = max((end - begin).total_seconds(), 60.0)

    def x(at: datetime) -> float:
        return frame.x((at - begin).total_seconds() / span)

    shapes: list[Any_] = [*_shares_grid(frame)]
    for at, text in _ticks(begin, end):
        shapes.append(Label(x=x(at), y=height - 4, text=text, anchor="middle", color=MUTED))
        shapes.append(Line(points=((x(at), frame.bottom), (x(at), frame.bottom + 3)), color=GRID))
    for curve in chart.curves:
        shapes += _curve(curve, frame, x)
    shapes += _markers(chart.markers, frame, x)
    if chart.changes:
        left = frame.left + sum(26 + text_width(curve.name, SMALL) for curve in chart.curves)
        shapes.append(Label(x=left + 8, y=8, text=chart.changes_name, color=INK))
        shapes += [_triangle(left, 8), *(_triangle(x(at), frame.bottom) for at in chart.changes)]
    return Scene(
        width=width, height=height, shapes=(*shapes, *_legend(chart.curves, frame.left, lines=True))
    )


def _shares_grid(frame: _Frame) -> Iterator[Any_]:
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = frame.y(part)
        yield Line(points=((frame.left, y), (frame.right, y)), color=GRID, width=0.6)
        if part in (0.0, 0.5, 1.0):
            yield Label(x=frame.left - 5, y=y + 2.6, text=f"{part:.0%}", anchor="end", color=MUTED)


def _curve(curve: Curve, frame: _Frame, x: Place) -> Iterator[Any_]:
    points = [(x(at), frame.y(min(1.0, share))) for at, share in curve.points]
    if len(points) < 2:
        yield from (Dot(x=a, y=b, radius=2, color=curve.color) for a, b in points)
    elif curve.planned:
        steps = [points[0]]
        for (_, before), (at, after) in pairwise(points):
            steps += [(at, before), (at, after)]
        yield Line(points=tuple(steps), color=curve.color, width=1.2, dashed=True)
    else:
        for part in _unbroken(points):
            if len(part) == 1:
                yield Dot(x=part[0][0], y=part[0][1], radius=2, color=curve.color)
                continue
            foot = ((part[-1][0], frame.bottom), (part[0][0], frame.bottom))
            yield Area(points=(*part, *foot), color=curve.color, opacity=0.14)
            yield Line(points=tuple(part), color=curve.color, width=1.8)


def _unbroken(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The points between long pauses without data: no line is drawn over what is not known."""
    usual = median(b - a for (a, _), (b, _) in pairwise(points))
    parts = [[points[0]]]
    for before, point in pairwise(points):
        if point[0] - before[0] > PAUSE * usual:
            parts.append([])
        parts[-1].append(point)
    return parts


def _markers(markers: Sequence[Marker], frame: _Frame, x: Place) -> Iterator[Any_]:
    for mark in markers:
        at = x(mark.at)
        yield Line(points=((at, frame.top), (at, frame.bottom)), color=INK, width=0.7)
        half = text_width(mark.label, TINY) / 2
        middle = min(max(at, frame.left + half), frame.right - half)
        yield Label(
            x=middle, y=frame.top - 3, text=mark.label, size=TINY, anchor="middle", color=INK
        )


def _triangle(x: float, foot: float) -> Area:
    return Area(points=((x - 2.5, foot), (x + 2.5, foot), (x, foot - 5)), color=MUTED)


def _legend(series: Sequence[Series], left: float, *, lines: bool, room: float = 1e9) -> list[Any_]:
    shapes: list[Any_] = []
    x, y = left, 8.0
    for one in series:
        wide = 14 + text_width(one.name, SMALL) + 12
        if x > left and x + wide > left + room:
            x, y = left, y + 10
        if lines:
            dashed = isinstance(one, Curve) and one.planned
            points = ((x, y - 2.6), (x + 11, y - 2.6))
            shapes.append(Line(points=points, color=one.color, width=1.8, dashed=dashed))
        else:
            shapes.append(Box(x=x, y=y - 6, width=7, height=7, color=one.color))
        shapes.append(Label(x=x + (14 if lines else 10), y=y, text=one.name, color=INK))
        x += wide
    return shapes


def _legend_rows(series: Sequence[Series], room: float) -> int:
    rows, x = 1, 0.0
    for one in series:
        wide = 14 + text_width(one.name, SMALL) + 12
        if x and x + wide > room:
            rows, x = rows + 1, 0.0
        x += wide
    return rows


def _ticks(begin: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """Moments for the labels of a time axis: at most about seven, on round hours or days."""
    hours = (end - begin).total_seconds() / 3600
    step = next(h for h in (0.25, 1, 3, 6, 12, 24, 48, 72, 168, 336, 720, 2160, 8760, 1e6) if hours / h <= 7)  # fmt: skip
    size = timedelta(hours=step)
    midnight = datetime(begin.year, begin.month, begin.day, tzinfo=UTC)
    at = midnight + ceil((begin - midnight) / size) * size
    found = []
    while at <= end:
        found.append(
            (at, f"{at:%m-%d}" if step >= 24 or at.hour + at.minute == 0 else f"{at:%H:%M}")
        )
        at += size
    return found  # fmt: skip


def _stacked(chart: BarChart, width: float, height: float) -> Scene:
    rows = _legend_rows(chart.series, width)
    top = rows * 10 + 10.0
    frame = _Frame(34, top, width - 4, height + rows * 10 - AXIS)
    height = height + rows * 10
    sums = [
        sum(one.values[i] or 0 for one in chart.series) for i in range(len(chart.categories))
    ]  # of each category
    step = _nice(max(sums, default=0) / 4)
    highest = step * max(1, ceil(max(sums, default=0) / step))
    shapes: list[Any_] = []
    for n in range(round(highest / step) + 1):
        y = frame.y(n * step / highest)
        shapes.append(Line(points=((frame.left, y), (frame.right, y)), color=GRID, width=0.6))
        text = f"{SIGNS.get(chart.unit, '')}{_short(n * step)}"
        shapes.append(Label(x=frame.left - 4, y=y + 2.6, text=text, anchor="end", color=MUTED))
    wide = (frame.right - frame.left) / max(1, len(chart.categories))
    every = max(1, ceil(len(chart.categories) * 28 / (frame.right - frame.left)))
    for i, category in enumerate(chart.categories):
        x, base = frame.left + i * wide, 0.0
        bar = min(wide * 0.7, 26.0)
        for one in chart.series:
            value = one.values[i] or 0
            low, high = frame.y(base / highest), frame.y((base + value) / highest)
            left = round(x + (wide - bar) / 2, 2)
            if value:
                shapes.append(Box(x=left, y=high, width=round(bar, 2), height=round(low - high, 2), color=one.color))  # fmt: skip
            base += value
        if (len(chart.categories) - 1 - i) % every == 0:
            shapes.append(Label(x=round(x + wide / 2, 2), y=height - 4, text=category, anchor="middle", color=MUTED))  # fmt: skip
    legend = _legend(chart.series, 0, lines=False, room=width)
    return Scene(width=width, height=height, shapes=(*shapes, *legend))


def _groups(chart: BarChart, width: float) -> Scene:
    """Lying bars in groups; each bar says its value."""
    rows = _legend_rows(chart.series, width)
    thick = 6.5 if len(chart.series) > 2 else 8.0
    group = thick * len(chart.series) + 6
    left = max((text_width(name, SMALL) for name in chart.categories), default=0) + 6
    top = rows * 10 + 6.0
    longest = max((v or 0 for one in chart.series for v in one.values), default=0) or 1.0
    room = width - left - 34
    shapes: list[Any_] = []
    for i, category in enumerate(chart.categories):
        y = top + i * group
        middle = y + thick * len(chart.series) / 2 + 2.6
        shapes.append(Label(x=left - 5, y=middle, text=category, anchor="end", color=INK))
        for j, one in enumerate(chart.series):
            value = one.values[i] or 0
            long = round(value / longest * room, 2)
            at = y + j * thick
            shapes.append(Box(x=left, y=at + 0.5, width=max(long, 0.4), height=thick - 1, color=one.color))  # fmt: skip
            shapes.append(Label(x=left + long + 3, y=at + thick - 1.6, text=f"{value:.2%}", size=TINY, color=MUTED))  # fmt: skip
    height = top + max(1, len(chart.categories)) * group
    legend = _legend(chart.series, 0, lines=False, room=width)
    return Scene(width=width, height=height, shapes=(*shapes, *legend))


def _forest(chart: Forest, width: float) -> Scene:
    """A row for each gate: its name and state, its interval around the margin, its numbers."""
    label, numbers = width * 0.29, width * 0.37
    frame = _Frame(label, 16, width - numbers - 10, 16 + ROW * len(chart.rows))
    margin = frame.x(0.5)
    shapes: list[Any_] = [
        Area(points=((frame.left, frame.top), (margin, frame.top), (margin, frame.bottom), (frame.left, frame.bottom)), color="#0B6E6E", opacity=0.07),
        Label(x=frame.left + 3, y=10, text=f"← {chart.better}", size=TINY, color=MUTED),
        Label(x=margin, y=10, text=chart.margin, size=TINY, anchor="middle", color=INK, bold=True),
    ]  # fmt: skip
    for i, row in enumerate(chart.rows):
        middle = frame.top + ROW * (i + 0.5)
        edge = ((0.0, middle - ROW / 2), (width, middle - ROW / 2))
        shapes.append(Line(points=edge, color=GRID, width=0.5))
        shapes.append(Label(x=0, y=middle + 2.6, text=row.tone.mark, color=row.tone.color))
        shapes.append(Label(x=11, y=middle - 1.2, text=row.label, color=INK))
        shapes.append(Label(x=11, y=middle + 6.8, text=row.tone.word, size=TINY, color=row.tone.color, bold=True))  # fmt: skip
        shapes.append(Label(x=width, y=middle + 2.6, text=row.text, size=TINY, anchor="end", color=INK))  # fmt: skip
        if row.same is not None:
            at = frame.x(0.5 + row.same / 2)
            tick = ((at, middle - 4), (at, middle + 4))
            shapes.append(Line(points=tick, color=MUTED, width=0.8))
        if row.at is not None:
            low = frame.x(0.5 + (-1.0 if row.low is None else row.low) / 2)
            high = frame.x(0.5 + (1.0 if row.high is None else row.high) / 2)
            shapes.append(Line(points=((low, middle), (high, middle)), color=row.tone.color, width=2.2))  # fmt: skip
            shapes.append(Dot(x=frame.x(0.5 + row.at / 2), y=middle, radius=3, color=row.tone.color))  # fmt: skip
    shapes.append(Line(points=((margin, frame.top), (margin, frame.bottom)), color=INK, width=1.2))
    return Scene(width=width, height=frame.bottom + 2, shapes=tuple(shapes))


def _nice(step: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten."""
    if step <= 0:
        return 1.0
    power: float = 10.0 ** floor(log10(step))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= step * (1 - 1e-9))


def _short(value: float) -> str:
    """1.5k, 20, 0.05: a label of an axis."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
