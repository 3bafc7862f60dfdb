"""Raw exchanges: one JSON object a call with both bodies, for gateways of your own making.

Needs `request_body`, and `path` or `url`; everything else is optional. Bodies are JSON or text, a
stream as its raw SSE text. Knows whatever the bodies say, protocol deviations included; times,
status, provider and labels as far as they are given.
"""

from typing import Any

import msgspec

from pipeline.calls import Call, Protocol
from pipeline.formats import records as r
from pipeline.protocols import protocol_of, read_exchange

_CLIENT_GONE = 499
_OTHER_ENDPOINTS = (
    "/embeddings", "/rerank", "/models", "/moderations", "/files", "/batches", "/count_tokens",
    "/images/generations", "/audio/speech", "/audio/transcriptions",
)  # fmt: skip
split = r.split_records


class Raw(msgspec.Struct):
    """The fields read. `*_at` are UTC ms or ISO times, `*_ms` spans from the start."""

    request_body: Any
    response_body: Any = None
    response_body_text: Any = None
    id: Any = None
    url: Any = None
    host: Any = None
    path: Any = None
    protocol: Protocol | None = None
    provider: Any = None
    http_status: Any = None
    started_at: Any = None
    ended_at: Any = None
    duration_ms: Any = None
    time_to_first_token_ms: Any = None
    error: Any = None
    request_headers: dict[str, Any] | None = None
    conversation_id: Any = None
    workload: Any = None
    app: Any = None
    team: Any = None
    tags: dict[str, str] = {}


_decoder = msgspec.json.Decoder(Raw)


def detect(value: bytes) -> bool:
    """True if it has a request body beside a status or a response body, and is not Helicone's row."""
    if b'"request_body"' not in value or b'"request_created_at"' in value:
        return False
    return b'"http_status"' in value or b'"response_body' in value


def read(record: bytes) -> Call:
    """The call of one exchange. Raises msgspec.DecodeError or ValidationError, which name the field."""
    x = _decoder.decode(record)
    host, path = r.url(x.url)
    host, path = host or r.text(x.host), path or r.text(x.path).partition("?")[0]
    protocol = x.protocol or protocol_of(path)
    if protocol is None and path.endswith(_OTHER_ENDPOINTS):
        raise r.not_a_call(f"{path} gives no text")
    if protocol is None:
        raise msgspec.ValidationError(
            f"{path or 'no path'} does not tell the protocol: name it in `protocol`"
        )
    answer = r.body(x.response_body if x.response_body is not None else x.response_body_text)
    status, said = r.status(x.http_status), r.labels(x.request_headers or {})
    start = r.when(x.started_at)
    conversation = r.text(x.conversation_id) or said.conversation_id
    exchange = read_exchange(protocol, r.body(x.request_body), answer, status, conversation)
    first = r.milliseconds(x.time_to_first_token_ms) if exchange.stream else None
    return Call(
        call_id=r.text(x.id) or r.own_id(record),
        source="raw",
        conversation_id=conversation,
        workload=r.text(x.workload) or said.workload,
        app=r.text(x.app) or said.app,
        team=r.text(x.team) or said.team,
        tags=said.tags | x.tags,
        provider=r.text(x.provider),
        host=host,
        path=path,
        protocol=protocol,
        started_at=start,
        first_token_at=r.later(start, first or None),
        ended_at=r.when(x.ended_at) or r.later(start, r.milliseconds(x.duration_ms)),
        http_status=status,
        transport_error=r.text(x.error),
        cancelled=status == _CLIENT_GONE,
        exchange=exchange,
    )
