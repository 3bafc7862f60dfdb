"""Envoy AI Gateway: JSON access log with the documented template's keys, plus those of our guide.

Knows times, status, response flags, models, totals of tokens, the backend's name; time to first
token, cached tokens, a session and the provider's error code if the template has them. Does not
know: text, finish reason, cost, the error's words, which attempts a retry hid, or tokens of any
failed call. Rows of other traffic in the same log (MCP) are no calls.
"""

from typing import Any

import msgspec

from pipeline.calls import Call, Exchange, Usage, VendorError
from pipeline.formats import records as r
from pipeline.protocols import protocol_of

# Envoy's response flags that tell why there was no whole answer.
_TIMEOUTS = frozenset({"UT", "SI", "UMSDR", "DT"})
_CONNECTION_LOST = frozenset({"UC", "UF", "UR", "LR", "UH", "UPE", "NC", "URX", "OM"})
_CLIENT_GONE = frozenset({"DC", "DR"})
_UNREACHED = frozenset({"UC", "UF", "UR", "LR", "UH", "NC"})  # with these a 503 is Envoy's own
_ENVOYS_OWN = 503


split = r.split_records


class Row(msgspec.Struct):
    """The keys read. All are the operator's choice, so every one may be missing, null or "-"."""

    request_id: Any = msgspec.field(name="x-request-id", default=None)
    authority: Any = msgspec.field(name=":authority", default=None)
    origin_path: Any = msgspec.field(name="x-envoy-origin-path", default=None)
    start_time: Any = None
    duration: Any = None
    response_code: Any = None
    response_flags: Any = None
    upstream_transport_failure_reason: Any = None
    route_name: Any = None
    token_latency_ttft: Any = None
    session_id: Any = msgspec.field(name="session.id", default=None)
    user_id: Any = msgspec.field(name="user.id", default=None)
    provider: Any = msgspec.field(name="gen_ai.provider.name", default=None)
    request_model: Any = msgspec.field(name="gen_ai.request.model", default=None)
    response_model: Any = msgspec.field(name="gen_ai.response.model", default=None)
    input_tokens: Any = msgspec.field(name="gen_ai.usage.input_tokens", default=None)
    output_tokens: Any = msgspec.field(name="gen_ai.usage.output_tokens", default=None)
    read: Any = msgspec.field(name="gen_ai.usage.cache_read.input_tokens", default=None)
    written: Any = msgspec.field(name="gen_ai.usage.cache_creation.input_tokens", default=None)
    error_type: Any = msgspec.field(name="error.type", default=None)
    error_code: Any = msgspec.field(name="error.code", default=None)
    reasoning: Any = msgspec.field(name="gen_ai.usage.reasoning.output_tokens", default=None)


_decoder = msgspec.json.Decoder(Row)


def detect(value: bytes) -> bool:
    """True if it has a model's name beside an access log's response code."""
    return b'"gen_ai.request.model"' in value and b'"response_code"' in value


def read(record: bytes) -> Call:
    """The call of one row. Raises msgspec.DecodeError or ValidationError, which name the field."""
    row = _decoder.decode(record)
    path = r.text(row.origin_path).partition("?")[0]
    protocol, model = protocol_of(path), r.text(row.request_model)
    if not model and protocol is None:
        raise r.not_a_call("a row without a model, and not on the path of one")
    status, start = r.status(row.response_code), r.moment(row.start_time)
    flags = frozenset(r.text(row.response_flags).split(","))
    if status == _ENVOYS_OWN and flags & _UNREACHED:
        status = None  # no provider answered
    first = r.milliseconds(row.token_latency_ttft)
    findings: list[str] = []
    usage = _usage(row, findings)
    request_id = r.text(row.request_id)
    return Call(
        call_id=request_id or r.own_id(record),
        source="envoy_ai_gateway",
        request_id=request_id,
        conversation_id=r.text(row.session_id),
        tags=r.named_tags(route=r.text(row.route_name), user=r.text(row.user_id)),
        provider=_backend(r.text(row.provider)),
        host=r.text(row.authority),
        path=path,
        protocol=protocol,
        started_at=start,
        first_token_at=r.later(start, first or None),
        ended_at=r.later(start, r.milliseconds(row.duration)),
        http_status=status,
        transport_error=_transport_error(flags),
        cancelled=bool(flags & _CLIENT_GONE),
        exchange=Exchange(
            request_model=model,
            response_model=r.text(row.response_model),
            stream=True if first else None,
            usage=usage,
            error=_error(row),
            findings=tuple(findings),
        ),
    )


def _usage(row: Row, findings: list[str]) -> Usage | None:
    return r.usage_of(
        findings,
        total=r.tokens(row.input_tokens, findings),
        output=r.tokens(row.output_tokens, findings),
        read=r.tokens(row.read, findings),
        written=r.tokens(row.written, findings),
        reasoning=r.tokens(row.reasoning, findings),
    )


def _error(row: Row) -> VendorError | None:
    """The provider's code; where it gave none the gateway writes the status instead."""
    code, type_ = r.text(row.error_code), r.text(row.error_type)
    return VendorError(code=code, type=type_) if type_ or code else None


def _backend(path: str) -> str:
    """The backend's name in "namespace/name/route/…"; anything else is a name already."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else path


def _transport_error(flags: frozenset[str]) -> str:
    if flags & _TIMEOUTS:
        return "timeout"
    return "reset" if flags & _CONNECTION_LOST else ""
