"""Log files as people have them: lines, one JSON value or many, compressed or not, Parquet, whole folders.

Read as a stream: never more than one record, or one pretty-printed document, is in memory.
"""

import gzip
import io
import re
import sys
from base64 import b64decode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import zstandard

from pipeline.formats import FORMATS

STDIN = Path("-")
LONGEST_LINE = 64 * 1024 * 1024
LONGEST_DOCUMENT = 256 * 1024 * 1024  # one that does not end is cut there
CHUNK = 256 * 1024
SUFFIXES = {".json", ".jsonl", ".ndjson", ".log", ".txt", ".har", ".parquet"}
_PACKED = {".gz", ".zst"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_LINE_FEED = b"\n"
_STRUCTURE = re.compile(rb'["\\{}\[\],]')
_SPACE = b" \t\r\n"
_HEAD = 1000  # of a value: an envelope's own fields come first
_ENVELOPE_MARKS = (b'"value_base64":', b'"payload":', b'"body":')


class UnreadableFileError(ValueError):
    """A file that cannot be read at all: which, why and what would help."""


def log_files(paths: Iterable[Path]) -> list[Path]:
    """The files themselves, and of folders everything below that looks like a log, in order of name."""
    found: list[Path] = []
    for path in paths:
        found += sorted(filter(_looks_like_a_log, path.rglob("*"))) if path.is_dir() else [path]
    return found


def _looks_like_a_log(file: Path) -> bool:
    ends = [suffix for suffix in file.suffixes if suffix not in _PACKED]
    hidden = any(part.startswith(".") for part in file.parts[-1:])
    return file.is_file() and not hidden and bool(ends) and ends[-1] in SUFFIXES


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, or those of standard input for `-`. Raises OSError."""
    if file == STDIN:
        yield sys.stdin.buffer
    else:
        with file.open("rb") as stream:
            yield stream


def read_values(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """The stream's messages: lines, JSON values, the items of JSON arrays, or rows of a table as JSON.

    What is no JSON comes as the lines it has; of dumped Kafka messages and recorded HTTP requests
    what they carry. Raises UnreadableFileError for a damaged archive, or for Parquet where its
    reader is missing.
    """
    source = _Peekable(stream)
    try:
        yield from map(_carried, _values(source, name))
    except (EOFError, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise UnreadableFileError(f"{name}: damaged, the rest is not read: {error}") from None


class _Envelope(msgspec.Struct):
    """A dumped Kafka message, as kcat -J writes it or in base64, or a recorded HTTP request."""

    topic: str | None = None
    payload: str | None = None
    value_base64: str | None = None
    method: str | None = None
    body: str | None = None


_envelopes = msgspec.json.Decoder(_Envelope)


def _carried(value: bytes) -> bytes:
    """What an envelope carries; any other value is itself."""
    if not any(mark in value[:_HEAD] for mark in _ENVELOPE_MARKS):
        return value
    try:
        envelope = _envelopes.decode(value)
        if envelope.topic is not None and envelope.value_base64:
            return b64decode(envelope.value_base64, validate=True)
    except (ValueError, RecursionError):
        return value
    carried = envelope.payload if envelope.topic is not None else None
    carried = envelope.body if envelope.method is not None else carried
    return carried.encode() if carried else value


def _values(source: "_Peekable", name: str) -> Iterator[bytes]:
    head = source.peek(4)
    if head.startswith(_GZIP):
        yield from _values(_Peekable(gzip.GzipFile(fileobj=source)), name)
    elif head.startswith(_ZSTD):
        unpacked = zstandard.ZstdDecompressor().stream_reader(
            cast("IO[bytes]", source), read_across_frames=True
        )
        yield from _values(_Peekable(unpacked), name)
    elif head.startswith(_PARQUET):
        yield from _rows(source, name)
    elif head.startswith(_LINE_FEED):  # OTLP protobuf, which has no lines, or text after all
        content = io.BufferedReader(source, CHUNK).read(LONGEST_DOCUMENT)
        rest = io.BufferedReader(cast("Any", io.BytesIO(content)))
        yield from [content] if FORMATS["otlp"].detect(content) else _texts(rest)
    else:
        source.skip(_BYTE_ORDER_MARK)
        yield from _texts(io.BufferedReader(source, CHUNK))


def _texts(source: io.BufferedReader) -> Iterator[bytes]:
    """Lines, unless the first ones show a JSON document that goes over several lines."""
    first = _next_line(source)
    second = _next_line(source) if first else b""
    if _goes_on(first, second):
        yield from _documents(source, first + second)
        return
    for line in (first, second):
        yield from _items(line)
    while line := _next_line(source):
        yield from _items(line)


def _next_line(source: io.BufferedReader) -> bytes:
    """The next line that is not blank, with its end; b"" at the end of the stream."""
    while line := source.readline(LONGEST_LINE):
        if line.strip():
            return line
    return b""


def _goes_on(first: bytes, second: bytes) -> bool:
    """Whether a document begins here that the first line does not end."""
    start = first.lstrip()[:1]
    if start not in (b"[", b"{") or _is_json(first):
        return False
    return start == b"[" or not _is_json(second)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _items(line: bytes) -> Iterator[bytes]:
    """What a line holds: the items if it is a JSON array, else the line itself."""
    line = line.strip()
    if line.startswith(b"["):
        try:
            yield from map(bytes, msgspec.json.decode(line, type=list[msgspec.Raw]))
            return
        except (ValueError, RecursionError):
            pass
    if line:
        yield line


def _documents(source: io.BufferedReader, start: bytes) -> Iterator[bytes]:
    """JSON values one after the other, each on as many lines as it likes; of arrays, the items."""
    cut = _Cutter()
    yield from cut.feed(start)
    while chunk := source.read(CHUNK):
        yield from cut.feed(chunk)
    yield from cut.rest()


class _Cutter:
    """Cuts a stream of JSON into values by its brackets alone; whether they are sound is seen later."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._seen = 0  # looked at up to here
        self._start = 0  # where the value that is being read begins
        self._depth = 0
        self._base = 0  # 1 inside an array whose items are wanted
        self._quoted = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Takes the next bytes; gives the values that are complete now, on one line each."""
        self._text += chunk
        while match := _STRUCTURE.search(self._text, self._seen):
            self._seen = match.end()
            yield from self._met(match[0], match.start())
        self._seen = max(self._seen, len(self._text))
        if len(self._text) - self._start > LONGEST_DOCUMENT:
            yield from self.rest()
            self.__init__()  # type: ignore[misc]
            return
        del self._text[: self._start]
        self._seen -= self._start
        self._start = 0

    def rest(self) -> Iterator[bytes]:
        """What is left at the end of the stream: a value that was cut off."""
        yield from self._value(len(self._text))

    def _met(self, sign: bytes, at: int) -> Iterator[bytes]:
        if sign == b"\\":
            self._seen += 1  # whatever stands behind it is no structure
        elif sign == b'"':
            self._quoted = not self._quoted
        elif self._quoted:
            return
        elif sign in b"{[":
            if self._depth == 0 and sign == b"[":
                self._base, self._start = 1, at + 1
            self._depth += 1
        elif sign in b"}]":
            yield from self._closed(at)
        elif self._depth == self._base:
            yield from self._value(at)
            self._start = at + 1

    def _closed(self, at: int) -> Iterator[bytes]:
        self._depth = max(0, self._depth - 1)
        if self._depth == 0:
            yield from self._value(at + 1 - self._base)
            self._start, self._base = at + 1, 0

    def _value(self, end: int) -> Iterator[bytes]:
        value = bytes(self._text[self._start : end]).strip(_SPACE)
        if value:
            yield on_one_line(value)


def on_one_line(value: bytes) -> bytes:
    """The same JSON value without line feeds; other bytes stay as they are."""
    if b"\n" not in value:
        return value
    try:
        return msgspec.json.format(value, indent=-1)
    except (ValueError, RecursionError):
        return value


def _rows(source: "_Peekable", name: str) -> Iterator[bytes]:
    """The rows of a Parquet table as JSON objects."""
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - an extra
    except ImportError:
        raise UnreadableFileError(
            f"{name}: reading Parquet needs another package: pip install 'cutover[parquet]'"
        ) from None
    whole = source.file if source.file.seekable() else io.BytesIO(source.read())
    whole.seek(0)
    try:
        for batch in parquet.ParquetFile(whole).iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                yield msgspec.json.encode(row, enc_hook=str)
    except (ArrowException, OSError) as error:
        raise UnreadableFileError(f"{name}: no sound Parquet file: {error}") from None


class _Peekable(io.RawIOBase):
    """A stream whose first bytes can be looked at before they are read."""

    def __init__(self, file: IO[bytes] | Any) -> None:
        self.file = file
        self._ahead = b""

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        """Up to that many bytes, which will be read again."""
        while len(self._ahead) < size and (more := self.file.read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead

    def skip(self, prefix: bytes) -> None:
        """Leaves out these bytes if they come next."""
        if self.peek(len(prefix)).startswith(prefix):
            self._ahead = self._ahead[len(prefix) :]

    def readinto(self, buffer: Any) -> int:
        data, self._ahead = self._ahead, b""
        if not data:
            data = self.file.read(len(buffer))
        elif len(data) > len(buffer):
            data, self._ahead = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)
