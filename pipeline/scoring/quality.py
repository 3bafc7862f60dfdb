"""Quality checks: each a pure function of a call; None means the check does not apply to it.

Weights, refusal patterns and limits are data in `facts/checks.yml`.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from pipeline.calls import Call, Check, Failure, Fault, Tool, ToolCall
from pipeline.scoring.failures import FailureFinding

_GOOD, _BAD = Decimal(1), Decimal(0)
_QUALITY_STEP = Decimal("0.0001")
_EVIDENCE_CHARACTERS = 200


class CheckRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A check's weight in the mean and the question it answers, in both languages."""

    weight: Decimal
    asks: dict[str, str]


class Checks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """`facts/checks.yml`."""

    version: int
    checks: dict[str, CheckRule]
    short_limit_tokens: int
    refusal_head_characters: int
    refusal_patterns: tuple[str, ...]

    @cached_property
    def refusal(self) -> re.Pattern[str]:
        """One pattern for all refusals."""
        return re.compile("|".join(f"(?:{p})" for p in self.refusal_patterns), re.IGNORECASE)


def check_call(
    checks: Checks, call: Call, failure: FailureFinding | None, finish: str
) -> dict[str, Check]:
    """Every check that applies. `finish` is the finish reason's class ("stop", "length", … or "").

    Failures that are not the provider's say nothing about its quality: no check applies to them.
    """
    if failure is not None and failure.fault is not Fault.PROVIDER:
        return {}
    found = {name: run(checks, call, failure, finish) for name, run in _CHECKS.items()}
    return {name: check for name, check in found.items() if check is not None}


def quality(checks: Checks, results: dict[str, Check]) -> Decimal | None:
    """The weighted mean of the checks that apply, to four digits; None if none does."""
    weights = {name: checks.checks[name].weight for name in results}
    total = sum(weights.values())
    if not total:
        return None
    mean = sum(weights[name] * check.value for name, check in results.items()) / total
    return mean.quantize(_QUALITY_STEP)


def delivered(
    checks: Checks, call: Call, failure: FailureFinding | None, finish: str
) -> Check | None:
    """The provider gave an answer."""
    if failure is None:
        return Check(_GOOD)
    return _bad(f"{failure.failure}: {failure.message or failure.code}")


def complete(
    checks: Checks, call: Call, failure: FailureFinding | None, finish: str
) -> Check | None:
    """The answer came to its own end. A limit as short as `short_limit_tokens` was meant so."""
    if failure is not None:
        return _bad("the stream broke off") if failure.failure is Failure.TRUNCATED_STREAM else None
    if finish == "length":
        limit = call.exchange.max_output_tokens
        if limit is not None and limit < checks.short_limit_tokens:
            return None
        return _bad(f"cut at the limit of {limit} tokens" if limit else "cut at a length limit")
    return Check(_GOOD) if finish else None


def not_refused(
    checks: Checks, call: Call, failure: FailureFinding | None, finish: str
) -> Check | None:
    """The model answered instead of refusing; judged from the head of the text."""
    exchange = call.exchange
    if failure is not None or exchange.tool_calls or not (exchange.text or exchange.refusal):
        return None
    if exchange.refusal:
        return _bad(exchange.refusal)
    head = exchange.text[: checks.refusal_head_characters]
    found = checks.refusal.search(head)
    return _bad(head) if found else Check(_GOOD)


def tool_calls_valid(
    checks: Checks, call: Call, failure: FailureFinding | None, finish: str
) -> Check | None:
    """The share of tool calls that name an offered tool and whose arguments fit its schema.

    A request that forced a tool call and got none counts as one invalid call.
    """
    exchange = call.exchange
    if failure is not None or not exchange.tools:
        return None
    if not exchange.tool_calls:
        return _bad("a tool call was required, none came") if exchange.tool_required else None
    offered = {tool.name: tool for tool in exchange.tools}
    faults = [fault for made in exchange.tool_calls if (fault := _tool_fault(offered, made))]
    made = len(exchange.tool_calls)
    value = (Decimal(made - len(faults)) / made).quantize(_QUALITY_STEP)
    return Check(value, "; ".join(faults)[:_EVIDENCE_CHARACTERS])


_Run = Callable[[Checks, Call, FailureFinding | None, str], Check | None]
_CHECKS: dict[str, _Run] = {
    "delivered": delivered,
    "complete": complete,
    "not_refused": not_refused,
    "tool_calls_valid": tool_calls_valid,
}


def _tool_fault(offered: dict[str, Tool], made: ToolCall) -> str:
    """What is wrong with a tool call, "" if nothing."""
    tool = offered.get(made.name)
    if tool is None:
        return f"{made.name or '(no name)'} was not offered"
    try:
        arguments = msgspec.json.decode(made.arguments or "{}")
    except msgspec.DecodeError:
        return f"{made.name}: arguments are not JSON"
    if not isinstance(arguments, dict):
        return f"{made.name}: arguments are not an object"
    validator = _validator(msgspec.json.encode(tool.schema)) if tool.schema else None
    error = next(validator.iter_errors(arguments), None) if validator else None
    return f"{made.name}: {_without_value(error)}" if error else ""


def _without_value(error: jsonschema_rs.ValidationError) -> str:
    """Where and which rule was broken, without the value: it may be the user's text."""
    where = "/".join(str(part) for part in error.instance_path) or "arguments"
    return f"{where} breaks rule {'/'.join(str(part) for part in error.schema_path)}"


@lru_cache(maxsize=1024)
def _validator(schema: bytes) -> Any:
    """The compiled schema; None if the request's own schema is not a schema."""
    try:
        return jsonschema_rs.validator_for(msgspec.json.decode(schema))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        return None


def _bad(evidence: str) -> Check:
    return Check(_BAD, evidence[:_EVIDENCE_CHARACTERS])
