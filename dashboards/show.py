"""Numbers as people read them: with units, of a fitting size, and "–" for what is not known. Pure."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from pipeline.stats import Estimate

UNKNOWN = "–"
SIGNS = {"USD": "$", "CNY": "¥"}


def count(value: float | None) -> str:
    """12,345"""
    return UNKNOWN if value is None else f"{value:,.0f}"


def pace(value: float | None) -> str:
    """3.4 or 120"""
    if value is None:
        return UNKNOWN
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def percent(value: float | None, digits: int = 1) -> str:
    """1.3 % (a share of 1)."""
    return UNKNOWN if value is None else f"{100 * value:.{digits}f} %"


def points(value: float | None, digits: int = 1) -> str:
    """+1.3 pp, a difference of two shares in percentage points."""
    return UNKNOWN if value is None else f"{_signed(100 * value, digits)} pp"


def signed_percent(value: float | None) -> str:
    """+12 %, a relative change."""
    return UNKNOWN if value is None else f"{_signed(100 * value, 0)} %"


def speed(value: float | None) -> str:
    """42 tok/s"""
    return UNKNOWN if value is None else f"{value:,.0f} tok/s"


def milliseconds(value: float | None) -> str:
    """840 ms, 1.24 s or 3 min."""
    if value is None:
        return UNKNOWN
    if value < 999.5:
        return f"{value:.0f} ms"
    return f"{value / 1000:.2f} s" if value < 99_500 else f"{value / 60_000:.1f} min"


def seconds(value: float | None) -> str:
    """1.4 s, 42 s, 5 min, 3 h, 2 d: an age."""
    if value is None:
        return UNKNOWN
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def money(value: Decimal | float | None, currency: str, digits: int | None = None) -> str:
    """$12.30, ¥0.00421: two digits for sums, three significant ones for small amounts."""
    if value is None:
        return UNKNOWN
    amount = float(value)
    size = abs(amount)
    if digits is None:
        digits = 0 if size >= 10_000 else 2 if size >= 1 or size == 0 else 4 if size >= 0.01 else 6
    return f"{'−' if amount < 0 else ''}{SIGNS.get(currency, currency + ' ')}{size:,.{digits}f}"


def exact_money(value: Decimal | None, currency: str) -> str:
    """The amount with every digit that counts, for one call."""
    if value is None:
        return UNKNOWN
    return f"{SIGNS.get(currency, currency + ' ')}{value.normalize():f}"


def span(estimate: Estimate | None, shown: Callable[[float], str]) -> str:
    """0.8 – 1.4 %: the interval, its unit once."""
    if estimate is None or estimate.high == float("inf"):
        return ""
    low, high = shown(estimate.low), shown(estimate.high)
    unit = low.rpartition(" ")[2] if " " in low else ""
    if unit and high.endswith(unit):
        low = low.removesuffix(f" {unit}")
    return f"{low} – {high}"


def moment(at: datetime | None, offset_minutes: int = 0) -> str:
    """2026-11-02 09:00, in the viewer's own time zone."""
    return UNKNOWN if at is None else _local(at, offset_minutes).strftime("%Y-%m-%d %H:%M")


def day_ms(at_ms: int, offset_minutes: int = 0) -> str:
    """2026-11-02, in the viewer's own time zone, from UTC ms."""
    return moment(datetime.fromtimestamp(at_ms / 1000, UTC), offset_minutes)[:10]


def instant(at: datetime | None, offset_minutes: int = 0) -> str:
    """2026-11-02 09:00:04.120, in the viewer's own time zone."""
    if at is None:
        return UNKNOWN
    return _local(at, offset_minutes).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _local(at: datetime, offset_minutes: int) -> datetime:
    return datetime.fromtimestamp(at.timestamp() - 60 * offset_minutes, UTC)


def _signed(value: float, digits: int) -> str:
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return f"±{text}"
    return f"+{text}" if value > 0 else f"−{text}"


def csv_cell(value: object) -> object:
    """The value for a CSV file; text a spreadsheet would run as a formula gets a leading apostrophe."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{value}"
    return value
