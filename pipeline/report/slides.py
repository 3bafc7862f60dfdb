"""The report as PPTX with charts that can be edited. The one home of python-pptx.

Fonts are the reader's: Segoe UI and Microsoft YaHei, for which Office on a Mac puts its own.
"""

import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from pptx import Presentation
from pptx.chart.chart import Chart
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.dml.color import RGBColor
from pptx.enum.chart import (
    XL_CHART_TYPE,
    XL_LEGEND_POSITION,
    XL_MARKER_STYLE,
    XL_TICK_LABEL_POSITION,
    XL_TICK_MARK,
)
from pptx.enum.dml import MSO_LINE
from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.opc.constants import RELATIONSHIP_TYPE
from pptx.util import Emu, Inches, Pt

from pipeline.report.document import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    PANEL,
    BarChart,
    Cell,
    Column,
    Curve,
    Document,
    Figures,
    Forest,
    Note,
    Page,
    Pair,
    Points,
    Single,
    Table,
    Trend,
    singles,
)
from pipeline.report.scene import text_width

WIDTH, HEIGHT, MARGIN, TOP, BOTTOM, GAP = 13.333, 7.5, 0.5, 1.7, 7.0, 0.25  # inches
SIDE = WIDTH - 2 * MARGIN
EPOCH = datetime(1899, 12, 30, tzinfo=UTC)  # day 0 of a spreadsheet
LATIN, CHINESE = "Segoe UI", "Microsoft YaHei"
Side = tuple[
    float, list[Single]
]  # its part of the width, and what stands in it, one below the other
Row = list[Side]
Run = tuple[str, float, str, bool]  # text, size in points, colour, bold


def pptx(document: Document) -> bytes:
    """The document as PPTX."""
    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(WIDTH), Inches(HEIGHT)
    _set_fonts(deck)
    core = deck.core_properties
    core.title, core.author, core.language = document.title, "Cutover", document.language
    core.created = core.modified = document.taken_at.replace(microsecond=0, tzinfo=None)
    slides = [(page, rows) for page in document.pages for rows in _slides_of(page)]
    for number, (page, rows) in enumerate(slides, 1):
        slide = _Slide(deck, document.language)
        slide.frame(page, document, document.page.format(n=number, all=len(slides)))
        slide.fill(rows)
    out = io.BytesIO()
    deck.save(out)
    return out.getvalue()


def _set_fonts(deck: Any) -> None:
    """All text follows the theme's two fonts, one of which is Chinese."""
    theme = deck.slide_masters[0].part.part_related_by(RELATIONSHIP_TYPE.THEME)
    latin = theme.blob.replace(b'<a:latin typeface="Calibri"/>', f'<a:latin typeface="{LATIN}"/>'.encode())  # fmt: skip
    theme._blob = latin.replace(b'<a:ea typeface=""/>', f'<a:ea typeface="{CHINESE}"/>'.encode())


def _slides_of(page: Page) -> list[list[Row]]:
    """The page's blocks, as many on a slide as fit; the board's first has what is to be decided."""
    rows: list[Row] = [
        [(block.ratio, [block.left]), (1 - block.ratio, [block.right])]
        if isinstance(block, Pair)
        else [(1.0, [block])]
        for block in page.blocks
    ]
    points = [single for single in singles(page) if isinstance(single, Points)]
    if points:
        left = [row for row in rows if isinstance(row[0][1][0], Trend)]
        first = [row for row in rows if isinstance(row[0][1][0], Figures)]
        rest = [row for row in rows if row not in (*left, *first) and row[0][1][0] not in points]
        return [[*first, [(0.55, left[0][0][1]), (0.45, list(points))]], *_filled(rest)]
    return _filled(sorted(rows, key=lambda row: isinstance(row[0][1][0], Table | Forest)))


def _filled(rows: list[Row]) -> list[list[Row]]:
    """As many rows on a slide as fit."""
    found: list[list[Row]] = [[]]
    room = BOTTOM - TOP
    for row in rows:
        need = max(_height(single) for _, side in row for single in side)
        if found[-1] and need > room:
            found.append([])
            room = BOTTOM - TOP
        found[-1].append(row)
        room -= need + GAP
    return found


def _height(block: Single) -> float:
    """Inches a block needs."""
    if isinstance(block, Figures):
        return 1.0
    if isinstance(block, Table):
        return 0.8 + sum(_row_height(block, row) for row in block.rows)
    if isinstance(block, Forest):
        return 1.2 + 0.3 * len(block.rows)
    if isinstance(block, Note):
        lines = sum(1 + int(text_width(words, 12) / 72 / SIDE) for words in block.paragraphs)
        return 0.35 + 0.22 * lines
    return 2.4


def _row_height(block: Table, row: Sequence[Cell]) -> float:
    if _one_line(block):
        return 0.27
    return 0.44 if any(cell.note for cell in row) else 0.3


def _one_line(block: Table) -> bool:
    """True for long tables: small print stands beside the text, not below."""
    return len(block.rows) > 10


class _Slide:
    """One slide being filled, from top to bottom."""

    def __init__(self, deck: Any, language: str) -> None:
        self._shapes = deck.slides.add_slide(deck.slide_layouts[6]).shapes
        self._language = "zh-CN" if language == "zh" else "en-US"

    def frame(self, page: Page, document: Document, number: str) -> None:
        """Title, status, sentence and footer."""
        self._line(MARGIN, 0.92, SIDE, ACCENT, 1.5)
        self._text(
            MARGIN, 0.38, SIDE - 3, 0.5, [(page.title, 24, INK, True)], anchor=MSO_ANCHOR.BOTTOM
        )
        self._text(
            WIDTH - MARGIN - 3,
            0.38,
            3,
            0.5,
            [(page.side, 11, MUTED, False)],
            right=True,
            anchor=MSO_ANCHOR.BOTTOM,
        )
        words: list[Run] = [(page.sentence, 14 if len(page.sentence) < 260 else 11, INK, False)]
        if page.tone:
            words.insert(0, (f"{page.tone.mark} {page.tone.word}   ", 14, page.tone.color, True))
        self._text(MARGIN, 1.0, SIDE, 0.7, words)
        self._line(MARGIN, 7.05, SIDE, GRID, 0.75)
        third = SIDE / 3
        self._text(MARGIN, 7.08, third, 0.25, [(document.taken, 9, MUTED, False)])
        self._text(
            MARGIN + third - 0.6,
            7.08,
            third + 1.2,
            0.25,
            [(document.again, 9, MUTED, False)],
            center=True,
        )
        self._text(MARGIN + 2 * third, 7.08, third, 0.25, [(number, 9, MUTED, False)], right=True)  # fmt: skip

    def fill(self, rows: list[Row]) -> None:
        """The slide's blocks; the last row gets all the height that is left."""
        top = TOP
        for number, row in enumerate(rows):
            need = max(_height(single) for _, side in row for single in side)
            height = BOTTOM - top if number == len(rows) - 1 else need
            left = MARGIN
            for part, side in row:
                wide = (SIDE - GAP * (len(row) - 1)) * part
                self._column(side, left, top, wide, height)
                left += wide + GAP
            top += height + GAP

    def _column(
        self, side: list[Single], left: float, top: float, wide: float, height: float
    ) -> None:
        lengths = [1 + len(single.items) if isinstance(single, Points) else 1 for single in side]
        for single, length in zip(side, lengths, strict=True):
            share = height * length / sum(lengths)
            self._single(single, left, top, wide, share)
            top += share

    def _single(self, block: Single, left: float, top: float, wide: float, height: float) -> None:
        if isinstance(block, Figures):
            self._figures(block, left, top, wide)
            return
        self._text(left, top, wide, 0.3, [(block.title, 13, INK, True)])
        below, room = top + 0.34, height - 0.34
        if isinstance(block, Points):
            self._points(block, left, below, wide, room)
            return
        if isinstance(block, Note):
            words = "\n".join(block.paragraphs)
            self._text(left, below, wide, room, [(words, 12, INK, False)])
            return
        if block.note:
            self._text(left, top + height - 0.42, wide, 0.42, [(block.note, 9, MUTED, False)], anchor=MSO_ANCHOR.BOTTOM)  # fmt: skip
            room -= 0.45
        if isinstance(block, Table):
            self._table(block, left, below, wide)
        elif isinstance(block, Forest):
            self._forest(block, left, below, wide, room)
        elif isinstance(block, Trend):
            self._trend(block, left, below, wide, room)
        else:
            self._bars(block, left, below, wide, room)

    def _figures(self, block: Figures, left: float, top: float, wide: float) -> None:
        each = (wide - 0.2 * (len(block.items) - 1)) / len(block.items)
        for item in block.items:
            self._box(left, top, each, 1.0, PANEL)
            self._box(left, top, 0.05, 1.0, ACCENT)
            size = 24 if text_width(item.value, 24) / 72 < each - 0.3 else 16
            words: list[Run] = [
                (f"{item.label}\n", 10, MUTED, False),
                (f"{item.value}\n", size, INK, True),
                (item.note, 9, MUTED, False),
            ]
            self._text(left + 0.15, top, each - 0.2, 1.0, words, anchor=MSO_ANCHOR.MIDDLE)
            left += each + 0.2  # fmt: skip

    def _points(self, block: Points, left: float, top: float, wide: float, height: float) -> None:
        words: list[Run] = []
        for item in block.items:
            mark, color = (item.tone.mark, item.tone.color) if item.tone else ("●", MUTED)
            head = f"{item.head}  " if item.head else ""
            words += [(f"{mark} ", 10, color, True), (head, 11, INK, True), (f"{item.text}\n", 10, INK, False)]  # fmt: skip
        self._text(left, top, wide, height, words or [(block.note, 11, MUTED, False)])

    def _table(self, block: Table, left: float, top: float, wide: float) -> None:
        heights = [0.3, *(_row_height(block, row) for row in block.rows)]
        shape = self._shapes.add_table(
            len(heights), len(block.columns), Inches(left), Inches(top), Inches(wide), Inches(sum(heights))
        )  # fmt: skip
        table, whole = shape.table, sum(column.width for column in block.columns)
        table.first_row, table.horz_banding = True, False
        for column, size in zip(table.columns, block.columns, strict=True):
            column.width = Inches(wide * size.width / whole)
        for row, high in zip(table.rows, heights, strict=True):
            row.height = Inches(high)
        for i, column in enumerate(block.columns):
            head = Cell(text=column.head)
            self._cell(table.cell(0, i), head, right=column.number, one_line=True, head=True)
        for n, row in enumerate(block.rows, 1):
            for i, (cell, column) in enumerate(zip(row, block.columns, strict=True)):
                self._cell(table.cell(n, i), cell, right=column.number, one_line=_one_line(block), head=False)  # fmt: skip

    def _cell(self, target: Any, cell: Cell, *, right: bool, one_line: bool, head: bool) -> None:
        target.fill.solid()
        target.fill.fore_color.rgb = _rgb(PANEL if head else "#FFFFFF")
        target.margin_left = target.margin_right = Inches(0.06)
        target.margin_top = target.margin_bottom = Inches(0.02)
        target.vertical_anchor = MSO_ANCHOR.MIDDLE if head or one_line else MSO_ANCHOR.TOP
        size = 10 if head or one_line else 11
        words: list[Run] = []
        if cell.tone:
            words.append((f"{cell.tone.mark} {cell.tone.word}", size, cell.tone.color, True))
        if cell.text:
            words.append((cell.text, size, MUTED if head else INK, cell.strong))
        if cell.note:
            words.append((f"{'  ' if one_line else chr(10)}{cell.note}", 8, MUTED, False))
        self._write(target.text_frame, words, PP_ALIGN.RIGHT if right else PP_ALIGN.LEFT)

    def _trend(self, block: Trend, left: float, top: float, wide: float, height: float) -> None:
        """A scatter chart of lines over the days of a spreadsheet; moments are upright lines."""
        data = XyChartData()
        for curve in block.curves:
            points = data.add_series(curve.name)
            for at, share in _steps(curve):
                points.add_data_point(_days(at), share)
        for mark in block.markers:
            points = data.add_series(f"{mark.label} {mark.at:%Y-%m-%d}")
            points.add_data_point(_days(mark.at), 0.0)
            points.add_data_point(_days(mark.at), 1.0)
        if block.changes:
            points = data.add_series(block.changes_name)
            for at in block.changes:
                points.add_data_point(_days(at), 0.0)
        chart = self._chart(
            XL_CHART_TYPE.XY_SCATTER_LINES_NO_MARKERS, data, left, top, wide, height
        )
        looks = [(curve.color, curve.planned, 2.25) for curve in block.curves]
        looks += [(INK, False, 0.75)] * len(block.markers)
        drawn = list(chart.plots[0].series)
        if block.changes:
            changes = drawn.pop()
            changes.format.line.fill.background()
            _mark(changes, XL_MARKER_STYLE.TRIANGLE, MUTED)
        for series, (color, dashed, width) in zip(drawn, looks, strict=True):
            _draw(series, color, width, dashed=dashed)
        moments = [at for curve in block.curves for at, _ in curve.points]
        moments += [mark.at for mark in block.markers]
        _axis(chart.value_axis, 0.0, 1.0, "0%")
        chart.value_axis.major_unit = 0.25
        _axis(chart.category_axis, _days(min(moments)), _days(max(moments)), "mm-dd", grid=False)

    def _bars(self, block: BarChart, left: float, top: float, wide: float, height: float) -> None:
        data = CategoryChartData(number_format="0.00%" if block.unit == "%" else "#,##0.00")
        upright = block.stacked
        data.categories = block.categories if upright else block.categories[::-1]
        for one in block.series:
            data.add_series(one.name, one.values if upright else one.values[::-1])
        kind = XL_CHART_TYPE.COLUMN_STACKED if upright else XL_CHART_TYPE.BAR_CLUSTERED
        if not block.categories or not block.series:
            return
        chart = self._chart(kind, data, left, top, wide, height)
        for series, one in zip(chart.plots[0].series, block.series, strict=True):
            series.format.fill.solid()
            series.format.fill.fore_color.rgb = _rgb(one.color)
            series.invert_if_negative = False
        chart.plots[0].gap_width = 60
        if upright:
            chart.plots[0].overlap = 100
        _axis(chart.value_axis, 0.0, None, "0.0%" if block.unit == "%" else "#,##0.##")
        _axis(chart.category_axis, None, None, "", grid=False)

    def _forest(self, block: Forest, left: float, top: float, wide: float, height: float) -> None:
        """A table of the numbers, and beside it a scatter chart: a line for each interval, the margin at 0."""
        half = wide * 0.52
        rows = tuple(
            (Cell(text=row.label), Cell(text="", tone=row.tone), Cell(text=row.text))
            for row in block.rows
        )
        columns = tuple(
            Column(head=head, width=width)
            for head, width in zip(block.heads, (1.7, 0.8, 2.6), strict=True)
        )
        self._table(Table(title="", columns=columns, rows=rows), left, top, half)
        data, high = XyChartData(), len(block.rows)
        for n, row in enumerate(block.rows):
            points = data.add_series(row.label)
            if row.at is not None:
                points.add_data_point(-1.0 if row.low is None else row.low, high - n - 0.5)
                points.add_data_point(row.at, high - n - 0.5)
                points.add_data_point(1.0 if row.high is None else row.high, high - n - 0.5)
        points = data.add_series(block.margin)
        points.add_data_point(0.0, 0.0)
        points.add_data_point(0.0, float(high))
        chart = self._chart(XL_CHART_TYPE.XY_SCATTER_LINES, data, left + half + GAP, top, wide - half - GAP, 0.3 * high + 0.2)  # fmt: skip
        chart.has_legend = False
        *intervals, margin = chart.plots[0].series
        for series, row in zip(intervals, block.rows, strict=True):
            _draw(series, row.tone.color, 2.25)
            _mark(series, XL_MARKER_STYLE.CIRCLE, row.tone.color)
        _draw(margin, INK, 1.5)
        margin.marker.style = XL_MARKER_STYLE.NONE
        _axis(chart.value_axis, 0.0, float(high), "", grid=False)
        _axis(chart.category_axis, -1.05, 1.05, "", grid=False)
        for axis in (chart.value_axis, chart.category_axis):
            axis.tick_label_position = XL_TICK_LABEL_POSITION.NONE

    def _chart(
        self, kind: Any, data: Any, left: float, top: float, wide: float, height: float
    ) -> Chart:
        frame = self._shapes.add_chart(
            kind, Inches(left), Inches(top), Inches(wide), Inches(max(height, 1.0)), data
        )
        chart = frame.chart
        chart.has_title = False
        chart.font.size, chart.font.color.rgb = Pt(10), _rgb(MUTED)
        chart.has_legend = True
        chart.legend.position, chart.legend.include_in_layout = XL_LEGEND_POSITION.TOP, False
        return chart

    def _text(
        self,
        left: float,
        top: float,
        wide: float,
        height: float,
        words: Sequence[Run],
        *,
        right: bool = False,
        center: bool = False,
        anchor: Any = MSO_ANCHOR.TOP,
    ) -> None:
        box = self._shapes.add_textbox(Inches(left), Inches(top), Inches(wide), Inches(height))
        frame = box.text_frame
        frame.word_wrap, frame.vertical_anchor = True, anchor
        frame.margin_left = frame.margin_right = frame.margin_top = frame.margin_bottom = Emu(0)
        side = PP_ALIGN.RIGHT if right else PP_ALIGN.CENTER if center else PP_ALIGN.LEFT
        self._write(frame, words, side)

    def _write(self, frame: Any, words: Sequence[Run], side: Any) -> None:
        """Runs of (text, size, colour, bold); a line break ends a paragraph."""
        paragraph = frame.paragraphs[0]
        paragraph.alignment = side
        paragraph.font.size = Pt(8)  # else an empty cell is as high as large print
        for text, size, color, bold in words:
            for n, line in enumerate(text.split("\n")):
                if n:
                    paragraph = frame.add_paragraph()
                    paragraph.alignment = side
                if line:
                    run = paragraph.add_run()
                    run.text = line
                    run.font.size, run.font.bold = Pt(size), bold
                    run.font.color.rgb = _rgb(color)
                    run.font._element.set("lang", self._language)

    def _box(self, left: float, top: float, wide: float, height: float, color: str) -> None:
        """A filled rectangle: a text box without text has no shadow, whatever the theme."""
        box = self._shapes.add_textbox(Inches(left), Inches(top), Inches(wide), Inches(height))
        box.fill.solid()
        box.fill.fore_color.rgb = _rgb(color)

    def _line(self, left: float, top: float, wide: float, color: str, width: float) -> None:
        self._box(left, top, wide, width / 72, color)


def _rgb(color: str) -> RGBColor:
    return RGBColor.from_string(color.lstrip("#"))


def _days(at: datetime) -> float:
    """The moment as a spreadsheet counts: days since 1899-12-30."""
    return (at - EPOCH).total_seconds() / 86_400


def _steps(curve: Curve) -> Iterable[tuple[datetime, float]]:
    """A plan's points with the corners of its steps; a line's points as they are."""
    if not curve.planned:
        return curve.points
    corners = [curve.points[:1]]
    corners += [((at, before), (at, after)) for (_, before), (at, after) in pairwise(curve.points)]
    return [point for pair in corners for point in pair]


def _draw(series: Any, color: str, width: float, *, dashed: bool = False) -> None:
    series.smooth = False
    series.format.line.color.rgb = _rgb(color)
    series.format.line.width = Pt(width)
    if dashed:
        series.format.line.dash_style = MSO_LINE.DASH


def _mark(series: Any, style: Any, color: str) -> None:
    """Markers of that shape; without a line unless one was drawn."""
    series.marker.style, series.marker.size = style, 7
    series.marker.format.fill.solid()
    series.marker.format.fill.fore_color.rgb = _rgb(color)
    series.marker.format.line.color.rgb = _rgb(color)


def _axis(
    axis: Any, low: float | None, high: float | None, form: str, *, grid: bool = True
) -> None:
    axis.minimum_scale, axis.maximum_scale = low, high
    axis.has_major_gridlines = grid
    axis.major_tick_mark = axis.minor_tick_mark = XL_TICK_MARK.NONE
    axis.format.line.color.rgb = _rgb(GRID)
    if grid:
        axis.major_gridlines.format.line.color.rgb = _rgb(GRID)
    if form:
        axis.tick_labels.number_format, axis.tick_labels.number_format_is_linked = form, False
