"""Server-sent events: the bytes of a recorded stream, whole or cut off anywhere, as JSON objects.

Follows the event stream format of the HTML standard: LF, CRLF or CR, comments, a byte order mark,
data over several lines. The last event counts even if the recording stops before its blank line.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.protocols.values import decode

_FIRST_LINE = re.compile(rb"\s*(?:data|event|id|retry)?:")
_DONE = b"[DONE]"


class Event(NamedTuple):
    """One event that held a JSON object; `name` is "" where there was no `event:` line."""

    name: str
    data: dict[str, Any]


class Stream(NamedTuple):
    """The events of one answer; `done` says that OpenAI's `[DONE]` came."""

    events: list[Event]
    done: bool
    findings: list[str]


def looks_like_stream(body: bytes) -> bool:
    """True if the first line is one of an event stream."""
    return _FIRST_LINE.match(body) is not None


def read_stream(body: bytes) -> Stream:
    """All events of `body`. What is not a JSON object is left out and becomes a finding."""
    events: list[Event] = []
    findings: list[str] = []
    done = False
    for name, data, closed in _raw_events(body):
        try:
            value = decode(data)
        except ValueError:
            if data.strip() == _DONE:
                done = True
            elif closed:
                findings.append("unreadable_event")
            continue
        if isinstance(value, dict):
            events.append(Event(name.decode(errors="replace"), value))
        else:
            findings.append("unreadable_event")
    return Stream(events, done, findings)


def _raw_events(body: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """(name, data, whether its blank line came) of each event that has data."""
    name = data = b""
    for line in body.splitlines():
        if line.startswith(b"data:"):
            value = line[6:] if line.startswith(b" ", 5) else line[5:]
            data = data + b"\n" + value if data else value
        elif line.startswith(b"event:"):
            name = line[6:].strip()
        elif not line:
            if data:
                yield name, data, True
            name = data = b""
    if data:
        yield name, data, False
