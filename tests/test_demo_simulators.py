"""The simulated providers, as the official SDKs and a plain HTTP client see them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anthropic
import jsonschema_rs
import msgspec
import openai
import pytest
from aiohttp.test_utils import TestServer
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from pipeline.calls import Protocol
from pipeline.demo.behaviour import Behaviour, FirstToken, load_behaviours
from pipeline.demo.prompt import Prompt, read_prompt, tokens
from pipeline.demo.reply import reply_to
from pipeline.demo.scenario import WORKLOADS, Conversation
from pipeline.demo.simulators import Simulators

PROVIDERS = load_behaviours()
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "days", "unit"],
}
ANTHROPIC_TOOL = {"name": "get_weather", "description": "Weather.", "input_schema": WEATHER}
OPENAI_TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather.", "parameters": WEATHER},
}
ASK: list[Any] = [{"role": "user", "content": "What is the weather in Hangzhou?"}]
MODEL = "claude-sonnet-4-5"


def faultless(behaviour: Behaviour, **changes: Any) -> Behaviour:
    """The same provider without chance and without waiting."""
    calm: dict[str, Any] = {
        "outcomes": {},
        "tool_faults": 0.0,
        "broken_json": 0.0,
        "first_token": FirstToken(1, 0),
        "tokens_per_second": 1e9,
        "slower": 0.0,
        "incidents": (),
    }
    return msgspec.structs.replace(behaviour, **(calm | changes))


@asynccontextmanager
async def serving(minute: float = 0.0, **changes: Any) -> AsyncIterator[str]:
    """All providers, faultless but for the changes; gives their base URL."""
    behaviours = {name: faultless(one, **changes) for name, one in PROVIDERS.items()}
    simulators = Simulators(behaviours, 1, lambda: minute)
    async with TestServer(simulators.app()) as server:
        yield str(server.make_url("")).rstrip("/")


def claude(base_url: str, provider: str) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=f"{base_url}/{provider}", api_key="any", max_retries=0)


def chat(base_url: str, provider: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{base_url}/{provider}/v1", api_key="any", max_retries=0)


async def post(url: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, headers=headers) as response,
    ):
        return response.status, await response.json()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_anthropic_sdk_gets_the_same_answer_whole_and_streamed(provider: str) -> None:
    async with serving() as base_url, claude(base_url, provider) as client:
        asked: Any = {"model": MODEL, "max_tokens": 500, "messages": ASK}
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
    assert whole.content[0].text == streamed.content[0].text  # type: ignore[union-attr]
    assert whole.stop_reason == streamed.stop_reason == "end_turn"
    assert streamed.usage.output_tokens == whole.usage.output_tokens > 0
    assert streamed.usage.input_tokens == whole.usage.input_tokens > 0


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_anthropic_sdk_gets_tool_calls_that_fit_the_schema(provider: str) -> None:
    asked: Any = {"model": MODEL, "max_tokens": 500, "messages": ASK, "tools": [ANTHROPIC_TOOL]}
    async with serving() as base_url, claude(base_url, provider) as client:
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
    for message in (whole, streamed):
        call = message.content[-1]
        assert call.type == "tool_use" and call.name == "get_weather"
        jsonschema_rs.validate(WEATHER, call.input)
        assert message.stop_reason == "tool_use"
    assert whole.content[-1] == streamed.content[-1]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_openai_sdk_gets_text_and_usage_whole_and_streamed(provider: str) -> None:
    asked: Any = {"model": MODEL, "messages": ASK}
    async with serving() as base_url, chat(base_url, provider) as client:
        whole = await client.chat.completions.create(**asked)
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
        ]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_openai_sdk_gets_tool_calls_that_fit_the_schema(provider: str) -> None:
    asked: Any = {"model": MODEL, "messages": ASK, "tools": [OPENAI_TOOL]}
    async with serving() as base_url, chat(base_url, provider) as client:
        whole = await client.chat.completions.create(**asked)
        async with client.chat.completions.stream(**asked) as stream:
            streamed = await stream.get_final_completion()
    for completion in (whole, streamed):
        call = completion.choices[0].message.tool_calls[0].function  # type: ignore[index,union-attr]
        assert call.name == "get_weather"
        jsonschema_rs.validate(WEATHER, json.loads(call.arguments))
        assert completion.choices[0].finish_reason == "tool_calls"


async def test_the_responses_api_streams_what_it_answers_whole() -> None:
    asked: Any = {"model": MODEL, "input": "What is the weather in Paris?"}
    tool: Any = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}
    async with serving() as base_url, chat(base_url, "anthropic") as client:
        whole = await client.responses.create(**asked)
        async with client.responses.stream(**asked) as stream:
            streamed = await stream.get_final_response()
        called = await client.responses.create(**asked, tools=[tool])
        async with client.responses.stream(**asked, tools=[tool]) as stream:
            call_streamed = await stream.get_final_response()
    assert whole.output_text == streamed.output_text != ""
    for item in (called.output[-1], call_streamed.output[-1]):
        jsonschema_rs.validate(WEATHER, json.loads(item.arguments))  # type: ignore[union-attr]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_without_a_key_the_vendors_own_401_comes_back(provider: str) -> None:
    async with serving() as base_url:
        status, body = await post(f"{base_url}/{provider}/v1/messages", {"messages": ASK}, {})
    expected = PROVIDERS[provider].errors["unauthorized"]
    assert status == expected.status == 401
    assert body["error"]["message"] == expected.message


ERROR_CLASSES = [
    ("anthropic", "overloaded", 529, anthropic.InternalServerError),
    ("anthropic", "rate_limit", 429, anthropic.RateLimitError),
    ("anthropic", "server", 500, anthropic.InternalServerError),
    ("zhipu", "content_filter", 400, anthropic.BadRequestError),
    ("moonshot", "overloaded", 429, anthropic.RateLimitError),
    ("deepseek", "overloaded", 503, anthropic.InternalServerError),
    ("volcengine", "overloaded", 429, anthropic.RateLimitError),
    ("dashscope", "content_filter", 400, anthropic.BadRequestError),
]


@pytest.mark.parametrize(("provider", "name", "status", "kind"), ERROR_CLASSES)
async def test_errors_reach_the_anthropic_sdk_in_the_vendors_words(
    provider: str, name: str, status: int, kind: type[anthropic.APIStatusError]
) -> None:
    async with serving(outcomes={name: 1.0}) as base_url, claude(base_url, provider) as client:
        with pytest.raises(kind) as caught:
            await client.messages.create(model=MODEL, max_tokens=9, messages=ASK)
    error = PROVIDERS[provider].errors[name]
    assert caught.value.status_code == status
    told = caught.value.body["error"]  # type: ignore[index]
    assert (told.get("code", ""), told.get("type", "")) == (error.code, error.type)


async def test_the_openai_sdk_gets_the_vendors_own_error_type() -> None:
    async with serving(outcomes={"overloaded": 1.0}) as url, chat(url, "moonshot") as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=MODEL, messages=ASK)
    assert caught.value.type == "engine_overloaded_error"


async def test_a_request_without_messages_is_refused_as_invalid() -> None:
    async with serving() as base_url:
        url = f"{base_url}/zhipu/v1/chat/completions"
        status, body = await post(url, {"model": "glm-4.6"}, {"Authorization": "Bearer any"})
    assert (status, body["error"]["code"]) == (400, "1214")


async def test_an_error_inside_a_stream_is_raised_by_the_sdk() -> None:
    async with (
        serving(outcomes={"error_in_stream": 1.0}) as url,
        claude(url, "anthropic") as client,
    ):
        asked: Any = {"model": MODEL, "max_tokens": 500, "messages": ASK}
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            async with client.messages.stream(**asked) as stream:
                await stream.get_final_message()


async def test_an_answer_longer_than_allowed_is_cut_and_says_so() -> None:
    async with serving() as base_url, claude(base_url, "zhipu") as client:
        cut = await client.messages.create(model=MODEL, max_tokens=5, messages=ASK)
    assert cut.stop_reason == "max_tokens"
    assert 0 < cut.usage.output_tokens <= 5


async def test_a_truncated_stream_has_no_end() -> None:
    async with (
        serving(outcomes={"truncated_stream": 1.0}) as url,
        claude(url, "moonshot") as client,
    ):
        asked: Any = {"model": MODEL, "max_tokens": 500, "messages": ASK}
        stream = await client.messages.create(**asked, stream=True)
        kinds = [event.type async for event in stream]
    assert kinds[0] == "message_start"
    assert "message_stop" not in kinds


async def sse(provider: str, path: str, body: Any) -> list[Any]:
    """The data of the events of one streamed answer."""
    headers = {"Authorization": "Bearer any"}
    async with serving() as base_url, aiohttp.ClientSession() as session:
        url = f"{base_url}/{provider}/v1/{path}"
        async with session.post(url, json=body | {"stream": True}, headers=headers) as response:
            text = await response.text()
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(one) for one in data if one != "[DONE]"]


async def test_zhipu_counts_nothing_at_the_start_and_everything_at_the_end() -> None:
    events = await sse("zhipu", "messages", {"model": "glm-4.6", "messages": ASK})
    assert set(events[0]["message"]["usage"].values()) == {0}
    delta = next(e for e in events if e["type"] == "message_delta")
    assert delta["usage"]["input_tokens"] > 0


async def test_moonshot_tells_usage_twice() -> None:
    body = {"messages": ASK, "stream_options": {"include_usage": True}}
    events = await sse("moonshot", "chat/completions", body)
    assert events[-2]["choices"][0]["usage"] == events[-1]["usage"]


async def test_deepseek_tells_usage_unasked_on_the_finish_chunk() -> None:
    events = await sse("deepseek", "chat/completions", {"messages": ASK})
    usage, choice = events[-1]["usage"], events[-1]["choices"][0]
    assert choice["finish_reason"] == "stop"
    hit, miss = usage["prompt_cache_hit_tokens"], usage["prompt_cache_miss_tokens"]
    assert hit + miss == usage["prompt_tokens"]


async def test_others_tell_usage_only_if_asked() -> None:
    assert all(
        "usage" not in e for e in await sse("volcengine", "chat/completions", {"messages": ASK})
    )


def prompt_of(conversation: Conversation) -> Prompt:
    body = msgspec.json.decode(msgspec.json.encode(conversation.request()))
    prompt = read_prompt(conversation.workload.protocol, body)
    assert prompt is not None
    return prompt


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_same_seed_and_request_give_the_same_answer(workload: str, provider: str) -> None:
    prompts = [prompt_of(Conversation(workload, n, 5)) for n in range(20)]
    behaviour = PROVIDERS[provider]
    first = [reply_to(prompt, provider, behaviour, 5) for prompt in prompts]
    assert first == [reply_to(prompt, provider, behaviour, 5) for prompt in prompts]
    assert first != [reply_to(prompt, provider, behaviour, 6) for prompt in prompts]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_answers_fit_what_was_asked(workload: str) -> None:
    """Chinese for Chinese, JSON valid against the schema, tool calls among those offered."""
    behaviour = faultless(PROVIDERS["zhipu"])
    for number in range(40):
        conversation = Conversation(workload, number, 1)
        while not conversation.over:
            prompt = prompt_of(conversation)
            reply = reply_to(prompt, "zhipu", behaviour, 1)
            if prompt.json_schema:
                jsonschema_rs.validate(prompt.json_schema, json.loads(reply.text))
            elif prompt.language == "zh":
                assert not reply.text or any(c > "\u4e00" for c in reply.text)
            schemas = {tool.name: tool.schema for tool in prompt.tools}
            for call in reply.tool_calls:
                jsonschema_rs.validate(schemas[call.name] or {}, json.loads(call.arguments))
            conversation.hear(reply.text, reply.tool_calls)


def test_an_extraction_reads_the_values_out_of_the_document() -> None:
    prompt = prompt_of(Conversation("extraction", 3, 1))
    read = json.loads(reply_to(prompt, "deepseek", faultless(PROVIDERS["deepseek"]), 1).text)
    assert read["invoice_number"] in prompt.question
    assert read["seller"] in prompt.question


def test_tool_faults_come_at_about_the_rate_that_is_set() -> None:
    behaviour = faultless(PROVIDERS["dashscope"], tool_faults=0.2)
    wrong = sum(not _is_valid(Conversation("code", n, 1), behaviour) for n in range(500))
    assert 60 < wrong < 140


def _is_valid(conversation: Conversation, behaviour: Behaviour) -> bool:
    prompt = prompt_of(conversation)
    call = reply_to(prompt, "dashscope", behaviour, 1).tool_calls[0]
    schemas = {tool.name: tool.schema or {} for tool in prompt.tools}
    try:
        return jsonschema_rs.is_valid(schemas[call.name], json.loads(call.arguments))
    except (KeyError, ValueError):
        return False


def test_the_second_turn_reads_the_cache_that_the_first_has_written() -> None:
    behaviour = faultless(PROVIDERS["anthropic"])
    sure = msgspec.structs.replace(behaviour.cache, hit_rate=1.0)
    behaviour = msgspec.structs.replace(behaviour, cache=sure)
    conversation = Conversation("code", 2, 1)
    first = reply_to(prompt_of(conversation), "anthropic", behaviour, 1)
    conversation.hear(first.text, first.tool_calls)
    second = reply_to(prompt_of(conversation), "anthropic", behaviour, 1)
    assert first.usage.cache_read_input_tokens == 0
    assert (first.usage.cache_write_5m_input_tokens or 0) > 0
    assert (second.usage.cache_read_input_tokens or 0) > (
        first.usage.cache_write_5m_input_tokens or 0
    )


def test_moonshot_is_overloaded_for_two_minutes_only() -> None:
    moonshot = PROVIDERS["moonshot"]
    during = moonshot.during(moonshot.incident(5))
    assert during.outcomes["overloaded"] > 0.3 and during.slower > 1
    for minute in (3.9, 6.0, 60):
        assert moonshot.during(moonshot.incident(minute)) == moonshot


@pytest.mark.parametrize(("text", "length"), [("abcd" * 5, 5.0), ("你好", 1.4), ("", 0.0)])
def test_tokens_follow_the_simple_rule(text: str, length: float) -> None:
    assert tokens(text) == pytest.approx(length)


def test_bodies_that_are_no_requests_are_no_prompts() -> None:
    for body in (None, [], "text", {}, {"messages": "text"}, {"messages": []}):
        assert read_prompt(Protocol.OPENAI_CHAT, body) is None
