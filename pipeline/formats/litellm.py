"""LiteLLM proxy: StandardLoggingPayload, as an array, as NDJSON, or one object a message; spend logs' rows.

Knows tokens, times, status, both sides' text (unless redacted; spend logs have none). Does not know:
HTTP status of a success, the provider's own finish word and ids on most routes (the answer is
rewritten into OpenAI's shape, so protocol findings would be LiteLLM's, not the provider's, and are
left out), and, before 1.106, that a stream broke off. Of the attempts of one call, which share its
id, LiteLLM logs the first failure and the outcome: a success says how many attempts came before it; a
failure cannot say whether one came after it, so whether the user saw it is unknown, until a success of
the same id is stored. A cost of 0 with tokens is "not in LiteLLM's price map", so unknown. Calls that
LiteLLM makes for itself are ignored.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec

from pipeline.calls import Arm, Call, Exchange, Protocol, Usage, VendorError
from pipeline.formats.records import (
    Labels,
    json_object,
    labels,
    not_a_call,
    split_records,
    text,
    url,
)
from pipeline.protocols import read_parsed
from pipeline.protocols.tokens import count, part
from pipeline.protocols.values import as_dict, decode

_PROTOCOLS = {
    "completion": Protocol.OPENAI_CHAT,
    "acompletion": Protocol.OPENAI_CHAT,
    "anthropic_messages": Protocol.ANTHROPIC_MESSAGES,
    "responses": Protocol.OPENAI_RESPONSES,
    "aresponses": Protocol.OPENAI_RESPONSES,
}
_CLIENT_GONE = "499"
_AUTOMATIC_TAG = "User-Agent:"
_REDACTED = "redacted-by-litellm"
_SPURIOUS = "StopAsyncIteration"
_TOO_DEAR = 1_000_000  # USD; no call costs that
_MOST_ATTEMPTS = 100
_LATEST = 32_503_680_000  # the year 3000, in seconds
_LARGE = ("model_map_information", "error_information")  # the latter for its traceback
_ARMS = {arm.value: arm for arm in Arm if arm}
split = split_records


class Error(msgspec.Struct):
    """What went wrong; all empty on success. A client that hung up is code 499 of a "success"."""

    error_code: Any = None
    error_class: Any = None
    error_message: Any = None
    normalized_error: Any = None


class Metadata(msgspec.Struct):
    """Who called, with which counters."""

    user_api_key_alias: Any = None
    user_api_key_team_alias: Any = None
    user_api_key_team_id: Any = None
    spend_logs_metadata: Any = None
    usage_object: Any = None
    requester_custom_headers: Any = None
    internal_call_origin: Any = None
    error_information: Error | None = None  # here in spend logs
    attempted_retries: Any = None
    attempted_fallbacks: Any = None


class Hidden(msgspec.Struct):
    """What LiteLLM did on the way."""

    api_base: Any = None
    additional_headers: Any = None


class Payload(msgspec.Struct):
    """The fields read; every one may be missing or null, between 1.74 and 1.106 many come and go."""

    id: str | None = None
    request_id: str | None = None  # in spend logs
    litellm_call_id: str | None = None
    trace_id: str | None = None
    session_id: str | None = None
    call_type: str | None = None
    stream: bool | None = None
    status: str | None = None
    status_fields: dict[str, Any] | None = None
    custom_llm_provider: str | None = None
    startTime: float | str | None = None
    endTime: float | str | None = None
    completionStartTime: float | str | None = None
    model: str | None = None
    model_group: str | None = None
    api_base: str | None = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    response_cost: float | None = None
    spend: float | None = None  # in spend logs
    cache_hit: bool | str | None = None
    request_tags: list[str] | str | None = None
    team_id: str | None = None  # in spend logs
    proxy_server_request: Any = None  # in spend logs
    messages: Any = None
    response: Any = None
    model_parameters: dict[str, Any] | None = None
    hidden_params: Hidden | None = None
    metadata: Metadata | str | None = None
    error_str: str | None = None
    error_information: Error | None = None


_NO_METADATA, _NO_ERROR, _NOT_HIDDEN = Metadata(), Error(), Hidden()
_decoder = msgspec.json.Decoder(Payload)
_metadata = msgspec.json.Decoder(Metadata)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def detect(value: bytes) -> bool:
    """True if the head names fields that only LiteLLM's payload has together."""
    return b'"call_type"' in value and b'"startTime"' in value


def kept(record: bytes) -> bytes:
    """A record that could not be used, without what is large and tells nothing of it."""
    try:
        fields = _fields.decode(record)
    except (ValueError, RecursionError):
        return record
    return _encode({name: value for name, value in fields.items() if name not in _LARGE})


def read(record: bytes) -> Call:
    """The call of one payload. Raises DecodeError, ValidationError, which name the field, or NotACallError."""
    p = _decoder.decode(record)
    m = _metadata.decode(p.metadata or "{}") if isinstance(p.metadata, str) else p.metadata
    m = m or _NO_METADATA
    error = p.error_information or m.error_information or _NO_ERROR
    if error.error_class == _SPURIOUS:
        raise not_a_call("the end of a Responses stream, logged again as a failure")
    if m.internal_call_origin:
        raise not_a_call(f"LiteLLM made it for itself: {text(m.internal_call_origin)}")
    code = _text(error.error_code)
    hidden = p.hidden_params or _NOT_HIDDEN
    host, path = url(p.api_base or hidden.api_base)
    started, ended = _ms(p.startTime), _ms(p.endTime)
    request_id = p.litellm_call_id or (p.id or p.request_id or "").split("_cache_hit")[0]
    if not request_id:
        raise msgspec.ValidationError("neither `litellm_call_id` nor `id` is there")
    said, tags = _labels(m), _tags(p, m)
    return Call(
        # Attempts of one call share its id; the start and the outcome tell them apart.
        call_id=f"{request_id}/{started}/{p.status}",
        source="litellm",
        request_id=request_id,
        attempt=_attempt(m, as_dict(hidden.additional_headers)),
        conversation_id=said.conversation_id or p.session_id or p.trace_id or "",
        workload=said.workload,
        app=said.app or text(m.user_api_key_alias),
        team=said.team
        or text(m.user_api_key_team_alias)
        or text(m.user_api_key_team_id)
        or (p.team_id or ""),
        tags=tags | said.tags,
        arm=_ARMS.get(tags.get("arm", ""), Arm.NONE),
        shadow_of=tags.get("shadow_of", ""),
        provider=p.custom_llm_provider or "",
        host=host,
        path=path,
        protocol=_PROTOCOLS.get(p.call_type or ""),
        started_at=started,
        first_token_at=_first_token(p, ended),
        ended_at=ended,
        http_status=_status(p, error, code),
        cancelled=code == _CLIENT_GONE,
        gateway_cache_hit=_cache_hit(p),
        gateway_cost_usd=_cost(p),
        exchange=_exchange(p, m, error, code),
    )


def _exchange(p: Payload, m: Metadata, error: Error, code: str) -> Exchange:
    exchange = _both_sides(p)
    redacted = exchange.text == _REDACTED
    asked_stream = _flag(as_dict(p.model_parameters).get("stream"))
    findings: list[str] = []
    return msgspec.structs.replace(
        exchange,
        request_model=p.model_group or p.model or "",
        response_model=_response_model(p, exchange.response_model),
        text="" if redacted else exchange.text,
        ended=None if redacted else exchange.ended,
        stream=asked_stream if p.stream is None else p.stream,
        usage=_usage(p, m, findings),
        error=_vendor_error(p, error, code) if _failed(p, error, code) else exchange.error,
        findings=tuple(dict.fromkeys(findings)),
    )


def _failed(p: Payload, error: Error, code: str) -> bool:
    """A "success" with an error's class is none; a client that hung up is neither."""
    return code != _CLIENT_GONE and (p.status == "failure" or bool(error.error_class))


def _response_model(p: Payload, said: str) -> str:
    """The deployment's model, without LiteLLM's prefix; the dated one where the answer still has it."""
    model = (p.model or "").removeprefix(f"{p.custom_llm_provider}/")
    dated = bool(model) and said.startswith(model) and said != p.model_group
    return said if dated else model


def _attempt(m: Metadata, headers: dict[str, Any]) -> int:
    """1, or one more than the retries and fallbacks that a success counts before it."""
    before = (
        headers.get("x-litellm-attempted-retries", m.attempted_retries),
        headers.get("x-litellm-attempted-fallbacks", m.attempted_fallbacks),
    )
    counted = [n for n in before if type(n) is int and 0 <= n < _MOST_ATTEMPTS]
    return 1 + sum(counted)


def _labels(m: Metadata) -> Labels:
    """What the caller's own headers say, as far as they were logged."""
    headers = m.requester_custom_headers
    return labels(headers) if isinstance(headers, dict) and headers else Labels()


def _both_sides(p: Payload) -> Exchange:
    """What was asked and answered; only `object` tells in which shape the answer was logged."""
    if p.call_type not in _PROTOCOLS:
        return Exchange()  # embeddings, images and the like: no text to judge
    response = json_object(p.response)
    response.pop("usage", None)  # the record's own counters are read instead
    responses_api = response.get("object") == "response"
    shape = Protocol.OPENAI_RESPONSES if responses_api else Protocol.OPENAI_CHAT
    messages = _messages(p.messages) if isinstance(p.messages, str) else p.messages
    told = p.model_parameters or json_object(p.proxy_server_request)
    return read_parsed(
        shape, {**told, "input" if responses_api else "messages": messages}, response
    )


def _messages(written: str) -> Any:
    """The messages in a string of JSON, as spend logs have them; other text is what the user wrote."""
    try:
        return decode(written)
    except ValueError:
        return [{"role": "user", "content": written}]


def _vendor_error(p: Payload, error: Error, code: str) -> VendorError:
    return VendorError(
        code=_normalised(error) or code,
        type=_text(error.error_class),
        message=_text(error.error_message) or p.error_str or "",
    )


def _normalised(error: Error) -> str:
    """1.106 names the cause itself, e.g. "503_PROVIDER_OVERLOADED" where error_code says only 500."""
    return "overloaded_error" if "OVERLOADED" in _text(error.normalized_error) else ""


def _usage(p: Payload, m: Metadata, findings: list[str]) -> Usage | None:
    """Totals with the cache inside, as from 1.81 on; older ones leave cache writes out of the total."""
    if not p.prompt_tokens and not p.completion_tokens:
        return None
    given = as_dict(m.usage_object)
    details = as_dict(given.get("prompt_tokens_details"))
    read = details.get("cached_tokens") or given.get("cache_read_input_tokens")
    written = count(
        details.get("cache_write_tokens")
        or details.get("cache_creation_tokens")
        or given.get("cache_creation_input_tokens"),
        findings,
    )
    total, output = count(p.prompt_tokens, findings), count(p.completion_tokens, findings)
    if total is not None and written and _leaves_writes_out(p):
        total += written
    reasoning = as_dict(given.get("completion_tokens_details")).get("reasoning_tokens")
    return Usage(
        input_tokens=total,
        cache_read_input_tokens=part(read, total, findings),
        cache_write_5m_input_tokens=part(written, total, findings),
        output_tokens=output,
        reasoning_output_tokens=part(reasoning, output, findings),
    )


def _leaves_writes_out(p: Payload) -> bool:
    """1.74 (it had no status_fields yet) counts cache writes beside prompt_tokens on this route."""
    return p.status_fields is None and p.call_type == "anthropic_messages"


def _cost(p: Payload) -> Decimal | None:
    """What LiteLLM thinks it cost, in USD; 0 means "not in my price map" unless its cache answered."""
    cost = p.spend if p.response_cost is None else p.response_cost
    if cost is None or not 0 <= cost < _TOO_DEAR or (cost == 0 and not _cache_hit(p)):
        return None
    return round(Decimal(repr(cost)), 12)


def _cache_hit(p: Payload) -> bool:
    """LiteLLM's own cache answered; spend logs write "True"."""
    return p.cache_hit is True or p.cache_hit == "True"


def _status(p: Payload, error: Error, code: str) -> int | None:
    if p.status == "success" and not (error.error_class and code != _CLIENT_GONE):
        return 200
    return int(code) if re.fullmatch("[45][0-9]{2}", code) else None


def _first_token(p: Payload, ended: int | None) -> int | None:
    """Only streams have one; the older messages route sets it to the end, which tells nothing."""
    first = _ms(p.completionStartTime)
    return first if p.stream and first != ended else None


def _tags(p: Payload, m: Metadata) -> dict[str, str]:
    """`key:value` tags as pairs, plain ones as {tag: "true"}; LiteLLM's own are left out."""
    given = p.request_tags or []
    if isinstance(given, str):
        given = msgspec.json.decode(given, type=list[str])
    pairs = (tag.partition(":") for tag in given if not tag.startswith(_AUTOMATIC_TAG))
    tags = {key: value.strip() or "true" for key, _, value in pairs}
    named = json_object(m.spend_logs_metadata)
    return tags | {key: value for key, value in named.items() if isinstance(value, str)}


def _ms(value: float | str | None) -> int | None:
    """Unix seconds, or "YYYY-MM-DD HH:MM:SS.ffffff" in UTC as older sinks write it."""
    if value is None or value == "":
        return None
    if isinstance(value, float):
        if isfinite(value) and 0 <= value < _LATEST:
            return round(value * 1000)
        raise msgspec.ValidationError(f"not a time: {value!r}")
    try:
        moment = datetime.fromisoformat(value)
        return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise msgspec.ValidationError(f"not a time: {value!r}") from None


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
