"""From a message's bytes to scored calls. Read this first.

    bytes ──formats──▶ Call ──┬─ who:     catalog.resolve, plan.workload_of, plan.arm_of
                              ├─ failed?  failures.classify
                              ├─ cost     cost.price_call
                              └─ good?    quality.check_call
                                    └──▶ ScoredCall, one row

Pure: the same bytes, received at the same time, under the same rules give the same rows.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from operator import attrgetter

import msgspec

from pipeline.calls import (
    Arm,
    Call,
    Check,
    Exchange,
    Failure,
    Ignored,
    Pair,
    Rejected,
    ScoredCall,
    Usage,
)  # fmt: skip
from pipeline.catalog import Catalog
from pipeline.formats import read_message
from pipeline.scoring.conversation import conversation_of
from pipeline.scoring.cost import charged_model, price_call
from pipeline.scoring.failures import classify
from pipeline.scoring.language import language_of_message
from pipeline.scoring.pairs import AGREEMENT_VERSION, compare
from pipeline.scoring.quality import Checks, check_call, marks
from pipeline.scoring.redact import redact, redact_bytes
from pipeline.verdicts.plan import Plan

MOST_TOKENS_BELIEVED = 100_000_000  # ten times the longest context of any model
OLDEST_BELIEVED = 1_577_836_800_000  # 2020-01-01: no gateway wrote LLM calls before
CLOCK_SLACK_MS = 10 * 60 * 1000  # a record may be this far ahead of Kafka's clock
LONGEST_BELIEVED_MS = 24 * 60 * 60 * 1000
LONGEST_NAME = 128  # characters of a tool's name that are kept: both vendors' APIs allow fewer
MOST_TOOLS = 16  # different tools of one answer that are kept

_IDS = ("call_id", "request_id", "conversation_id", "shadow_of")
_WORDS = (
    "workload", "app", "team", "stage", "provider", "host", "request_model", "response_model",
    "model", "finish_reason",
)  # fmt: skip
_named = attrgetter(*_IDS, *_WORDS)
_NO_USAGE = Usage()


class Who(msgspec.Struct, frozen=True):
    """Whom a call went to, as far as its names tell."""

    provider: str
    region: str
    flat_rate_plan: str
    model: str
    other_model: bool  # the answer names another model than the request


class Rules(msgspec.Struct, frozen=True, dict=True):
    """Everything a score depends on besides the call."""

    catalog: Catalog
    checks: Checks
    plan: Plan | None = None

    @cached_property
    def who(self) -> Callable[[str, str, str, str, str], Who]:
        """`who_is` under these rules; the same names come again and again."""
        return lru_cache(maxsize=4096)(partial(who_is, self.catalog, self.plan))


def score_message(
    value: bytes | None, received_at: int, rules: Rules, format: str = ""
) -> list[ScoredCall | Rejected | Ignored]:
    """Every record of a message, scored, rejected or ignored, in order; never raises on any bytes.

    `received_at` is Kafka's time of the message in UTC ms: it replaces a start nobody can believe.
    Keys are blanked out wherever they stand.
    """
    return [_scored(record, received_at, rules) for record in read_message(value, format)]


def _scored(
    record: Call | Rejected | Ignored, received_at: int, rules: Rules
) -> ScoredCall | Rejected | Ignored:
    if isinstance(record, Call):
        return score_whole(record, received_at, rules)
    if isinstance(record, Rejected):
        return Rejected(record.reason, redact(record.detail), redact_bytes(record.value))
    return Ignored(record.reason, redact(record.detail))


def score_whole(call: Call, received_at: int, rules: Rules) -> ScoredCall:
    """One call without keys; a shadow call with its twin also as a pair."""
    row = without_keys(score_call(call, received_at, rules))
    if call.twin is None or call.arm is not Arm.SHADOW:
        return row
    twin = without_keys(score_call(call.twin, received_at, rules))
    found = compare(rules.checks.language, call, _failed(row), call.twin, _failed(twin))
    return msgspec.structs.replace(row, pair=_pair(call, row, twin, found))


def _pair(call: Call, row: ScoredCall, twin: ScoredCall, found: dict[str, Check]) -> Pair:
    return Pair(
        call_id=row.call_id,
        shadow_of=row.shadow_of,
        conversation_id=row.conversation_id,
        workload=row.workload,
        app=row.app,
        team=row.team,
        tags=row.tags,
        stage=row.stage,
        mirrored_to=call.mirrored_to,
        provider=row.provider,
        request_model=row.request_model,
        model=row.model,
        twin_provider=twin.provider,
        twin_model=twin.model,
        started_at=twin.started_at,
        failed=_failed(row),
        twin_failed=_failed(twin),
        quality=row.quality,
        twin_quality=twin.quality,
        cost=row.cost,
        currency=row.currency,
        twin_cost=twin.cost,
        twin_currency=twin.currency,
        time_to_first_token_ms=row.time_to_first_token_ms,
        twin_time_to_first_token_ms=twin.time_to_first_token_ms,
        duration_ms=row.duration_ms,
        twin_duration_ms=twin.duration_ms,
        agreement={name: check.value for name, check in found.items()},
        evidence={name: redact(check.evidence) for name, check in found.items() if check.evidence},
        agreement_version=AGREEMENT_VERSION,
        doubts=tuple(sorted({*row.doubts, *twin.doubts})),
        judge_model=redact(call.grade.model) if call.grade else "",
        judged_first=call.grade.shadow_first if call.grade else "",
        judged_second=call.grade.shadow_second if call.grade else "",
        judge_cost=call.grade.cost if call.grade else None,
        judge_currency=redact(call.grade.currency) if call.grade else "",
    )


def _failed(row: ScoredCall) -> bool | None:
    """True if the user got no answer, or would have got none; None if the call was cancelled."""
    return None if row.failure == Failure.CANCELLED else bool(row.failure)


def score_call(call: Call, received_at: int, rules: Rules) -> ScoredCall:
    """One call with its failure, cost and quality."""
    exchange, catalog = call.exchange, rules.catalog
    models = exchange.request_model, exchange.response_model
    who = rules.who(call.provider, call.host, call.path, *models)
    provider = who.provider
    workload, arm = _place(call, who, rules.plan)
    started_at, doubts = believed_start(call.started_at, received_at)
    duration_ms = _span(started_at, call.ended_at)
    first_token_ms = _span(started_at, call.first_token_at)
    failure = classify(catalog, call, provider)
    usage, doubted = believed_usage(call)
    cost = price_call(
        catalog,
        provider=provider,
        region=who.region,
        plan=who.flat_rate_plan,
        model=who.model,
        usage=usage,
        at_ms=started_at,
    )
    finish = catalog.finish_class(provider, exchange.finish_reason) or ""
    if who.other_model and call.source in rules.checks.conformance.sources:
        call = _with_finding(call, "other_response_model")  # gateways rewrite names in their logs
    kept = marks(rules.checks, check_call(rules.checks, call, failure, finish))
    counted = usage or _NO_USAGE
    return ScoredCall(
        call_id=call.call_id,
        request_id=call.request_id,
        attempt=call.attempt,
        final=call.final if failure else True,
        source=call.source,
        conversation_id=conversation_of(call),
        workload=workload,
        app=call.app,
        team=call.team,
        tags=call.tags,
        arm=arm,
        stage=call.stage,
        share=call.share,
        shadow_of=call.shadow_of,
        provider=provider,
        host=call.host,
        region=who.region,
        flat_rate_plan=who.flat_rate_plan,
        protocol=call.protocol or "",
        request_model=exchange.request_model,
        response_model=exchange.response_model,
        model=who.model,
        started_at=started_at,
        time_to_first_token_ms=first_token_ms,
        duration_ms=duration_ms,
        stream=exchange.stream,
        http_status=call.http_status,
        finish_reason=exchange.finish_reason,
        failure=failure.failure if failure else "",
        failure_code=failure.code if failure else "",
        failure_message=failure.message if failure else "",
        fault=failure.fault if failure else "",
        input_tokens=counted.input_tokens,
        cache_read_input_tokens=counted.cache_read_input_tokens,
        cache_write_5m_input_tokens=counted.cache_write_5m_input_tokens,
        cache_write_1h_input_tokens=counted.cache_write_1h_input_tokens,
        output_tokens=counted.output_tokens,
        reasoning_output_tokens=counted.reasoning_output_tokens,
        usage_estimated=counted.estimated,
        cost=cost.amount,
        currency=cost.currency,
        price_id=cost.price_id,
        cost_estimated=cost.estimated,
        cost_unknown=cost.unknown,
        gateway_cost_usd=call.gateway_cost_usd,
        quality=kept.quality,
        checks=kept.values,
        evidence=kept.evidence,
        checks_version=rules.checks.version,
        findings=call.exchange.findings,
        doubts=(
            *call.doubts,
            *doubts,
            *doubted,
            *_doubts(call, provider, duration_ms, first_token_ms),
        ),
        language=language_of_message(exchange.prompt),
        tools_called=_tools_called(exchange),
    )


def who_is(
    catalog: Catalog,
    plan: Plan | None,
    provider: str,
    host: str,
    path: str,
    request_model: str,
    response_model: str,
) -> Who:
    """Whom a call went to, by what the plan and the catalog make of the names it came with.

    That the answer names another model is told only of models the catalog knows: it knows which
    names (aliases, dated versions) are of one model.
    """
    named = plan.provider_of(provider) if plan else provider
    at = catalog.resolve(named, host, path, request_model)
    provider = at.provider_id or named
    asked, came = (catalog.model(provider, name) for name in (request_model, response_model))
    return Who(
        provider=provider,
        # A host that is nobody's, e.g. a proxy's, does not tell the region; the plan may.
        region=at.region or (plan.region_of(provider) if plan else ""),
        flat_rate_plan=at.plan,
        model=charged_model(catalog, provider, request_model, response_model),
        other_model=bool(asked and came and asked.id != came.id),
    )


def _tools_called(exchange: Exchange) -> tuple[str, ...]:
    """The names of the tools the answer calls, each once, in order; a name is cut where it is no name any more."""
    if not exchange.tool_calls:
        return ()
    names = dict.fromkeys(made.name for made in exchange.tool_calls if made.name)
    return tuple(redact(name[:LONGEST_NAME]) for name in list(names)[:MOST_TOOLS])


def believed_start(started_at: int | None, received_at: int) -> tuple[int, tuple[str, ...]]:
    """The start to count a call under, and the doubt if it is not the one the record gives."""
    if started_at is None:
        return received_at, ("start_missing",)
    if started_at < OLDEST_BELIEVED:
        return received_at, ("start_too_old",)
    if started_at > received_at + CLOCK_SLACK_MS:
        return received_at, ("start_in_future",)
    return started_at, ()


def believed_usage(call: Call) -> tuple[Usage | None, tuple[str, ...]]:
    """The tokens the provider was asked for, and the doubt if they are not those of the record."""
    usage = call.exchange.usage
    if call.gateway_cache_hit:
        return Usage(input_tokens=0, output_tokens=0), ("gateway_cache_hit",)
    if usage and max(usage.input_tokens or 0, usage.output_tokens or 0) > MOST_TOKENS_BELIEVED:
        return None, ("bad_token_count",)
    return usage, ("bad_token_count",) if "bad_token_count" in call.exchange.findings else ()


def _with_finding(call: Call, finding: str) -> Call:
    exchange = call.exchange
    exchange = msgspec.structs.replace(exchange, findings=(*exchange.findings, finding))
    return msgspec.structs.replace(call, exchange=exchange)


def without_keys(row: ScoredCall) -> ScoredCall:
    """The row with keys blanked out of everything a caller or a gateway could name."""
    everything = "\n".join(_named(row))
    if row.tags:
        everything = "\n".join((everything, *row.tags, *row.tags.values()))
    if redact(everything) == everything:
        return row
    return msgspec.structs.replace(
        row,
        tags={redact(name): redact(value) for name, value in row.tags.items()},
        **{name: _hidden(getattr(row, name)) for name in _IDS},
        **{name: redact(getattr(row, name)) for name in _WORDS},
    )


def _hidden(id: str) -> str:
    """The id; one that looks like a key as a hash, so that two of them are not taken for one."""
    return id if redact(id) == id else f"redacted-{sha256(id.encode()).hexdigest()[:32]}"


def _place(call: Call, who: Who, plan: Plan | None) -> tuple[str, Arm]:
    """The workload and the arm: what the record says, else what the plan makes of it."""
    workload = plan.workload_of(call) if plan else call.workload
    if call.arm is not Arm.NONE or plan is None:
        return workload, call.arm
    models = call.exchange.request_model, who.model
    return workload, plan.arm_of(workload, who.provider, models)


def _span(start: int, end: int | None) -> int | None:
    """Milliseconds between two times; None where they cannot both be right."""
    if end is None or not 0 <= end - start <= LONGEST_BELIEVED_MS:
        return None
    return end - start


def _doubts(
    call: Call, provider: str, duration_ms: int | None, first_token_ms: int | None
) -> list[str]:
    doubts = []
    if not call.exchange.request_model and not call.exchange.response_model:
        doubts.append("model_missing")
    if not provider:
        doubts.append("provider_missing")
    if call.ended_at is not None and duration_ms is None:
        doubts.append("end_not_believed")
    if call.first_token_at is not None and first_token_ms is None:
        doubts.append("first_token_not_believed")
    return doubts
