"""The official SDKs, given the same bytes, read the same out of them."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import transcripts
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState

CASES = [
    case
    for case in (*transcripts.load(), *transcripts.recordings())
    if case.get("status", 200) == 200 and case.get("sdk", True)
]
STREAMS = [case for case in CASES if transcripts.is_stream(case)]
REQUESTS = {
    "anthropic_messages": {"model": "any", "max_tokens": 9, "messages": []},
    "openai_chat": {"model": "any", "messages": []},
    "openai_responses": {"model": "any", "input": ""},
}


@pytest.mark.parametrize("case", CASES, ids=transcripts.name_of)
def test_the_sdk_reads_the_same(case: dict[str, Any]) -> None:
    assert ours(case) == ORACLES[case["protocol"]](case)


@given(st.data())
def test_the_sdk_reads_the_same_text_from_a_stream_cut_anywhere(data: st.DataObject) -> None:
    """The SDK waits for an event's blank line, so we may be one event ahead but never behind."""
    case = data.draw(st.sampled_from(STREAMS))
    body = transcripts.body(case)
    cut = body[: data.draw(st.integers(0, len(body)))]
    at_event = cut[: cut.rfind(b"\n\n") + 2] if b"\n\n" in cut else b""
    theirs = "".join(text_pieces(case, cut))
    assert transcripts.read(case, cut).text.startswith(theirs)
    assert transcripts.read(case, at_event).text == theirs


def ours(case: dict[str, Any]) -> dict[str, Any]:
    exchange = transcripts.read(case)
    usage = exchange.usage
    return {
        "model": exchange.response_model,
        "id": exchange.response_id,
        "text": exchange.text,
        "tool_calls": [(c.id, c.name, json.loads(c.arguments)) for c in exchange.tool_calls],
        "finish_reason": exchange.finish_reason,
        "usage": totals(usage) if usage and not usage.estimated else None,
    }


def totals(usage: Any) -> tuple[int, int, int]:
    return usage.input_tokens, usage.cache_read_input_tokens or 0, usage.output_tokens


def http_client(body: bytes, case: dict[str, Any]) -> httpx2.Client:
    kind = "text/event-stream" if transcripts.is_stream(case) else "application/json"
    answer = httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers={"content-type": kind}, content=body)
    )
    return httpx2.Client(transport=answer)


def anthropic_client(case: dict[str, Any], body: bytes) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key="none", max_retries=0, http_client=http_client(body, case), base_url="http://test"
    )


def openai_client(case: dict[str, Any], body: bytes) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="none", max_retries=0, http_client=http_client(body, case), base_url="http://test"
    )


def anthropic_oracle(case: dict[str, Any]) -> dict[str, Any]:
    messages = anthropic_client(case, transcripts.body(case)).messages
    if transcripts.is_stream(case):
        with messages.stream(**REQUESTS[case["protocol"]]) as stream:
            message = stream.get_final_message()
    else:
        message = messages.create(**REQUESTS[case["protocol"]])
    usage = message.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    calls = [block for block in message.content if block.type == "tool_use"]
    return {
        "model": message.model,
        "id": message.id,
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "tool_calls": [(call.id, call.name, call.input) for call in calls],
        "finish_reason": message.stop_reason,
        "usage": (usage.input_tokens + read + written, read, usage.output_tokens),
    }


def chat_oracle(case: dict[str, Any]) -> dict[str, Any]:
    completions = openai_client(case, transcripts.body(case)).chat.completions
    if transcripts.is_stream(case):
        state = ChatCompletionStreamState()
        chunks = list(completions.create(**REQUESTS[case["protocol"]], stream=True))
        for chunk in chunks:
            state.handle_chunk(chunk)
        completion = state.current_completion_snapshot
        named = next(chunk for chunk in chunks if chunk.id)  # Azure opens with a nameless chunk
    else:
        completion = named = completions.create(**REQUESTS[case["protocol"]])
    message, usage = completion.choices[0].message, completion.usage
    calls = [(call.id, call.function) for call in (message and message.tool_calls) or []]
    details = usage and usage.prompt_tokens_details
    cached = (details and details.cached_tokens) or getattr(usage, "cached_tokens", 0) or 0
    return {
        "model": named.model,
        "id": named.id,
        "text": (message and message.content) or "",
        "tool_calls": [(id_, of.name, json.loads(of.arguments)) for id_, of in calls],
        "finish_reason": completion.choices[0].finish_reason,
        "usage": usage and (usage.prompt_tokens, cached, usage.completion_tokens),
    }


def responses_oracle(case: dict[str, Any]) -> dict[str, Any]:
    responses = openai_client(case, transcripts.body(case)).responses
    if transcripts.is_stream(case):
        events = list(responses.create(**REQUESTS[case["protocol"]], stream=True))
        response = events[-1].response
    else:
        response = responses.create(**REQUESTS[case["protocol"]])
    usage, reason = response.usage, response.incomplete_details
    calls = [item for item in response.output if item.type == "function_call"]
    return {
        "model": response.model,
        "id": response.id,
        "text": response.output_text,
        "tool_calls": [(call.call_id, call.name, json.loads(call.arguments)) for call in calls],
        "finish_reason": reason.reason if reason else response.status,
        "usage": (
            usage.input_tokens,
            usage.input_tokens_details.cached_tokens,
            usage.output_tokens,
        ),
    }


ORACLES = {
    "anthropic_messages": anthropic_oracle,
    "openai_chat": chat_oracle,
    "openai_responses": responses_oracle,
}


def text_pieces(case: dict[str, Any], body: bytes) -> Iterator[str]:
    """The text the SDK hands out before the stream breaks off under it."""
    try:
        for event in sdk_events(case, body):
            yield text_piece(event) or ""
    except (ValueError, anthropic.APIError, openai.APIError):
        return


def sdk_events(case: dict[str, Any], body: bytes) -> Iterator[Any]:
    if case["protocol"] == "anthropic_messages":
        return anthropic_client(case, body).messages.create(
            **REQUESTS[case["protocol"]], stream=True
        )
    client = openai_client(case, body)
    chat = case["protocol"] == "openai_chat"
    api = client.chat.completions if chat else client.responses
    return api.create(**REQUESTS[case["protocol"]], stream=True)


def text_piece(event: Any) -> str | None:
    if choices := getattr(event, "choices", None):
        return choices[0].delta.content
    kind = getattr(event, "type", "")
    if kind == "content_block_delta":
        return getattr(event.delta, "text", None)
    return event.delta if kind == "response.output_text.delta" else None
