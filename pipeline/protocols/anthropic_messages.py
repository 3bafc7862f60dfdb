"""Anthropic Messages: a stream's events to the message they build, and a message to what it says.

`input_tokens` on this wire leaves out what the cache served or stored; the total is the sum of three.
"""

from typing import Any

from pipeline.calls import ToolCall, Usage
from pipeline.protocols.errors import vendor_error
from pipeline.protocols.reader import Folded
from pipeline.protocols.sse import Stream
from pipeline.protocols.tokens import count, part
from pipeline.protocols.values import as_dict, as_text, dicts, encode

FINISH_REASONS = frozenset(
    {
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    }
)
TOOL_FINISH = "tool_use"
PLAIN_FINISH = "end_turn"

# kind of delta: the field it lengthens, and the type of block that has this field
_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "tool_use"),
}


def fold(stream: Stream) -> Folded:
    """The message a stream builds. Blocks keep the order in which they were opened."""
    builder = _Builder()
    for name, event in stream.events:
        type_ = event.get("type")
        if name != type_:
            builder.findings.append("event_name_mismatch" if name else "missing_event_name")
        if handle := _HANDLERS.get(type_ if isinstance(type_, str) else name):
            handle(builder, event)
        elif vendor_error(event, in_band=True):
            builder.fail(event)
    return builder.folded()


class _Builder:
    """A message in the making."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.usage: dict[str, Any] = {}
        self.blocks: dict[int, dict[str, Any]] = {}
        self.pieces: dict[tuple[int, str], list[str]] = {}
        self.open: set[int] = set()
        self.seen: set[str] = set()
        self.error: dict[str, Any] = {}
        self.findings: list[str] = []

    def start(self, event: dict[str, Any]) -> None:
        if "message_start" in self.seen or self.blocks:
            self.findings.append("event_out_of_order")
        self.seen.add("message_start")
        self.message.update(as_dict(event.get("message")))
        # Its output count is a placeholder, not a count; the counts come with message_delta.
        self._count({**as_dict(self.message.get("usage")), "output_tokens": None})

    def block_start(self, event: dict[str, Any]) -> None:
        index = _index(event)
        if index in self.blocks or "message_stop" in self.seen:
            self.findings.append("event_out_of_order")
        self.blocks[index] = as_dict(event.get("content_block"))
        self.open.add(index)

    def block_delta(self, event: dict[str, Any]) -> None:
        index, delta = _index(event), as_dict(event.get("delta"))
        known = _DELTAS.get(as_text(delta.get("type")))
        if not known:
            return
        field, block_type = known
        if index not in self.open:
            self.findings.append("event_out_of_order")
            self.blocks.setdefault(index, {"type": block_type})
        self.pieces.setdefault((index, field), []).append(as_text(delta.get(field)))

    def block_stop(self, event: dict[str, Any]) -> None:
        if _index(event) not in self.open:
            self.findings.append("event_out_of_order")
        self.open.discard(_index(event))

    def delta(self, event: dict[str, Any]) -> None:
        self.seen.add("message_delta")
        self.message["stop_reason"] = as_dict(event.get("delta")).get("stop_reason")
        self._count(as_dict(event.get("usage")))

    def stop(self, event: dict[str, Any]) -> None:
        if "message_stop" in self.seen:
            self.findings.append("event_out_of_order")
        self.seen.add("message_stop")

    def fail(self, event: dict[str, Any]) -> None:
        self.error = event

    def folded(self) -> Folded:
        content = [self._block(index) for index in self.blocks]
        response = {**self.message, "usage": self.usage, "content": content}
        ended = "message_stop" in self.seen or bool(self.message.get("stop_reason"))
        return Folded(response, ended, self.error, self.findings + self._gaps(ended))

    def _count(self, usage: dict[str, Any]) -> None:
        """Counts are cumulative: the last one that is there holds."""
        self.usage.update({name: value for name, value in usage.items() if value is not None})

    def _block(self, index: int) -> dict[str, Any]:
        block = dict(self.blocks[index])
        for field, _ in _DELTAS.values():
            if pieces := self.pieces.get((index, field)):
                block[field] = as_text(block.get(field)) + "".join(pieces)
        return block

    def _gaps(self, ended: bool) -> list[str]:
        gaps = []
        if "message_start" not in self.seen:
            gaps.append("missing_message_start")
        if "message_stop" not in self.seen:
            gaps.append("missing_message_stop")
        if ended and "message_delta" not in self.seen:
            gaps.append("missing_message_delta")
        if ended and self.open:
            gaps.append("missing_content_block_stop")
        return gaps


_HANDLERS = {
    "message_start": _Builder.start,
    "content_block_start": _Builder.block_start,
    "content_block_delta": _Builder.block_delta,
    "content_block_stop": _Builder.block_stop,
    "message_delta": _Builder.delta,
    "message_stop": _Builder.stop,
    "error": _Builder.fail,
}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """The fields of an Exchange that a message tells."""
    text, reasoning, tool_calls = "", "", []
    for block in dicts(message.get("content")):
        if block.get("type") == "text":
            text += as_text(block.get("text"))
        elif block.get("type") == "tool_use":
            tool_calls.append(_tool_call(block))
        reasoning += as_text(block.get("thinking"))
    return {
        "response_model": as_text(message.get("model")),
        "response_id": as_text(message.get("id")),
        "text": text,
        "reasoning": reasoning,
        "tool_calls": tuple(tool_calls),
        "finish_reason": as_text(message.get("stop_reason")),
    }


def usage(message: dict[str, Any], findings: list[str]) -> Usage:
    """The token counts of a message, the cached part added to the input."""
    wire = as_dict(message.get("usage"))
    fresh = count(wire.get("input_tokens"), findings)
    read = count(wire.get("cache_read_input_tokens"), findings)
    written_5m, written_1h = _cache_writes(wire, findings)
    known = fresh is not None and "bad_token_count" not in findings
    total = (fresh or 0) + (read or 0) + (written_5m or 0) + (written_1h or 0)
    output = count(wire.get("output_tokens"), findings)
    details = as_dict(wire.get("output_tokens_details"))
    return Usage(
        input_tokens=total if known else None,
        cache_read_input_tokens=read,
        cache_write_5m_input_tokens=written_5m,
        cache_write_1h_input_tokens=written_1h,
        output_tokens=output,
        reasoning_output_tokens=part(details.get("thinking_tokens"), output, findings),
    )


def error_shape_is_ours(body: dict[str, Any]) -> bool:
    """True if an error body is `{"type": "error", "error": {…}}`."""
    return body.get("type") == "error" and isinstance(body.get("error"), dict)


def _cache_writes(wire: dict[str, Any], findings: list[str]) -> tuple[int | None, int | None]:
    """Tokens stored for 5 minutes and for 1 hour; 5 minutes is the default where nothing splits them.

    A split that does not add up to its total is older than the total: streams repeat only that.
    """
    total = count(wire.get("cache_creation_input_tokens"), findings)
    split = as_dict(wire.get("cache_creation"))
    if not split:
        return total, None
    short = count(split.get("ephemeral_5m_input_tokens"), findings)
    long = count(split.get("ephemeral_1h_input_tokens"), findings)
    if total is None or (short or 0) + (long or 0) == total:
        return short, long
    return total, None


def _tool_call(block: dict[str, Any]) -> ToolCall:
    """The input as it was streamed; a whole message holds it as an object."""
    arguments = as_text(block.get("partial_json")) or encode(block.get("input"))
    return ToolCall(as_text(block.get("id")), as_text(block.get("name")), arguments)


def _index(event: dict[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0
