"""Server-sent events: the bytes of a recorded stream, whole or cut off anywhere, as JSON objects.

Follows the event stream format of the HTML standard: LF, CRLF or CR, comments, a byte order mark,
data over several lines. The last event counts even if the recording stops before its blank line.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from pipeline.protocols.values import decode

_FIRST_LINE = re.compile(rb"\s*(?:data|event|id|retry)?:")
_DONE = b"[DONE]"


@dataclass(slots=True)
class Stream:
    """The events of one answer that held a JSON object, each with its name ("" if it had none).

    `done` says that OpenAI's `[DONE]` came.
    """

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    done: bool = False
    findings: list[str] = field(default_factory=list)

    def take(self, name: bytes, data: bytes, closed: bool = True) -> None:
        """Adds an event; `closed`: its blank line came, so that half an object is no mere cut."""
        try:
            value = decode(data)
        except ValueError:
            value = None
        if isinstance(value, dict):
            self.events.append((name.decode(errors="replace").strip() if name else "", value))
        elif data.strip() == _DONE:
            self.done = True
        elif closed:
            self.findings.append("unreadable_event")


def looks_like_stream(body: bytes) -> bool:
    """True if the first line is one of an event stream."""
    return _FIRST_LINE.match(body) is not None


def read_stream(body: bytes) -> Stream:
    """All events of `body`. What is not a JSON object is left out and becomes a finding."""
    stream = Stream()
    name = data = b""
    for line in body.splitlines():
        if line.startswith(b"data:"):
            data = data + b"\n" + line[5:] if data else line[5:]
        elif line.startswith(b"event:"):
            name = line[6:]
        elif not line:
            if data:
                stream.take(name, data)
            name = data = b""
    if data:
        stream.take(name, data, closed=False)
    return stream
