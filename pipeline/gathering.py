"""Calls as they come in, closed conversations as they go into the store: the judge's evidence.

Users' calls and shadow pairs are gathered alike, each with tables, batches and positions of its own.

Every step is written before it counts: how far arrivals were read, then the closed conversations as
one batch. A new judge goes on after the last batch: it reads again the calls of conversations that were open
then, and passes over those of judged ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple

from pipeline.store import verdicts as store
from pipeline.store.connect import Client
from pipeline.store.verdicts import Partition, Place, Source
from pipeline.verdicts.conversations import C, Conversation, Conversations, U, excluded
from pipeline.verdicts.plan import Plan, gates_of

MESSAGES_AT_ONCE = 100  # of each partition in one step
SETTLE_MS = 2000  # from Kafka's taking of a call to our seeing it, at most
REREAD_MS = 30_000  # between reckonings of from where a new judge would have to read
Counts = dict[tuple[str, str], int]  # by workload and provider


class OvertakenError(RuntimeError):
    """Another judge wrote the batch of that number: it has taken over."""


class Step(NamedTuple, Generic[U]):
    """Units whose turn it is; conversations that have failed, closed or not; whether there is more to read."""

    units: list[U]
    failures: list[U]
    more: bool


@dataclass
class Gatherer(Generic[C, U]):
    """What is known of one kind of arrivals: how far they were read, which conversations are open, what was late."""

    client: Client
    cluster: str
    topic: str
    writer: str
    source: Source[C, U]
    units_of: Callable[[Plan, Conversation[C]], Sequence[U]]
    late_calls: Counts = field(default_factory=dict)
    late_units: Counts = field(default_factory=dict)
    complete_to: int = 0  # all calls that came before are known, UTC ms; 0: cannot be said yet
    _batch: int = 0
    _read: dict[Partition, int] = field(default_factory=dict)
    _judged_below: dict[Partition, int] = field(default_factory=dict)
    _again: dict[Partition, int] = field(default_factory=dict)
    _again_at: int = 0
    _came: dict[Partition, int] = field(default_factory=dict)
    _complete: dict[Partition, int] = field(default_factory=dict)
    _places: dict[str, Place] = field(default_factory=dict)
    _conversations: dict[str, Conversations[C]] = field(default_factory=dict)

    def load(self) -> None:
        """Takes up where the last batch in the store ends."""
        self._batch = store.last_batch(self.client, self.source)
        for place, (again, read) in store.read_positions(
            self.client, self.source, self._batch
        ).items():
            self._read[place], self._judged_below[place] = again, read
        self._came = store.last_arrivals(self.client, self.source, self._read)
        self._places = store.last_places(self.client, self.source)
        self.late_calls, self.late_units = store.late_counts(self.client, self.source)

    def step(self, plan: Plan, now: int) -> Step[U]:
        """Reads on, closes what is over and stores the units whose turn it is. Raises OvertakenError."""
        stored = store.stored_to(self.client)
        self._pass_over(stored)
        ranges = {
            place: (read, min(end, read + MESSAGES_AT_ONCE))
            for place, end in stored.items()
            if (read := self._read.get(place, 0)) < end
        }
        calls = store.read_arrivals(self.client, self.source, ranges) if ranges else []
        for call in calls:
            self._came[call.place] = max(call.received_at, self._came.get(call.place, 0))
        self._sort_in(plan, calls)
        self._read |= {place: end for place, (_, end) in ranges.items()}
        self._look_how_complete()
        more = any(self._read[place] < stored[place] for place in ranges)
        failures = self._told(plan)
        return Step(self._close(plan, now), failures, more)

    def _pass_over(self, stored: Mapping[Partition, int]) -> None:
        """Goes on to the next call where much is to be read: pairs are few, and may be far apart."""
        far = {
            place: read
            for place, end in stored.items()
            if end - (read := self._read.get(place, 0)) > MESSAGES_AT_ONCE
        }
        first = store.first_arrivals(self.client, self.source, far)
        self._read |= {place: min(first.get(place, stored[place]), stored[place]) for place in far}

    def watermark(self, workload: str) -> int | None:
        """All conversations of a workload assigned before have been handed out, UTC ms; None if that cannot be said."""
        found = self._conversations.get(workload)
        return found.watermark(self.complete_to) if found and self.complete_to else None

    def _sort_in(self, plan: Plan, calls: Sequence[C]) -> None:
        """Calls to their conversations; those of judged ones are late, unless they are read again."""
        gates = {key: gates_of(plan, key) for key in plan.workloads}
        for key in plan.workloads:
            idle_ms = round(gates[key].idle_minutes * 60_000)
            mine = self._conversations.setdefault(
                key, Conversations(idle_ms, self._places.get(key, (-1, "")))
            )
            mine.idle_ms = idle_ms
        calls = [
            call
            for call in calls
            if call.workload in gates and not excluded(call, gates[call.workload].exclude)
        ]
        fresh = {
            call.conversation
            for call in calls
            if not self._conversations[call.workload].knows(call.conversation[1])
        }
        judged = store.already_judged(self.client, self.source, fresh)
        late = [
            call
            for call in calls
            if call.conversation in judged or not self._conversations[call.workload].add(call)
        ]
        new = [c for c in late if c.kafka_offset >= self._judged_below.get(c.place, 0)]
        store.insert_late_calls(self.client, self.source, new)
        for call in new:
            _count(self.late_calls, call.workload, call.provider)

    def _look_how_complete(self) -> None:
        ends = store.partition_ends(self.client, self.cluster, self.topic)
        for place, end in ends.items():
            all_read = self._read.get(place, 0) >= end.end_offset
            known = end.observed_at if all_read else self._came.get(place, 0)
            self._complete[place] = max(known - SETTLE_MS, self._complete.get(place, 0))
        self.complete_to = min((self._complete[place] for place in ends), default=0)

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
        self._note_positions(now)
        self._batch += 1
        if not store.insert_units(self.client, self.source, self._batch, self.writer, units, late):
            raise OvertakenError(f"{self.source.kept}/{self._batch}")
        for unit in late:
            _count(self.late_units, unit.workload, unit.provider)
        return units

    def _note_positions(self, now: int) -> None:
        """Before a batch: what a new judge must read again to know the conversations that are open.

        Reckoned now and then: to read a little more again does no harm. Conversations of the batch
        itself are no longer open, but are passed over by a new judge only if the batch was stored.
        """
        if now - self._again_at >= REREAD_MS:
            self._again_at, self._again = now, dict(self._read)
            for conversations in self._conversations.values():
                for call in conversations.calls():
                    self._again[call.place] = min(call.kafka_offset, self._again[call.place])
        places = {place: (self._again.get(place, 0), read) for place, read in self._read.items()}
        store.insert_positions(self.client, self.source, self._batch + 1, self.writer, places)


def _count(counts: Counts, workload: str, provider: str) -> None:
    counts[workload, provider] = counts.get((workload, provider), 0) + 1
