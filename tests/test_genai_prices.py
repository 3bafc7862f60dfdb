"""Our prices against those of the genai-prices package, which keeps a public table of its own.

Every difference over 0.1 % has its reason in `tests/data/genai_prices_differences.yml`.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.calls import Usage
from pipeline.catalog import Model, Price, load_catalog
from pipeline.scoring.cost import price_call
from pipeline.yamlfile import load

theirs = pytest.importorskip("genai_prices", reason="a development dependency")

CATALOG = load_catalog()
REASONS = load(Path(__file__).parent / "data" / "genai_prices_differences.yml", dict[str, str])
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ONE_AND_A_HALF_DAYS = timedelta(hours=36)
SIZES = {
    "small": Usage(input_tokens=1000, cache_read_input_tokens=400, output_tokens=300),
    "large": Usage(input_tokens=250_000, cache_read_input_tokens=1000, output_tokens=300),
}


def within(price: Price) -> datetime:
    """A moment at which the price is in force, away from its ends where they are known."""
    if price.end != float("inf"):
        return datetime.fromtimestamp(price.end / 1000, UTC) - ONE_AND_A_HALF_DAYS
    if price.begin != float("-inf"):
        return datetime.fromtimestamp(price.begin / 1000, UTC) + ONE_AND_A_HALF_DAYS
    return NOW


def their_cost(provider_id: str, model: Model, usage: Usage, at: datetime) -> Decimal | None:
    counts = theirs.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_input_tokens,
        output_tokens=usage.output_tokens,
    )
    name = CATALOG.providers[provider_id].file.names.genai_prices[0]
    try:
        found = theirs.calc_price(
            counts, model_ref=model.id, provider_id=name, genai_request_timestamp=at
        )
    except LookupError:
        return None
    return found.total_price


CASES = [
    (provider, model, price, size)
    for provider in CATALOG.providers.values()
    if provider.file.names.genai_prices
    for model in provider.models.values()
    for price in model.prices
    if price.currency == "USD"
    for size in SIZES
]


def difference(model: Model, price: Price, size: str) -> Decimal | None:
    """How far our cost is from theirs, as a part of theirs; None if they do not know the model."""
    usage, at = SIZES[size], within(price)
    ours = price_call(
        CATALOG,
        provider=model.provider_id,
        region=price.region,
        plan="",
        model=model.id,
        usage=usage,
        at_ms=int(at.timestamp() * 1000),
    )
    other = their_cost(model.provider_id, model, usage, at)
    assert ours.amount is not None
    assert ours.price_id == price.id
    return abs(ours.amount / other - 1) if other else None


@pytest.mark.parametrize(
    ("provider", "model", "price", "size"), CASES, ids=[f"{c[2].id} {c[3]}" for c in CASES]
)
def test_a_difference_has_a_reason(provider, model, price, size) -> None:
    """We agree within 0.1 %, or the data file says why not; it names nothing else."""
    found = difference(model, price, size)
    if found is None:
        pytest.skip("genai-prices does not know the model")
    explained = not REASONS.keys().isdisjoint((price.id, f"{price.id} {size}"))
    assert (found > Decimal("0.001")) == explained, f"{found:.2%}"


def test_reasons_are_about_prices_that_exist() -> None:
    """No reason outlives its price."""
    assert {reason.removesuffix(" large") for reason in REASONS} <= {case[2].id for case in CASES}
