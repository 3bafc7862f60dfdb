"""OTLP protobuf, as an OpenTelemetry Collector's Kafka exporter writes it by default, into OTLP JSON.

The only place that knows the protobuf messages.
"""

from contextlib import suppress
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, TracesData

_RESOURCE = 0x0A  # tag of the only field of TracesData, and of metrics and logs
_WITHIN = (0x0A, 0x12)  # tags that it can begin with: a resource, or what a scope tells
_SCALARS = {
    "string_value": "stringValue",
    "int_value": "intValue",
    "double_value": "doubleValue",
    "bool_value": "boolValue",
}
_encode = msgspec.json.Encoder().encode


def is_otlp(value: bytes) -> bool:
    """True if the bytes are framed as OTLP's protobuf is, from the first to the last; text never is.

    All signals are framed alike.
    """
    at = 0
    while at < len(value):
        length, start = _varint(value, at + 1)
        if value[at] != _RESOURCE or length < 0 or start + length > len(value):
            return False
        if length and value[start] not in _WITHIN:
            return False
        at = start + length
    return at > 0


def as_json(value: bytes) -> bytes:
    """The same as OTLP JSON; of metrics and logs no more than their name. Raises ValueError."""
    try:
        spans = [_within(each) for each in TracesData.FromString(value).resource_spans]
    except (DecodeError, ValueError) as error:
        if signal := _other_signal(value):
            return _encode({signal: []})
        raise ValueError(f"not OTLP protobuf of traces: {error}") from None
    if not any(scoped["spans"] for within in spans for scoped in within["scopeSpans"]):
        return _encode({_other_signal(value) or "resourceSpans": []})
    return _encode({"resourceSpans": spans})


def _within(spans: ResourceSpans) -> dict[str, Any]:
    return {
        "resource": {"attributes": _attributes(spans.resource.attributes)},
        "scopeSpans": [
            {"scope": {"name": each.scope.name}, "spans": [_span(span) for span in each.spans]}
            for each in spans.scope_spans
        ],
    }


def _other_signal(value: bytes) -> str:
    """The name that metrics or logs have in OTLP JSON; "" if the bytes are neither."""
    with suppress(DecodeError):
        for metrics in MetricsData.FromString(value).resource_metrics:
            if any(
                m.name and m.WhichOneof("data") for s in metrics.scope_metrics for m in s.metrics
            ):
                return "resourceMetrics"
    with suppress(DecodeError):
        for logs in LogsData.FromString(value).resource_logs:
            if any(_is_log(record) for s in logs.scope_logs for record in s.log_records):
                return "resourceLogs"
    return ""


def _is_log(record: LogRecord) -> bool:
    return bool(record.time_unix_nano or record.observed_time_unix_nano or record.HasField("body"))


def _span(span: Span) -> dict[str, Any]:
    if len(span.trace_id) != 16 or len(span.span_id) != 8:
        raise ValueError("an id of a wrong length")
    return {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex(),
        "name": span.name,
        "startTimeUnixNano": span.start_time_unix_nano,
        "endTimeUnixNano": span.end_time_unix_nano,
        "attributes": _attributes(span.attributes),
        "events": [
            {
                "name": event.name,
                "timeUnixNano": event.time_unix_nano,
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ],
        "status": {"code": span.status.code, "message": span.status.message},
    }


def _attributes(pairs: Any) -> list[dict[str, Any]]:
    return [_pair(pair) for pair in pairs]


def _pair(pair: KeyValue) -> dict[str, Any]:
    return {"key": pair.key, "value": _value(pair.value)}


def _value(value: AnyValue) -> dict[str, Any]:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return {"arrayValue": {"values": [_value(each) for each in value.array_value.values]}}
    if kind == "kvlist_value":
        return {"kvlistValue": {"values": _attributes(value.kvlist_value.values)}}
    return {_SCALARS[kind]: getattr(value, kind)} if kind in _SCALARS else {}


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """A protobuf integer and where it ends; -1 if there is none."""
    number = shift = 0
    while at < len(value) and shift < 63:
        byte = value[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
    return -1, at
