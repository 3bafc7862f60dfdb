"""The official SDKs through the tap get exactly what they get from the provider directly."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web
from tapping import Notes, plan, provider, tap

from pipeline.calls import Protocol
from pipeline.formats.cutover import Record

KEY = "caller-key-abcdefghijkl"
QUESTION = [{"role": "user", "content": "What is the weather in 杭州?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ARGUMENTS = ['{"ci', 'ty": "杭州"}']

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4",
    "content": [
        {"type": "text", "text": "Let me see. 好的"},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "杭州"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 12, "output_tokens": 7},
}
TEXT_BLOCK = {"type": "text", "text": ""}
TOOL_BLOCK = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
MESSAGE_EVENTS = [
    {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": TEXT_BLOCK},
    {"type": "ping"},
    *(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in ("Let me ", "see. 好的")
    ),
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": TOOL_BLOCK},
    *(
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": part},
        }
        for part in ARGUMENTS
    ),
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    },
    {"type": "message_stop"},
]


def tool_call(arguments: str, **more: Any) -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function} | more


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-5",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "好的",
                "tool_calls": [tool_call("".join(ARGUMENTS))],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19},
}
CHUNK = COMPLETION | {"object": "chat.completion.chunk", "usage": None}
CHUNKS = [
    CHUNK | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    for delta, finish in [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "好的"}, None),
        *(({"tool_calls": [tool_call(part, index=0)]}, None) for part in ARGUMENTS),
        ({}, "tool_calls"),
    ]
]

OUTPUT = [
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "weather",
        "arguments": "".join(ARGUMENTS),
        "status": "completed",
    },
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "好的", "annotations": []}],
    },
]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_700_000_000,
    "model": "gpt-5",
    "status": "completed",
    "output": OUTPUT,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
RESPONSE_EVENTS = [
    {"type": "response.created", "response": RESPONSE | {"status": "in_progress", "output": []}},
    *(
        {
            "type": "response.output_text.delta",
            "item_id": "msg_1",
            "output_index": 1,
            "content_index": 0,
            "delta": text,
            "logprobs": [],
        }
        for text in "好的"
    ),
    {"type": "response.completed", "response": RESPONSE},
]
RESPONSE_EVENTS = [event | {"sequence_number": n} for n, event in enumerate(RESPONSE_EVENTS)]

WHOLE = {"/v1/messages": MESSAGE, "/v1/chat/completions": COMPLETION, "/v1/responses": RESPONSE}
EVENTS = {
    "/v1/messages": MESSAGE_EVENTS,
    "/v1/chat/completions": CHUNKS,
    "/v1/responses": RESPONSE_EVENTS,
}


async def vendor(request: web.Request) -> web.StreamResponse:
    """Answers all three protocols, as JSON or as a stream; refuses an overloaded model."""
    asked = await request.json()
    headers = {"request-id": "req_1", "x-request-id": "req_1"}
    if asked["model"] == "busy":
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        return web.json_response(error, status=529, headers=headers)
    if not asked.get("stream"):
        return web.json_response(WHOLE[request.path], headers=headers)
    answer = web.StreamResponse(headers=headers | {"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    for event in EVENTS[request.path]:
        name = f"event: {event['type']}\n" if "type" in event else ""
        await answer.write(f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
    if request.path == "/v1/chat/completions":
        await answer.write(b"data: [DONE]\n\n")
    return answer


@asynccontextmanager
async def both_ways() -> AsyncIterator[tuple[str, str, Notes]]:
    """The vendor's address, a tap's address in front of it, and what the tap records."""
    notes = Notes()
    async with provider(vendor) as up, tap(plan(up.url), notes) as address:
        yield up.url, f"{address}/w/chat", notes


def claude(url: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key=KEY, base_url=url, max_retries=0)


def gpt(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0)


async def message(url: str) -> Any:
    tools = [{"name": "weather", "input_schema": SCHEMA}]
    async with claude(url) as client:
        return (
            await client.messages.create(
                model="claude-sonnet-4", max_tokens=100, messages=QUESTION, tools=tools
            )
        ).to_dict()


async def message_stream(url: str) -> Any:
    async with claude(url) as client:
        asked = client.messages.stream(model="claude-sonnet-4", max_tokens=100, messages=QUESTION)
        async with asked as stream:
            events = [event.to_dict() async for event in stream]
            return events, (await stream.get_final_message()).to_dict()


async def completion(url: str) -> Any:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    async with gpt(url) as client:
        created = client.chat.completions.create(model="gpt-5", messages=QUESTION, tools=tools)
        return (await created).to_dict()


async def completion_stream(url: str) -> Any:
    async with gpt(url) as client:
        created = client.chat.completions.create(model="gpt-5", messages=QUESTION, stream=True)
        return [chunk.to_dict() async for chunk in await created]


async def response(url: str) -> Any:
    async with gpt(url) as client:
        return (await client.responses.create(model="gpt-5", input="杭州?")).to_dict()


async def response_stream(url: str) -> Any:
    async with gpt(url) as client:
        created = client.responses.create(model="gpt-5", input="杭州?", stream=True)
        return [event.to_dict() async for event in await created]


CALLS = [
    (message, Protocol.ANTHROPIC_MESSAGES, False),
    (message_stream, Protocol.ANTHROPIC_MESSAGES, True),
    (completion, Protocol.OPENAI_CHAT, False),
    (completion_stream, Protocol.OPENAI_CHAT, True),
    (response, Protocol.OPENAI_RESPONSES, False),
    (response_stream, Protocol.OPENAI_RESPONSES, True),
]


@pytest.mark.parametrize(("call", "protocol", "streamed"), CALLS)
async def test_an_sdk_gets_the_same_through_the_tap(call, protocol, streamed) -> None:
    async with both_ways() as (direct, tapped, notes):
        expected = await call(direct)
        assert await call(tapped) == expected
        record: Record = await notes.next()
    assert "好" in json.dumps(expected, ensure_ascii=False)
    assert (record.protocol, record.workload, record.http_status) == (protocol, "chat", 200)
    assert (record.first_token_at is not None) == streamed
    assert (record.cancelled, record.transport_error) == (False, "")
    assert "杭州" in record.request and KEY not in repr(record)


async def test_an_sdk_raises_the_same_error_through_the_tap() -> None:
    async def refused(url: str) -> tuple[type, str, object, str | None]:
        async with claude(url) as client:
            with pytest.raises(anthropic.APIStatusError) as caught:
                await client.messages.create(model="busy", max_tokens=1, messages=QUESTION)
        error = caught.value
        return type(error), str(error), error.body, error.request_id

    async with both_ways() as (direct, tapped, notes):
        assert await refused(tapped) == await refused(direct)
        record = await notes.next()
    assert record.http_status == 529


async def test_an_sdks_retries_are_counted_as_attempts_of_one_conversation() -> None:
    async with both_ways() as (_, tapped, notes):
        client = anthropic.AsyncAnthropic(api_key=KEY, base_url=tapped, max_retries=1)
        async with client:
            with pytest.raises(anthropic.APIStatusError):
                await client.messages.create(model="busy", max_tokens=1, messages=QUESTION)
        first, second = await notes.next(), await notes.next()
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.conversation_id == second.conversation_id
