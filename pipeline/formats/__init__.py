"""Gateway log formats: the bytes of a Kafka message or a file become calls, one file per format.

A format is a module with a docstring that says what it can tell, and three pure functions:
`detect(value) -> bool` (are these bytes mine?), `split(value) -> list[bytes]` (one element per
record) and `read(record) -> Call`. What cannot be read is a `Rejected`, never an exception:
"empty", "not_json", "unknown_format", or "malformed_record", whose detail names the field. What was
read but tells of no call, as most spans of a trace do, is `Ignored`: it is counted, not kept.
"""

from typing import Protocol as Interface

import msgspec

from pipeline.calls import Call, Ignored, Rejected
from pipeline.formats import (
    apisix,
    claude_code_router,
    cutover,
    envoy_ai_gateway,
    har,
    helicone,
    higress,
    kong,
    langfuse,
    litellm,
    one_api,
    otel,
    raw,
)
from pipeline.formats.records import NotACallError


class Format(Interface):
    """What a format module offers. On bad bytes `split` and `read` raise ValueError or RecursionError.

    For a sound record that tells of no call `read` raises NotACallError.
    """

    def detect(self, value: bytes) -> bool: ...
    def split(self, value: bytes) -> list[bytes]: ...
    def read(self, record: bytes) -> Call: ...


FORMATS: dict[str, Format] = {  # tried in this order
    "cutover": cutover,
    "litellm": litellm,
    "otlp": otel,
    "apisix": apisix,
    "envoy_ai_gateway": envoy_ai_gateway,
    "higress": higress,
    "kong": kong,
    "one_api": one_api,
    "claude_code_router": claude_code_router,
    "langfuse": langfuse,
    "helicone": helicone,
    "raw": raw,
    "har": har,
}


def read_message(value: bytes | None, name: str = "") -> list[Call | Rejected | Ignored]:
    """Every record of a message as a call, rejected or ignored, in order; never raises, never empty.

    `name` is the format if the sender named it (header `cutover-format`), else "" to recognise it.
    """
    if not value or not value.strip():
        return [Rejected("empty", "the message has no content", value or b"")]
    if name and name not in FORMATS:
        known = ", ".join(FORMATS)
        return [Rejected("unknown_format", f"format {name!r} is not one of {known}", value)]
    format = FORMATS[name] if name else recognise(value)
    if format is None:
        return [_unrecognised(value)]
    try:
        records = format.split(value)
    except (ValueError, RecursionError) as error:
        return [Rejected("not_json", str(error), value)]
    if not records:
        return [Rejected("empty", "the message has no records", value)]
    return [_read(format, record) for record in records]


def recognise(value: bytes) -> Format | None:
    """The format of the first line where that is a whole record, as all of a message are alike."""
    first = value[: value.find(b"\n") + 1].strip()
    whole = first.startswith(b"{") and first.endswith(b"}")
    return (_first_to_take(first) if whole else None) or _first_to_take(value)


def _first_to_take(value: bytes) -> Format | None:
    return next((format for format in FORMATS.values() if format.detect(value)), None)


def described() -> dict[str, str]:
    """What each format can and cannot tell: the words of its module."""
    return {name: (format.__doc__ or "").strip() for name, format in FORMATS.items()}


def _read(format: Format, record: bytes) -> Call | Rejected | Ignored:
    try:
        return format.read(record)
    except NotACallError as error:
        return Ignored(error.reason, str(error))
    except msgspec.ValidationError as error:
        kept = litellm.kept(record) if format is litellm else record
        return Rejected("malformed_record", str(error), kept)
    except (ValueError, RecursionError) as error:
        return Rejected("not_json", str(error), record)


def _unrecognised(value: bytes) -> Rejected:
    try:
        msgspec.json.decode(value)
    except (ValueError, RecursionError) as error:
        return Rejected("not_json", str(error), value)
    known = ", ".join(FORMATS)
    return Rejected("unknown_format", f"JSON, but of none of the known formats ({known})", value)
