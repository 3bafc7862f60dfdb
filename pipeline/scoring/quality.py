"""Quality checks: each a pure function of a call; None means the check does not apply to it.

Weights, patterns and limits are data in `facts/checks.yml`; `docs/quality.md` explains each check.
"""

from collections.abc import Callable
from decimal import Decimal

import msgspec

from pipeline.calls import Call, Check, Exchange, Failure, Fault, Tool, ToolCall
from pipeline.protocols.values import decode
from pipeline.scoring.failures import FailureFinding
from pipeline.scoring.json_schema import misfit
from pipeline.scoring.language import LanguageRules, language_asked_for, language_of
from pipeline.scoring.redact import redact
from pipeline.scoring.refusal import RefusalRules, refusal_in
from pipeline.scoring.repetition import RepetitionRules, loop_in

_GOOD = Check(Decimal(1))
_NOTHING = Decimal(0)
_QUALITY_STEP = Decimal("0.0001")
_ALL_GOOD = _GOOD.value.quantize(_QUALITY_STEP)
_EVIDENCE_CHARACTERS = 200
_LOOP_CHARACTERS = 60


class CheckRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A check's weight in the mean and the question it answers, in both languages."""

    weight: Decimal
    asks: dict[str, str]


class ConformanceRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a kind of deviation costs, in which formats it can be seen, and which do not count."""

    step: Decimal
    sources: frozenset[str]
    left_out: frozenset[str]


class Checks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`facts/checks.yml`."""

    version: int
    checks: dict[str, CheckRule]
    short_limit_tokens: int
    conformance: ConformanceRules
    language: LanguageRules
    repetition: RepetitionRules
    refusal: RefusalRules


class Marks(msgspec.Struct, frozen=True):
    """What is kept of a call's checks: their weighted mean, and the value and evidence of each."""

    quality: Decimal | None  # to four digits; None if no check applies
    values: dict[str, Decimal]
    evidence: dict[str, str]  # of those that have one; short and redacted


def check_call(
    checks: Checks, call: Call, failure: FailureFinding | None, finish: str
) -> dict[str, Check]:
    """Every check that applies. `finish` is the finish reason's class ("stop", "length", … or "").

    Failures that are not the provider's say nothing about its quality: no check applies to them.
    """
    if failure is not None:
        return _of_failure(failure) if failure.fault is Fault.PROVIDER else {}
    found = {}
    for name, run in _OF_ANSWERS.items():
        if (check := run(checks, call, finish)) is not None:
            found[name] = check
    return found


def marks(checks: Checks, results: dict[str, Check]) -> Marks:
    """What is kept of a call's checks."""
    if results and [*results.values()].count(_GOOD) == len(results):  # nearly always
        return Marks(_ALL_GOOD, dict.fromkeys(results, _GOOD.value), {})
    total = reached = _NOTHING
    for name, check in results.items():
        weight = checks.checks[name].weight
        total += weight
        reached += weight * check.value
    return Marks(
        (reached / total).quantize(_QUALITY_STEP) if total else None,
        {name: check.value for name, check in results.items()},
        {name: redact(check.evidence) for name, check in results.items() if check.evidence},
    )


def _of_failure(failure: FailureFinding) -> dict[str, Check]:
    """No answer was delivered; a stream that broke off was not complete either."""
    found = {"delivered": _bad(f"{failure.failure}: {failure.message or failure.code}")}
    if failure.failure is Failure.TRUNCATED_STREAM:
        found["complete"] = _bad("the stream broke off")
    return found


def delivered(checks: Checks, call: Call, finish: str) -> Check | None:
    """The provider gave an answer."""
    return _GOOD


def complete(checks: Checks, call: Call, finish: str) -> Check | None:
    """The answer came to its own end. A limit as short as `short_limit_tokens` was meant so."""
    if finish != "length":
        return _GOOD if finish else None
    limit = call.exchange.max_output_tokens
    if limit is not None and limit < checks.short_limit_tokens:
        return None
    return _bad(f"cut at the limit of {limit} tokens" if limit else "cut at a length limit")


def not_refused(checks: Checks, call: Call, finish: str) -> Check | None:
    """The model answered instead of refusing; judged from the head of the text."""
    exchange = call.exchange
    if exchange.tool_calls or not (exchange.text or exchange.refusal):
        return None
    if exchange.refusal:
        return _bad("the answer came marked as a refusal")
    found = refusal_in(checks.refusal, exchange.text)
    return _bad(found) if found else _GOOD


def tool_calls_valid(checks: Checks, call: Call, finish: str) -> Check | None:
    """The share of tool calls that name an offered tool and whose arguments fit its schema.

    A request that forced a tool call and got none counts as one invalid call.
    """
    exchange = call.exchange
    if not exchange.tools:
        return None
    if not exchange.tool_calls:
        return _bad("a tool call was required, none came") if exchange.tool_required else None
    offered = {tool.name: tool for tool in exchange.tools}
    faults = [fault for made in exchange.tool_calls if (fault := _tool_fault(offered, made))]
    made = len(exchange.tool_calls)
    value = (Decimal(made - len(faults)) / made).quantize(_QUALITY_STEP)
    return Check(value, "; ".join(faults)[:_EVIDENCE_CHARACTERS])


def structured_output_valid(checks: Checks, call: Call, finish: str) -> Check | None:
    """The answer is the JSON that was asked for, with nothing around it but white space.

    A Markdown fence counts as something around it: a client's JSON parser fails on it. An answer
    cut at a limit is `complete`'s, a refusal that the protocol marks is `not_refused`'s.
    """
    exchange = call.exchange
    if not exchange.json_wanted or not exchange.text or finish == "length":
        return None
    if exchange.tool_calls or exchange.refusal:
        return None
    fault = _json_fault(exchange)
    return _bad(fault) if fault else _GOOD


def language_as_asked(checks: Checks, call: Call, finish: str) -> Check | None:
    """The answer is in the language of the user's message, or in the one the message names."""
    exchange = call.exchange
    if exchange.tool_calls or exchange.json_wanted or not exchange.prompt:
        return None
    wanted = language_asked_for(checks.language, exchange.prompt)
    came = language_of(checks.language, exchange.text) if wanted else ""
    if not came:
        return None
    return _GOOD if came == wanted else _bad(f"asked for {wanted}, came in {came}")


def no_repetition(checks: Checks, call: Call, finish: str) -> Check | None:
    """The answer does not end in a loop, and does not mostly consist of one line or sentence."""
    exchange = call.exchange
    if exchange.json_wanted or len(exchange.text) < checks.repetition.least_characters:
        return None
    if exchange.text.lstrip().startswith(("{", "[", "<")):
        return None
    part = loop_in(checks.repetition, exchange.text)
    if not part:
        return _GOOD
    if checks.repetition.wanted.search(exchange.prompt):
        return None
    return _bad(f"says again and again: {' '.join(part.split())[:_LOOP_CHARACTERS]}")


def protocol_conformance(checks: Checks, call: Call, finish: str) -> Check | None:
    """One less a step for each kind of deviation from the protocol in the provider's bytes."""
    rules, exchange = checks.conformance, call.exchange
    if call.source not in rules.sources or exchange.ended is None:
        return None
    if not exchange.findings:
        return _GOOD
    counted = [name for name in exchange.findings if name not in rules.left_out]
    if not counted:
        return _GOOD
    value = max(Decimal(0), 1 - rules.step * len(counted))
    return Check(value, ", ".join(counted)[:_EVIDENCE_CHARACTERS])


_Run = Callable[[Checks, Call, str], Check | None]
_OF_ANSWERS: dict[str, _Run] = {
    "delivered": delivered,
    "complete": complete,
    "not_refused": not_refused,
    "tool_calls_valid": tool_calls_valid,
    "structured_output_valid": structured_output_valid,
    "language_as_asked": language_as_asked,
    "no_repetition": no_repetition,
    "protocol_conformance": protocol_conformance,
}


def _tool_fault(offered: dict[str, Tool], made: ToolCall) -> str:
    """What is wrong with a tool call, "" if nothing."""
    tool = offered.get(made.name)
    if tool is None:
        return f"{made.name or '(no name)'} was not offered"
    try:
        arguments = decode(made.arguments or "{}")
    except ValueError:
        return f"{made.name}: arguments are not JSON"
    if not isinstance(arguments, dict):
        return f"{made.name}: arguments are not an object"
    fault = misfit(tool.schema or {}, arguments)
    return f"{made.name}: {fault}" if fault else ""


def _json_fault(exchange: Exchange) -> str:
    """What is wrong with a structured answer, "" if nothing."""
    try:
        value = decode(exchange.text)
    except ValueError:
        fenced = exchange.text.lstrip().startswith("```")
        return "a Markdown fence stands around the JSON" if fenced else "the answer is not JSON"
    if exchange.json_schema is not None:
        return misfit(exchange.json_schema, value)
    return "" if isinstance(value, dict) else "the answer is JSON, but not an object"


def _bad(evidence: str) -> Check:
    return Check(Decimal(0), evidence[:_EVIDENCE_CHARACTERS])
