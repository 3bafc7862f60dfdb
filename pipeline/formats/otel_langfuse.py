"""Spans that Langfuse's own SDKs make (version 3 and later), told in the names of the conventions."""

from typing import Any

from pipeline.formats import langfuse
from pipeline.formats import records as r
from pipeline.formats.otlp import Attributes

KIND = "langfuse.observation.type"
OPERATIONS = {"generation": "chat", "embedding": "embeddings"}  # of those that are a model's calls


def conventional(a: Attributes) -> Attributes:
    """What a generation's attributes say, as the conventions name it; {} if it is no call."""
    kind = a.get(KIND)
    operation = OPERATIONS.get(kind) if isinstance(kind, str) else None
    if operation is None:
        return {}
    asked, answered = _value(a, "input"), _value(a, "output")
    offered = asked.get("tools") if isinstance(asked, dict) else None
    said = langfuse.answer_of(answered)
    reason = _value(a, "metadata.finish_reason")
    found = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": _value(a, "model.name"),
        "gen_ai.request.stream": True
        if "langfuse.observation.completion_start_time" in a
        else None,
        "gen_ai.response.finish_reasons": [reason] if reason else None,
        "gen_ai.input.messages": langfuse.messages_of(asked),
        "gen_ai.output.messages": [said] if any(said.values()) else None,
        "gen_ai.tool.definitions": offered,
        "gen_ai.cost.total_cost": r.json_object(_value(a, "cost_details")).get("total"),
    }
    return {**{n: v for n, v in found.items() if v is not None}, **_tokens(a)}


def first_token_at(a: Attributes) -> int | None:
    """UTC ms. Raises ValidationError if it is no time."""
    return r.moment(_value(a, "completion_start_time"))


def app(a: Attributes) -> str:
    """The trace's name."""
    return r.text(a.get("langfuse.trace.name"))


def tags(a: Attributes) -> dict[str, str]:
    """The trace's tags, user and environment."""
    if KIND not in a:
        return {}
    told = langfuse.Trace(
        userId=a.get("user.id"),
        tags=a.get("langfuse.trace.tags"),
        environment=a.get("langfuse.environment"),
    )
    return langfuse.tags_of(told)


def _tokens(a: Attributes) -> Attributes:
    counted = langfuse.usage_of(r.json_object(_value(a, "usage_details")), [])
    if counted is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": counted.input_tokens,
        "gen_ai.usage.output_tokens": counted.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": counted.cache_read_input_tokens,
        "gen_ai.usage.cache_write.input_tokens": counted.cache_write_5m_input_tokens,
        "gen_ai.usage.reasoning.output_tokens": counted.reasoning_output_tokens,
    }


def _value(a: Attributes, name: str) -> Any:
    """An attribute of the observation; the SDK writes most of them as JSON, names and texts plainly."""
    return r.unpacked(a.get(f"langfuse.observation.{name}"), langfuse.TEXTS_TOO)
