"""What a call cost by the provider's price list, to the last 10^-12 of its currency.

The prices come from the catalog, the token counts from the protocol reader. Where either is not
certain the cost is `estimated`; where there is none the cost is unknown and says why. Parts:

    uncached input = input − cache reads − cache writes; output includes reasoning.

Counts that contradict each other are cut down to what the total input allows (reads first, then
5-minute writes, then 1-hour writes), and the cost is estimated.
"""

from decimal import Decimal
from itertools import starmap

import msgspec

from pipeline.calls import Cost, Usage
from pipeline.catalog import Catalog, Model, Price, Row

_MILLION = 1_000_000
_NOTHING = Decimal("0E-12")


class Line(msgspec.Struct, frozen=True):
    """One line of a call's bill: so many tokens of one kind at one price."""

    what: str  # a field of Rates: "input", "output", "output_thinking", "cache_read", …
    tokens: int
    per_million: Decimal
    amount: Decimal


class Parts(msgspec.Struct, frozen=True, gc=False):
    """A call's tokens in disjoint parts; `certain` is False if the counts had to be cut."""

    uncached: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int
    certain: bool


def charged_model(catalog: Catalog, provider: str, request_model: str, response_model: str) -> str:
    """The model that answered, else the one asked for: its id where known, else its name as it came."""
    named = response_model or request_model
    found = catalog.model(provider, named) or catalog.model(provider, request_model)
    return found.id if found else named


def price_call(
    catalog: Catalog,
    *,
    provider: str,
    region: str,
    plan: str,
    model: str,
    usage: Usage | None,
    at_ms: int,
) -> Cost:
    """The list price of one call, in the list's own currency; the sum of `cost_lines`.

    `provider`, `region` and `plan` are as resolved by the catalog, `model` is a name as it came.
    Unknown, in this order: "flat_rate_plan", "unknown_model", "no_price", "no_usage".
    """
    if plan:
        return Cost(unknown="flat_rate_plan")
    found = catalog.model(provider, model)
    if not found:
        return Cost(unknown="unknown_model")
    price = catalog.price(provider, found.id, at_ms, region)
    if not price:
        return Cost(unknown="no_price")
    if not usage or usage.input_tokens is None or usage.output_tokens is None:
        return Cost(currency=price.currency, price_id=price.id, unknown="no_usage")
    charges, certain = _charges(price, usage, at_ms)
    amount = _NOTHING
    for _, tokens, rate in charges:
        amount += tokens * rate
    return Cost(
        amount=amount,
        currency=price.currency,
        price_id=price.id,
        estimated=not certain or usage.estimated or _region_guessed(found, region),
    )


def cost_lines(
    catalog: Catalog,
    *,
    provider: str,
    region: str,
    plan: str,
    model: str,
    usage: Usage | None,
    at_ms: int,
) -> tuple[Line, ...]:
    """The bill behind `price_call`, one line for each kind of token that occurred; empty if unknown."""
    found = catalog.model(provider, model)
    price = catalog.price(provider, found.id, at_ms, region) if found and not plan else None
    if not price or not usage or usage.input_tokens is None or usage.output_tokens is None:
        return ()
    return tuple(starmap(_line, _charges(price, usage, at_ms)[0]))


def _line(what: str, tokens: int, rate: Decimal) -> Line:
    return Line(what, tokens, (rate * _MILLION).normalize() + 0, tokens * rate)


def split(usage: Usage) -> Parts:
    """The counts as disjoint parts. A part that is not told is taken as none."""
    total, output = usage.input_tokens or 0, usage.output_tokens or 0
    read = usage.cache_read_input_tokens or 0
    short = usage.cache_write_5m_input_tokens or 0
    long = usage.cache_write_1h_input_tokens or 0
    uncached = total - read - short - long
    if min(uncached, read, short, long, output) >= 0:
        return Parts(uncached, read, short, long, output, True)
    left = max(total, 0)
    left -= (read := _within(left, read))
    left -= (short := _within(left, short))
    left -= (long := _within(left, long))
    return Parts(left, read, short, long, max(output, 0), False)


def _within(limit: int, count: int) -> int:
    return min(max(count, 0), limit)


def _charges(price: Price, usage: Usage, at_ms: int) -> tuple[list[tuple[str, int, Decimal]], bool]:
    """(kind, tokens, price of one) for each kind that occurred, and whether all is certain."""
    parts = split(usage)
    total = parts.uncached + parts.cache_read + parts.cache_write_5m + parts.cache_write_1h
    row, certain = price.row(at_ms, total, parts.output)
    certain = certain and parts.certain
    charges = [("input", parts.uncached, row.input)] if parts.uncached else []
    if parts.cache_read:
        # No price of a hit was found: the plain price is an upper bound.
        charges.append(("cache_read", parts.cache_read, _or(row.cache_read, row.input)))
        certain = certain and row.cache_read is not None
    short_write = _or(row.cache_write_5m, row.input)  # none listed: filling costs plain input
    if parts.cache_write_5m:
        charges.append(("cache_write_5m", parts.cache_write_5m, short_write))
    if parts.cache_write_1h:
        charges.append(
            ("cache_write_1h", parts.cache_write_1h, _or(row.cache_write_1h, short_write))
        )
        certain = certain and (row.cache_write_1h is not None or row.cache_write_5m is None)
    if parts.output:
        kind, rate, sure = _output(row, usage.reasoning_output_tokens)
        charges.append((kind, parts.output, rate))
        certain = certain and sure
    return charges, certain


def _output(row: Row, reasoning_tokens: int | None) -> tuple[str, Decimal, bool]:
    """A model with a price for thinking charges the whole answer at it once it thought at all."""
    if row.output_thinking is None:
        return "output", row.output, True
    if reasoning_tokens:
        return "output_thinking", row.output_thinking, True
    return "output", row.output, reasoning_tokens is not None


def _or(rate: Decimal | None, other: Decimal) -> Decimal:
    return other if rate is None else rate


def _region_guessed(model: Model, region: str) -> bool:
    return not region and len(model.regions) > 1
