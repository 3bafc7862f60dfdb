"""Calls as they come in, closed conversations as they go into the store: the judge's evidence.

Every step is written before it counts: how far arrivals were read, then the closed conversations as
one batch. A new judge goes on after the last batch: it reads again the calls of conversations that were open
then, and passes over those of judged ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.store import verdicts as store
from pipeline.store.connect import Client
from pipeline.store.verdicts import Partition, Place
from pipeline.verdicts.conversations import Arrival, Conversation, Conversations, excluded
from pipeline.verdicts.plan import Plan, gates_of
from pipeline.verdicts.units import Unit

MESSAGES_AT_ONCE = 100  # of each partition in one step
SETTLE_MS = 2000  # from Kafka's taking of a call to our seeing it, at most
REREAD_MS = 30_000  # between reckonings of from where a new judge would have to read
Counts = dict[tuple[str, str], int]  # by workload and provider


class OvertakenError(RuntimeError):
    """Another judge wrote the batch of that number: it has taken over."""


class Step(NamedTuple):
    """Units whose turn it is; conversations that have failed, closed or not; whether there is more to read."""

    units: list[Unit]
    failures: list[Unit]
    more: bool


@dataclass
class Gatherer:
    """What is known of the arrivals: how far they were read, which conversations are open, what was late."""

    client: Client
    cluster: str
    topic: str
    writer: str
    unit: Callable[[Plan, Conversation], Unit]
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
    _conversations: dict[str, Conversations] = field(default_factory=dict)

    def load(self) -> None:
        """Takes up where the last batch in the store ends."""
        self._batch = store.last_batch(self.client)
        for place, (again, read) in store.read_positions(self.client, self._batch).items():
            self._read[place], self._judged_below[place] = again, read
        self._came = store.last_arrivals(self.client, self._read)
        self._places = store.last_places(self.client)
        self.late_calls, self.late_units = store.late_counts(self.client)

    def step(self, plan: Plan, now: int) -> Step:
        """Reads on, closes what is over and stores the units whose turn it is. Raises OvertakenError."""
        stored = store.stored_to(self.client)
        ranges = {
            place: (read, min(end, read + MESSAGES_AT_ONCE))
            for place, end in stored.items()
            if (read := self._read.get(place, 0)) < end
        }
        calls = store.read_arrivals(self.client, ranges) if ranges else []
        for call in calls:
            self._came[call.place] = max(call.received_at, self._came.get(call.place, 0))
        self._sort_in(plan, calls)
        self._read |= {place: end for place, (_, end) in ranges.items()}
        self._look_how_complete()
        more = any(self._read[place] < stored[place] for place in ranges)
        failures = self._told(plan)
        return Step(self._close(plan, now), failures, more)

    def watermark(self, workload: str) -> int | None:
        """All conversations of a workload assigned before have been handed out, UTC ms; None if that cannot be said."""
        found = self._conversations.get(workload)
        return found.watermark(self.complete_to) if found and self.complete_to else None

    def _sort_in(self, plan: Plan, calls: Sequence[Arrival]) -> None:
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
        judged = store.already_judged(self.client, fresh)
        late = [
            call
            for call in calls
            if call.conversation in judged or not self._conversations[call.workload].add(call)
        ]
        new = [c for c in late if c.kafka_offset >= self._judged_below.get(c.place, 0)]
        store.insert_late_calls(self.client, new)
        for call in new:
            _count(self.late_calls, call.workload, call.provider)

    def _look_how_complete(self) -> None:
        ends = store.partition_ends(self.client, self.cluster, self.topic)
        for place, end in ends.items():
            all_read = self._read.get(place, 0) >= end.end_offset
            known = end.observed_at if all_read else self._came.get(place, 0)
            self._complete[place] = max(known - SETTLE_MS, self._complete.get(place, 0))
        self.complete_to = min((self._complete[place] for place in ends), default=0)

    def _told(self, plan: Plan) -> list[Unit]:
        """Conversations whose first failure has come."""
        told: list[Unit] = []
        for key in sorted(self._conversations.keys() & plan.workloads.keys()):
            told += self._conversations[key].told(self.complete_to, lambda c: self.unit(plan, c))
        return told

    def _close(self, plan: Plan, now: int) -> list[Unit]:
        """Stores what is closed as the next batch and returns what has its turn."""
        units: list[Unit] = []
        late: list[Unit] = []
        for key in sorted(self._conversations.keys() & plan.workloads.keys()):
            closed = self._conversations[key].close(self.complete_to, lambda c: self.unit(plan, c))
            units += closed.units
            late += closed.late
        if not units and not late:
            return []
        self._note_positions(now)
        self._batch += 1
        if not store.insert_units(self.client, self._batch, self.writer, units, late):
            raise OvertakenError(f"units/{self._batch}")
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
        store.insert_positions(self.client, self._batch + 1, self.writer, places)


def _count(counts: Counts, workload: str, provider: str) -> None:
    counts[workload, provider] = counts.get((workload, provider), 0) + 1
