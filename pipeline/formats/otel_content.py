"""What was asked and answered, as spans keep it: whole bodies, lists of messages, numbered attributes, events."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.calls import Protocol
from pipeline.formats import records as r
from pipeline.formats.otel_names import REQUEST_MODELS, first
from pipeline.formats.otlp import Attributes, Event, attributes
from pipeline.protocols.values import as_dict, as_text, dicts, encode

_INDEX = re.compile(r"(\d{1,4})\.(.+)")
_ANY_INDEX = re.compile(r"\.\d{1,4}\.")
_CONTENT = frozenset(
    {
        "gen_ai.system_instructions",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.tool.definitions",
    }
)  # what was said, where it is not in numbered attributes or events


class Content(NamedTuple):
    """What was kept of a call's texts."""

    asked: dict[str, Any]
    answered: dict[str, Any]
    has_answer: bool
    is_whole: bool  # the bodies as they were sent


def content(a: Attributes, events: list[Event]) -> Content | None:
    """What was asked and answered; None where no text was kept, as is usual."""
    if bodies := _bodies(a):
        return bodies
    numbered = a if _ANY_INDEX.search("\n".join(a)) else {}
    if events or numbered or not _CONTENT.isdisjoint(a):
        return _told(a, numbered, events)
    return None


def merge_details(a: Attributes, events: list[Event]) -> None:
    """Adds what the conventions' one event of a call says to what its attributes say."""
    for event in events:
        if event.name == "gen_ai.client.inference.operation.details":
            a.update({k: v for k, v in attributes(event.attributes).items() if k not in a})


def _bodies(a: Attributes) -> Content | None:
    """Both bodies, where OpenInference keeps them whole."""
    asked, answered = r.json_object(a.get("input.value")), r.json_object(a.get("output.value"))
    if not asked or not ("message" in answered or shape(answered, None)):
        return None
    return Content(asked, answered, has_answer=True, is_whole=True)


def shape(answer: dict[str, Any], other: Protocol | None = Protocol.OPENAI_CHAT) -> Any:
    """In which protocol's shape an answer is."""
    if answer.get("object") == "response":
        return Protocol.OPENAI_RESPONSES
    if answer.get("type") == "message":
        return Protocol.ANTHROPIC_MESSAGES
    return Protocol.OPENAI_CHAT if answer.get("object") == "chat.completion" else other


def _told(a: Attributes, numbered: Attributes, events: list[Event]) -> Content:
    """Request and answer in Chat's shape, put together from messages."""
    asked = {
        "model": first(a, REQUEST_MODELS),
        "messages": [*_system(a), *_messages(a, numbered, "input", events)],
        "tools": _tools(a, numbered),
        "max_tokens": a.get("gen_ai.request.max_tokens"),
        "response_format": {"type": "json_object"} if a.get("gen_ai.output.type") == "json" else {},
    }
    said = next(iter(_messages(a, numbered, "output", events)), None)
    beside = _numbered(numbered, "gen_ai.completion.")
    if said and beside and not said.get("tool_calls"):
        said["tool_calls"] = _flat(beside[0])["tool_calls"]  # LiteLLM keeps them there only
    choice = {"message": said or {}, "finish_reason": as_dict(said).get("finish_reason")}
    return Content(asked, {"choices": [choice]}, has_answer=said is not None, is_whole=False)


def _system(a: Attributes) -> Iterator[dict[str, Any]]:
    parts = r.unpacked(a.get("gen_ai.system_instructions"))
    if isinstance(parts, list) and (message := _chat({"role": "system", "parts": parts})):
        yield message


def _messages(
    a: Attributes, numbered: Attributes, side: str, events: list[Event]
) -> list[dict[str, Any]]:
    """The messages of one side, "input" or "output", from wherever they stand."""
    written = r.unpacked(a.get(f"gen_ai.{side}.messages"))
    if isinstance(written, list):
        return [_chat(message) for message in dicts(written)]
    older = "prompt" if side == "input" else "completion"
    for prefix in (f"llm.{side}_messages.", f"gen_ai.{older}."):
        if found := _numbered(numbered, prefix):
            return [_flat(message) for message in found]
    if side == "input" and (found := _numbered(numbered, "llm.prompts.")):
        return [{"role": "user", "content": m.get("prompt.text")} for m in found]
    if side == "output" and (found := _numbered(numbered, "llm.choices.")):
        return [{"role": "assistant", "content": m.get("completion.text")} for m in found]
    return list(_of_events(events, side, older))


def _chat(message: dict[str, Any]) -> dict[str, Any]:
    """A message of parts as a Chat message."""
    parts = dicts(message.get("parts"))
    texts = [{"text": as_text(p.get("content"))} for p in parts if p.get("type") == "text"]
    calls = [_call(p) for p in parts if p.get("type") == "tool_call"]
    thoughts = [as_text(p.get("content")) for p in parts if p.get("type") == "reasoning"]
    result = next((p for p in parts if p.get("type") == "tool_call_response"), None)
    return {
        "role": "tool" if result and not texts else message.get("role"),
        "content": texts if parts else message.get("content"),
        "tool_calls": calls or message.get("tool_calls"),
        "tool_call_id": result.get("id") if result else None,
        "reasoning_content": "".join(thoughts),
        "finish_reason": message.get("finish_reason"),
    }


def _call(part: dict[str, Any]) -> dict[str, Any]:
    arguments = part.get("arguments")
    packed = arguments if isinstance(arguments, str) else encode(as_dict(arguments))
    return {
        "id": part.get("id"),
        "function": {"name": as_text(part.get("name")), "arguments": packed},
    }


def _numbered(a: Attributes, prefix: str) -> list[dict[str, Any]]:
    """`prefix.N.rest` as a list of {rest: value}, in order of N."""
    if not a or prefix not in "\n".join(a):
        return []
    found: dict[int, dict[str, Any]] = {}
    for name, value in a.items():
        if name.startswith(prefix) and (place := _INDEX.fullmatch(name, len(prefix))):
            found.setdefault(int(place[1]), {})[place[2].removeprefix("message.")] = value
    return [found[number] for number in sorted(found)]


def _flat(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose fields are attributes of their own."""
    calls = [
        {name.removeprefix("tool_call.").removeprefix("function."): v for name, v in each.items()}
        for each in _numbered(message, "tool_calls.")
    ]
    if "function_call.name" in message:
        calls.append({name.removeprefix("function_call."): v for name, v in message.items()})
    return {
        "role": message.get("role"),
        "content": _unparted(message.get("content")),
        "tool_calls": [_call(call) for call in calls],
        "tool_call_id": message.get("tool_call_id"),
        "finish_reason": message.get("finish_reason"),
    }


def _unparted(content: Any) -> Any:
    """Content; older OpenLLMetry packs a list of parts into a string."""
    found = r.unpacked(content)
    return found if isinstance(found, list) and dicts(found) else content


def _of_events(events: list[Event], side: str, older: str) -> Iterator[dict[str, Any]]:
    """Messages that stand in span events: one a message, or all in one."""
    for event in events:
        a = attributes(event.attributes)
        if event.name == f"gen_ai.content.{older}":
            found = r.unpacked(a.get(f"gen_ai.{older}"))
            yield from map(_chat, dicts(found if isinstance(found, list) else [found]))
        elif event.name == "gen_ai.choice" and side == "output":
            body = r.json_object(a.get("gen_ai.event.content")) or a
            said = as_dict(r.unpacked(body.get("message"))) or body
            yield {**said, "finish_reason": body.get("finish_reason")}
        elif event.name.startswith("gen_ai.") and event.name.endswith(".message"):
            role = event.name.split(".")[1]
            if side == "input" and role in ("system", "user", "assistant", "tool"):
                yield {"role": role, **(r.json_object(a.get("gen_ai.event.content")) or a)}


def _tools(a: Attributes, numbered: Attributes) -> list[dict[str, Any]]:
    """The tools that were offered."""
    defined = r.unpacked(a.get("gen_ai.tool.definitions"))
    if isinstance(defined, list):
        return dicts(defined)
    schemas = [r.json_object(t.get("tool.json_schema")) for t in _numbered(numbered, "llm.tools.")]
    older = _numbered(numbered, "llm.request.functions.")
    return schemas or [
        {"name": t.get("name"), "parameters": r.json_object(t.get("parameters"))} for t in older
    ]
