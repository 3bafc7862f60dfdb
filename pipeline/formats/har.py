"""HAR: HTTP archives, as browsers, mitmproxy, Charles and Fiddler save them.

Knows whatever the two bodies say, protocol deviations included, times, status, host and path.
Does not know: the moment of the first token (the archive times the response's head, not its
text). Headers are read for labels only. Entries on other paths are no calls.
"""

from base64 import b64decode
from typing import Any

import msgspec

from pipeline.calls import Call
from pipeline.formats import records as r
from pipeline.protocols import protocol_of, read_exchange
from pipeline.protocols.values import dicts


class Content(msgspec.Struct, frozen=True):
    text: str = ""
    encoding: str = ""

    def body(self) -> bytes:
        """The bytes; some tools write every body in base64. Raises ValueError if it is none."""
        return b64decode(self.text) if self.encoding == "base64" else self.text.encode()


class Request(msgspec.Struct):
    url: str
    method: str = ""
    headers: Any = None
    postData: Content = Content()


class Response(msgspec.Struct):
    status: Any = None
    content: Content = Content()


class Entry(msgspec.Struct):
    request: Request
    response: Response
    startedDateTime: Any = None
    time: Any = None


class _Log(msgspec.Struct):
    entries: list[msgspec.Raw]


class _Archive(msgspec.Struct):
    log: _Log


_entries = msgspec.json.Decoder(Entry)
_archives = msgspec.json.Decoder(_Archive)


def detect(value: bytes) -> bool:
    """True if it has the start time that only an archive's entries have."""
    return b'"startedDateTime"' in value


def split(value: bytes) -> list[bytes]:
    """The entries of an archive; or entries in an array, or one a line."""
    if b'"entries"' in value:
        return [bytes(entry) for entry in _archives.decode(value).log.entries]
    return r.split_records(value)


def read(record: bytes) -> Call:
    """The call of one entry. Raises msgspec.DecodeError or ValidationError, which name the field."""
    e = _entries.decode(record)
    host, path = r.url(e.request.url)
    protocol = protocol_of(path)
    if protocol is None or e.request.method == "OPTIONS":
        raise r.not_a_call(f"{e.request.method} {path or 'no path'}")
    said = r.labels({r.text(h.get("name")): h.get("value") for h in dicts(e.request.headers)})
    status, start = r.status(e.response.status), r.moment(e.startedDateTime)
    return Call(
        call_id=r.own_id(record),
        source="har",
        conversation_id=said.conversation_id,
        workload=said.workload,
        app=said.app,
        team=said.team,
        tags=said.tags,
        host=host,
        path=path,
        protocol=protocol,
        started_at=start,
        ended_at=r.later(start, r.milliseconds(e.time)),
        http_status=status,
        transport_error="" if status else "aborted",
        exchange=read_exchange(
            protocol, e.request.postData.body(), e.response.content.body(), status
        ),
    )
