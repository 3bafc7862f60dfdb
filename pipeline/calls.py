"""The nouns: a call as a gateway told it, and the same call once it is scored.

A *call* is one attempt at one provider. A client's request that was retried or fell back is
several calls with one `request_id`. This module imports nothing of ours; read it first, then
`scoring/score.py`, which turns the one into the other.

Unknown is None (or an empty string for a name); it is never zero.
Times are UTC milliseconds since 1970, durations are milliseconds, token counts are integers.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

import msgspec


class Protocol(StrEnum):
    """The wire protocol of the endpoint that was called; it, not the vendor, fixes how tokens count."""

    ANTHROPIC_MESSAGES = "anthropic_messages"
    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"


class Failure(StrEnum):
    """Why a call did not give its user an answer; one taxonomy for all vendors."""

    AUTH = "auth"
    PERMISSION = "permission"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    INVALID_REQUEST = "invalid_request"
    CONTENT_FILTER = "content_filter"
    CONTEXT_LENGTH = "context_length"
    SERVER_ERROR = "server_error"
    NETWORK = "network"
    EMPTY = "empty"
    TRUNCATED_STREAM = "truncated_stream"
    MALFORMED = "malformed"
    CANCELLED = "cancelled"


class Fault(StrEnum):
    """Who a failure is charged to."""

    PROVIDER = "provider"
    CALLER = "caller"
    NETWORK = "network"
    CLIENT = "client"


class Arm(StrEnum):
    """Which side of the migration a call was on; shadow calls never count as user traffic."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"
    SHADOW = "shadow"
    NONE = ""


class Usage(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Token counts in OpenTelemetry's sense: `input_tokens` is the total, cached tokens included.

    Cache reads and writes are parts of `input_tokens`; reasoning is part of `output_tokens`.
    Protocol readers convert from the wire (Anthropic's `input_tokens` leaves the cache out).
    `estimated` says that no count arrived and these were guessed from the text.
    """

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_5m_input_tokens: int | None = None
    cache_write_1h_input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    estimated: bool = False


class Tool(msgspec.Struct, frozen=True):
    """A tool the request offered: its name and the JSON Schema of its arguments (None if not given)."""

    name: str
    schema: dict[str, Any] | None = None


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A tool call in the answer; `arguments` is the JSON text exactly as it came."""

    id: str
    name: str
    arguments: str


class VendorError(msgspec.Struct, frozen=True, gc=False):
    """An error in the vendor's own words, from an error body or from inside a 200 answer."""

    code: str = ""
    type: str = ""
    message: str = ""
    in_band: bool = False


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of one call, as far as they could be read: what was asked and what came back."""

    request_model: str = ""
    response_model: str = ""
    response_id: str = ""
    prompt: str = ""  # the last user message, as text
    conversation: str = ""  # its id, where the record or the request's body names one
    opening: str = ""  # else the heads of the system prompt and the first user message
    tools: tuple[Tool, ...] = ()
    tool_required: bool = False  # the request forced a tool call
    json_wanted: bool = False  # the request asked for structured output
    json_schema: dict[str, Any] | None = None  # the JSON Schema it asked for, if it gave one
    max_output_tokens: int | None = None
    stream: bool | None = None
    text: str = ""
    reasoning: str = ""
    refusal: str = ""  # a refusal the protocol itself marks (OpenAI's `refusal` field)
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = ""  # the vendor's own word
    usage: Usage | None = None
    error: VendorError | None = None
    ended: bool | None = None  # the answer came to its protocol's end; None: cannot tell
    findings: tuple[str, ...] = ()  # deviations from the protocol, e.g. "missing_message_stop"


Standing = Literal["better", "same", "worse", ""]  # "": no verdict came


class Grade(msgspec.Struct, frozen=True, kw_only=True):
    """How a judge model ranks a shadow call's answer against the user's: it is asked in both orders."""

    model: str
    shadow_first: Standing  # with the shadow call's answer shown first
    shadow_second: Standing
    cost: Decimal  # of both questions
    currency: str


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one provider, as a gateway's record tells it, before anything is judged."""

    call_id: str
    source: str  # the format it was read from, e.g. "cutover", "litellm"
    request_id: str = ""
    attempt: int = 1
    final: bool | None = None  # what the user saw, nothing was tried after it; None: not told
    conversation_id: str = ""
    workload: str = ""
    app: str = ""
    team: str = ""
    tags: dict[str, str] = {}
    arm: Arm = Arm.NONE
    stage: str = ""
    share: float | None = None  # the candidate's share of the workload in force when it was routed
    shadow_of: str = ""  # call_id of the user's call that this one mirrors
    mirrored_to: Arm = Arm.NONE  # a shadow call's side: a candidate, or the baseline once more
    twin: "Call | None" = None  # the user's call itself, where the record of the shadow call has it
    grade: Grade | None = None
    provider: str = ""  # as the gateway names it; the catalog resolves it
    host: str = ""
    path: str = ""
    protocol: Protocol | None = None
    started_at: int | None = None
    first_token_at: int | None = None  # only for streams; a whole answer has no first token
    ended_at: int | None = None
    http_status: int | None = None
    transport_error: str = ""  # "timeout", "connect", "reset", … when no answer or half of one came
    cancelled: bool = False  # the client hung up first
    gateway_cache_hit: bool = False
    gateway_cost_usd: Decimal | None = None
    exchange: Exchange = Exchange()
    doubts: tuple[str, ...] = ()  # what could not be believed, e.g. "negative_output_tokens"


class Rejected(msgspec.Struct, frozen=True):
    """A message, or one record of a message, that cannot be used: why, and its bytes for later."""

    reason: str  # a short stable name, e.g. "not_json", "unknown_format", "empty"
    detail: str  # one sentence for a person
    value: bytes


class Ignored(msgspec.Struct, frozen=True):
    """A record that is sound but tells of no model's call: counted, and nothing more.

    What was repeated for another purpose, such as a gateway's own tests, is no call either.
    """

    # "not_a_call", "other_span" for the rest of a trace, "not_traces" for OpenTelemetry's other signals
    reason: str
    detail: str  # one sentence for a person


class Cost(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a call cost by the price list in force, in the list's own currency.

    `unknown` names why there is no amount ("" when there is one): "unknown_model", "no_price",
    "no_usage", "flat_rate_plan". `estimated` says the price or the token counts are not certain.
    """

    amount: Decimal | None = None
    currency: str = ""
    price_id: str = ""
    estimated: bool = False
    unknown: str = ""


class Check(msgspec.Struct, frozen=True, gc=False):
    """One quality check that applied: 1 is good, 0 is bad; evidence is short and redacted."""

    value: Decimal
    evidence: str = ""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A shadow call beside its twin, the user's call it mirrors: one row of the `pairs` table.

    `failed` is None for a call that was cancelled. `agreement` has a value in [0, 1] for every
    comparison that applies (1: the same), `evidence` what differs, short and redacted.
    """

    call_id: str
    shadow_of: str
    conversation_id: str
    workload: str
    app: str
    team: str
    tags: dict[str, str]
    stage: str
    mirrored_to: str  # "candidate" or "baseline"
    provider: str
    request_model: str
    model: str
    twin_provider: str
    twin_model: str
    started_at: int  # of the user's call
    failed: bool | None
    twin_failed: bool | None
    quality: Decimal | None
    twin_quality: Decimal | None
    cost: Decimal | None
    currency: str
    twin_cost: Decimal | None
    twin_currency: str
    time_to_first_token_ms: int | None
    twin_time_to_first_token_ms: int | None
    duration_ms: int | None
    twin_duration_ms: int | None
    agreement: dict[str, Decimal]
    evidence: dict[str, str]
    agreement_version: int
    doubts: tuple[str, ...]  # of either call
    judge_model: str  # empty columns: it was not asked
    judged_first: str  # better, same or worse, the shadow call's answer shown first
    judged_second: str
    judge_cost: Decimal | None
    judge_currency: str


class ScoredCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call with its verdicts: one row of the `calls` table, field for column but for `pair`."""

    call_id: str
    request_id: str
    attempt: int
    final: bool | None  # a call that answered is; of a failure few records tell
    source: str
    conversation_id: str
    workload: str
    app: str
    team: str
    tags: dict[str, str]
    arm: str
    stage: str
    share: float | None
    shadow_of: str
    provider: str
    host: str
    region: str  # of the provider's price list, as far as host and path tell
    flat_rate_plan: str  # the provider's plan without token prices that the path belongs to
    protocol: str
    request_model: str
    response_model: str
    model: str  # the catalog's id where it knows the model, else the name as it came
    started_at: int
    time_to_first_token_ms: int | None
    duration_ms: int | None
    stream: bool | None
    http_status: int | None
    finish_reason: str
    failure: str
    failure_code: str
    failure_message: str
    fault: str
    input_tokens: int | None
    cache_read_input_tokens: int | None
    cache_write_5m_input_tokens: int | None
    cache_write_1h_input_tokens: int | None
    output_tokens: int | None
    reasoning_output_tokens: int | None
    usage_estimated: bool
    cost: Decimal | None
    currency: str
    price_id: str
    cost_estimated: bool
    cost_unknown: str
    gateway_cost_usd: Decimal | None
    quality: Decimal | None
    checks: dict[str, Decimal]
    evidence: dict[str, str]
    checks_version: int
    findings: tuple[str, ...]
    doubts: tuple[str, ...]
    language: str = ""  # of the user's message, e.g. "zh", "latin"; "" if it cannot be told
    tools_called: tuple[str, ...] = ()  # names of the tools the answer calls, each once
    pair: Pair | None = None  # of a shadow call; a row of the `pairs` table
