"""Apache APISIX: `kafka-logger` entries (or those of any of its loggers) with `llm_summary`.

Knows times, time to first token, tokens, route, consumer, status; both texts with
`logging.payloads`; everything the bodies say if `include_req_body` and `include_resp_body` are on.
Does not know: the provider (only its address), finish reason, cost, retries. A 0 in the summary is
"unknown". `completion_tokens` and the cache counters are as on the client's wire, so an Anthropic
path leaves the cache out of `prompt_tokens`. A call without `llm_summary` is told from other
traffic by a protocol's path alone.
"""

from typing import Any

import msgspec

from pipeline.calls import Call, Exchange, Protocol, Usage
from pipeline.formats import records as r
from pipeline.protocols import protocol_of, read_exchange

_CLIENT_GONE = 499
split = r.split_records


class Request(msgspec.Struct):
    uri: str = ""
    headers: dict[str, Any] = {}
    body: str = ""


class Response(msgspec.Struct):
    status: Any = None
    body: str = ""


class Entry(msgspec.Struct):
    """The default entry of APISIX's loggers, and what `ai-proxy` adds."""

    start_time: Any = None
    latency: Any = None
    route_id: Any = None
    service_id: Any = None
    upstream: Any = None
    consumer: dict[str, Any] | None = None
    request: Request | None = None
    response: Response | None = None
    llm_summary: dict[str, Any] | None = None
    llm_request: dict[str, Any] | None = None
    llm_response_text: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(Entry)


def detect(value: bytes) -> bool:
    """True if it has the summary, or the fields of a plain entry."""
    return b'"llm_summary"' in value or (b'"route_id"' in value and b'"client_ip"' in value)


def read(record: bytes) -> Call:
    """The call of one entry. Raises msgspec.DecodeError or ValidationError, which name the field."""
    e = _decoder.decode(record)
    request, response = e.request or Request(), e.response or Response()
    path = request.uri.partition("?")[0]
    protocol = protocol_of(path)
    if e.llm_summary is None and protocol is None:
        raise r.not_a_call("an entry without llm_summary, and not on the path of a model")
    protocol = protocol or Protocol.OPENAI_CHAT  # what APISIX takes every other path for
    summary = e.llm_summary or {}
    status, said = r.status(response.status), r.labels(request.headers)
    start = r.milliseconds(e.start_time)
    stream = {"true": True, "false": False}.get(r.text(summary.get("stream")))
    first = r.milliseconds(summary.get("duration")) if stream and status == 200 else None
    request_id = r.text(request.headers.get("x-request-id"))
    consumer = r.text((e.consumer or {}).get("username"))
    return Call(
        call_id=request_id or r.own_id(record),
        source="apisix",
        request_id=request_id,
        conversation_id=said.conversation_id,
        workload=said.workload,
        app=said.app or consumer,
        team=said.team,
        tags=said.tags
        | r.named_tags(
            route=r.text(e.route_id),
            service=r.text(e.service_id),
            user=r.text(summary.get("end_user_id")),
        ),
        host=r.text(e.upstream),
        path=path,
        protocol=protocol,
        started_at=start,
        first_token_at=r.later(start, first or None),
        ended_at=r.later(start, r.milliseconds(e.latency)),
        http_status=status,
        cancelled=status == _CLIENT_GONE,
        exchange=_exchange(e, protocol, request.body, response, stream),
    )


def _exchange(
    e: Entry, protocol: Protocol, asked: str, response: Response, stream: bool | None
) -> Exchange:
    summary = e.llm_summary or {}
    findings: list[str] = []
    usage = _usage(summary, protocol, findings)
    if response.body:
        exchange = read_exchange(protocol, asked, response.body, r.status(response.status))
        usage = exchange.usage or usage
    else:
        exchange = r.chat(
            model="",
            messages=(e.llm_request or {}).get("messages"),
            answer={"content": (e.llm_response_text or {}).get("content")},
            stream=stream,
            usage=usage,
        )
    return msgspec.structs.replace(
        exchange,
        request_model=r.text(summary.get("request_model")) or exchange.request_model,
        response_model=exchange.response_model or r.text(summary.get("model")),
        usage=usage,
        findings=(*exchange.findings, *findings),
    )


def _usage(summary: dict[str, Any], protocol: Protocol, findings: list[str]) -> Usage | None:
    read = r.tokens(summary.get("cache_read_input_tokens"), findings)
    written = r.tokens(summary.get("cache_creation_input_tokens"), findings)
    total = r.tokens(summary.get("prompt_tokens"), findings) or None
    if protocol is Protocol.ANTHROPIC_MESSAGES:
        total = r.plus(total, read, written)
    return r.usage_of(
        findings,
        total=total,
        output=r.tokens(summary.get("completion_tokens"), findings) or None,
        read=read,
        written=written,
        reasoning=r.tokens(summary.get("reasoning_tokens"), findings),
    )
