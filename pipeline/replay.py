"""Old log files sent through Kafka like live records, or only looked at.

Safe to repeat: a call id that comes again counts once. With `resume` it goes on where it was: how
many values of each file were sent stands in a small file, by the file's path and how it begins.
"""

import asyncio
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import IO

import msgspec

from pipeline.calls import Ignored, Rejected, ScoredCall
from pipeline.forward import forward, name_of
from pipeline.kafka import CallProducer
from pipeline.reading import STDIN, UnreadableFileError, opened, read_values
from pipeline.scoring.score import Rules, score_message
from pipeline.settings import Settings

FLUSH_CALLS = 5_000
AT_ONCE = 200  # values between two looks at the rate and at what else there is to do
_HEAD = 4096


@dataclass
class Replayed:
    """What was done: records sent, values skipped since an earlier run sent them, what could not be read."""

    files: int = 0
    records: int = 0
    skipped: int = 0
    unreadable: list[str] = field(default_factory=list)


async def replay(
    settings: Settings,
    files: Sequence[Path],
    *,
    format: str = "",
    rate: float | None = None,
    resume: bool = False,
) -> Replayed:
    """Sends every record of the files to the calls topic, at most `rate` a second.

    Raises KafkaError if Kafka is away, OSError for a file that cannot be opened.
    """
    done = Replayed()
    producer = CallProducer(settings, "replay")
    marks = Marks(settings.data / "replay.json") if resume else None
    progress = Progress(files)
    await producer.start()
    try:
        await producer.connect()
        for file in files:
            await _send(producer, file, format, Pace(rate), marks, progress, done)
        await producer.flush()
    finally:
        progress.end()
        await producer.stop()
    return done


async def _send(
    producer: CallProducer,
    file: Path,
    format: str,
    pace: "Pace",
    marks: "Marks | None",
    progress: "Progress",
    done: Replayed,
) -> None:
    """Sends one file, and marks how far it got whenever Kafka has everything."""
    done.files += 1
    with opened(file) as stream:
        identity = marks.identity(file, stream) if marks and file != STDIN else ""
        start = marks.read(identity) if marks and identity else 0
        number = 0
        try:
            for number, value in enumerate(read_values(stream, str(file)), 1):
                if number <= start:
                    done.skipped += 1
                    continue
                sent = forward(producer, value, format)
                done.records += sent
                await pace.after(sent)
                if producer.waiting >= FLUSH_CALLS:
                    await producer.flush()
                    if marks and identity:
                        marks.write(identity, number)
                if number % AT_ONCE == 0:
                    progress.at(file, stream, done.records)
                    await asyncio.sleep(0)
        except UnreadableFileError as error:
            done.unreadable.append(str(error))
    await producer.flush()
    if marks and identity:
        marks.write(identity, number)


class Pace:
    """Holds back what would go faster than so many a second."""

    def __init__(self, rate: float | None) -> None:
        self._seconds = 1 / rate if rate else 0.0
        self._due = time.monotonic()

    async def after(self, count: int) -> None:
        """Waits until the next one may go."""
        if self._seconds:
            self._due = max(self._due, time.monotonic() - 1) + count * self._seconds
            await asyncio.sleep(max(0.0, self._due - time.monotonic()))


class Marks:
    """How many values of each file are in Kafka, in a JSON file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._marks: dict[str, int] = {}
        with suppress(FileNotFoundError, msgspec.DecodeError):
            self._marks = msgspec.json.decode(file.read_bytes(), type=dict[str, int])

    @staticmethod
    def identity(file: Path, stream: IO[bytes]) -> str:
        """The file's path and how it begins: one that was replaced under the same name is another."""
        head = stream.read(_HEAD)
        stream.seek(0)
        return f"{file.resolve()}#{blake2b(head, digest_size=8).hexdigest()}"

    def read(self, identity: str) -> int:
        return self._marks.get(identity, 0)

    def write(self, identity: str, number: int) -> None:
        self._marks[identity] = max(number, self.read(identity))
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self._marks))
        new.replace(self._file)


class Progress:
    """One line on a terminal's standard error; nothing elsewhere."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._shown = sys.stderr.isatty()
        self._sizes = {f: f.stat().st_size for f in files if f != STDIN}
        self._before: dict[Path, int] = {}
        self._started = self._last = time.monotonic()

    def at(self, file: Path, stream: IO[bytes], records: int) -> None:
        """How far it is."""
        now = time.monotonic()
        if not self._shown or now - self._last < 0.2:
            return
        self._last = now
        if file in self._sizes:
            self._before[file] = stream.tell()
        share = sum(self._before.values()) / max(1, sum(self._sizes.values()))
        pace = records / max(0.001, now - self._started)
        line = f"{share:4.0%}  {records:,} records  {pace:,.0f}/s  {file.name}"
        print(f"\r\033[K{line[:100]}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@dataclass
class Summary:
    """What a replay would bring: numbers of records by what would become of them."""

    files: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    providers: Counter[str] = field(default_factory=Counter)
    workloads: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    costs: dict[tuple[str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    unpriced: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)  # sound records that tell of no call
    first: int | None = None  # UTC ms
    last: int | None = None
    unreadable: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return self.providers.total()

    def add(self, record: object, where: str) -> None:
        """Counts one record."""
        if isinstance(record, ScoredCall):
            self._add_call(record)
        elif isinstance(record, Rejected | Ignored):
            (self.rejected if isinstance(record, Rejected) else self.ignored)[record.reason] += 1
            self.examples.setdefault(record.reason, f"{where}: {record.detail}")

    def _add_call(self, call: ScoredCall) -> None:
        self.formats[call.source] += 1
        self.providers[call.provider] += 1
        self.workloads[call.workload] += 1
        if call.failure:
            self.failures[call.failure] += 1
        if call.cost is not None:
            self.costs[call.provider, call.currency] += call.cost
        elif call.cost_unknown:
            self.unpriced[call.cost_unknown, call.provider, call.model] += 1
        self.first = min(self.first or call.started_at, call.started_at)
        self.last = max(self.last or 0, call.started_at)


def summarise(files: Sequence[Path], rules: Rules, format: str = "") -> Summary:
    """Reads and scores everything, sends nothing. Raises OSError for a file that cannot be opened."""
    found = Summary()
    progress = Progress(files)
    for file in files:
        found.files += 1
        at = time.time_ns() if file == STDIN else file.stat().st_mtime_ns
        with opened(file) as stream:
            try:
                for number, value in enumerate(read_values(stream, str(file)), 1):
                    name = format or name_of(value)
                    for record in score_message(value, at // 1_000_000, rules, name):
                        found.add(record, f"{file} record {number}")
                    progress.at(file, stream, found.calls)
            except UnreadableFileError as error:
                found.unreadable.append(str(error))
    progress.end()
    return found


def render(found: Summary) -> str:
    """The summary as text."""
    return "\n".join(_lines(found))


def _lines(found: Summary) -> Iterator[str]:
    rejected = found.rejected.total()
    yield f"{found.calls:,} calls in {found.files} files, {rejected:,} records would be rejected"
    if found.first is not None and found.last is not None:
        yield f"from {_day(found.first)} to {_day(found.last)} UTC"
    for title, counts in (
        ("formats", found.formats), ("providers", found.providers),
        ("workloads", found.workloads), ("failures", found.failures),
    ):  # fmt: skip
        if counts:
            yield f"{title}:"
            yield from (f"  {n:>10,}  {name or '(none)'}" for name, n in counts.most_common())
    if found.costs:
        yield "cost:"
        for (provider, currency), amount in sorted(found.costs.items()):
            written = f"{amount:,.4f}" if amount >= 1 else f"{amount.normalize():f}"
            yield f"  {written:>14} {currency}  {provider or '(none)'}"
    if found.unpriced:
        yield "cost unknown:"
        for (reason, provider, model), n in found.unpriced.most_common():
            yield f"  {n:>10,}  {reason}: {provider or '(none)'} {model or '(no model)'}"
    for title, counts in (("rejected", found.rejected), ("no calls, counted only", found.ignored)):
        if counts:
            yield f"{title}:"
        for reason, n in counts.most_common():
            yield f"  {n:>10,}  {reason}; the first: {found.examples[reason][:200]}"
    yield from (f"not read: {what}" for what in found.unreadable)


def _day(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_ms / 1000))
