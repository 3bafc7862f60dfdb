"""Why one arm's calls cost more or less than the other's: bills line by line, prices and tokens apart. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from dashboards.sides import Side
from pipeline.calls import Usage
from pipeline.catalog import Catalog
from pipeline.savings import Saving
from pipeline.scoring.cost import Line, cost_lines

#  kind of tokens: kinds of lines on a bill
KINDS = {
    "input": ("input",),
    "cache_read": ("cache_read",),
    "cache_write": ("cache_write_5m", "cache_write_1h"),
    "output": ("output", "output_thinking"),
}
_OF_USAGE = (
    "input_tokens", "cache_read_input_tokens", "cache_write_5m_input_tokens",
    "cache_write_1h_input_tokens", "output_tokens", "reasoning_output_tokens",
)  # fmt: skip


def lines_of(catalog: Catalog, call: Mapping[str, Any]) -> tuple[Line, ...]:
    """A stored call's bill, by the facts as they are now; empty unless it adds up to the stored cost.

    It does not when a price was mended since: then the lines would explain another amount.
    """
    found = cost_lines(
        catalog,
        provider=call["provider"],
        region=call["region"],
        plan=call["flat_rate_plan"],
        model=call["model"],
        usage=Usage(**{name: call[name] for name in _OF_USAGE}),
        at_ms=round(call["started_at"].timestamp() * 1000),
    )
    return (
        found
        if call["cost"] is not None and sum(line.amount for line in found) == call["cost"]
        else ()
    )


@dataclass(frozen=True, eq=False)
class Bills:
    """A provider's bills added up: by kind the tokens and the amount in one currency."""

    calls: int
    left_out: (
        int  # calls whose stored cost their lines do not add up to, or without an exchange rate
    )
    tokens: dict[str, int]
    amounts: dict[str, Decimal]

    def per_call(self, kind: str) -> Decimal:
        return self.amounts[kind] / self.calls

    @property
    def cost_per_call(self) -> Decimal:
        return sum((self.per_call(kind) for kind in KINDS), Decimal(0))


def bills(catalog: Catalog, calls: Iterable[Mapping[str, Any]], currency: str) -> Bills:
    """The bills of calls, each at its day's exchange rate."""
    tokens, amounts = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, Decimal(0))
    counted = left_out = 0
    for call in calls:
        lines = lines_of(catalog, call)
        rate = catalog.fx(call["currency"], currency, round(call["started_at"].timestamp() * 1000))
        if not lines or rate is None:
            left_out += 1
            continue
        counted += 1
        for kind, names in KINDS.items():
            for line in lines:
                if line.what in names:
                    tokens[kind] += line.tokens
                    amounts[kind] += line.amount * rate.rate
    return Bills(counted, left_out, tokens, amounts)


@dataclass(frozen=True)
class Effect:
    """Of the difference per call in one kind of tokens: what other prices make, and what other counts make."""

    kind: str
    baseline: Decimal
    candidate: Decimal
    price: Decimal
    tokens: Decimal


def effects(baseline: Bills, candidate: Bills) -> list[Effect]:
    """The difference candidate − baseline per call, kind by kind; price + tokens is the whole of it.

    Each effect is taken at the mean of the other factor on both sides, so that neither order of telling
    is preferred (the Shapley value of two factors). Where a side used no such tokens its price is unknown
    and all of the difference is one of counts.
    """
    found = []
    for kind in KINDS:
        before, after = baseline.per_call(kind), candidate.per_call(kind)
        counts = [Decimal(side.tokens[kind]) / side.calls for side in (baseline, candidate)]
        price = Decimal(0)
        if all(counts):
            price = (after / counts[1] - before / counts[0]) * (counts[0] + counts[1]) / 2
        found.append(Effect(kind, before, after, price, after - before - price))
    return found


def three_ways(baseline: Bills, candidate: Bills) -> dict[str, Decimal | None]:
    """The candidate's cost per call as billed, without its cache, and at the baseline's shares of cache reads and writes.

    Writes cost what a plain token does where the candidate has no price for them. At a small share of the traffic a cache is colder than it will be, so the bill alone misleads. The
    last is None where the candidate read nothing from its cache: its price of a read was not seen.
    """
    inputs = {
        side: sum(side.tokens[k] for k in ("input", "cache_read", "cache_write"))
        for side in (baseline, candidate)
    }
    output, whole = candidate.per_call("output"), Decimal(inputs[candidate]) / candidate.calls
    plain = _price(candidate, "input")
    read = _price(candidate, "cache_read")
    hits, writes = (
        Decimal(baseline.tokens[kind]) / inputs[baseline] if inputs[baseline] else Decimal(0)
        for kind in ("cache_read", "cache_write")
    )
    projected = None
    if plain is not None and (read is not None or not hits):
        write = _price(candidate, "cache_write") or plain
        mixed = hits * (read or Decimal(0)) + writes * write + (1 - hits - writes) * plain
        projected = output + whole * mixed
    return {
        "billed": candidate.cost_per_call,
        "uncached": None if plain is None else output + whole * plain,
        "projected": projected,
    }


def warmed(
    saving: Saving, paid: Mapping[Side, Decimal], baseline: Bills, candidates: Mapping[Side, Bills]
) -> Saving | None:
    """What would have been saved had the candidates' caches been as warm as the baseline's.

    `paid` is what each candidate was paid in all; its bills tell how much less (or more) that would be at
    the baseline's share of cache reads. None where that cannot be told of one of them.
    """
    whole = Decimal(0)
    for side, amount in paid.items():
        bills_ = candidates.get(side)
        projected = three_ways(baseline, bills_)["projected"] if bills_ and bills_.calls else None
        if bills_ is None or projected is None or not bills_.cost_per_call:
            return None
        whole += amount * projected / bills_.cost_per_call
    total = sum(paid.values(), Decimal(0))
    if not total:
        return None
    return msgspec.structs.replace(saving, paid=saving.paid * whole / total)


def token_ratios(baseline: Bills, candidate: Bills) -> tuple[float, float] | None:
    """The candidate's input and output tokens per call over the baseline's; None if the baseline has none."""
    counts = [
        (sum(side.tokens[k] for k in KINDS if k != "output") / side.calls, side.tokens["output"] / side.calls)
        for side in (baseline, candidate)
    ]  # fmt: skip
    (input_a, output_a), (input_b, output_b) = counts
    return (input_b / input_a, output_b / output_a) if input_a and output_a else None


def _price(side: Bills, kind: str) -> Decimal | None:
    """Of one token."""
    return side.amounts[kind] / side.tokens[kind] if side.tokens[kind] else None
