"""What the readers of gateway records share: splitting messages, and values of uncertain type.

Gateways write numbers as text, "-" for nothing and 0 for unknown; here a value becomes what it
means, or None. Headers are looked into for labels only and never kept: they hold keys.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from math import isfinite
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from pipeline.calls import Exchange, Protocol, Usage
from pipeline.protocols import read_parsed
from pipeline.protocols.conversation import CONVERSATION_HEADERS
from pipeline.protocols.tokens import count, part, told
from pipeline.protocols.values import as_dict, as_text, decode, encode

OTHER_SPAN = "other_span"  # why most of a trace is ignored
NOT_TRACES = "not_traces"  # why OpenTelemetry's other signals are

_NOTHING = ("", "-")
_TOO_DEAR = 1_000_000  # USD; no call costs that
_TAG = "x-cutover-tag-"
_raw_array = msgspec.json.Decoder(list[msgspec.Raw])


class NotACallError(ValueError):
    """A record is sound, but tells of something else than a model's call."""

    def __init__(self, detail: str, reason: str = "not_a_call") -> None:
        super().__init__(detail)
        self.reason = reason


def not_a_call(what: str) -> NotACallError:
    """To be raised for a record that is sound, but tells of something else than a model's call."""
    return NotACallError(f"not a call of a language model: {what}")


def split_records(value: bytes) -> list[bytes]:
    """The elements of a JSON array, one record a line, or one over many. Raises DecodeError."""
    head = value[:100].lstrip()
    if head[:1] == b"[":
        return [bytes(item) for item in _raw_array.decode(value)]
    if head[:2] in (b"{\n", b"{\r"):
        return [value]
    return [line for line in value.split(b"\n") if line.strip()]


def text(value: Any) -> str:
    """A name or an id as text; "" where a gateway writes "-" or something else."""
    if isinstance(value, str):
        return "" if value == "-" else value
    return str(value) if type(value) is int else ""


def number(value: Any) -> float | None:
    """A finite number, also one written as text."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def tokens(value: Any, findings: list[str]) -> int | None:
    """A token count, also one written as text."""
    if isinstance(value, str):
        if value in _NOTHING:
            return None
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return count(value, findings)


def usage_of(
    findings: list[str],
    *,
    total: int | None,
    output: int | None,
    read: int | None = None,
    written: int | None = None,
    written_1h: int | None = None,
    reasoning: int | None = None,
) -> Usage | None:
    """Usage from totals that include their parts; None where both are 0 or missing.

    A part of 0 is left unknown: most gateways write 0 where nothing was reported.
    """
    return told(
        Usage(
            input_tokens=total,
            cache_read_input_tokens=part(read or None, total, findings),
            cache_write_5m_input_tokens=part(written or None, total, findings),
            cache_write_1h_input_tokens=part(written_1h or None, total, findings),
            output_tokens=output,
            reasoning_output_tokens=part(reasoning or None, output, findings),
        )
    )


def plus(*counts: int | None) -> int | None:
    """The sum of counts; None if the first is unknown."""
    return None if counts[0] is None else sum(each or 0 for each in counts)


def moment(value: Any) -> int | None:
    """UTC ms of an ISO time, UTC where it names no zone. Raises ValidationError if it is none."""
    written = text(value)
    if not written:
        return None
    try:
        parsed = datetime.fromisoformat(written)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        return round(parsed.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise msgspec.ValidationError(f"not a time: {written[:40]!r}") from None


def milliseconds(value: Any) -> int | None:
    """A time or a span that is a number of milliseconds; None for negative ones."""
    found = value if type(value) is int else number(value)
    return round(found) if found is not None and 0 <= found < 2**53 else None


def when(value: Any) -> int | None:
    """A time given as UTC ms or in ISO's form. Raises ValidationError for other text."""
    if isinstance(value, str) and ":" in value:  # no number has one
        return moment(value)
    return milliseconds(value) if number(value) is not None else moment(value)


def later(start: int | None, span: int | None) -> int | None:
    """The moment a span after a start, None if either is unknown."""
    return None if start is None or span is None else start + span


def status(value: Any) -> int | None:
    """An HTTP status; 0 is what proxies write when there was none."""
    found = value if type(value) is int else number(value)
    return int(found) if found is not None and 100 <= found < 1000 else None


def usd(value: Any) -> Decimal | None:
    """An amount in USD; 0 means that the gateway had no price."""
    found = number(value)
    return round(Decimal(repr(found)), 12) if found and 0 < found < _TOO_DEAR else None


def url(value: Any) -> tuple[str, str]:
    """Host and path of an address, without what follows a "?"; ("", "") if it is none."""
    address = text(value)
    return _url(address) if address else ("", "")


@lru_cache(maxsize=1024)  # a gateway sends to few addresses
def _url(address: str) -> tuple[str, str]:
    try:
        parts = urlsplit(address)
        return parts.hostname or "", parts.path
    except ValueError:
        return "", ""


def unpacked(value: Any, begins: tuple[str, ...] = ("[", "{")) -> Any:
    """What may stand inside a string as JSON that begins so; the string itself if it is none."""
    if isinstance(value, str) and value[:1] in begins:
        try:
            return msgspec.json.decode(value)
        except (ValueError, RecursionError):
            return value
    return value


def body(value: Any) -> str:
    """A logged body as the text it was: JSON that was unpacked is packed again."""
    if isinstance(value, str):
        return value
    return encode(value) if isinstance(value, dict | list) else ""


def json_object(value: Any) -> dict[str, Any]:
    """An object that may stand inside a string; {} if it is none."""
    if isinstance(value, str):
        try:
            value = decode(value)
        except ValueError:
            return {}
    return as_dict(value)


def own_id(record: bytes) -> str:
    """An id for a record that has none: the same bytes, written again, are the same call."""
    return blake2b(record, digest_size=16).hexdigest()


def chat(
    *, model: str, messages: Any, answer: dict[str, Any], stream: bool | None, usage: Usage | None
) -> Exchange:
    """What can be told from messages and an answer that a gateway logged without their bodies.

    Nothing says how the answer ended, so what it is worth is judged by its text alone.
    """
    if not messages and not any(answer.values()):
        return Exchange(request_model=model, stream=stream, usage=usage)
    asked = {"model": model, "messages": messages}
    exchange = read_parsed(Protocol.OPENAI_CHAT, asked, {"choices": [{"message": answer}]})
    return msgspec.structs.replace(exchange, stream=stream, usage=usage, ended=None)


class Labels(NamedTuple):
    """What a call's headers say of it."""

    workload: str = ""
    app: str = ""
    team: str = ""
    conversation_id: str = ""
    tags: dict[str, str] = {}


_NO_LABELS = Labels()


def labels(headers: Mapping[str, Any]) -> Labels:
    """The labels among logged headers; every other header is passed over."""
    found = {label: as_text(value) for n, value in headers.items() if (label := _label(n))}
    if not found:
        return _NO_LABELS
    conversation = ""
    for name in CONVERSATION_HEADERS:
        if conversation := found.get(name, ""):
            break
    return Labels(
        workload=found.get("x-cutover-workload", ""),
        app=found.get("x-cutover-app", ""),
        team=found.get("x-cutover-team", ""),
        conversation_id=conversation,
        tags={n.removeprefix(_TAG): v for n, v in found.items() if n.startswith(_TAG)},
    )


@lru_cache(maxsize=1024)  # the same headers come with every call
def _label(name: str) -> str:
    """A header's name in lower case if it is a label, else ""."""
    lower = name.lower()
    is_label = lower.startswith("x-cutover-") or lower in CONVERSATION_HEADERS
    return lower if is_label else ""


def named_tags(**values: str) -> dict[str, str]:
    """Tags of those values that are known."""
    return {name: value for name, value in values.items() if value}
