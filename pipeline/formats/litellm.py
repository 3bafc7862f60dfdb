"""LiteLLM proxy: StandardLoggingPayload, as an array, as NDJSON, or one object a message; spend rows.

Knows tokens, times, status, both sides' text (unless redacted). Does not know: HTTP status of a
success, the provider's own finish word and ids on most routes (the answer is rewritten into
OpenAI's shape, so protocol findings would be LiteLLM's, not the provider's, and are left out),
whether a retry hid a failure from the user, and, before 1.106, that a stream broke off.
A cost of 0 with tokens is "not in LiteLLM's price map", so unknown. Rows of the spend log have the
same, less the upstream's address and, unless prompts are stored, both sides' text.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from pipeline.calls import Call, Exchange, Protocol, Usage, VendorError
from pipeline.formats.records import json_object, not_a_call, split_records
from pipeline.protocols import read_parsed
from pipeline.protocols.tokens import count, part
from pipeline.protocols.values import decode

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
_SPEND = b'"spend":'  # a column of the spend log, no field of the payload
_TOO_DEAR = 1_000_000  # USD; no call costs that

split = split_records


class Payload(msgspec.Struct):
    """The fields read; every one may be missing or null, between 1.74 and 1.106 many come and go."""

    id: str | None = None
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
    cache_hit: bool | str | None = None
    request_tags: list[str] | None = None
    messages: Any = None
    response: Any = None
    model_parameters: dict[str, Any] | None = None
    hidden_params: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    error_str: str | None = None
    error_information: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(Payload)
_rows = msgspec.json.Decoder(dict[str, Any])


def detect(value: bytes) -> bool:
    """True if the head names fields that only LiteLLM's payload has together."""
    return b'"call_type"' in value and b'"startTime"' in value


def read(record: bytes) -> Call:
    """The call of one payload. Raises msgspec.DecodeError or ValidationError, which name the field."""
    p = _of_spend_row(record) if _SPEND in record else _decoder.decode(record)
    error = p.error_information or {}
    if error.get("error_class") == _SPURIOUS:
        raise not_a_call("the end of a Responses stream, logged again as a failure")
    code = _text(error.get("error_code"))
    url = _url(p)
    started = _ms(p.startTime)
    request_id = p.litellm_call_id or (p.id or "").split("_cache_hit")[0]
    if not request_id:
        raise msgspec.ValidationError("neither `litellm_call_id` nor `id` is there")
    retries = _dict(_dict(p.hidden_params).get("additional_headers")).get(
        "x-litellm-attempted-retries"
    )
    return Call(
        # Attempts of one call share its id; the start and the outcome tell them apart.
        call_id=f"{request_id}/{started}/{p.status}",
        source="litellm",
        request_id=request_id,
        attempt=retries + 1 if isinstance(retries, int) and 0 <= retries < 100 else 1,
        conversation_id=p.session_id or p.trace_id or "",
        app=_metadata(p, "user_api_key_alias"),
        team=_metadata(p, "user_api_key_team_alias") or _metadata(p, "user_api_key_team_id"),
        tags=_tags(p),
        provider=p.custom_llm_provider or "",
        host=url.hostname or "",
        path=url.path,
        protocol=_PROTOCOLS.get(p.call_type or ""),
        started_at=started,
        first_token_at=_first_token(p),
        ended_at=_ms(p.endTime),
        http_status=_status(p, code),
        cancelled=code == _CLIENT_GONE,
        gateway_cache_hit=p.cache_hit is True,
        gateway_cost_usd=_cost(p),
        exchange=_exchange(p, error, code),
    )


def _of_spend_row(record: bytes) -> Payload:
    """A row of the spend log as the payload it was made from: JSON inside strings, other names."""
    row = _rows.decode(record)
    metadata = json_object(row.get("metadata"))
    tags = row.get("request_tags")
    told = {
        "id": row.get("request_id"),
        "metadata": metadata,
        "error_information": metadata.get("error_information"),
        "request_tags": decode(tags) if isinstance(tags, str) else tags,
        "response_cost": row.get("spend"),
        "cache_hit": row.get("cache_hit") in (True, "True"),
        "model_parameters": json_object(row.get("proxy_server_request")),
        "messages": decode(row["messages"]) if isinstance(row.get("messages"), str) else None,
        "response": json_object(row.get("response")),
    }
    return msgspec.convert(row | told, Payload)


def _exchange(p: Payload, error: dict[str, Any], code: str) -> Exchange:
    exchange = _both_sides(p)
    redacted = exchange.text == _REDACTED
    asked_stream = _flag(_dict(p.model_parameters).get("stream"))
    failed = p.status == "failure" and code != _CLIENT_GONE
    findings: list[str] = []
    return msgspec.structs.replace(
        exchange,
        request_model=p.model_group or p.model or "",
        response_model=p.model or "",
        text="" if redacted else exchange.text,
        ended=None if redacted else exchange.ended,
        stream=asked_stream if p.stream is None else p.stream,
        usage=_usage(p, findings),
        error=_vendor_error(p, error, code) if failed else exchange.error,
        findings=tuple(dict.fromkeys(findings)),
    )


def _both_sides(p: Payload) -> Exchange:
    """What was asked and answered; only `object` tells in which shape the answer was logged."""
    if p.call_type not in _PROTOCOLS:
        return Exchange()  # embeddings, images and the like: no text to judge
    response = _dict(p.response)
    responses_api = response.get("object") == "response"
    shape = Protocol.OPENAI_RESPONSES if responses_api else Protocol.OPENAI_CHAT
    asked = {**_dict(p.model_parameters), "input" if responses_api else "messages": p.messages}
    return read_parsed(shape, asked, response)


def _vendor_error(p: Payload, error: dict[str, Any], code: str) -> VendorError:
    return VendorError(
        code=_normalised(error) or code,
        type=_text(error.get("error_class")),
        message=_text(error.get("error_message")) or p.error_str or "",
    )


def _normalised(error: dict[str, Any]) -> str:
    """1.106 names the cause itself, e.g. "503_PROVIDER_OVERLOADED" where error_code says only 500."""
    return "overloaded_error" if "OVERLOADED" in _text(error.get("normalized_error")) else ""


def _usage(p: Payload, findings: list[str]) -> Usage | None:
    """Totals with the cache inside, as from 1.81 on; older ones leave cache writes out of the total."""
    if not p.prompt_tokens and not p.completion_tokens:
        return None
    given = _dict(_dict(p.metadata).get("usage_object"))
    details = _dict(given.get("prompt_tokens_details"))
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
    reasoning = _dict(given.get("completion_tokens_details")).get("reasoning_tokens")
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
    cost = p.response_cost
    if cost is None or not 0 <= cost < _TOO_DEAR or (cost == 0 and p.cache_hit is not True):
        return None
    return round(Decimal(repr(cost)), 12)


def _status(p: Payload, code: str) -> int | None:
    if p.status == "success":
        return 200
    return int(code) if re.fullmatch("[45][0-9]{2}", code) else None


def _first_token(p: Payload) -> int | None:
    """Only streams have one; the older messages route sets it to the end, which tells nothing."""
    first, end = _ms(p.completionStartTime), _ms(p.endTime)
    return first if p.stream and first != end else None


def _tags(p: Payload) -> dict[str, str]:
    """`key:value` tags as pairs, plain ones as {tag: "true"}; LiteLLM's own are left out."""
    pairs = (
        tag.partition(":") for tag in p.request_tags or [] if not tag.startswith(_AUTOMATIC_TAG)
    )
    tags = {key: value.strip() or "true" for key, _, value in pairs}
    labels = _dict(_dict(p.metadata).get("spend_logs_metadata"))
    return tags | {key: value for key, value in labels.items() if isinstance(value, str)}


def _ms(value: float | str | None) -> int | None:
    """Unix seconds, or "YYYY-MM-DD HH:MM:SS.ffffff" in UTC as older sinks write it."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, float):
            moment = datetime.fromtimestamp(value, UTC)
        else:
            moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError):
        raise msgspec.ValidationError(f"not a time: {value!r}") from None
    return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)


def _url(p: Payload) -> SplitResult:
    """Where the call went; unknown if what is logged is no address."""
    try:
        return urlsplit(p.api_base or _text(_dict(p.hidden_params).get("api_base")))
    except ValueError:
        return urlsplit("")


def _metadata(p: Payload, key: str) -> str:
    return _text(_dict(p.metadata).get(key))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
