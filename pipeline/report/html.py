"""The report as one HTML file that needs nothing else: drawings inline, printable, no script. Pure."""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as ET

from pipeline.report.document import (
    BarChart,
    Block,
    Cell,
    Document,
    Figures,
    Forest,
    Note,
    Page,
    Pair,
    Point,
    Points,
    Table,
    Tone,
    Trend,
)
from pipeline.report.scene import Area, Box, Dot, Label, Line, Scene, scene

STYLE = Path(__file__).parent / "report.css"
WIDE, HALF = 600.0, 285.0  # points a drawing is made for; it is scaled to the room there is
Child = ET.Element | str


def html(document: Document) -> str:
    """The document as HTML. Text is set as text: nothing in it can be markup."""
    all_pages = str(len(document.pages))
    pages = [
        _page(document, page, document.page.format(n=number, all=all_pages))
        for number, page in enumerate(document.pages, 1)
    ]
    language = "zh-CN" if document.language == "zh" else "en"
    head = _tag(
        "head",
        _tag("meta", charset="utf-8"),
        _tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _tag("title", document.title),
        _tag("style", STYLE.read_text(encoding="utf-8")),
    )
    root = _tag("html", head, _tag("body", *pages), lang=language)
    return "<!DOCTYPE html>\n" + ET.tostring(root, encoding="unicode", method="html")


def _tag(name: str, /, *children: Child, **attributes: str) -> ET.Element:
    """An element; `cls` stands for class, and _ for - in names of attributes."""
    names = {"cls": "class"}
    given = {names.get(key, key.replace("_", "-")): value for key, value in attributes.items()}
    found = ET.Element(name, given)
    last: ET.Element | None = None
    for child in children:
        if isinstance(child, ET.Element):
            found.append(child)
            last = child
        elif last is None:
            found.text = (found.text or "") + child
        else:
            last.tail = (last.tail or "") + child
    return found


def _page(document: Document, page: Page, number: str) -> ET.Element:
    title = _tag("header", _tag("h1", page.title), _tag("span", page.side))
    parts = [title]
    if page.tone:
        parts.append(_tag("p", _tone(page.tone), cls="verdict"))
    if page.sentence:
        parts.append(_tag("p", page.sentence, cls="sentence"))
    parts += [_block(block) for block in page.blocks]
    foot = (_tag("span", words) for words in (document.taken, document.again, number))
    return _tag("article", *parts, _tag("footer", *foot), cls=page.kind)


def _block(block: Block) -> ET.Element:
    if isinstance(block, Pair):
        return _tag("div", _single(block.left, HALF), _single(block.right, HALF), cls="pair")
    return _single(block, WIDE)


def _single(block: Block, width: float) -> ET.Element:
    if isinstance(block, Figures):
        cards = [
            _tag("div", _tag("span", i.label), _tag("b", i.value), _tag("small", i.note))
            for i in block.items
        ]
        return _tag("div", *cards, cls="figures")
    if isinstance(block, Table):
        return _titled(block.title, block.note, _table(block))
    if isinstance(block, Points):
        items = [_point(item) for item in block.items]
        return _titled(block.title, "" if items else block.note, _tag("ul", *items))
    if isinstance(block, Note):
        return _titled(block.title, "", *(_tag("p", words) for words in block.paragraphs))
    if isinstance(block, Trend | BarChart | Forest):
        return _titled(block.title, block.note, _svg(scene(block, width), block.title))
    raise TypeError(f"no HTML for {type(block).__name__}")


def _titled(title: str, note: str, *parts: ET.Element) -> ET.Element:
    small = [_tag("small", note)] if note else []
    return _tag("section", _tag("h2", title), *parts, *small)


def _tone(tone: Tone) -> ET.Element:
    return _tag(
        "span", f"{tone.mark} {tone.word}".rstrip(), cls="tone", style=f"color:{tone.color}"
    )


def _point(item: Point) -> ET.Element:
    mark = _tone(item.tone) if item.tone else _tag("span", "●", cls="tone")
    if item.tone:
        mark.text = item.tone.mark
    return _tag("li", mark, _tag("div", _tag("b", item.head), " ", _tag("span", item.text)))


def _table(block: Table) -> ET.Element:
    sides = ["num" if column.number else "txt" for column in block.columns]
    heads = [
        _tag("th", c.head, cls=side, scope="col")
        for c, side in zip(block.columns, sides, strict=True)
    ]
    lines = [
        _tag("tr", *(_cell(cell, side) for cell, side in zip(row, sides, strict=True)))
        for row in block.rows
    ]
    table = _tag("table", _tag("thead", _tag("tr", *heads)), _tag("tbody", *lines))
    return _tag("div", table, cls="scroll")


def _cell(cell: Cell, side: str) -> ET.Element:
    parts: list[Child] = [_tone(cell.tone)] if cell.tone else []
    if cell.text:
        parts.append(_tag("b", cell.text) if cell.strong else cell.text)
    if cell.note:
        parts.append(_tag("small", cell.note))
    return _tag("td", *parts, cls=side)


def _svg(drawing: Scene, title: str) -> ET.Element:
    """The drawing, scaled to the width there is, with its title for screen readers."""
    return _tag(
        "svg",
        _tag("title", title),
        *(_shape(shape) for shape in drawing.shapes),
        viewBox=f"0 0 {drawing.width:g} {drawing.height:g}",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
    )


def _shape(shape: Line | Area | Box | Dot | Label) -> ET.Element:
    if isinstance(shape, Line):
        dash = {"stroke_dasharray": "3 2"} if shape.dashed else {}
        return _tag(
            "polyline", points=_points(shape.points), fill="none", stroke=shape.color,
            stroke_width=f"{shape.width:g}", stroke_linejoin="round", **dash,
        )  # fmt: skip
    if isinstance(shape, Area):
        opacity = f"{shape.opacity:g}"
        points = _points(shape.points)
        return _tag("polygon", points=points, fill=shape.color, fill_opacity=opacity)
    if isinstance(shape, Box):
        size = {"x": shape.x, "y": shape.y, "width": shape.width, "height": shape.height}
        return _tag("rect", fill=shape.color, **{key: f"{value:g}" for key, value in size.items()})
    if isinstance(shape, Dot):
        where = {"cx": shape.x, "cy": shape.y, "r": shape.radius}
        return _tag("circle", fill=shape.color, **{k: f"{value:g}" for k, value in where.items()})
    return _tag(
        "text", shape.text, x=f"{shape.x:g}", y=f"{shape.y:g}", fill=shape.color,
        font_size=f"{shape.size:g}", text_anchor=shape.anchor,
        **({"font_weight": "700"} if shape.bold else {}),
    )  # fmt: skip


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
