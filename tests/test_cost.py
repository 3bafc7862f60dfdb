"""Costs, with the expected sums written as rate × count, to be checked by eye against the facts."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls import Cost, Usage
from pipeline.catalog import load_catalog
from pipeline.scoring.cost import cost_lines, price_call

CATALOG = load_catalog()
D = Decimal  # the sums below are long enough
M = D(1_000_000)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def price(model, usage, *, provider="anthropic", region="", plan="", at="2026-11-20") -> Cost:
    return price_call(
        CATALOG, provider=provider, region=region, plan=plan, model=model, usage=usage, at_ms=ms(at)
    )


def used(input_, output, read=None, write_5m=None, write_1h=None, thought=None) -> Usage:
    return Usage(
        input_tokens=input_,
        output_tokens=output,
        cache_read_input_tokens=read,
        cache_write_5m_input_tokens=write_5m,
        cache_write_1h_input_tokens=write_1h,
        reasoning_output_tokens=thought,
    )


SUMS = [
    # provider, region, model, at, usage, sum, currency, estimated
    ("anthropic", "international", "claude-haiku-4-5", "2026-11-20", used(1000, 200), D(1) * 1000 + D(5) * 200, "USD", False),
    ("anthropic", "international", "claude-sonnet-4-5", "2026-11-20", used(10_000, 500, 6000, 2000, 1000), D(3) * 1000 + D("0.3") * 6000 + D("3.75") * 2000 + D(6) * 1000 + D(15) * 500, "USD", False),
    ("anthropic", "international", "claude-sonnet-4-5-20250929", "2026-11-20", used(200_000, 1), D(3) * 200_000 + D(15) * 1, "USD", False),
    ("anthropic", "international", "claude-sonnet-4-5-20250929", "2026-11-20", used(200_001, 1, 150_000), D(6) * 50_001 + D("0.6") * 150_000 + D("22.5") * 1, "USD", True),
    ("openai", "international", "gpt-5", "2025-11-13", used(1000, 100, 800), D("1.25") * 200 + D("0.125") * 800 + D(10) * 100, "USD", False),
    ("openai", "international", "gpt-6.1-sol", "2026-11-20", used(300_000, 10), D(4) * 300_000 + D(15) * 10, "USD", True),
    ("zhipu", "international", "glm-4.6", "2025-10-01", used(1000, 100, 400), D("0.6") * 600 + D("0.11") * 400 + D("2.2") * 100, "USD", False),
    ("zhipu", "mainland", "glm-4.6", "2026-11-20", used(32_000, 200), D(2) * 32_000 + D(8) * 200, "CNY", True),
    ("zhipu", "mainland", "glm-4.6", "2026-11-20", used(32_000, 201), D(3) * 32_000 + D(14) * 201, "CNY", True),
    ("zhipu", "mainland", "glm-4.6", "2026-11-20", used(32_001, 100), D(4) * 32_001 + D(16) * 100, "CNY", True),
    ("zhipu", "mainland", "glm-4.6", "2026-11-20", used(300_000, 100), D(4) * 300_000 + D(16) * 100, "CNY", True),
    ("zhipu", "mainland", "glm-4.5-flash", "2026-11-20", used(1000, 100), D(0) * 1100, "CNY", True),
    ("zhipu", "international", "glm-5.3-flash", "2026-09-09T23:59:59", used(1000, 100), D("0.075") * 1000 + D("0.25") * 100, "USD", True),
    ("zhipu", "international", "glm-5.3-flash", "2026-09-10", used(1000, 100), D("0.15") * 1000 + D("0.5") * 100, "USD", False),
    ("moonshot", "international", "kimi-k3", "2026-11-20", used(1000, 100, 100, 200, 300), D(3) * 400 + D("0.3") * 100 + D(3) * 200 + D(6) * 300 + D(15) * 100, "USD", False),
    ("moonshot", "mainland", "kimi-k2-0905-preview", "2025-10-01", used(1000, 100, 500), D(4) * 500 + D(1) * 500 + D(16) * 100, "CNY", True),
    # DeepSeek: one name, several generations, and hours with a price of their own
    ("deepseek", "international", "deepseek-chat", "2025-09-05T15:59:59", used(1000, 100), D("0.27") * 1000 + D("1.10") * 100, "USD", True),
    ("deepseek", "international", "deepseek-chat", "2025-09-05T16:00:00", used(1000, 100), D("0.57") * 1000 + D("1.68") * 100, "USD", True),
    ("deepseek", "international", "deepseek-chat", "2025-09-29", used(1000, 100, 900), D("0.28") * 100 + D("0.028") * 900 + D("0.42") * 100, "USD", True),
    ("deepseek", "mainland", "deepseek-chat", "2025-10-01", used(1000, 100), D(2) * 1000 + D(3) * 100, "CNY", True),
    ("deepseek", "international", "deepseek-v4-pro", "2026-11-20T00:59:59", used(1000, 100), D("0.66") * 1000 + D("1.98") * 100, "USD", False),
    ("deepseek", "international", "deepseek-v4-pro", "2026-11-20T01:00:00", used(1000, 100), D("1.32") * 1000 + D("3.96") * 100, "USD", False),
    ("deepseek", "international", "deepseek-v4-pro", "2026-11-20T04:00:00", used(1000, 100), D("0.66") * 1000 + D("1.98") * 100, "USD", False),
    ("deepseek", "international", "deepseek-v4-pro", "2026-11-20T09:59:59", used(1000, 100), D("1.32") * 1000 + D("3.96") * 100, "USD", False),
    ("deepseek", "international", "deepseek-v4-pro", "2026-11-22T02:00:00", used(1000, 100), D("0.66") * 1000 + D("1.98") * 100, "USD", False),  # a Sunday
    ("deepseek", "international", "deepseek-v4-pro", "2026-10-01T02:00:00", used(1000, 100), D("0.66") * 1000 + D("1.98") * 100, "USD", True),  # a holiday
    ("deepseek", "international", "deepseek-v4-flash", "2026-11-20", used(1000, 100), D("0.15") * 1000 + D("0.6") * 100, "USD", False),
    # no price of a cache hit is published
    ("sensenova", "mainland", "SenseNova-V6-5-Pro", "2026-11-20", used(1000, 100, 500), D(3) * 500 + D(3) * 500 + D(9) * 100, "CNY", True),
    ("qianfan", "mainland", "ernie-4.5-turbo-32k", "2026-11-20", used(1000, 100, 500), D("0.8") * 500 + D("0.2") * 500 + D("3.2") * 100, "CNY", True),
    ("dashscope", "mainland", "qwen-plus", "2026-11-20", used(1000, 100, thought=0), D("0.8") * 1000 + D(2) * 100, "CNY", True),
    ("dashscope", "mainland", "qwen-plus", "2026-11-20", used(1000, 100, thought=60), D("0.8") * 1000 + D(8) * 100, "CNY", True),
    ("dashscope", "mainland", "qwen3-max", "2025-12-01", used(1000, 100), D(6) * 1000 + D(24) * 100, "CNY", False),
    ("dashscope", "mainland", "qwen3-max", "2026-11-20", used(128_001, 100), D(7) * 128_001 + D(28) * 100, "CNY", True),
    ("volcengine", "mainland", "doubao-seed-1-6-250615", "2026-11-20", used(1000, 200, 500), D("0.8") * 500 + D("0.16") * 500 + D(2) * 200, "CNY", True),
    ("volcengine", "international", "doubao-seed-2-1-lite-260915", "2026-11-20", used(1, 1), D("0.115") + D("0.388126"), "USD", True),
    ("hunyuan", "mainland", "hunyuan-turbos", "2026-11-20", used(1000, 100), D("0.8") * 1000 + D(2) * 100, "CNY", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "region", "model", "at", "usage", "total", "currency", "estimated"), SUMS
)
def test_the_sum(provider, region, model, at, usage, total, currency, estimated) -> None:
    """Rates times counts, in the list's own currency, and marked where it is not certain."""
    cost = price(model, usage, provider=provider, region=region, at=at)
    assert (cost.amount, cost.currency, cost.unknown) == (total / M, currency, "")
    assert cost.estimated == estimated


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"model": "claude-9"}, "unknown_model"),
        ({"model": "gpt-5"}, "unknown_model"),
        ({"model": "gpt-5", "provider": ""}, "unknown_model"),
        ({"model": "gpt-5", "provider": "nobody"}, "unknown_model"),
        ({"model": "qwen3.7-plus", "provider": "dashscope"}, "no_price"),
        ({"model": "kimi-k2.6", "provider": "moonshot", "region": "mainland"}, "no_price"),
        ({"model": "claude-haiku-4-5", "at": "2025-10-14"}, "no_price"),
        ({"model": "glm-4.6", "provider": "zhipu", "plan": "coding"}, "flat_rate_plan"),
        ({"model": "claude-haiku-4-5", "usage": None}, "no_usage"),
        ({"model": "claude-haiku-4-5", "usage": Usage(input_tokens=5)}, "no_usage"),
        ({"model": "claude-haiku-4-5", "usage": Usage(output_tokens=5)}, "no_usage"),
    ],
)
def test_what_has_no_price_has_no_cost(fields, unknown) -> None:
    """Unknown is unknown, with its reason, and never zero."""
    cost = price(**{"usage": used(1000, 100), **fields})
    assert (cost.amount, cost.unknown) == (None, unknown)


def test_counts_that_contradict_each_other_are_cut_and_marked() -> None:
    """Reads go first, then writes; nothing is paid for that the total does not hold."""
    cost = price("claude-haiku-4-5", used(1000, 100, read=800, write_5m=300))
    assert cost.amount == (D("0.1") * 800 + D("1.25") * 200 + D(5) * 100) / M
    assert cost.estimated
    cost = price("claude-haiku-4-5", used(1000, 100, read=-50))
    assert cost.amount == (D(1) * 1000 + D(5) * 100) / M
    assert cost.estimated


def test_guesses_are_marked() -> None:
    """A count guessed from text, and a region guessed from the file's order, are estimates."""
    guessed = Usage(input_tokens=1000, output_tokens=100, estimated=True)
    assert price("claude-haiku-4-5", guessed).estimated
    assert not price("claude-haiku-4-5", used(1000, 100)).estimated
    unsure = price("kimi-k3", used(1000, 100), provider="moonshot")
    assert (unsure.currency, unsure.estimated) == ("USD", True)


def test_the_price_is_named() -> None:
    """The row that was charged can be found again in the facts."""
    cost = price("zai/GLM-4.6", used(1, 1), provider="zhipu", region="international")
    assert cost.price_id == "zhipu/glm-4.6/international/2025-09-30"


MODELS = [(p.id, m.id) for p in CATALOG.providers.values() for m in p.models.values() if m.prices]
COUNTS = st.none() | st.integers(-10, 10**7) | st.integers(10**7, 10**12)


@given(
    which=st.sampled_from(MODELS),
    region=st.sampled_from(["", "mainland", "international"]),
    counts=st.tuples(*[COUNTS] * 6),
    at_ms=st.integers(ms("2025-01-01"), ms("2027-12-31")),
)
def test_the_bill_adds_up(which, region, counts, at_ms) -> None:
    """A cost is the sum of its lines, exactly, with 12 decimals, and never negative."""
    provider, model = which
    asked = {
        "provider": provider, "region": region, "plan": "", "model": model,
        "usage": used(*counts), "at_ms": at_ms,
    }  # fmt: skip
    cost, lines = price_call(CATALOG, **asked), cost_lines(CATALOG, **asked)
    if cost.amount is None:
        assert lines == ()
        assert cost.unknown
        return
    assert cost.amount == sum(line.amount for line in lines)
    assert cost.amount >= 0
    assert cost.amount.as_tuple().exponent == -12
    assert all(line.amount == line.per_million * line.tokens / M for line in lines)


@given(
    which=st.sampled_from(MODELS),
    tokens=st.integers(0, 10**6),
    read=st.integers(0, 10**6),
    output=st.integers(0, 10**5),
)
def test_every_input_token_is_paid_for_once(which, tokens, read, output) -> None:
    """The lines of a consistent count hold each token exactly once."""
    provider, model = which
    lines = cost_lines(
        CATALOG, provider=provider, region="", plan="", model=model,
        usage=used(tokens + read, output, read), at_ms=ms("2026-11-20"),
    )  # fmt: skip
    if lines:
        assert sum(line.tokens for line in lines) == tokens + read + output
