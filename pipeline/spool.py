"""What a producer has yet to send, on disk: bounded, in order, and still there after the process died.

A folder holds segments `0000000001.log`, … and a `state` file. A segment is a row of frames, each
a length, a checksum and one batch of calls; it is only ever appended to, and deleted when all its
batches are in Kafka. The state is a page of numbers shared with the kernel: it outlives a process
that is killed, so that what was only in memory then is known to be lost, and counted.

Nothing is synced to the disk. Killing the process loses nothing that was appended; a machine that
loses power may lose what its kernel had not written yet (on Linux some 30 s), and what was torn is
left out. Batches may be sent a second time after a crash; calls are told apart by their ids.
"""

import fcntl
import logging
import mmap
import struct
import threading
import uuid
from itertools import count
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import msgspec

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 * 1024 * 1024
_FRAME = struct.Struct("<II")  # length and checksum of what follows
_STATE_BYTES = 4096
_MARK = b"cutover1"
_CELLS = 12
_TEXTS = {"name": slice(128, 192), "cluster": slice(192, 320)}


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """One Kafka message: where it goes, what format its records have, how many calls it holds."""

    topic: str
    partition: int | None
    format: str
    calls: int
    value: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Batch)


def _cell(index: int) -> property:
    def get(state: "State") -> int:
        return state.cells[index]

    def set(state: "State", value: int) -> None:
        state.cells[index] = value

    return property(get, set)


def _progress(index: int) -> property:
    """One of the numbers that change together: two sets of them stand there, and which one holds."""
    return property(lambda state: state.cells[6 + 3 * state.holds + index])


class State:
    """Counts of calls and the place of the next batch to send, as they stand in 4 KB of memory.

    `produced` is all that was taken; `sent` is in Kafka; `dropped` is lost for want of room or in a
    crash; `resent` was sent again because nobody knows whether the first time arrived, so that
    Kafka may have up to that many calls twice. `trying`: the next batch was handed to Kafka.
    """

    produced, dropped, resent, trying, holds = (_cell(index) for index in range(1, 6))
    segment, offset, sent = (_progress(index) for index in range(3))

    def __init__(self, page: "mmap.mmap | bytearray | None" = None) -> None:
        self._page = page if page is not None else bytearray(_STATE_BYTES)
        self._use()
        if self._page[: len(_MARK)] != _MARK:
            self._page[:] = bytes(_STATE_BYTES)
            self._page[: len(_MARK)] = _MARK
            self.advance(segment=1)

    @property
    def waiting(self) -> int:
        """Calls taken that are neither sent nor dropped."""
        return int(self.produced - self.sent - self.dropped)

    @property
    def name(self) -> str:
        return self._text("name")

    @name.setter
    def name(self, name: str) -> None:
        self._set_text("name", name)

    @property
    def cluster(self) -> str:
        return self._text("cluster")

    def advance(
        self, *, segment: int | None = None, offset: int | None = None, sent: int | None = None
    ) -> None:
        """Changes these together: a process killed at any moment leaves all old or all new."""
        now = (self.segment, self.offset, self.sent)
        new = [old if n is None else n for n, old in zip((segment, offset, sent), now, strict=True)]
        other = 1 - self.holds
        for index, number in enumerate(new):
            self.cells[6 + 3 * other + index] = number
        self.holds = other

    def begin(self, cluster: str) -> None:
        """From now on batches go to this Kafka cluster. In a new one nothing has been sent yet."""
        if self._text("cluster") == cluster:
            return
        if self._text("cluster"):
            self.produced -= self.sent
            self.advance(sent=0)
            self.resent = 0  # a batch on its way may have reached the new one: it stays in doubt
        self._set_text("cluster", cluster)

    def add(self, other: "State") -> None:
        """Takes over what another one counted."""
        self.produced += other.produced
        self.dropped += other.dropped

    def detach(self) -> None:
        """Lets go of the file; the numbers can still be read."""
        shared, self._page = self._page, bytearray(self._page)
        self.cells.release()
        self._use()
        if isinstance(shared, mmap.mmap):
            shared.close()

    def _use(self) -> None:
        self.cells = memoryview(self._page)[: 8 * _CELLS].cast("Q")

    def _text(self, name: str) -> str:
        return bytes(self._page[_TEXTS[name]]).rstrip(b"\0").decode()

    def _set_text(self, name: str, text: str) -> None:
        place = _TEXTS[name]
        size = place.stop - place.start
        self._page[place] = text.encode()[:size].ljust(size, b"\0")


class Spool:
    """The batches of one producer, first in first out. Its methods may be called from any thread."""

    def __init__(self, folder: Path, kind: str, limit: int) -> None:
        """Takes the first place `kind-N` in the folder that no living process has, with what is there.

        `limit` is the most that may lie there, in bytes. Raises OSError if the folder cannot be used.
        """
        self._lock = threading.Lock()
        self._limit = limit
        # What was sent takes up room until its segment is all sent: never more than an eighth.
        self._segment_bytes = min(SEGMENT_BYTES, limit // 8)
        self._folder, self._file = _claim(folder, kind)
        self.state = State(_page(self._file))
        self.state.name = self.state.name or f"{kind}-{uuid.uuid4().hex[:8]}"
        self._writing: BinaryIO | None = None
        self._reading: BinaryIO | None = None
        self._sizes = self._take_stock()

    @property
    def size(self) -> int:
        """Bytes; what lies on the disk, sent batches of the current segment included."""
        return sum(self._sizes.values())

    @property
    def fullness(self) -> float:
        """How much of the limit is used; 1 is all of it."""
        return self.size / self._limit if self._limit else 1.0

    def append(self, batch: Batch) -> bool:
        """Adds a batch at the end. False if the limit is reached or the disk takes no more."""
        data = _encoder.encode(batch)
        frame = _FRAME.pack(len(data), crc32(data)) + data
        with self._lock:
            if self.size + len(frame) > self._limit:
                return False
            last = max(self._sizes)
            if self._sizes[last] >= self._segment_bytes:
                last += 1
            return self._write(last, frame)

    def head(self) -> Batch | None:
        """The batch to be sent next; None if there is none. Raises OSError if it cannot be read."""
        with self._lock:
            state = self.state
            while state.segment < max(self._sizes) and self._at_end():
                self._next_segment()
            if self._at_end():
                return None
            self._reading = self._reading or self._path(state.segment).open("rb")
            self._reading.seek(state.offset)
            batch = _read_frame(self._reading)
            assert batch, "a frame that was written or checked at the start"
            return batch

    def pop(self, sent: int) -> None:
        """The first batch is done with; `sent` calls of it are in Kafka now."""
        with self._lock:
            reading = self._reading
            assert reading, "only what was looked at can be taken away"
            self.state.advance(offset=reading.tell(), sent=self.state.sent + sent)
            self.state.trying = 0
            if self._at_end() and self._sizes[self.state.segment] >= self._segment_bytes:
                self._next_segment()

    def close(self) -> None:
        """Lets another process have the place."""
        with self._lock:
            for file in (self._writing, self._reading):
                if file:
                    file.close()
            self.state.detach()
            self._file.close()

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:010}.log"

    def _at_end(self) -> bool:
        return bool(self.state.offset >= self._sizes.get(self.state.segment, 0))

    def _next_segment(self) -> None:
        """Deletes the segment that was sent and goes on with the one after it."""
        state = self.state
        if self._reading:
            self._reading.close()
            self._reading = None
        done = state.segment
        if done == max(self._sizes):
            if self._writing:
                self._writing.close()
                self._writing = None
            self._sizes[done + 1] = 0
        state.advance(segment=min(s for s in self._sizes if s > done), offset=0)
        self._path(done).unlink(missing_ok=True)
        del self._sizes[done]

    def _write(self, segment: int, frame: bytes) -> bool:
        """Appends to a segment, all or nothing."""
        size = self._sizes.get(segment, 0)
        try:
            if segment not in self._sizes or self._writing is None:
                if self._writing:
                    self._writing.close()
                self._writing = self._path(segment).open("ab", buffering=0)
            written = self._writing.write(frame) or 0
        except OSError as error:
            log.warning("the spool takes no more: %s", error)
            written = 0
        if written < len(frame):
            if self._writing:
                self._writing.truncate(size)
            return False
        self._sizes[segment] = size + len(frame)
        return True

    def _take_stock(self) -> dict[int, int]:
        """Segment → bytes, after what a crash left behind was put in order and counted."""
        state = self.state
        found = sorted(int(path.stem) for path in self._folder.glob("*.log"))
        for old in [segment for segment in found if segment < state.segment]:
            self._path(old).unlink()
        sizes = {state.segment: 0}
        calls = 0
        for segment in (segment for segment in found if segment >= state.segment):
            start = state.offset if segment == state.segment else 0
            counted, sizes[segment] = _check(self._path(segment), start)
            calls += counted
        state.advance(offset=min(state.offset, sizes[state.segment]))
        self._settle(calls)
        return sizes

    def _settle(self, waiting: int) -> None:
        """Makes the counts agree with what is really here: the rest died with the process."""
        state = self.state
        lost = state.waiting - waiting
        if lost > 0:
            log.error("%d calls were lost with the last process of %s", lost, state.name)
            state.dropped += lost
        else:
            state.advance(sent=state.sent + lost)  # the machine died, and this page was older


def _claim(folder: Path, kind: str) -> tuple[Path, BinaryIO]:
    """The first free place and its locked state file."""
    for number in count():
        place = folder / f"{kind}-{number}"
        place.mkdir(parents=True, exist_ok=True)
        file = (place / "state").open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return place, file
    raise AssertionError("count() has no end")


def _page(file: BinaryIO) -> mmap.mmap:
    """The state file as memory. Written whole first: a hole in it would need room on a full disk."""
    file.seek(0, 2)
    if file.tell() < _STATE_BYTES:
        file.write(bytes(_STATE_BYTES - file.tell()))
        file.flush()
    return mmap.mmap(file.fileno(), _STATE_BYTES)


def _read_frame(file: BinaryIO) -> Batch | None:
    """The frame at the place the file stands at; None if it is torn or damaged."""
    head = file.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None
    length, checksum = _FRAME.unpack(head)
    data = file.read(length)
    if len(data) < length or crc32(data) != checksum:
        return None
    return _decoder.decode(data)


def _check(path: Path, start: int) -> tuple[int, int]:
    """Counts the calls of a segment from a place on; cuts it where it is torn. Returns calls, bytes."""
    calls = 0
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(min(start, size))
        good = file.tell()
        while batch := _read_frame(file):
            calls += batch.calls
            good = file.tell()
        if good < size:
            log.warning("%s: %d bytes at its end are torn and left out", path.name, size - good)
            file.truncate(good)
    return calls, good
