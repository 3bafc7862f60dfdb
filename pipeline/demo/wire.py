"""Puts a reply on the wire: whole bodies, streams and errors, in three protocols with quirks.

A stream is a list of chunks to write one after the other; a chunk may hold several SSE events.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from pipeline.calls import Protocol, ToolCall
from pipeline.demo.behaviour import Behaviour, ErrorReply, Quirk
from pipeline.demo.prompt import Prompt
from pipeline.demo.reply import Reply

PIECES = 14  # how many pieces a stream's text comes in at most, unless told otherwise
Json = dict[str, Any]

_encode = msgspec.json.encode


def error_body(protocol: Protocol, behaviour: Behaviour, error: ErrorReply) -> bytes:
    """The vendor's error as this endpoint words it."""
    return _encode(_error(protocol, behaviour, error))


def whole(prompt: Prompt, reply: Reply, behaviour: Behaviour, created: int) -> bytes:
    """The answer as one JSON body; `created` is in UTC seconds."""
    if prompt.protocol is Protocol.ANTHROPIC_MESSAGES:
        return _encode(_message(reply, behaviour))
    if prompt.protocol is Protocol.OPENAI_CHAT:
        return _encode(_completion(reply, behaviour, created))
    return _encode(_response(reply, created))


def stream(
    prompt: Prompt, reply: Reply, behaviour: Behaviour, created: int, pieces: int = PIECES
) -> list[bytes]:
    """The answer as SSE chunks: broken off half-way, or ended by an error there, if it says so."""
    if prompt.protocol is Protocol.ANTHROPIC_MESSAGES:
        chunks = list(_message_stream(reply, behaviour, pieces))
    elif prompt.protocol is Protocol.OPENAI_CHAT:
        chunks = list(_completion_stream(reply, behaviour, created, prompt.include_usage, pieces))
    else:
        chunks = list(_response_stream(reply, created, pieces))
    if not reply.cut and not reply.in_stream:
        return chunks
    half = chunks[: (len(chunks) + 1) // 2]
    if reply.error:
        body = _error(prompt.protocol, behaviour, reply.error)
        half.append(_event("error", body) if "type" in body else _data(body))
    return half


def _error(protocol: Protocol, behaviour: Behaviour, error: ErrorReply) -> Json:
    words = {"code": error.code, "message": error.message, "type": error.type, "param": error.param}
    body: Json = {"error": {key: word for key, word in words.items() if word}}
    if protocol is Protocol.ANTHROPIC_MESSAGES and Quirk.BARE_ERRORS not in behaviour.quirks:
        body = {"type": "error"} | body
    return body


def _cut(text: str, pieces: int) -> list[str]:
    size = max(8, -(-len(text) // pieces))
    return [text[i : i + size] for i in range(0, len(text), size)]


def _event(name: str, data: Json) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encode(data))


def _data(data: Json) -> bytes:
    return b"data: %s\n\n" % _encode(data)


# Anthropic Messages


def _message(reply: Reply, behaviour: Behaviour) -> Json:
    text = [{"type": "text", "text": reply.text}] if reply.text else []
    calls = [_tool_use(call, _object(call.arguments)) for call in reply.tool_calls]
    return _message_head(reply) | {
        "content": text + calls,
        "stop_reason": _stop_reason(reply),
        "usage": _message_usage(reply, behaviour),
    }


def _message_stream(reply: Reply, behaviour: Behaviour, pieces: int) -> Iterator[bytes]:
    usage = _message_usage(reply, behaviour)
    begun = usage | {"output_tokens": min(1, reply.usage.output_tokens or 0)}
    if Quirk.ZERO_USAGE_AT_START in behaviour.quirks:
        begun = dict.fromkeys(usage, 0)
    message = _message_head(reply) | {"usage": begun}
    yield _events({"type": "message_start", "message": message}, {"type": "ping"})
    for index, block in enumerate(_blocks(reply)):
        yield from _block(index, *block, pieces)
    stop = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    delta = {"type": "message_delta", "delta": stop, "usage": usage}
    yield _events(delta, {"type": "message_stop"})


def _blocks(reply: Reply) -> Iterator[tuple[Json, tuple[str, str], str]]:
    """Each content block: how it starts, its delta's type and field, and what the deltas hold."""
    if reply.text:
        yield {"type": "text", "text": ""}, ("text_delta", "text"), reply.text
    for call in reply.tool_calls:
        yield _tool_use(call, {}), ("input_json_delta", "partial_json"), call.arguments


def _block(
    index: int, start: Json, words: tuple[str, str], content: str, pieces: int
) -> Iterator[bytes]:
    yield _events({"type": "content_block_start", "index": index, "content_block": start})
    for piece in _cut(content, pieces):
        delta = {"type": words[0], words[1]: piece}
        yield _events({"type": "content_block_delta", "index": index, "delta": delta})
    yield _events({"type": "content_block_stop", "index": index})


def _events(*events: Json) -> bytes:
    return b"".join(_event(event["type"], event) for event in events)


def _message_head(reply: Reply) -> Json:
    return {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _tool_use(call: ToolCall, arguments: Json) -> Json:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _object(arguments: str) -> Json:
    """The arguments as an object; broken JSON can only be sent as an object without them."""
    try:
        return msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _stop_reason(reply: Reply) -> str:
    if reply.finish:
        return "refusal"
    if reply.cut_by_limit:
        return "max_tokens"
    return "tool_use" if reply.tool_calls else "end_turn"


def _message_usage(reply: Reply, behaviour: Behaviour) -> Json:
    usage = reply.usage
    read = usage.cache_read_input_tokens or 0
    written = usage.cache_write_5m_input_tokens or 0
    counts: Json = {
        "input_tokens": (usage.input_tokens or 0) - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens,
    }
    if behaviour.cache.writes:
        kinds = {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0}
        counts |= {"cache_creation": kinds, "service_tier": "standard"}
    return counts


# OpenAI Chat Completions


def _completion(reply: Reply, behaviour: Behaviour, created: int) -> Json:
    message: Json = {"role": "assistant", "content": reply.text or None}
    if reply.tool_calls:
        message["tool_calls"] = [_function_call(call, call.arguments) for call in reply.tool_calls]
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(reply)}
    return _completion_head(reply, created, "chat.completion") | {
        "choices": [choice],
        "usage": _completion_usage(reply, behaviour),
    }


def _completion_stream(
    reply: Reply, behaviour: Behaviour, created: int, include_usage: bool, pieces: int
) -> Iterator[bytes]:
    head = _completion_head(reply, created, "chat.completion.chunk")

    def chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return head | {"choices": [choice]} | more

    yield _data(chunk({"role": "assistant", "content": ""}))
    for piece in _cut(reply.text, pieces):
        yield _data(chunk({"content": piece}))
    for index, call in enumerate(reply.tool_calls):
        start = {"index": index} | _function_call(call, "")
        yield _data(chunk({"tool_calls": [start]}))
        for piece in _cut(call.arguments, pieces):
            part = {"index": index, "function": {"arguments": piece}}
            yield _data(chunk({"tool_calls": [part]}))
    usage = _completion_usage(reply, behaviour)
    last = chunk({}, _finish_reason(reply))
    if Quirk.USAGE_ON_FINISH_CHUNK in behaviour.quirks:
        yield _data(last | {"usage": usage}) + b"data: [DONE]\n\n"
        return
    if Quirk.USAGE_TWICE in behaviour.quirks:
        last["choices"][0]["usage"] = usage
    yield _data(last)
    trailing = _data(head | {"choices": [], "usage": usage}) if include_usage else b""
    yield trailing + b"data: [DONE]\n\n"


def _completion_head(reply: Reply, created: int, kind: str) -> Json:
    return {"id": f"chatcmpl-{reply.id}", "object": kind, "created": created, "model": reply.model}


def _function_call(call: ToolCall, arguments: str) -> Json:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _finish_reason(reply: Reply) -> str:
    if reply.finish:
        return "content_filter" if reply.finish == "refusal" else reply.finish
    if reply.cut_by_limit:
        return "length"
    return "tool_calls" if reply.tool_calls else "stop"


def _completion_usage(reply: Reply, behaviour: Behaviour) -> Json:
    sent = reply.usage.input_tokens or 0
    said = reply.usage.output_tokens or 0
    read = reply.usage.cache_read_input_tokens or 0
    counts: Json = {
        "prompt_tokens": sent,
        "completion_tokens": said,
        "total_tokens": sent + said,
        "prompt_tokens_details": {"cached_tokens": read},
    }
    if Quirk.CACHE_HIT_TOKENS in behaviour.quirks:
        counts |= {"prompt_cache_hit_tokens": read, "prompt_cache_miss_tokens": sent - read}
    return counts


# OpenAI Responses


def _response(reply: Reply, created: int) -> Json:
    return _response_head(reply, created) | {
        "status": "incomplete" if reply.cut_by_limit else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if reply.cut_by_limit else None,
        "output": _items(reply),
        "usage": _response_usage(reply),
    }


def _response_stream(reply: Reply, created: int, pieces: int) -> Iterator[bytes]:
    done = _response(reply, created)
    started = _response_head(reply, created) | {"status": "in_progress", "output": []}
    numbered = (
        event | {"sequence_number": number}
        for number, event in enumerate(
            chain(
                [{"type": "response.created", "response": started}],
                *(_item_events(index, item, pieces) for index, item in enumerate(done["output"])),
                [{"type": f"response.{done['status']}", "response": done}],
            )
        )
    )
    return (_event(event["type"], event) for event in numbered)


def _item_events(index: int, item: Json, pieces: int) -> Iterator[Json]:
    place: Json = {"output_index": index, "item_id": item["id"]}
    empty: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
    fresh = item | empty | {"status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": index, "item": fresh}
    events = _text_events if item["type"] == "message" else _call_events
    yield from events(place, item, pieces)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _text_events(place: Json, item: Json, pieces: int) -> Iterator[Json]:
    place = place | {"content_index": 0}
    part = item["content"][0]
    yield {"type": "response.content_part.added", "part": part | {"text": ""}} | place
    for piece in _cut(part["text"], pieces):
        delta = {"type": "response.output_text.delta", "delta": piece, "logprobs": []}
        yield delta | place
    yield {"type": "response.output_text.done", "text": part["text"], "logprobs": []} | place
    yield {"type": "response.content_part.done", "part": part} | place


def _call_events(place: Json, item: Json, pieces: int) -> Iterator[Json]:
    kind = "response.function_call_arguments"
    for piece in _cut(item["arguments"], pieces):
        yield {"type": f"{kind}.delta", "delta": piece} | place
    yield {"type": f"{kind}.done", "arguments": item["arguments"], "name": item["name"]} | place


def _response_head(reply: Reply, created: int) -> Json:
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": created,
        "model": reply.model,
        "error": None,
        "incomplete_details": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _items(reply: Reply) -> list[Json]:
    text = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    message = {"id": f"msg_{reply.id}", "type": "message", "role": "assistant", "content": [text]}
    calls = [
        {
            "id": f"fc_{call.id}",
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in reply.tool_calls
    ]
    items = ([message] if reply.text else []) + calls
    return [item | {"status": "completed"} for item in items]


def _response_usage(reply: Reply) -> Json:
    sent = reply.usage.input_tokens or 0
    said = reply.usage.output_tokens or 0
    read = reply.usage.cache_read_input_tokens or 0
    return {
        "input_tokens": sent,
        "input_tokens_details": {"cached_tokens": read},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": sent + said,
    }
