"""OpenAI Responses: a stream's events to the response they build, and a response to what it says.

The last event of a whole stream carries the whole response; only a stream that was cut off, or whose
last event leaves the output out, has to be put together from its deltas.
"""

from typing import Any

from pipeline.calls import ToolCall, Usage
from pipeline.protocols.errors import vendor_error
from pipeline.protocols.reader import Folded
from pipeline.protocols.sse import Stream
from pipeline.protocols.tokens import count, part
from pipeline.protocols.values import as_dict, as_text, dicts

FINISH_REASONS = frozenset(
    {"completed", "failed", "cancelled", "incomplete", "max_output_tokens", "content_filter"}
)
TOOL_FINISH = ""  # a response that calls tools is simply completed
PLAIN_FINISH = ""

_FINAL_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_UNFINISHED = frozenset({"queued", "in_progress"})
# event: the type of output item it lengthens, and the field or type of content part
_DELTAS = {
    "response.output_text.delta": ("message", "output_text"),
    "response.refusal.delta": ("message", "refusal"),
    "response.reasoning_summary_text.delta": ("reasoning", "summary_text"),
    "response.reasoning_text.delta": ("reasoning", "reasoning_text"),
    "response.function_call_arguments.delta": ("function_call", "arguments"),
    "response.custom_tool_call_input.delta": ("custom_tool_call", "input"),
}


def fold(stream: Stream) -> Folded:
    """The response a stream builds."""
    builder = _Builder()
    for name, event in stream.events:
        builder.add(as_text(event.get("type")) or name, event)
    return builder.folded()


class _Builder:
    """A response in the making."""

    def __init__(self) -> None:
        self.response: dict[str, Any] = {}
        self.items: dict[int, dict[str, Any]] = {}
        self.pieces: dict[int, dict[str, list[str]]] = {}
        self.created = self.ended = False
        self.error: dict[str, Any] = {}
        self.findings: list[str] = []

    def add(self, type_: str, event: dict[str, Any]) -> None:
        if self.ended:
            self.findings.append("event_out_of_order")
        elif delta := _DELTAS.get(type_):
            self._extend(*delta, event)
        elif type_ in ("response.output_item.added", "response.output_item.done"):
            self._put(event, done=type_.endswith("done"))
        elif response := as_dict(event.get("response")):
            self.created = self.created or type_ == "response.created"
            self.ended = type_ in _FINAL_EVENTS
            self.response.update(response)
        elif vendor_error(event, in_band=True):
            self.error = event

    def _put(self, event: dict[str, Any], done: bool) -> None:
        index = _index(event)
        self.items[index] = as_dict(event.get("item"))
        if done:
            self.pieces.pop(index, None)

    def _extend(self, item_type: str, field: str, event: dict[str, Any]) -> None:
        index = _index(event)
        if index not in self.items:
            self.findings.append("event_out_of_order")
            self.items[index] = {"type": item_type}
        pieces = self.pieces.setdefault(index, {}).setdefault(field, [])
        pieces.append(as_text(event.get("delta")))

    def folded(self) -> Folded:
        if not self.created:
            self.findings.append("missing_response_created")
        if not self.ended:
            self.findings.append("missing_final_event")
        output = self.response.get("output") or [self._item(index) for index in sorted(self.items)]
        return Folded({**self.response, "output": output}, self.ended, self.error, self.findings)

    def _item(self, index: int) -> dict[str, Any]:
        """An output item; one that was still being written is put together from its deltas."""
        item = dict(self.items[index])
        texts = {field: "".join(pieces) for field, pieces in self.pieces.get(index, {}).items()}
        for field in ("arguments", "input"):
            if field in texts:
                item[field] = texts.pop(field)
        if texts:
            item["content"] = [_content_part(type_, text) for type_, text in texts.items()]
        return item


def answer(response: dict[str, Any]) -> dict[str, Any]:
    """The fields of an Exchange that a response tells."""
    items = dicts(response.get("output"))
    calls = [item for item in items if item.get("type") in ("function_call", "custom_tool_call")]
    return {
        "response_model": as_text(response.get("model")),
        "response_id": as_text(response.get("id")),
        "text": _texts(items, "output_text"),
        "reasoning": _texts(items, "summary_text") + _texts(items, "reasoning_text"),
        "refusal": _texts(items, "refusal"),
        "tool_calls": tuple(_tool_call(item) for item in calls),
        "finish_reason": _finish_reason(response),
    }


def usage(response: dict[str, Any], findings: list[str]) -> Usage:
    """The token counts of a response."""
    wire = as_dict(response.get("usage"))
    details = as_dict(wire.get("input_tokens_details"))
    total = count(wire.get("input_tokens"), findings)
    output = count(wire.get("output_tokens"), findings)
    reasoning = as_dict(wire.get("output_tokens_details")).get("reasoning_tokens")
    return Usage(
        input_tokens=total,
        cache_read_input_tokens=part(details.get("cached_tokens"), total, findings),
        cache_write_5m_input_tokens=part(details.get("cache_write_tokens"), total, findings),
        output_tokens=output,
        reasoning_output_tokens=part(reasoning, output, findings),
    )


def error_shape_is_ours(body: dict[str, Any]) -> bool:
    """True if an error is `{"error": {…}}`, or the flat event this protocol streams."""
    return isinstance(body.get("error"), dict) or body.get("type") == "error"


def _content_part(type_: str, text: str) -> dict[str, str]:
    return {"type": type_, "refusal" if type_ == "refusal" else "text": text}


def _texts(items: list[dict[str, Any]], type_: str) -> str:
    """All text of one type of content part; a reasoning item keeps its own in `summary`."""
    parts = (
        piece
        for item in items
        for piece in (*dicts(item.get("content")), *dicts(item.get("summary")))
        if piece.get("type") == type_
    )
    field = "refusal" if type_ == "refusal" else "text"
    return "".join(as_text(piece.get(field)) for piece in parts)


def _tool_call(item: dict[str, Any]) -> ToolCall:
    text = item.get("arguments") if item.get("type") == "function_call" else item.get("input")
    return ToolCall(as_text(item.get("call_id")), as_text(item.get("name")), as_text(text))


def _finish_reason(response: dict[str, Any]) -> str:
    """The status, or why the response is incomplete; "" while it is still being written."""
    status = as_text(response.get("status"))
    reason = as_text(as_dict(response.get("incomplete_details")).get("reason"))
    return "" if status in _UNFINISHED else reason or status


def _index(event: dict[str, Any]) -> int:
    index = event.get("output_index")
    return index if isinstance(index, int) else 0
