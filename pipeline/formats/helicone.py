"""Helicone: messages of its request-response topic, and rows of its ClickHouse table and its API.

Messages know times, time to first token, status, provider, user, session and properties, cache
hits; neither bodies nor tokens are in them. Rows know tokens and cost as well, and what the bodies
say where those are not stored elsewhere. Neither knows attempts. The counters leave out each other:
prompt tokens the cache, completion tokens the reasoning (rows of before its cost registry, in
2025, had OpenAI's cached tokens inside); a body's own counts come first.
"""

from typing import Any

import msgspec

from pipeline.calls import Call, Exchange, Protocol, Usage
from pipeline.formats import records as r
from pipeline.protocols import protocol_of, read_exchange
from pipeline.protocols.values import as_dict, encode

_NO_CACHE = ("", "00000000-0000-0000-0000-000000000000")
_SESSION = "Helicone-Session-Id"
_ELSEWHERE = "helicone_message"  # what stands in for a body that is kept in an object store


class Message(msgspec.Struct):
    """A message of the topic `request-response-logs-prod`. `authorization` is never read."""

    log: "Log"
    heliconeMeta: dict[str, Any] | None = None


class Log(msgspec.Struct):
    request: dict[str, Any]
    response: dict[str, Any] = {}


class Row(msgspec.Struct):
    """A row of `request_response_rmt`, or of the API, which names a few columns differently."""

    request_id: Any
    request_created_at: Any = None
    response_created_at: Any = None
    latency: Any = None
    delay_ms: Any = None
    time_to_first_token: Any = None
    status: Any = None
    response_status: Any = None
    model: Any = None
    request_model: Any = None
    response_model: Any = None
    provider: Any = None
    target_url: Any = None
    request_path: Any = None
    user_id: Any = None
    request_user_id: Any = None
    properties: Any = None
    request_properties: Any = None
    request_body: Any = None
    response_body: Any = None
    prompt_tokens: Any = None
    prompt_cache_read_tokens: Any = None
    prompt_cache_write_tokens: Any = None
    completion_tokens: Any = None
    reasoning_tokens: Any = None
    cost: Any = None
    costUSD: Any = None
    cache_reference_id: Any = None


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]


_messages = msgspec.json.Decoder(Message)
_rows = msgspec.json.Decoder(Row)
_pages = msgspec.json.Decoder(_Page)


def detect(value: bytes) -> bool:
    """True if it has a message's meta part, or a row's two ids and times."""
    if b'"heliconeMeta"' in value:
        return True
    return b'"request_created_at"' in value and b'"request_id"' in value


def split(value: bytes) -> list[bytes]:
    """The messages or rows of an array, of an answer of the API, or one a line."""
    if b'"data"' in value[:40]:
        return [bytes(row) for row in _pages.decode(value).data]
    return r.split_records(value)


def read(record: bytes) -> Call:
    """The call of a message or row. Raises msgspec.DecodeError or ValidationError naming the field."""
    if b'"heliconeMeta"' in record:
        return _call(_row_of(_messages.decode(record)), record)
    return _call(_rows.decode(record), record)


def _row_of(message: Message) -> Row:
    """A message with the columns that its row will have."""
    request, response = message.log.request, message.log.response
    meta = message.heliconeMeta or {}
    stream = request.get("isStream")
    return Row(
        request_id=request.get("id"),
        request_created_at=request.get("requestCreatedAt"),
        response_created_at=response.get("responseCreatedAt"),
        delay_ms=response.get("delayMs"),
        time_to_first_token=response.get("timeToFirstToken"),
        status=response.get("status"),
        request_model=meta.get("gatewayModel") or meta.get("modelOverride"),
        response_model=meta.get("providerModelId"),
        provider=meta.get("gatewayProvider") or request.get("provider"),
        target_url=request.get("targetUrl"),
        request_path=request.get("path"),
        user_id=request.get("userId"),
        properties=request.get("properties"),
        request_body={"stream": stream} if isinstance(stream, bool) else None,
        cost=response.get("cost"),
        cache_reference_id=request.get("cacheReferenceId"),
    )


def _call(row: Row, record: bytes) -> Call:
    host, path = r.url(row.target_url)
    path = path or r.url(row.request_path)[1]
    protocol, status = protocol_of(path), r.status(row.status or row.response_status)
    properties = as_dict(row.properties) or as_dict(row.request_properties)
    tags = {name: value for name, value in properties.items() if isinstance(value, str)}
    start, end = r.moment(row.request_created_at), r.moment(row.response_created_at)
    span = r.milliseconds(row.latency if row.delay_ms is None else row.delay_ms)
    exchange = _exchange(row, protocol, status)
    first = r.milliseconds(row.time_to_first_token) if exchange.stream is not False else None
    return Call(
        call_id=r.text(row.request_id) or r.own_id(record),
        source="helicone",
        request_id=r.text(row.request_id),
        conversation_id=tags.pop(_SESSION, ""),
        app=tags.get("App", ""),
        tags=tags | r.named_tags(user=r.text(row.user_id) or r.text(row.request_user_id)),
        provider=r.text(row.provider).lower(),
        host=host,
        path=path,
        protocol=protocol,
        started_at=start,
        first_token_at=r.later(start, first or None),
        ended_at=r.later(start, span) if span is not None else end,
        http_status=status,
        gateway_cache_hit=r.text(row.cache_reference_id) not in _NO_CACHE,
        gateway_cost_usd=r.usd(row.cost or row.costUSD),
        exchange=exchange,
    )


def _exchange(row: Row, protocol: Protocol | None, status: int | None) -> Exchange:
    findings: list[str] = []
    asked, answer = _body(row.request_body), _body(row.response_body)
    exchange = Exchange()
    if protocol and (asked or answer):
        exchange = read_exchange(protocol, asked, answer, status if answer else None)
    model = r.text(row.request_model) or exchange.request_model or r.text(row.model)
    return msgspec.structs.replace(
        exchange,
        request_model=model,
        response_model=exchange.response_model or r.text(row.response_model) or r.text(row.model),
        usage=exchange.usage or _usage(row, findings),
        findings=(*exchange.findings, *findings) if answer else tuple(findings),
    )


def _body(value: Any) -> str:
    """A body as text; "" where only its place in an object store is told."""
    if isinstance(value, str):
        return value if _ELSEWHERE not in value[:40] else ""
    return encode(value) if isinstance(value, dict) and value and _ELSEWHERE not in value else ""


def _usage(row: Row, findings: list[str]) -> Usage | None:
    read = r.tokens(row.prompt_cache_read_tokens, findings)
    written = r.tokens(row.prompt_cache_write_tokens, findings)
    reasoning = r.tokens(row.reasoning_tokens, findings)
    return r.usage_of(
        findings,
        total=r.plus(r.tokens(row.prompt_tokens, findings), read, written),
        output=r.plus(r.tokens(row.completion_tokens, findings), reasoning),
        read=read,
        written=written,
        reasoning=reasoning,
    )
