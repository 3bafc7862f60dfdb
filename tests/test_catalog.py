"""The facts are sound, say where they are not, and answer the questions of every call."""

import math
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import combinations
from pathlib import Path

import pytest

from pipeline.calls import Protocol
from pipeline.catalog import Resolved, load_catalog
from pipeline.catalog_page import render
from pipeline.facts import FACTS
from pipeline.facts.schema import FinishClass
from pipeline.yamlfile import BadFile

CATALOG = load_catalog()
TEN = (
    "anthropic", "openai", "zhipu", "moonshot", "deepseek",
    "volcengine", "sensenova", "dashscope", "qianfan", "hunyuan",
)  # fmt: skip


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_all_ten_are_there() -> None:
    """The baseline, the reference and the candidates, each with names in both languages."""
    assert sorted(CATALOG.providers) == sorted(TEN)
    assert all(p.file.name.en and p.file.name.zh for p in CATALOG.providers.values())


# ---- bad facts

BAD = [
    # file, what is replaced, by what, the line that must be named holds this, and what is said
    ("providers/zhipu.yml", "role: target", "roll: target", "roll: target", "unknown field `roll`"),
    ("providers/zhipu.yml", "input: 0.6,", "input: cheap,", "input: cheap,", "Invalid decimal string"),
    ("providers/zhipu.yml", "input: 0.6,", "input: -0.6,", "input: -0.6,", "must be 0 or more"),
    ("providers/zhipu.yml", "input: 0.6,", "input: 0.1234567,", "input: 0.1234567,", "at most 6 decimals"),
    ("providers/zhipu.yml", '"1302": rate_limit', '"1302": rate_limited', '"1302"', "Invalid enum value 'rate_limited'"),
    ("providers/zhipu.yml", "id: zhipu", "id: zai", "id: zai", "must be the file's name"),
    ("providers/zhipu.yml", "source: md", "source: hearsay", "source: hearsay", "not in sources.yml"),
    ("providers/zhipu.yml", "- id: glm-4.5-air", "- id: glm-4.5", "id: glm-4.5", "already names glm-4.5"),
    ("providers/anthropic.yml", "id: claude-opus-5-5", "id: claude-sonnet-4-20261111", "id: claude-sonnet-4-20261111", "are 'claude-sonnet-4'; make it an alias"),
    ("providers/zhipu.yml", "max_input_tokens: 128000", "max_input_tokens: 31000", "31000", "order rows by their size"),
    ("providers/zhipu.yml", "{max_input_tokens: 32000, input: 3,", "{max_input_tokens: 32000, max_output_tokens: 900, input: 3,", "900", "gap: "),
    ("providers/zhipu.yml", "{max_input_tokens: 128000, input: 4, output: 16, cache_read: 0.8}", "{max_input_tokens: 128000, max_output_tokens: 900, input: 4, output: 16}", "900", "gap: "),
    ("providers/zhipu.yml", "currency: USD", "currency: CNY", "currency: CNY", "not billed in CNY"),
    ("providers/zhipu.yml", "effective_to: 2026-09-10", "effective_to: 2026-09-11", "- region: international", "overlaps an earlier entry"),
    ("providers/zhipu.yml", "effective_from: 2025-09-30", "effective_from: 2025-09-31", "- region: international", "mend effective_from"),
    ("providers/zhipu.yml", "effective_from: 2025-09-30", "effective_from: 2025-9-30", "effective_from: 2025-9-30", "matching regex"),
    ("providers/zhipu.yml", "host: api.z.ai", "host: api.zz.ai", "https://api.z.ai/api/paas/v4", "its host is not in hosts"),
    ("providers/zhipu.yml", "host: bigmodel.cn", "host: api.openai.com", "host: api.openai.com", "already belongs to openai"),
    ("providers/zhipu.yml", "host: bigmodel.cn", "host: BigModel.cn", "host: BigModel.cn", "small letters"),
    ("providers/zhipu.yml", "litellm: [zai]", "litellm: [openai]", "litellm: [openai]", "already names openai"),
    ("providers/zhipu.yml", "plans:", "plans: {}\nx_plans:", "x_plans", "unknown field"),
    ("providers/deepseek.yml", "effective_to: 2025-09-29", "effective_to: 2025-09-01", "effective_to: 2025-09-01", "must be later"),
    ("providers/deepseek.yml", '["claude-[!o]*"]', '["claude-*"]', "name_patterns", "fits patterns of both"),
    ("providers/deepseek.yml", '["09:00", "12:00"]', '["22:00", "02:00"]', '["22:00"', "split one at 24:00"),
    ("providers/deepseek.yml", "chinese_public_holidays", "easter", "not_on: easter", "no list 'easter'"),
    ("providers/volcengine.yml", "'^(Input|", "'^((Input|", "'^((Input|", "not a regular expression"),
    ("providers/volcengine.yml", "plan: bundle", "plan: bunch", "plan: bunch", "not in plans"),
    ("failures.yml", "  timeout:\n    fault: provider\n", "  timeout:\n    fault: nobody\n", "fault: nobody", "Invalid enum value"),
    ("failures.yml", "openai_chat: openai", "openai_chat: closedai", "closedai", "no provider 'closedai'"),
    ("fx.yml", "rate: 7.25", "rate: 0", "rate: 0", "must be above 0"),
    ("fx.yml", "day: 2026-08-21", "day: 2026-05-23", "rate: 7.14", "one rate a day"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "on_line", "said"), BAD)
def test_bad_facts_are_told_with_file_and_line(
    tmp_path: Path, name, old, new, on_line, said
) -> None:
    """A mistake in any file stops the loading, and the message points at the line to mend."""
    folder = tmp_path / "facts"
    shutil.copytree(FACTS, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    file = folder / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadFile) as caught:
        load_catalog(folder)
    assert said in caught.value.what
    assert caught.value.file == file
    assert on_line in file.read_text(encoding="utf-8").splitlines()[caught.value.line - 1]


# ---- who was called

WHO = [
    # provider, host, path, model → provider, region, plan
    ("", "open.bigmodel.cn", "/api/paas/v4/chat/completions", "", ("zhipu", "mainland", "")),
    ("", "open.bigmodel.cn", "/api/coding/paas/v4/chat/completions", "", ("zhipu", "mainland", "coding")),
    ("", "api.z.ai", "/api/anthropic/v1/messages", "", ("zhipu", "international", "")),
    ("", "ark.cn-beijing.volces.com", "/api/v3/chat/completions", "", ("volcengine", "mainland", "")),
    ("", "ark.cn-beijing.volces.com", "/api/coding/v1/messages", "", ("volcengine", "mainland", "coding")),
    ("", "ark.cn-beijing.volces.com", "/api/codingx/v1/messages", "", ("volcengine", "mainland", "")),
    ("", "ark.ap-southeast.bytepluses.com", "", "", ("volcengine", "international", "coding")),
    ("", "qianfan.baidubce.com", "/anthropic/coding/v1/messages", "", ("qianfan", "mainland", "coding")),
    ("", "qianfan.baidubce.com", "/anthropic/v1/messages", "", ("qianfan", "mainland", "")),
    ("", "api.kimi.com", "/coding/v1/messages?beta=true", "", ("moonshot", "", "coding")),
    ("", "API.DeepSeek.com:443", "/anthropic/v1/messages", "", ("deepseek", "", "")),
    ("", "my-space.cn-beijing.maas.aliyuncs.com", "/apps/anthropic", "", ("dashscope", "mainland", "")),
    ("", "coding.dashscope.aliyuncs.com", "", "", ("dashscope", "mainland", "coding")),
    ("openai", "api.moonshot.cn", "/v1/chat/completions", "kimi-k3", ("moonshot", "mainland", "")),
    ("zai", "127.0.0.1:4000", "/v1/chat/completions", "glm-4.6", ("zhipu", "", "")),
    ("ZAI", "", "", "", ("zhipu", "", "")),
    ("some-proxy", "127.0.0.1", "", "kimi-k2.6", ("moonshot", "", "")),
    ("", "", "", "zai/GLM-4.6", ("zhipu", "", "")),
    ("", "", "", "claude-sonnet-4-5", ("anthropic", "", "")),
    ("", "", "", "who-knows", ("", "", "")),
    ("", "evil-open.bigmodel.cn.example.com", "", "", ("", "", "")),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "host", "path", "model", "who"), WHO)
def test_who_was_called(provider, host, path, model, who) -> None:
    """Told by host and path, else by the gateway's name, else by a model that one provider has."""
    assert CATALOG.resolve(provider, host, path, model) == Resolved(*who)


def test_every_base_url_leads_back_to_its_provider() -> None:
    """A client pointed at any base URL of the facts is recognised, with region and plan."""
    for provider in CATALOG.providers.values():
        for base in provider.file.base_urls:
            host, _, path = base.url.removeprefix("https://").partition("/")
            found = CATALOG.resolve("", host, f"/{path}".rstrip("/") + "/messages", "")
            assert (found.provider_id, found.plan) == (provider.id, base.plan), base.url
            assert found.region == base.region or not base.region


def test_base_urls_are_given_by_protocol_and_region() -> None:
    """Plans that are not paid by the token are never chosen."""
    anthropic, chat = Protocol.ANTHROPIC_MESSAGES, Protocol.OPENAI_CHAT
    assert (
        CATALOG.base_url("zhipu", anthropic, "mainland") == "https://open.bigmodel.cn/api/anthropic"
    )
    assert CATALOG.base_url("zhipu", chat, "international") == "https://api.z.ai/api/paas/v4"
    assert CATALOG.base_url("volcengine", anthropic, "international") is None
    assert CATALOG.base_url("openai", anthropic) is None
    assert CATALOG.base_url("nobody", chat) is None


# ---- models and prices

MODELS = [
    ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929"),
    ("anthropic", "anthropic/claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"),
    ("anthropic", "claude-sonnet-4-5-20260101", None),  # another snapshot
    ("openai", "gpt-4.1-2025-04-14", "gpt-4.1"),
    ("zhipu", "GLM-4.6", "glm-4.6"),
    ("zhipu", "claude-3-5-haiku-20241022", "glm-4.5-air"),
    ("deepseek", "claude-opus-4-1", "deepseek-v4-pro"),
    ("deepseek", "claude-sonnet-4-5", "deepseek-flash"),
    ("deepseek", "deepseek-v4-flash", "deepseek-flash"),
    ("volcengine", "doubao-seed-1-6", "doubao-seed-1-6-250615"),
    ("volcengine", "ep-20250915-abcde", None),
    ("sensenova", "sensenova-v6-5-pro", "SenseNova-V6-5-Pro"),
    ("dashscope", "qwen3-max-preview", "qwen3-max"),
    ("hunyuan", "hunyuan-turbos-latest", "hunyuan-turbos-latest"),
    ("qianfan", "", None),
    ("nobody", "gpt-5", None),
]


@pytest.mark.parametrize(("provider", "name", "model_id"), MODELS)
def test_a_model_by_any_of_its_names(provider, name, model_id) -> None:
    """Id, alias, other letter case, a vendor before it, a date on one side, a foreign name."""
    found = CATALOG.model(provider, name)
    assert (found.id if found else None) == model_id


def test_a_price_belongs_to_its_region() -> None:
    """A known region is charged at its own price or not at all; an unknown one at the first."""
    at = ms("2026-11-20")
    prices = {r: CATALOG.price("zhipu", "glm-4.6", at, r) for r in ("", "mainland", "us")}
    assert prices[""] and prices[""].currency == "USD"
    assert prices["mainland"] and prices["mainland"].currency == "CNY"
    assert prices["us"] is None


def test_price_ids_are_unique() -> None:
    """A stored price id leads to one entry."""
    ids = [p.id for pr in CATALOG.providers.values() for m in pr.models.values() for p in m.prices]
    assert len(ids) == len(set(ids))


def test_exchange_rates_have_a_day() -> None:
    """The latest rate up to the day; before the first one the first; either way round."""
    rate = CATALOG.fx("USD", "CNY", ms("2026-09-01"))
    assert rate
    assert (rate.rate, rate.day, rate.estimated) == (Decimal("7.14"), date(2026, 8, 21), True)
    early = CATALOG.fx("USD", "CNY", ms("2025-01-01"))
    assert early
    assert (early.rate, early.estimated) == (Decimal("7.25"), True)
    back = CATALOG.fx("CNY", "USD", ms("2026-09-01"))
    assert back
    assert round(back.rate * rate.rate, 20) == 1
    same = CATALOG.fx("CNY", "CNY", 0)
    assert same
    assert (same.rate, same.estimated) == (1, False)
    assert CATALOG.fx("CNY", "EUR", 0) is None


def test_finish_reasons_have_a_class() -> None:
    """The vendor's own word, else the word of whoever defined the protocol."""
    assert CATALOG.finish_class("zhipu", "sensitive") is FinishClass.CONTENT_FILTER
    assert CATALOG.finish_class("zhipu", "end_turn") is FinishClass.STOP
    assert CATALOG.finish_class("", "max_tokens") is FinishClass.LENGTH
    assert CATALOG.finish_class("zhipu", "") is None


def test_grants_are_data() -> None:
    """SenseNova's 50 million free tokens can be reckoned with."""
    grant = CATALOG.providers["sensenova"].file.offer.grants[0]
    assert (grant.kind, grant.amount, grant.expires) == ("tokens", 50_000_000, None)


def test_the_page_is_true() -> None:
    """docs/providers.md is what the facts make of it; the module's docstring says how."""
    page = Path(__file__).parent.parent / "docs" / "providers.md"
    assert page.read_text(encoding="utf-8") == render(CATALOG)


# ---- colours

# Colour vision without the long-, middle- or short-wave cones, in linear RGB: Machado, Oliveira
# and Fernandes, IEEE TVCG 15(6), 2009, severity 1.
SIGHTS = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}  # fmt: skip
TO_CONES = ((0.4122214708, 0.5363325363, 0.0514459929), (0.2119034982, 0.6806995451, 0.1073969566), (0.0883024619, 0.2817188376, 0.6299787005))  # fmt: skip
TO_OKLAB = ((0.2104542553, 0.7936177850, -0.0040720468), (1.9779984951, -2.4285922050, 0.4505937099), (0.0259040371, 0.7827717662, -0.8086757660))  # fmt: skip


def times(matrix, vector) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def seen(colour: str, sight) -> list[float]:
    """The colour in Oklab (Ottosson 2020), as someone with that sight sees it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return times(TO_OKLAB, [max(c, 0) ** (1 / 3) for c in times(TO_CONES, times(sight, linear))])


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_ten_colours_can_be_told_apart(theme: str, sight: str) -> None:
    """Any two differ by at least 0.09 in Oklab to any eye, where 0.02 is just noticeable."""
    colours = {p.id: getattr(p.file.color, theme) for p in CATALOG.providers.values()}
    for one, other in combinations(colours, 2):
        apart = math.dist(seen(colours[one], SIGHTS[sight]), seen(colours[other], SIGHTS[sight]))
        assert apart >= 0.09, f"{one} and {other}"
