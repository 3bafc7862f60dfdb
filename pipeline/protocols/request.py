"""What was asked. The three protocols differ here in names only, so one reader knows them all."""

from collections.abc import Iterator
from typing import Any

from pipeline.calls import Tool
from pipeline.protocols.conversation import conversation_in, opening
from pipeline.protocols.values import as_dict, as_text, dicts, parts_text

_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens", "max_new_tokens")
_JSON_FORMATS = frozenset({"json_object", "json_schema"})
_FORMAT_KEYS = frozenset({"response_format", "text", "output_config", "output_format"})
_FREE_CHOICES = frozenset({"auto", "none"})


def asked(request: dict[str, Any], conversation: str = "") -> dict[str, Any]:
    """The fields of an Exchange that the request tells; `conversation` where its id is known already."""
    wanted = _wanted_format(request)
    schema = as_dict(wanted.get("json_schema", wanted)).get("schema") if wanted else None
    stream, messages = request.get("stream"), _messages(request)
    conversation = conversation or conversation_in(request)
    return {
        "request_model": as_text(request.get("model")),
        "prompt": _last_user_text(request, messages),
        "conversation": conversation,
        "opening": "" if conversation else opening(request, messages),
        "tools": _tools(request),
        "tool_required": _tool_required(request.get("tool_choice")),
        "json_wanted": bool(wanted),
        "json_schema": schema if isinstance(schema, dict) else None,
        "max_output_tokens": _max_output_tokens(request),
        "stream": stream if isinstance(stream, bool) else False,
    }


def usage_promised(request: dict[str, Any]) -> bool:
    """True if a Chat Completions stream was asked to end with its token counts."""
    return as_dict(request.get("stream_options")).get("include_usage") is True


def earlier_tool_call_ids(request: dict[str, Any]) -> Iterator[str]:
    """The ids of the tool calls in the conversation so far."""
    for message in _messages(request):
        if message.get("type") == "function_call":
            yield as_text(message.get("call_id"))
        for call in dicts(message.get("tool_calls")):
            yield as_text(call.get("id"))
        for block in dicts(message.get("content")):
            if block.get("type") == "tool_use":
                yield as_text(block.get("id"))


def _messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    return dicts(request.get("messages")) or dicts(request.get("input"))


def _last_user_text(request: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    """The newest text a user wrote; messages that only carry tool results are passed over."""
    if text := as_text(request.get("input")):
        return text
    for message in reversed(messages):
        if message.get("role") == "user" and (text := parts_text(message.get("content"), "\n")):
            return text
    return ""


def _tools(request: dict[str, Any]) -> tuple[Tool, ...]:
    return tuple(map(_tool, dicts(request["tools"]))) if "tools" in request else ()


def _tool(wire: dict[str, Any]) -> Tool:
    """A tool in any of the three shapes; one the vendor runs itself is known by its type."""
    spec = as_dict(wire.get("function")) or as_dict(wire.get("custom")) or wire
    schema = spec.get("parameters") or spec.get("input_schema")
    name = as_text(spec.get("name")) or as_text(wire.get("type"))
    return Tool(name, schema if isinstance(schema, dict) else None)


def _tool_required(choice: object) -> bool:
    if not isinstance(choice, dict):
        return choice == "required"
    if choice.get("type") == "allowed_tools":
        return "required" in (choice.get("mode"), as_dict(choice.get("allowed_tools")).get("mode"))
    return bool(choice) and as_text(choice.get("type")) not in _FREE_CHOICES


def _wanted_format(request: dict[str, Any]) -> dict[str, Any]:
    """The structured output asked for, or {}: Chat, Responses, Anthropic, Anthropic's beta."""
    if _FORMAT_KEYS.isdisjoint(request):
        return {}
    places = (
        request.get("response_format"),
        as_dict(request.get("text")).get("format"),
        as_dict(request.get("output_config")).get("format"),
        request.get("output_format"),
    )
    for place in places:
        if isinstance(place, dict) and as_text(place.get("type")) in _JSON_FORMATS:
            return place
    return {}


def _max_output_tokens(request: dict[str, Any]) -> int | None:
    for name in _LIMITS:
        limit = request.get(name)
        if type(limit) is int and limit > 0:
            return limit
    return None
