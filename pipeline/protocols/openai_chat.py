"""OpenAI Chat Completions, as OpenAI and the vendors that copy it speak it: chunks and completions.

`prompt_tokens` on this wire includes what the cache served. Vendors differ in where a stream carries
the counts (a last chunk without choices, the finish chunk, inside a choice) and in what they call
the cached part; the places are tables below.
"""

from typing import Any

from pipeline.calls import ToolCall, Usage
from pipeline.protocols.errors import vendor_error
from pipeline.protocols.reader import Folded
from pipeline.protocols.sse import Stream
from pipeline.protocols.tokens import count, part
from pipeline.protocols.values import as_dict, as_text, dicts, encode, parts_text

FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})
TOOL_FINISH = "tool_calls"
PLAIN_FINISH = "stop"

_TEXTS = frozenset({"content", "reasoning_content", "reasoning", "refusal"})
_TOLD = _TEXTS | {"tool_calls", "function_call"}
_CACHE_READS = (
    "cached_tokens",  # OpenAI, in prompt_tokens_details; Moonshot, at the top
    "prompt_cache_hit_tokens",  # DeepSeek
    "cache_read_input_tokens",  # gateways that log Anthropic's answers in this shape
)
_CACHE_WRITES = ("cache_write_tokens", "cache_creation_input_tokens", "cache_creation_tokens")


def fold(stream: Stream) -> Folded:
    """The completion a stream builds, from its first choice."""
    builder = _Builder()
    for _, chunk in stream.events:
        builder.add(chunk)
    return builder.folded(stream.done)


class _Builder:
    """A completion in the making."""

    def __init__(self) -> None:
        self.response: dict[str, Any] = {}
        self.pieces: dict[str, list[str]] = {}
        self.tool_calls: dict[int, dict[str, Any]] = {}
        self.finish_reason = ""
        self.error: dict[str, Any] = {}
        self.findings: list[str] = []

    def add(self, chunk: dict[str, Any]) -> None:
        if (chunk.get("error") or "choices" not in chunk) and vendor_error(chunk, in_band=True):
            self.error = chunk
            return
        for name in ("id", "model"):
            self.response[name] = self.response.get(name) or chunk.get(name)
        if usage := chunk.get("usage"):
            self.response["usage"] = usage
        for choice in dicts(chunk.get("choices")):
            if not choice.get("index"):
                self._choose(choice)

    def _choose(self, choice: dict[str, Any]) -> None:
        if usage := choice.get("usage"):
            self.response["usage"] = usage
        if delta := as_dict(choice.get("delta")):
            self._extend(delta)
        self.finish_reason = as_text(choice.get("finish_reason")) or self.finish_reason

    def _extend(self, delta: dict[str, Any]) -> None:
        told = {name: value for name, value in delta.items() if value and name in _TOLD}
        if told and self.finish_reason:
            self.findings.append("event_out_of_order")
        for name, value in told.items():
            if name in _TEXTS:
                self.pieces.setdefault(name, []).append(parts_text(value))
            else:
                for call in _wire_tool_calls({name: value}):
                    self._extend_tool_call(call)

    def _extend_tool_call(self, delta: dict[str, Any]) -> None:
        """Pieces of one call share an index; a piece without one belongs to the newest call."""
        index = delta.get("index")
        if not isinstance(index, int):
            index = max(len(self.tool_calls) - (not delta.get("id")), 0)
        call = self.tool_calls.setdefault(index, {})
        call["id"] = call.get("id") or delta.get("id")
        for kind, text in (("function", "arguments"), ("custom", "input")):
            if piece := as_dict(delta.get(kind)):
                whole = call.setdefault(kind, {"name": "", text: ""})
                whole["name"] = whole["name"] or as_text(piece.get("name"))
                whole[text] += _argument_text(piece.get(text))

    def folded(self, done: bool) -> Folded:
        message: dict[str, Any] = {name: "".join(found) for name, found in self.pieces.items()}
        message["tool_calls"] = list(self.tool_calls.values())
        choice = {"message": message, "finish_reason": self.finish_reason}
        findings = self.findings if done else [*self.findings, "missing_done"]
        ended = done or bool(self.finish_reason)
        return Folded({**self.response, "choices": [choice]}, ended, self.error, findings)


def answer(completion: dict[str, Any]) -> dict[str, Any]:
    """The fields of an Exchange that a completion tells, from its first choice."""
    choice = next(iter(dicts(completion.get("choices"))), {})
    message = as_dict(choice.get("message"))
    return {
        "response_model": as_text(completion.get("model")),
        "response_id": as_text(completion.get("id")),
        "text": parts_text(message.get("content")),
        "reasoning": parts_text(message.get("reasoning_content") or message.get("reasoning")),
        "refusal": as_text(message.get("refusal")),
        "tool_calls": tuple(_tool_call(call) for call in _wire_tool_calls(message)),
        "finish_reason": as_text(choice.get("finish_reason")),
    }


def usage(completion: dict[str, Any], findings: list[str]) -> Usage:
    """The token counts of a completion."""
    wire = as_dict(completion.get("usage"))
    details = as_dict(wire.get("prompt_tokens_details"))
    total = count(wire.get("prompt_tokens"), findings)
    output = count(wire.get("completion_tokens"), findings)
    reasoning = as_dict(wire.get("completion_tokens_details")).get("reasoning_tokens")
    return Usage(
        input_tokens=total,
        cache_read_input_tokens=part(_named(_CACHE_READS, details, wire), total, findings),
        cache_write_5m_input_tokens=part(_named(_CACHE_WRITES, details, wire), total, findings),
        output_tokens=output,
        reasoning_output_tokens=part(reasoning, output, findings),
    )


def error_shape_is_ours(body: dict[str, Any]) -> bool:
    """True if an error body is `{"error": {…}}`."""
    return isinstance(body.get("error"), dict) and body.get("type") != "error"


def _named(names: tuple[str, ...], *places: dict[str, Any]) -> object:
    """The count under the first of these names that is not zero: some vendors fill in two of them."""
    zero = None
    for name in names:
        for place in places:
            value = place.get(name)
            if value:
                return value
            zero = value if zero is None else zero
    return zero


def _wire_tool_calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The tool calls of a message or delta, the one call of the old `function_call` among them."""
    if calls := message.get("tool_calls"):
        return dicts(calls)
    old = message.get("function_call")
    return [{"index": 0, "function": old}] if isinstance(old, dict) else []


def _tool_call(call: dict[str, Any]) -> ToolCall:
    function = as_dict(call.get("function"))
    custom = as_dict(call.get("custom"))
    arguments = function.get("arguments") if function else custom.get("input")
    name = as_text((function or custom).get("name"))
    return ToolCall(as_text(call.get("id")), name, _argument_text(arguments))


def _argument_text(arguments: object) -> str:
    """Arguments as text; a few vendors send the object itself."""
    return encode(arguments) if isinstance(arguments, dict) else as_text(arguments)
