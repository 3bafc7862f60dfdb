"""Reads a request as a provider would: what is asked, with which tools, and how long it is.

Tokens follow one simple rule: four ASCII characters are a token, any other character is 0.7.
"""

import re
from typing import Any

import msgspec

from pipeline.calls import Protocol, Tool

CHINESE = re.compile(r"[\u4e00-\u9fff]")


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """One request, the same for all three protocols. Lengths are in tokens, by the rule above."""

    protocol: Protocol
    model: str
    identity: bytes  # the same request gives the same bytes
    question: str  # the last thing the user said
    rounds: int  # answers given since then: how often tools were called for it
    tools: tuple[Tool, ...]
    tool_required: bool
    json_wanted: bool
    json_schema: dict[str, Any] | None
    max_output_tokens: int | None
    stream: bool
    include_usage: bool
    cache_marked: bool
    fixed_tokens: float  # system prompt and tools
    earlier_tokens: float  # messages that an earlier turn has sent already
    latest_tokens: float

    @property
    def language(self) -> str:
        return "zh" if CHINESE.search(self.question) else "en"

    @property
    def continued(self) -> bool:
        """True if this is not the conversation's first turn."""
        return self.earlier_tokens > 0


def tokens(text: str) -> float:
    """Length of a text in tokens, by the simulators' rule."""
    if text.isascii():
        return len(text) / 4
    wide = sum(character > "\x7f" for character in text)
    return (len(text) - wide) / 4 + wide * 0.7


def read_prompt(protocol: Protocol, body: Any) -> Prompt | None:
    """The prompt of a request body; None if it is not an object or holds no message."""
    if not isinstance(body, dict):
        return None
    messages = _messages(protocol, body)
    if not messages:
        return None
    asked = max((i for i, m in enumerate(messages) if _is_question(m)), default=0)
    answers = [i for i, m in enumerate(messages) if _is_answer(m)]
    sent_before = answers[-1] if answers else 0
    wanted = _wanted_format(protocol, body)
    return Prompt(
        protocol=protocol,
        model=str(body.get("model", "")),
        identity=msgspec.json.encode([body.get("metadata"), body.get("user"), messages]),
        question=_text(messages[asked]),
        rounds=sum(i > asked for i in answers),
        tools=tuple(_tool(tool) for tool in body.get("tools") or ()),
        tool_required=_tool_required(body.get("tool_choice")),
        json_wanted=wanted is not None,
        json_schema=_schema(wanted),
        max_output_tokens=body.get("max_tokens")
        or body.get("max_completion_tokens")
        or body.get("max_output_tokens"),
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        cache_marked="cache_control" in str(body.get("system")),
        fixed_tokens=_weight([body.get("system"), body.get("instructions"), body.get("tools")]),
        earlier_tokens=_weight(messages[:sent_before]) if sent_before else 0.0,
        latest_tokens=_weight(messages[sent_before:]),
    )


def _messages(protocol: Protocol, body: dict[str, Any]) -> list[dict[str, Any]]:
    if protocol is not Protocol.OPENAI_RESPONSES:
        found = body.get("messages")
    elif isinstance(body.get("input"), str):
        found = [{"role": "user", "content": body["input"]}]
    else:
        found = body.get("input")
    return [m for m in found if isinstance(m, dict)] if isinstance(found, list) else []


def _is_question(message: dict[str, Any]) -> bool:
    return message.get("role") == "user" and bool(_text(message))


def _is_answer(message: dict[str, Any]) -> bool:
    return message.get("role") == "assistant" or message.get("type") == "function_call"


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(p["text"]) for p in content if isinstance(p, dict) and "text" in p)
    return str(content or "")


def _tool(tool: dict[str, Any]) -> Tool:
    """Chat Completions wraps a tool in `function`; Anthropic names its schema differently."""
    told = tool.get("function", tool)
    return Tool(str(told.get("name", "")), told.get("input_schema") or told.get("parameters"))


def _tool_required(choice: Any) -> bool:
    kind = choice.get("type") if isinstance(choice, dict) else choice
    return kind in ("any", "tool", "required", "function")


def _wanted_format(protocol: Protocol, body: dict[str, Any]) -> dict[str, Any] | None:
    if protocol is Protocol.OPENAI_RESPONSES:
        wanted = (body.get("text") or {}).get("format")
    elif protocol is Protocol.OPENAI_CHAT:
        wanted = body.get("response_format")
    else:
        wanted = (body.get("output_config") or {}).get("format")
    return wanted if wanted and wanted.get("type") != "text" else None


def _schema(wanted: dict[str, Any] | None) -> dict[str, Any] | None:
    """Chat Completions nests the schema one deeper than the others do."""
    if wanted is None:
        return None
    schema = wanted.get("json_schema", wanted).get("schema")
    return schema if isinstance(schema, dict) else None


def _weight(value: Any) -> float:
    return tokens(msgspec.json.encode(value).decode())
