"""Calls as they come in, closed conversations as they go into the store: the judge's evidence.

Users' calls and shadow pairs are gathered alike, each with tables, batches and positions of its own.

Closed conversations are written as one batch, which also says how far arrivals were read. A new judge goes on
after the last batch: it reads again the calls of conversations that were open then, and passes over those of judged
ones. Of two that write a batch of one number the store keeps the first one's. The other one finds out with its next
look at the progress, and has to look before it tells anybody anything.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, NamedTuple

from pipeline.store import verdicts as store
from pipeline.store.connect import Client
from pipeline.store.verdicts import Arrived, Batch, Partition, Place, Progress, Source
from pipeline.verdicts.bloom import Bloom, hashes_of
from pipeline.verdicts.conversations import C, Conversation, Conversations, U, excluded
from pipeline.verdicts.gates import Exclusions
from pipeline.verdicts.plan import Plan, gates_of

MESSAGES_AT_ONCE = 100  # of each partition in one step
SETTLE_MS = 2000  # from Kafka's taking of a call to our seeing it, at most
REREAD_MS = 30_000  # between reckonings of from where a new judge would have to read
Counts = dict[tuple[str, str], int]  # by workload and provider


class OvertakenError(RuntimeError):
    """Another judge wrote the batch of that number: it has taken over."""


class Asked(NamedTuple, Generic[C]):
    """What the store has answered: calls, up to where of each partition, and whether there is more to read."""

    progress: Progress
    arrived: Arrived[C]
    read_to: dict[Partition, int]
    more: bool


class Step(NamedTuple, Generic[U]):
    """Units whose turn it is, and conversations that have failed, closed or not."""

    units: list[U]
    failures: list[U]


@dataclass
class Gatherer(Generic[C, U]):
    """What is known of one kind of arrivals: how far they were read, which conversations are open, what was late."""

    client: Client
    writer: str
    source: Source[C, U]
    units_of: Callable[[Plan, Conversation[C]], Sequence[U]]
    beside: ThreadPoolExecutor  # where a batch is stored while its units are folded
    late_calls: Counts = field(default_factory=dict)
    late_units: Counts = field(default_factory=dict)
    complete_to: int = 0  # all calls that came before are known, UTC ms; 0: cannot be said yet
    batch: Batch = Batch(0, "")  # the last one
    _read: dict[Partition, int] = field(default_factory=dict)
    _judged_below: dict[Partition, int] = field(default_factory=dict)
    _again: dict[Partition, int] = field(default_factory=dict)
    _again_at: int = 0
    _came: dict[Partition, int] = field(default_factory=dict)
    _complete: dict[Partition, int] = field(default_factory=dict)
    _places: dict[str, Place] = field(default_factory=dict)
    _conversations: dict[str, Conversations[C]] = field(default_factory=dict)
    _storing: Future[None] | None = None
    _plan: Plan | None = None  # as things are set up for it
    _excludes: dict[str, Exclusions] = field(default_factory=dict)
    _seen: Bloom = field(default_factory=lambda: Bloom(0))  # conversations, judged or open

    def load(self) -> None:
        """Takes up where the last batch in the store ends."""
        self.batch = store.last_batch(self.client, self.source)
        positions = store.read_positions(self.client, self.source, self.batch)
        for place, (again, read) in positions.items():
            self._read[place], self._judged_below[place] = again, read
        self._came = store.last_arrivals(self.client, self.source, self._read)
        self._places = store.last_places(self.client, self.source)
        self.late_calls, self.late_units = store.late_counts(self.client, self.source)
        self._load_seen()

    def _load_seen(self) -> None:
        count = store.judged_count(self.client, self.source)
        self._seen = Bloom(count)
        for hashes in store.judged_hashes(self.client, self.source, count):
            self._seen.add(hashes)

    def ask(self, progress: Progress) -> Asked[C]:
        """Asks for the calls that come next, given a progress that was verified; changes nothing here."""
        read = {place: self._read.get(place, 0) for place in progress.stored}
        read |= self._next_calls(read, progress.stored)
        ranges = {
            place: (read[place], min(end, read[place] + MESSAGES_AT_ONCE))
            for place, end in progress.stored.items()
            if read[place] < end
        }
        arrived = store.read_arrivals(self.client, self.source, ranges)
        read_to = read | {place: end for place, (_, end) in ranges.items()}
        more = any(read_to[place] < progress.stored[place] for place in ranges)
        return Asked(progress, arrived, read_to, more)

    def step(self, plan: Plan, now: int, asked: Asked[C]) -> Step[U]:
        """Takes in what was asked for, closes what is over and stores the units whose turn it is."""
        self._set_up(plan)
        self._sort_in(asked.arrived)
        self._read |= asked.read_to
        self._look_how_complete(asked.progress)
        failures = self._told(plan)
        return Step(self._close(plan, now), failures)

    def stored(self) -> None:
        """Waits until the last batch is stored. Raises StoreError."""
        if self._storing is not None:
            storing, self._storing = self._storing, None
            storing.result()

    def verify(self, progress: Progress) -> None:
        """That the last batch is the one known here, and none has come after it. Raises OvertakenError."""
        known = [self.batch] if self.batch.number else []
        if (found := progress.batches[self.source.kept]) != known:
            newest = max(found, default=Batch(0, ""))
            raise OvertakenError(f"{self.source.kept}/{newest.number}")

    def _set_up(self, plan: Plan) -> None:
        """Conversations of each workload, and what is left out of them, as the plan has it now."""
        if plan is self._plan:
            return
        gates = {key: gates_of(plan, key) for key in plan.workloads}
        for key, its in gates.items():
            idle_ms = round(its.idle_minutes * 60_000)
            place = self._places.get(key, (-1, ""))
            self._conversations.setdefault(key, Conversations(idle_ms, place)).idle_ms = idle_ms
        self._excludes = {key: its.exclude for key, its in gates.items()}
        self._plan = plan

    def _next_calls(
        self, read: Mapping[Partition, int], stored: Mapping[Partition, int]
    ) -> dict[Partition, int]:
        """Where the next call is, of partitions with much to be read: pairs are few, and may be far apart."""
        far = {place: at for place, at in read.items() if stored[place] - at > MESSAGES_AT_ONCE}
        first = store.first_arrivals(self.client, self.source, far)
        return {place: min(first.get(place, stored[place]), stored[place]) for place in far}

    def watermark(self, workload: str) -> int | None:
        """All conversations of a workload assigned before have been handed out, UTC ms; None if that cannot be said."""
        found = self._conversations.get(workload)
        return found.watermark(self.complete_to) if found and self.complete_to else None

    def _sort_in(self, arrived: Arrived[C]) -> None:
        """Calls to their conversations; those of judged ones are late, unless they are read again."""
        calls: list[C] = []
        fresh: dict[tuple[str, str], int] = {}  # and their hashes
        for call, hashed in zip(*arrived, strict=True):
            self._came[call.place] = max(call.received_at, self._came.get(call.place, 0))
            exclude = self._excludes.get(call.workload)
            if exclude is None or excluded(call, exclude):
                continue
            calls.append(call)
            if not self._conversations[call.workload].knows(call.conversation[1]):
                fresh[call.conversation] = hashed
        judged = self._judged(fresh)
        late = [
            call
            for call in calls
            if call.conversation in judged or not self._conversations[call.workload].add(call)
        ]
        new = [c for c in late if c.kafka_offset >= self._judged_below.get(c.place, 0)]
        store.insert_late_calls(self.client, self.source, new)
        for call in new:
            _count(self.late_calls, call.workload, call.provider)

    def _judged(self, fresh: Mapping[tuple[str, str], int]) -> set[tuple[str, str]]:
        """Which conversations that are not open have been judged; only of those seen before the store is asked."""
        if self._seen.is_full:
            self._load_seen()
        hashes = hashes_of(fresh.values())
        may_be = self._seen.may_hold(hashes)
        self._seen.add(hashes)
        asked = [conversation for conversation, seen in zip(fresh, may_be, strict=True) if seen]
        return store.already_judged(self.client, self.source, asked)

    def _look_how_complete(self, progress: Progress) -> None:
        for place, end in progress.ends.items():
            all_read = self._read.get(place, 0) >= end.end_offset
            known = end.observed_at if all_read else self._came.get(place, 0)
            self._complete[place] = max(known - SETTLE_MS, self._complete.get(place, 0))
        self.complete_to = min((self._complete[place] for place in progress.ends), default=0)

    def _told(self, plan: Plan) -> list[U]:
        """Conversations whose first failure has come."""
        told: list[U] = []
        for key in sorted(self._conversations.keys() & plan.workloads.keys()):
            told += self._conversations[key].told(
                self.complete_to, lambda c: self.units_of(plan, c)
            )
        return told

    def _close(self, plan: Plan, now: int) -> list[U]:
        """Stores what is closed as the next batch and returns what has its turn."""
        units: list[U] = []
        late: list[U] = []
        for key in sorted(self._conversations.keys() & plan.workloads.keys()):
            closed = self._conversations[key].close(
                self.complete_to, lambda c: self.units_of(plan, c)
            )
            units += closed.units
            late += closed.late
        if not units and not late:
            return []
        self.batch = Batch(self.batch.number + 1, self.writer)
        positions = self._positions(now)
        self._storing = self.beside.submit(
            store.insert_units, self.client, self.source, self.batch, units, late, positions
        )
        for unit in late:
            _count(self.late_units, unit.workload, unit.provider)
        return units

    def _positions(self, now: int) -> dict[Partition, tuple[int, int]]:
        """For a batch: from where a new judge must read again to know the conversations that are open, and read to.

        Reckoned now and then: to read a little more again does no harm.
        """
        if now - self._again_at >= REREAD_MS:
            self._again_at, self._again = now, dict(self._read)
            for conversations in self._conversations.values():
                for call in conversations.calls():
                    self._again[call.place] = min(call.kafka_offset, self._again[call.place])
        return {place: (self._again.get(place, 0), read) for place, read in self._read.items()}


def _count(counts: Counts, workload: str, provider: str) -> None:
    counts[workload, provider] = counts.get((workload, provider), 0) + 1
