"""OTLP JSON: the messages of OpenTelemetry's protocol, as far as they are read, and their values."""

from collections.abc import Iterable
from typing import Any

import msgspec

from pipeline.formats import records as r

Attributes = dict[str, Any]


class Value(msgspec.Struct, gc=False):
    """An attribute's value; integers may be text, and all may be missing."""

    stringValue: Any = None
    intValue: Any = None
    doubleValue: Any = None
    boolValue: Any = None
    arrayValue: "Values | None" = None
    kvlistValue: "Pairs | None" = None


class Values(msgspec.Struct, gc=False):
    values: list[Value] = []


class Attribute(msgspec.Struct, gc=False):
    key: str
    value: Value | None = None


class Pairs(msgspec.Struct, gc=False):
    values: list[Attribute] = []


class Event(msgspec.Struct, gc=False):
    name: str = ""
    timeUnixNano: Any = None
    attributes: list[Attribute] = []


class Status(msgspec.Struct, gc=False):
    code: Any = None
    message: str = ""


class Span(msgspec.Struct, gc=False):
    """The fields of a span that are read. Ids are kept as they come, hex or base64."""

    traceId: str = ""
    spanId: str = ""
    name: str = ""
    startTimeUnixNano: Any = None
    endTimeUnixNano: Any = None
    attributes: list[Attribute] = []
    events: list[Event] = []
    status: Status | None = None


class Scope(msgspec.Struct, gc=False):
    name: str = ""


class Resource(msgspec.Struct, gc=False):
    attributes: list[Attribute] = []


class ScopeSpans(msgspec.Struct, gc=False):
    spans: list[Span] = []
    scope: Scope | None = None


class ResourceSpans(msgspec.Struct, gc=False):
    scopeSpans: list[ScopeSpans] = []
    resource: msgspec.Raw = msgspec.Raw()


class Document(msgspec.Struct, gc=False):
    """What `read` is given: a document with one span at most, or a bare one, without ids, as `span`.

    `told_by` is the name of another span that tells of the same call.
    """

    told_by: str = ""

    resourceSpans: list[ResourceSpans] | None = None
    span: Span | None = None
    resourceMetrics: msgspec.Raw = msgspec.Raw()
    resourceLogs: msgspec.Raw = msgspec.Raw()


def only_span(document: Document) -> tuple[bytes, str, Span]:
    """The resource as JSON, the scope's name and the span. Raises if there is none."""
    if document.span:
        return b"", "", document.span
    if document.resourceSpans is None:
        if bytes(document.resourceMetrics) or bytes(document.resourceLogs):
            raise r.NotACallError(
                "OpenTelemetry's metrics or logs: only traces tell of single calls", r.NOT_TRACES
            )
        raise msgspec.ValidationError("Object missing required field `resourceSpans`")
    for within in document.resourceSpans:
        for scoped in within.scopeSpans:
            for span in scoped.spans:
                return bytes(within.resource), scoped.scope.name if scoped.scope else "", span
    raise r.NotACallError("a message without spans", r.OTHER_SPAN)


def attributes(pairs: Iterable[Attribute]) -> Attributes:
    """Names and Python values; those without a value are left out."""
    return {
        pair.key: value.stringValue if value.stringValue is not None else _plain(value)
        for pair in pairs
        if (value := pair.value) is not None
    }


def _plain(value: Value) -> Any:
    """The Python value; integers that are text become numbers."""
    if value.stringValue is not None:
        return value.stringValue
    if value.intValue is not None:
        return _integer(value.intValue)
    if value.arrayValue is not None:
        return [_plain(each) for each in value.arrayValue.values]
    if value.kvlistValue is not None:
        return attributes(value.kvlistValue.values)
    return value.doubleValue if value.boolValue is None else value.boolValue


def _integer(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and len(value) < 20:
        return int(value) if value.isdigit() or value.removeprefix("-").isdigit() else value
    return value


def ms(nanoseconds: Any) -> int | None:
    """UTC ms of nanoseconds, a number or text; 0 is unknown."""
    found = _integer(nanoseconds)
    return round(found / 1e6) if isinstance(found, int) and 0 < found < 2**63 else None
