"""Reading an exchange: the bytes of a request and of its response to an `Exchange`.

A stream is folded into the response it amounts to, and that is read like a response that came
whole, so each protocol has one reading of text, tool calls and token counts.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from pipeline.calls import Exchange, Protocol, Usage, VendorError
from pipeline.protocols import anthropic_messages, openai_chat, openai_responses
from pipeline.protocols.conformance import answer_findings, tool_call_findings
from pipeline.protocols.errors import ANSWER_KEYS, vendor_error
from pipeline.protocols.reader import Reader
from pipeline.protocols.request import asked, usage_promised
from pipeline.protocols.sse import looks_like_stream, read_stream
from pipeline.protocols.tokens import estimated, told
from pipeline.protocols.values import decode

_READERS: dict[Protocol, Reader] = {
    Protocol.ANTHROPIC_MESSAGES: anthropic_messages,
    Protocol.OPENAI_CHAT: openai_chat,
    Protocol.OPENAI_RESPONSES: openai_responses,
}
_PATH_ENDS = {
    "/v1/messages": Protocol.ANTHROPIC_MESSAGES,
    "/chat/completions": Protocol.OPENAI_CHAT,
    "/responses": Protocol.OPENAI_RESPONSES,
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Body(msgspec.Struct, frozen=True):
    """A response body made out; `error` is what tells of an error, and may be the whole response."""

    response: dict[str, Any]
    error: dict[str, Any]
    ended: bool | None
    streamed: bool = False
    findings: tuple[str, ...] = ()


def protocol_of(path: str) -> Protocol | None:
    """The protocol spoken at a URL path, whatever base it has; None if it is none of ours."""
    path = path.partition("?")[0].rstrip("/")
    return next((protocol for end, protocol in _PATH_ENDS.items() if path.endswith(end)), None)


def read_exchange(
    protocol: Protocol,
    request: bytes | str,
    response: bytes | str,
    http_status: int | None,
    conversation: str = "",
) -> Exchange:
    """Both sides of a call from its bodies; the response is JSON or a stream, whole or cut off.

    Never raises: what cannot be read is unknown, and a finding says so. An empty `response` means
    that nothing came. A stream without token counts gets them estimated from its text. `conversation`
    is the id of the conversation where the record names it; it is not looked for then.
    """
    asked_for = _object(_bytes(request))
    body = _body(_READERS[protocol], _bytes(response), http_status)
    in_band = body.streamed if http_status is None else http_status < 400
    findings = _framing_findings(asked_for, body, in_band)
    answer = _READERS[protocol].answer(body.response)
    ask = asked(asked_for or {}, conversation)
    return _read(protocol, asked_for, ask, body, answer, in_band, findings)


def read_parsed(
    protocol: Protocol, request: dict[str, Any] | None, response: dict[str, Any] | None
) -> Exchange:
    """Both sides of a call from the JSON a gateway logged; streams it has already put together.

    Such a record cannot tell whether a stream was cut off, so `ended` is True or None; and what is
    wrong in it may be the gateway's own doing, so it has no findings.
    """
    response, reader, ask = response or {}, _READERS[protocol], asked(request or {})
    answer = reader.answer(response)
    if request is None:
        ask["stream"] = None
    return Exchange(
        **ask,
        **answer,
        usage=told(reader.usage(response, [])) if "usage" in response else None,
        error=vendor_error(response, in_band=False),
        ended=bool(answer["finish_reason"]) or None,
    )


def _body(reader: Reader, raw: bytes, http_status: int | None) -> _Body:
    whole = raw.strip()
    if whole.startswith(b"{"):
        response = _object(whole)
        if response is None:  # cut off
            return _Body({}, {}, False, False, ("unreadable_body",))
        return _Body(response, response, True)
    if not whole:
        return _Body({}, {}, None if http_status is None else False)
    if looks_like_stream(raw):
        stream = read_stream(raw)
        folded = reader.fold(stream)
        error = folded.error or folded.response
        findings = (*stream.findings, *folded.findings)
        return _Body(folded.response, error, folded.ended, True, findings)
    return _Body({}, {}, None, False, ("unreadable_body",))


def _read(
    protocol: Protocol,
    asked_for: dict[str, Any] | None,
    ask: dict[str, Any],
    body: _Body,
    answer: dict[str, Any],
    in_band: bool,
    findings: list[str],
) -> Exchange:
    reader, request = _READERS[protocol], asked_for or {}
    error = vendor_error(body.error, in_band)
    counted = told(reader.usage(body.response, findings))
    if error:
        findings += _error_findings(reader, body.error, error)
    elif body.response and body.ended:
        findings += _answer_findings(reader, request, ask, body.response, answer)
        if not counted and _usage_due(protocol, request, body.streamed, findings):
            findings.append("missing_usage")
    if body.streamed and "bad_token_count" not in findings:
        counted = _completed(counted, asked_for, answer)
    known = asked_for is not None or body.streamed
    ask["stream"] = (body.streamed or ask["stream"]) if known else None
    return Exchange(
        **ask,
        **answer,
        usage=counted,
        error=error,
        ended=body.ended,
        findings=tuple(dict.fromkeys(findings)) if findings else (),
    )


def _framing_findings(asked_for: dict[str, Any] | None, body: _Body, in_band: bool) -> list[str]:
    """What is wrong with the bodies as such: unreadable, or a stream where none was asked for."""
    findings = list(body.findings)
    if asked_for is None:
        findings.append("unreadable_request")
    elif body.response and in_band and bool(asked_for.get("stream")) != body.streamed:
        findings.append("unasked_stream" if body.streamed else "not_streamed")
    return findings


def _error_findings(reader: Reader, body: dict[str, Any], error: VendorError) -> Iterator[str]:
    if error.in_band:
        yield "in_band_error"
    if not reader.error_shape_is_ours(body):
        yield "foreign_error_shape"


def _answer_findings(
    reader: Reader,
    request: dict[str, Any],
    ask: dict[str, Any],
    response: dict[str, Any],
    answer: dict[str, Any],
) -> Iterator[str]:
    if ANSWER_KEYS.isdisjoint(response):
        yield "missing_answer"
        return
    yield from answer_findings(reader, answer, ask["tool_required"])
    if answer["tool_calls"]:
        yield from tool_call_findings(answer, ask["tools"], request)


def _usage_due(
    protocol: Protocol, request: dict[str, Any], streamed: bool, findings: list[str]
) -> bool:
    """True if token counts should have come: Chat streams give them only when asked to."""
    if "bad_token_count" in findings or "missing_answer" in findings:
        return False
    return not streamed or protocol is not Protocol.OPENAI_CHAT or usage_promised(request)


def _completed(
    usage: Usage | None, request: dict[str, Any] | None, answer: dict[str, Any]
) -> Usage | None:
    """The counts of a stream; what never came is estimated if any of the answer did."""
    arguments = "".join(call.arguments for call in answer["tool_calls"])
    text = "".join((answer["text"], answer["reasoning"], arguments))
    if usage and usage.input_tokens and usage.output_tokens is not None:
        return usage
    return estimated(usage, request, text) if usage or text else None


def _object(raw: bytes) -> dict[str, Any] | None:
    """The JSON object in `raw`, or None."""
    try:
        value = decode(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _bytes(body: bytes | str) -> bytes:
    raw = body.encode(errors="replace") if isinstance(body, str) else body
    return raw.removeprefix(_BYTE_ORDER_MARK)
