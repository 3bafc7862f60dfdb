"""What is kept of a call while it passes by: times, outcome, and bounded copies of both bodies."""

import re
import time
import uuid
import zlib
from typing import Any
from typing import Protocol as Interface
from urllib.parse import urlsplit

from pipeline.calls import Protocol
from pipeline.formats.cutover import VERSION, Record
from pipeline.scoring.redact import redact
from pipeline.tap.routing import Asked, Headers, Route

BODY_LIMIT = 4 * 1024 * 1024
_SHORTEST_SECRET = 8  # characters; striking out shorter ones would only deface the text

# The first event of a stream that carries a piece of the answer.
_FIRST_TOKEN = {
    Protocol.ANTHROPIC_MESSAGES: re.compile(rb'"type"\s*:\s*"content_block_delta"'),
    Protocol.OPENAI_CHAT: re.compile(
        rb'"(?:content|reasoning_content|reasoning|refusal)"\s*:\s*"[^"]|"tool_calls"\s*:\s*\[\s*\{'
    ),
    Protocol.OPENAI_RESPONSES: re.compile(rb'"type"\s*:\s*"response\.[a-z_.]+\.delta"'),
}
# The last event of a stream: who hangs up after it has had the whole answer.
_STREAM_END = {
    Protocol.ANTHROPIC_MESSAGES: re.compile(rb'"type"\s*:\s*"message_stop"'),
    Protocol.OPENAI_CHAT: re.compile(rb"^data:\s*\[DONE\]", re.MULTILINE),
    Protocol.OPENAI_RESPONSES: re.compile(
        rb'"type"\s*:\s*"response\.(?:completed|incomplete|failed)"'
    ),
}
_RESPONSE_ID = re.compile(r'"id"\s*:\s*"([^"\\]+)"')


class Recorder(Interface):
    """Where records go. Neither method waits."""

    @property
    def waiting(self) -> int:
        """Records taken that have not yet arrived."""

    @property
    def fullness(self) -> float:
        """How much of the room for those is used; at 1 they are dropped."""

    def put(self, record: Record) -> None:
        """Takes the record of one call."""

    def event(self, kind: str, fields: dict[str, Any]) -> None:
        """Takes one event of the migration."""


class Stopwatch:
    """Times of one call: a single reading of the wall clock, carried on by the monotonic one."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()
        self.started_at = self.now()

    def now(self) -> int:
        """UTC milliseconds; never runs backwards within one call."""
        return (self._offset + time.monotonic_ns()) // 1_000_000


class Copy:
    """A copy of a body, decompressed as it arrives and cut at `limit` bytes."""

    def __init__(self, encoding: str, limit: int = BODY_LIMIT) -> None:
        self._encoding = encoding.strip().lower()
        self._limit = limit
        self._unzip: Any = None
        self.data = bytearray()
        self.cut = self._encoding not in ("", "identity", "gzip", "x-gzip", "deflate")

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes as they were on the wire."""
        if self.cut or not chunk:
            return
        room = self._limit - len(self.data)
        plain = self._plain(chunk, room + 1)
        self.data += plain[:room]
        self.cut |= len(plain) > room

    def text(self) -> str:
        """The body as text; bytes that are no UTF-8 become replacement characters."""
        return self.data.decode("utf-8", "replace")

    def _plain(self, chunk: bytes, most: int) -> bytes:
        if self._encoding in ("", "identity"):
            return chunk
        self._unzip = self._unzip or zlib.decompressobj(_window(self._encoding, chunk))
        try:
            return bytes(self._unzip.decompress(chunk, most))
        except zlib.error:
            self.cut = True
            return b""


def _window(encoding: str, start: bytes) -> int:
    """zlib's window bits; some servers send "deflate" without a header, told by the first byte."""
    if encoding == "deflate":
        return zlib.MAX_WBITS if start[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS
    return zlib.MAX_WBITS | 16


def unpacked(data: bytes, encoding: str) -> Copy:
    """The copy of a whole body."""
    copy = Copy(encoding)
    copy.feed(data)
    return copy


class Recording:
    """One call on its way: told what happens, it makes the record in the end."""

    def __init__(
        self, watch: Stopwatch, request: Copy, protocol: Protocol, limit: int = BODY_LIMIT
    ) -> None:
        self.call_id = uuid.uuid4().hex
        self.watch = watch
        self.protocol = protocol
        self.status: int | None = None
        self.transport_error = ""
        self.cancelled = False
        self._request = request
        self._limit = limit
        self._response = Copy("", limit)
        self._stream = False
        self._first_token_at: int | None = None
        self._searched = 0

    @property
    def outcome(self) -> str:
        """What became of the call, for counting: "cancelled", a transport error, or the status."""
        return "cancelled" if self.cancelled else self.transport_error or str(self.status)

    def answered(self, status: int, headers: Headers) -> None:
        """The provider's status and headers came."""
        self.status = status
        content_type = headers.get("content-type", "")
        self._stream = content_type.strip().lower().startswith("text/event-stream")
        self._response = Copy(headers.get("content-encoding", ""), self._limit)

    def passed(self, chunk: bytes, at: int) -> None:
        """Some bytes of the answer came at that time and went on to the caller."""
        self._response.feed(chunk)
        if self._stream and self._first_token_at is None:
            self._look_for_first_token(at)

    def hung_up(self) -> None:
        """The caller went away: cancelled, unless it had the end of the stream already."""
        self.cancelled = not _STREAM_END[self.protocol].search(self._response.data)

    def response_id(self) -> str:
        """The id the provider gave its answer, "" if none is seen."""
        match = _RESPONSE_ID.search(self._response.text())
        return match[1] if match else ""

    def record(self, asked: Asked, route: Route, secrets: tuple[str, ...]) -> Record:
        """The record; `secrets` are struck out of the bodies wherever they stand."""
        return Record(
            cutover=VERSION,
            call_id=self.call_id,
            request_id=asked.request_id,
            attempt=asked.attempt,
            conversation_id=asked.conversation_id,
            workload=asked.workload,
            app=asked.app,
            team=asked.team,
            tags=asked.tags | self._notes(route),
            arm=route.arm,
            stage=route.stage,
            share=route.share,
            provider=route.provider,
            host=urlsplit(route.url).netloc,
            path=asked.path,
            protocol=asked.protocol,
            started_at=self.watch.started_at,
            first_token_at=self._first_token_at,
            ended_at=self.watch.now(),
            http_status=self.status,
            transport_error=self.transport_error,
            cancelled=self.cancelled,
            request=struck_out(self._request.text(), secrets),
            response=struck_out(self._response.text(), secrets),
        )

    def _look_for_first_token(self, at: int) -> None:
        data = self._response.data
        if _FIRST_TOKEN[self.protocol].search(data, self._searched):
            self._first_token_at = at
        self._searched = data.rfind(b"\n") + 1

    def _notes(self, route: Route) -> dict[str, str]:
        sides = (("request", self._request), ("response", self._response))
        cut = ",".join(name for name, copy in sides if copy.cut)
        notes = {"recording_cut": cut, "kept_on_baseline": route.kept}
        return {name: value for name, value in notes.items() if value}


def struck_out(text: str, secrets: tuple[str, ...]) -> str:
    """The text without these secrets, and without anything else that looks like a key."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "[redacted]")
    return redact(text)
