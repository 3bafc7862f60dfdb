"""Deviations that all three protocols have in common: what an answer must hold once it has ended."""

from collections.abc import Iterator
from typing import Any

from pipeline.calls import Tool, ToolCall
from pipeline.protocols.reader import Reader
from pipeline.protocols.request import earlier_tool_call_ids
from pipeline.protocols.values import decode

_CUT_SHORT = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"}
)


def answer_findings(reader: Reader, answer: dict[str, Any], forced: bool) -> Iterator[str]:
    """What is wrong with the names and the finish reason of an answer that ended.

    `forced`: the request demanded a tool call; OpenAI then finishes with "stop", not "tool_calls".
    """
    if not answer["response_id"]:
        yield "missing_response_id"
    if not answer["response_model"]:
        yield "missing_response_model"
    finish, calls = answer["finish_reason"], answer["tool_calls"]
    if not finish:
        yield "missing_finish_reason"
    elif finish not in reader.FINISH_REASONS:
        yield "unknown_finish_reason"
    elif finish == (reader.PLAIN_FINISH if calls else reader.TOOL_FINISH) and not (
        calls and forced
    ):
        yield "finish_reason_mismatch"


def tool_call_findings(
    answer: dict[str, Any], tools: tuple[Tool, ...], request: dict[str, Any]
) -> Iterator[str]:
    """What is wrong with the tool calls of an answer that ended.

    Tools offered without a schema take free text, and arguments cut short by a limit are no fault.
    """
    calls: tuple[ToolCall, ...] = answer["tool_calls"]
    ids = [call.id for call in calls if call.id]
    if len(ids) < len(calls):
        yield "missing_tool_call_id"
    if len(set(ids)) < len(ids):
        yield "duplicate_tool_call_id"
    if not set(ids).isdisjoint(earlier_tool_call_ids(request)):
        yield "reused_tool_call_id"
    if not all(call.name for call in calls):
        yield "missing_tool_name"
    free_text = {tool.name for tool in tools if tool.schema is None}
    structured = (call.arguments for call in calls if call.name not in free_text)
    if answer["finish_reason"] not in _CUT_SHORT and not all(map(_is_object, structured)):
        yield "arguments_not_json"


def _is_object(text: str) -> bool:
    try:
        return isinstance(decode(text), dict)
    except ValueError:
        return False
