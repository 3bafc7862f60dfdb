"""Pieces of HTML for the pages. Markup.format escapes every value, so data never becomes markup."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from markupsafe import Markup

from dashboards.names import provider_color, short_name, side_color, side_name
from dashboards.sides import Side

Cell = str | Markup
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()#+!|<>$~:-]")

UNKNOWN = Markup("–")
DOT = Markup('<i class="dot" style="background:{}"></i>')
SMALL = Markup("{}<small>{}</small>")
PILL = Markup('<span class="pill {}">{}</span>')
HINT = Markup('<span title="{}">{}</span>')
BAR = Markup('<span class="bar"><i style="width:{}%;background:{}"></i></span>')


def joined(parts: Iterable[Cell]) -> Markup:
    """The parts one after the other, escaped where they are plain text."""
    return Markup("").join(parts)


def with_small(value: str, note: str) -> Markup:
    """A value with a smaller note under it."""
    return SMALL.format(value, note)


def provider(provider_id: str, language: str, theme: str) -> Markup:
    """A provider's name behind a dot of its colour."""
    return DOT.format(provider_color(provider_id, theme)) + short_name(provider_id, language)


def side(of: Side, language: str, theme: str) -> Markup:
    """A side's name behind a dot of its colour."""
    return DOT.format(side_color(of, theme)) + side_name(of, language)


def table(
    heads: Sequence[Cell], body: Iterable[Sequence[Cell]], *, text_columns: int = 1
) -> Markup:
    """A table; the first columns hold text, the others numbers, aligned right."""
    head = joined(
        Markup("<th{}>{}</th>").format(_kind(i, text_columns), h) for i, h in enumerate(heads)
    )
    lines = joined(
        Markup("<tr>{}</tr>").format(
            joined(
                Markup("<td{}>{}</td>").format(_kind(i, text_columns), c) for i, c in enumerate(row)
            )
        )
        for row in body
    )
    return Markup(
        '<div class="scroll"><table class="grid"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(head, lines)


def facts(pairs: Iterable[tuple[Cell, Cell]]) -> Markup:
    """A list of names and values."""
    return Markup('<dl class="facts">{}</dl>').format(
        joined(
            Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value) for name, value in pairs
        )
    )


def spark(values: Sequence[float], color: str) -> Markup:
    """A row of little bars, the largest as high as the row."""
    top = max(values, default=0) or 1
    bars = joined(
        Markup('<i style="height:{}%;background:{}"></i>').format(round(100 * v / top), color)
        for v in values
    )
    return Markup('<div class="spark">{}</div>').format(bars)


def link(text: Cell, page: str, **asked: str) -> Markup:
    """A link to another page with its filters set; empty ones are left out."""
    query = urlencode({key: value for key, value in asked.items() if value})
    return Markup('<a href="{}" target="_self">{}</a>').format(f"{page}?{query}", text)


def track(low: float, value: float, high: float, color: str, *marks: float) -> Markup:
    """An interval and its estimate on a line; all places as shares of its length, cut off at its ends."""
    left, at, right = (round(100 * min(1.0, max(0.0, x)), 2) for x in (low, value, high))
    lines = joined(Markup('<em style="left:{}%"></em>').format(round(100 * x, 2)) for x in marks)
    return Markup(
        '<span class="track">{}<i style="left:{}%;width:{}%;background:{}"></i><b style="left:{}%;background:{}"></b></span>'
    ).format(lines, left, round(max(right - left, 0.5), 2), color, at, color)


def plain(text: str) -> str:
    """Text for a widget's label, which reads Markdown: what would be markup is escaped."""
    return _MARKDOWN.sub(r"\\\g<0>", text)


def _kind(column: int, text_columns: int) -> Markup:
    return Markup("") if column < text_columns else Markup(' class="num"')
