"""What a report says, in one language, before it has a form: pages of blocks. PDF, PPTX and HTML show the same.

All text is plain text: each renderer sets it as such. Colours are "#RRGGBB", times UTC.
"""

from datetime import datetime

import msgspec

INK, MUTED, GRID, PANEL, ACCENT = "#1B2423", "#5B6663", "#DDE3E0", "#F4F7F6", "#0B6E6E"


class Tone(msgspec.Struct, frozen=True, kw_only=True):
    """How good something is: by a shape, a word and a colour, so that none is needed alone."""

    mark: str
    word: str
    color: str


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A number to be read from afar, what it is, and what it rests on."""

    label: str
    value: str
    note: str = ""


class Figures(msgspec.Struct, frozen=True, tag=True):
    items: tuple[Figure, ...]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A table's cell: `note` in small print below the text, `color` a dot before it."""

    text: str
    note: str = ""
    color: str = ""
    tone: Tone | None = None
    strong: bool = False


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """`width` is its part of the table's width, relative to the others'."""

    head: str
    width: float = 1.0
    number: bool = False  # set flush right


class Table(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a list: what it is about, and what is said."""

    head: str
    text: str
    tone: Tone | None = None


class Points(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    title: str
    items: tuple[Point, ...]
    note: str = ""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    color: str


class Curve(Series, frozen=True, kw_only=True):
    """Shares over time. `planned`: dashed, holding each value until the next; else a line over an area."""

    points: tuple[tuple[datetime, float], ...]
    planned: bool = False


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """A moment in a trend."""

    at: datetime
    label: str


class Trend(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Shares (0 to 1) over time; `changes` are moments of one kind, shown as triangles."""

    title: str
    curves: tuple[Curve, ...]
    markers: tuple[Marker, ...] = ()
    changes: tuple[datetime, ...] = ()
    changes_name: str = ""
    note: str = ""


class Bars(Series, frozen=True, kw_only=True):
    values: tuple[float | None, ...]  # one for each category


class BarChart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Bars of several series over categories: stacked upright ones, or lying groups."""

    title: str
    categories: tuple[str, ...]
    series: tuple[Bars, ...]
    stacked: bool
    unit: str  # "%" for shares, else a currency
    note: str = ""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A gate's interval against its margin, each row on a scale of its own.

    Positions are −1 to 1 with the margin at 0: left of it is tolerable. None where not known.
    """

    label: str
    text: str  # the loss, its interval and the margin
    tone: Tone
    low: float | None
    at: float | None
    high: float | None
    same: float | None  # where the candidate would be as good as the baseline


class Forest(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    title: str
    rows: tuple[Interval, ...]
    heads: tuple[str, str, str]  # words for label, state and numbers
    margin: str  # words for the line at 0
    better: str  # for what lies left of it
    note: str = ""


class Note(msgspec.Struct, frozen=True, tag=True):
    title: str
    paragraphs: tuple[str, ...]


Single = Figures | Table | Points | Trend | BarChart | Forest | Note


class Pair(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Two blocks side by side; `ratio` is the left one's part of the width."""

    left: Single
    right: Single
    ratio: float = 0.5


Block = Single | Pair


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page (or slides): its kind, its title, one sentence that says it all, and the blocks."""

    kind: str
    title: str
    sentence: str
    blocks: tuple[Block, ...]
    tone: Tone | None = None
    side: str = ""  # in small print beside the title


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report."""

    language: str
    title: str
    taken: str  # when, in words
    snapshot: str  # its name
    again: str  # how to make the same report again
    page: str  # "page {n} of {all}"
    pages: tuple[Page, ...]
    taken_at: datetime


def singles(page: Page) -> list[Single]:
    """The page's blocks with pairs taken apart."""
    found: list[Single] = []
    for block in page.blocks:
        found += [block.left, block.right] if isinstance(block, Pair) else [block]
    return found
