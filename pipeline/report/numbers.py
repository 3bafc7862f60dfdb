"""Numbers as a reader of English or Chinese expects them; "–" is what is not known. Pure."""

from datetime import datetime
from decimal import Decimal

from pipeline.stats import Estimate

UNKNOWN = "–"
SIGNS = {"USD": "$", "CNY": "¥"}


class Numbers:
    """How numbers are written in one language."""

    def __init__(self, language: str) -> None:
        self._zh = language == "zh"
        self._gap = "" if self._zh else "\N{NO-BREAK SPACE}"

    def count(self, value: float | None) -> str:
        """12,345"""
        return UNKNOWN if value is None else f"{value:,.0f}"

    def percent(self, value: float | None, digits: int = 1) -> str:
        """1.3 % (zh: 1.3%), of a share of 1."""
        return UNKNOWN if value is None else f"{minus(100 * value, digits)}{self._gap}%"

    def points(self, value: float | None, digits: int = 2) -> str:
        """+1.30 pp (zh: +1.30 个百分点)."""
        if value is None:
            return UNKNOWN
        return f"{signed(100 * value, digits)}\N{NO-BREAK SPACE}{'个百分点' if self._zh else 'pp'}"

    def ratio(self, value: float | None) -> str:
        """×0.84"""
        return UNKNOWN if value is None else f"×{value:.2f}"

    def milliseconds(self, value: float | None) -> str:
        """840 ms, 1.24 s, 3.0 min"""
        if value is None:
            return UNKNOWN
        if value < 999.5:
            return f"{value:.0f}\N{NO-BREAK SPACE}ms"
        if value < 99_500:
            return f"{value / 1000:.2f}\N{NO-BREAK SPACE}s"
        return f"{value / 60_000:.1f}\N{NO-BREAK SPACE}min"

    def money(self, value: Decimal | None, currency: str, digits: int | None = None) -> str:
        """$12.30, ¥0.0042: two digits for sums, none for large ones, three significant for small ones."""
        if value is None:
            return UNKNOWN
        size = abs(value)
        if digits is None:
            digits = 0 if size >= 10_000 else 2 if size >= 1 or size == 0 else 4
        sign = SIGNS.get(currency, f"{currency}\N{NO-BREAK SPACE}")
        return f"{'−' if value < 0 else ''}{sign}{size:,.{digits}f}"

    def money_span(self, span: tuple[Decimal, Decimal], currency: str) -> str:
        """$1,200 – $1,410"""
        digits = 0 if max(map(abs, span)) >= 1000 else 2
        low, high = (self.money(end, currency, digits) for end in span)
        return f"{low} – {high}"

    def moment(self, at: datetime | None) -> str:
        """2026-11-25 09:00 UTC"""
        return UNKNOWN if at is None else f"{at:%Y-%m-%d %H:%M}\N{NO-BREAK SPACE}UTC"

    def day(self, at: datetime | None) -> str:
        """25 November 2026, 2026年11月25日"""
        if at is None:
            return UNKNOWN
        return f"{at.year}年{at.month}月{at.day}日" if self._zh else f"{at.day} {at:%B} {at.year}"

    def points_span(self, estimate: Estimate | None, digits: int = 2) -> str:
        """−0.20 – +1.31, in percentage points."""
        if estimate is None:
            return ""
        return f"{signed(100 * estimate.low, digits)} – {signed(100 * estimate.high, digits)}"


def minus(value: float, digits: int) -> str:
    """The number with a real minus sign, and none before a zero."""
    text = f"{abs(value):,.{digits}f}"
    return f"−{text}" if value < 0 and float(text.replace(",", "")) else text


def signed(value: float, digits: int) -> str:
    """The number with its sign, ± before a zero."""
    text = f"{abs(value):,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        return f"±{text}"
    return f"+{text}" if value > 0 else f"−{text}"
