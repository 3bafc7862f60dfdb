"""claude-code-router: its request log as JSON, single entries or the `items` of its API.

Knows everything the bodies say (read only where they are whole; the log's list is without them, an
opened entry has them), tokens, times, status, client, session, its own cost; from 3.1 on the time to
the first token of a stream. Does not know: the provider's address (its name is what the user typed),
protocol deviations of the provider (the router translates between protocols: of a translated answer
the log has the client's form beside the provider's path).
"""

import re
from typing import Any

import msgspec

from pipeline.calls import Call, Exchange, Protocol, Usage, VendorError
from pipeline.formats import records as r
from pipeline.protocols import protocol_of, read_exchange

_CLIENT_GONE = 499
_NAMED = re.compile(r'\{(?:"id":"[^"]*",)?"(?:type|object)":"([a-z.]+)"')
_SPOKEN = {
    "message": Protocol.ANTHROPIC_MESSAGES,
    "chat.completion": Protocol.OPENAI_CHAT,
    "response": Protocol.OPENAI_RESPONSES,
}


class Body(msgspec.Struct):
    text: str | None = None
    encoding: str | None = None
    truncated: bool | None = None

    def whole(self) -> str:
        """The text if all of it is there and it is text."""
        readable = self.encoding in (None, "utf8", "utf-8") and not self.truncated
        return (self.text or "") if readable else ""


class Entry(msgspec.Struct, rename="camel"):
    """One request as the router logged it."""

    request_id: Any
    created_at: Any = None
    completed_at: Any = None
    duration_ms: Any = None
    time_to_first_signal_ms: Any = None  # text, thought or tool call
    provider: Any = None
    client: Any = None
    path: Any = None
    requested_model: Any = None
    resolved_model: Any = None
    response_model: Any = None
    model: Any = None
    is_stream: bool | None = None
    status_code: Any = None
    error: Any = None
    input_tokens: Any = None
    cache_read_tokens: Any = None
    cache_write_tokens: Any = None
    output_tokens: Any = None
    reasoning_tokens: Any = None
    cost_usd: Any = None
    retry_attempts: list[Any] | None = None
    request_headers: dict[str, Any] | None = None
    request_body: Body | None = None
    response_body: Body | None = None


class Page(msgspec.Struct):
    items: list[msgspec.Raw]


_entries = msgspec.json.Decoder(Entry)
_pages = msgspec.json.Decoder(Page)


def detect(value: bytes) -> bool:
    """True if it has the fields that only this log has together."""
    return b'"retryAttempts"' in value and b'"resolvedModel"' in value


def split(value: bytes) -> list[bytes]:
    """The entries of an array, of the API's `items`, or one a line."""
    if b'"items"' in value[:400]:
        return [bytes(item) for item in _pages.decode(value).items]
    return r.split_records(value)


def read(record: bytes) -> Call:
    """The call of one entry. Raises msgspec.DecodeError or ValidationError, which name the field."""
    e = _entries.decode(record)
    path = r.text(e.path).partition("?")[0]
    protocol = protocol_of(path)
    status, said = r.status(e.status_code), r.labels(e.request_headers or {})
    start, end = r.moment(e.created_at), r.moment(e.completed_at)
    request_id = r.text(e.request_id)
    return Call(
        call_id=request_id or r.own_id(record),
        source="claude_code_router",
        request_id=request_id,
        attempt=1 + min(len(e.retry_attempts or ()), 100),
        conversation_id=said.conversation_id,
        workload=said.workload,
        app=said.app or r.text(e.client).removeprefix("Profile: "),
        team=said.team,
        tags=said.tags,
        provider=r.text(e.provider),
        path=path,
        protocol=protocol,
        started_at=start,
        first_token_at=r.later(start, r.milliseconds(e.time_to_first_signal_ms)),
        ended_at=end or r.later(start, r.milliseconds(e.duration_ms)),
        http_status=status,
        transport_error=r.text(e.error) if status is None else "",
        cancelled=status == _CLIENT_GONE,
        gateway_cost_usd=r.usd(e.cost_usd),
        exchange=_exchange(e, protocol, status, said.conversation_id),
    )


def _exchange(
    e: Entry, protocol: Protocol | None, status: int | None, conversation: str
) -> Exchange:
    findings: list[str] = []
    asked = e.request_body.whole() if e.request_body else ""
    answer = e.response_body.whole() if e.response_body else ""
    exchange = Exchange()
    if protocol and (asked or answer):
        spoken = _spoken(answer) or protocol
        came = status if answer else None
        exchange = read_exchange(spoken, asked, answer, came, conversation)
        if spoken is not protocol:  # it is the router that wrote it
            exchange = msgspec.structs.replace(exchange, findings=())
    error = r.text(e.error)
    told = r.text(e.requested_model) or exchange.request_model or r.text(e.resolved_model)
    return msgspec.structs.replace(
        exchange,
        request_model=told or r.text(e.model),
        response_model=exchange.response_model or r.text(e.response_model),
        stream=e.is_stream if exchange.stream is None else exchange.stream,
        usage=exchange.usage or _usage(e, findings),
        error=exchange.error or (VendorError(message=error) if error and status else None),
        findings=(*exchange.findings, *findings),
    )


def _spoken(answer: str) -> Protocol | None:
    """The protocol that a whole answer names in its first fields; None if it names none."""
    named = _NAMED.match(answer[:200])
    return _SPOKEN.get(named[1]) if named else None


def _usage(e: Entry, findings: list[str]) -> Usage | None:
    """`inputTokens` leaves the cache out, whatever the protocol."""
    read = r.tokens(e.cache_read_tokens, findings)
    written = r.tokens(e.cache_write_tokens, findings)
    return r.usage_of(
        findings,
        total=r.plus(r.tokens(e.input_tokens, findings), read, written),
        output=r.tokens(e.output_tokens, findings),
        read=read,
        written=written,
        reasoning=r.tokens(e.reasoning_tokens, findings),
    )
