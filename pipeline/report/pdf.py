"""The report as PDF: `report.typ` lays it out, Typst sets it, the fonts are inside. The one home of typst."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import typst

from pipeline.report import fonts
from pipeline.report.document import BarChart, Block, Document, Forest, Page, Pair, Single, Trend
from pipeline.report.scene import scene

TEMPLATE = Path(__file__).parent / "report.typ"
WIDTH, GUTTER = 511.0, 20.0  # points: A4 without its margins; between two blocks


def pdf(document: Document) -> bytes:
    """The document as PDF. Raises MissingError without the font."""
    inputs = {"report": msgspec.json.encode(_with_scenes(document)).decode(), "font": fonts.FAMILY}
    found = typst.compile(
        TEMPLATE.read_bytes(),
        font_paths=_fonts(),
        sys_inputs=inputs,
        timestamp=document.taken_at.replace(microsecond=0).replace(microsecond=0),
    )
    if not isinstance(found, bytes):
        raise TypeError("Typst gave more than one file")
    return found


@cache
def _fonts() -> typst.Fonts:
    """The report's font and no other, so that it looks the same everywhere."""
    return typst.Fonts(
        include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(fonts.folder())]
    )


def _with_scenes(document: Document) -> dict[str, Any]:
    """The document as plain values, each chart with its drawing."""
    plain: dict[str, Any] = msgspec.to_builtins(document)
    plain["pages"] = [_page(page) for page in document.pages]
    return plain


def _page(page: Page) -> dict[str, Any]:
    return {**msgspec.to_builtins(page), "blocks": [_block(block) for block in page.blocks]}


def _block(block: Block) -> dict[str, Any]:
    if isinstance(block, Pair):
        left = (WIDTH - GUTTER) * block.ratio
        sides = {
            "left": _single(block.left, left),
            "right": _single(block.right, WIDTH - GUTTER - left),
        }
        return {**msgspec.to_builtins(block), **sides}
    return _single(block, WIDTH)


def _single(block: Single, width: float) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(block)
    if isinstance(block, Trend | BarChart | Forest):
        plain["scene"] = msgspec.to_builtins(scene(block, width))
    return plain
