"""OTLP messages of many spans become documents of one span each; a call that two tell of counts once."""

from typing import NamedTuple

import msgspec

from pipeline.formats import records as r
from pipeline.formats.otel_names import is_call
from pipeline.formats.otlp import Span, attributes
from pipeline.protocols.values import encode

_OWN = b'"com.anthropic.sdk.'  # the scope of spans that a client library makes itself


class _ScopeSpans(msgspec.Struct, gc=False):
    spans: list[msgspec.Raw] = []
    scope: msgspec.Raw = msgspec.Raw(b"{}")


class _ResourceSpans(msgspec.Struct, gc=False):
    scopeSpans: list[_ScopeSpans] = []
    resource: msgspec.Raw = msgspec.Raw(b"{}")


class _Document(msgspec.Struct, gc=False):
    resourceSpans: list[_ResourceSpans] = []


class _Kin(msgspec.Struct, gc=False):
    spanId: str = ""
    parentSpanId: str = ""


class Told(NamedTuple):
    """A span of a message, as JSON, with its resource and its scope."""

    resource: bytes
    scope: bytes
    span: bytes


_unread = msgspec.json.Decoder(_Document)
_spans = msgspec.json.Decoder(Span)
_kin = msgspec.json.Decoder(_Kin)


def documents(value: bytes) -> list[bytes]:
    """One document for each span of OTLP JSON, with its resource and scope. Raises ValueError."""
    try:
        return _opened(value)
    except msgspec.DecodeError:  # several documents: each by itself, so that one cannot spoil all
        return [span for each in r.split_records(value) for span in _tried(each)]


def _opened(value: bytes) -> list[bytes]:
    """The spans of one document; itself if it has no more than one."""
    found = [
        Told(bytes(within.resource), bytes(scoped.scope), bytes(span))
        for within in _unread.decode(value).resourceSpans
        for scoped in within.scopeSpans
        for span in scoped.spans
    ]
    return _alone(found) if len(found) > 1 else [value]


def _tried(value: bytes) -> list[bytes]:
    try:
        return _opened(value)
    except (msgspec.DecodeError, RecursionError):
        return [value]  # `read` says what is wrong with it


def _alone(found: list[Told]) -> list[bytes]:
    """A document for each span; one whose call another one tells of says so."""
    twice = _told_twice(found)
    return [
        (b'{%b"resourceSpans":[{"resource":%b,"scopeSpans":[{"scope":%b,"spans":[%b]}]}]}')
        % (b'"told_by":%b,' % encode(twice[place]).encode() if place in twice else b"", *each)
        for place, each in enumerate(found)
    ]


def _told_twice(found: list[Told]) -> dict[int, str]:
    """The places of spans of which another one tells the same call, and that one's name.

    That is a call's span around it, or, where the client library's own span stands beside that of an
    instrumentation, one with the same answer; both of the same process, so of the same resource.
    """
    ids = [_ids(told.span) for told in found]
    named = {(told.resource, own): told for told, (own, _) in zip(found, ids, strict=True) if own}
    answered: dict[tuple[bytes, str], Told] = {}  # by an instrumentation's word
    if any(_OWN in told.scope for told in found):
        told_by_others = (told for told in found if _OWN not in told.scope)
        answered = {(t.resource, id): t for t in told_by_others if (id := _answer(t))}
    twice: dict[int, str] = {}
    for place, told in enumerate(found):
        around = named.get((told.resource, ids[place][1]))
        if around not in (None, told) and None not in (_answer(told), _answer(around)):
            twice[place] = _name(around)
        elif _OWN in told.scope and (same := answered.get((told.resource, _answer(told) or ""))):
            twice[place] = _name(same)
    return twice


def _answer(told: Told) -> str | None:
    """The id of the answer that a model's call got, "" if it is not known; None if it is no call."""
    try:
        a = attributes(_spans.decode(told.span).attributes)
    except msgspec.DecodeError:
        return None
    return r.text(a.get("gen_ai.response.id")) if is_call(a) else None


def _ids(span: bytes) -> tuple[str, str]:
    """The ids of a span and of the one around it; "" where there is none."""
    try:
        kin = _kin.decode(span)
    except msgspec.DecodeError:
        return "", ""
    return kin.spanId, kin.parentSpanId


def _name(told: Told) -> str:
    return _spans.decode(told.span).name
