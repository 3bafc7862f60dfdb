"""Messages of a Kafka partition in, stored batches out: scores, drops repeats, inserts, goes on after a crash.

Knows neither Faust nor Kafka's client: `worker.py` hands messages in and acknowledges what is done.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import TypeVar

import msgspec

from pipeline.calls import Ignored, Rejected, ScoredCall
from pipeline.recent import RecentIds
from pipeline.scoring.redact import redact_bytes
from pipeline.scoring.score import Rules, score_message
from pipeline.store.connect import Client, StoreError
from pipeline.store.insert import Batch, Claim, Scored, claim_batch, insert_batch, read_position

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)


class Message(msgspec.Struct, frozen=True):
    """A Kafka message: its offset, Kafka's time in UTC ms, its bytes, the format if the sender named it.

    `counted`: its sender says how many records it sends (see `producers`).
    """

    offset: int
    received_at: int
    value: bytes | None
    format: str = ""
    counted: bool = False


class AssignmentLostError(RuntimeError):
    """Another worker has the partition now; nothing more may be inserted for it."""


@dataclass
class Partition:
    """What must be known of a partition to go on with it."""

    next_offset: int | None
    claimed_to: int | None
    recent_ids: RecentIds


@dataclass
class Counts:
    """What was done since the start."""

    stored: int = 0
    rejected: int = 0
    duplicates: int = 0
    ignored: int = 0
    batches: int = 0
    store_errors: int = 0
    insert_seconds: float = 0.0


@dataclass
class Intake:
    """Stores the messages of any number of partitions; a call at a time for each of them."""

    client: Client
    cluster: str
    worker: str
    batch_calls: int
    remembered_ids: int
    counts: Counts = field(default_factory=Counts)
    _partitions: dict[tuple[str, int], Partition] = field(default_factory=dict)

    def forget(self) -> None:
        """Drops what is known of all partitions; it is read from the store again when needed."""
        self._partitions.clear()

    def store(
        self,
        topic: str,
        partition: int,
        messages: Sequence[Message],
        rules: Rules,
        still_mine: Callable[[], bool],
    ) -> tuple[int, list[Scored]]:
        """Stores messages, given in order of offset, in one or more batches.

        Returns the first offset that is not stored and the records that were rejected. Messages
        below the ledger are skipped; a batch that someone claimed is only stored whole, so that
        some messages may have to wait for more. Waits while the store is away. Raises
        AssignmentLostError if `still_mine()` no longer holds.
        """
        state = self._state(topic, partition, still_mine)
        left = _beyond(messages, state)
        rejected: list[Scored] = []
        while left and not (state.claimed_to and left[-1].offset < state.claimed_to):
            batch, fresh_ids = self._cut(topic, partition, left, state, rules)
            claim = self._store(batch, still_mine)
            if claim.offset_to != batch.offset_to:  # someone else's, with an end of its own
                state.claimed_to = claim.offset_to
            elif (claim.next_offset or 0) > batch.offset_from:  # and wholly stored
                self._partitions.pop(
                    (topic, partition), None
                )  # another thread may have forgotten it
                state = self._state(topic, partition, still_mine)
                left = _beyond(left, state)
            else:
                self._advance(state, batch, fresh_ids)
                rejected += [item for item in batch.records if isinstance(item.record, Rejected)]
                left = _beyond(left, state)
        return state.next_offset or 0, rejected

    def _state(self, topic: str, partition: int, still_mine: Callable[[], bool]) -> Partition:
        known = self._partitions.get((topic, partition))
        if known is None:
            place = (self.client, self.cluster, topic, partition)
            read = self._patiently(
                lambda: read_position(*place, self.remembered_ids),
                f"{topic}/{partition}",
                still_mine,
            )
            ids = RecentIds(self.remembered_ids, read.recent_ids)
            known = Partition(read.next_offset, read.claimed_to, ids)
            self._partitions[topic, partition] = known
        return known

    def _cut(
        self, topic: str, partition: int, left: Sequence[Message], state: Partition, rules: Rules
    ) -> tuple[Batch, dict[str, None]]:
        """The next batch: up to where it was claimed, else up to the limit of calls."""
        claimed_to = state.claimed_to
        if claimed_to is not None and left[0].offset > claimed_to:
            claimed_to = None  # Kafka no longer has what was claimed: a gap in the ledger
        records: list[Scored] = []
        fresh: dict[str, None] = {}
        duplicates = ignored = uncounted = 0
        for message in left:
            scored = _scored(message, rules)
            uncounted += 0 if message.counted else len(scored)
            for position, record in enumerate(scored):
                if isinstance(record, Ignored):
                    ignored += 1
                    continue
                if not isinstance(record, Rejected):
                    if record.call_id in state.recent_ids or record.call_id in fresh:
                        duplicates += 1
                        continue
                    fresh[record.call_id] = None
                records.append(Scored(message.offset, position, message.received_at, record))
            last = message.offset
            if last == claimed_to or (claimed_to is None and len(records) >= self.batch_calls):
                break
        first = left[0]
        batch = Batch(
            cluster=self.cluster,
            topic=topic,
            partition=partition,
            offset_from=first.offset,
            offset_to=last,
            received_at=first.received_at,
            records=records,
            duplicates=duplicates,
            ignored=ignored,
            uncounted=uncounted,
            begun=claimed_to is not None,
        )
        return batch, fresh

    def _store(self, batch: Batch, still_mine: Callable[[], bool]) -> Claim:
        """Claims and stores until it is done: always this very batch, since a failed try may have been stored.

        Nothing is stored if the claim that holds is another one, or if the ledger has the batch.
        """
        return self._patiently(lambda: self._claim_and_write(batch), batch.token, still_mine)

    def _claim_and_write(self, batch: Batch) -> Claim:
        started = time.monotonic()
        claim = claim_batch(self.client, batch, self.worker)
        if claim.offset_to == batch.offset_to and (claim.next_offset or 0) <= batch.offset_from:
            insert_batch(self.client, batch, self.worker)
        self.counts.insert_seconds += time.monotonic() - started
        return claim

    def _patiently(self, ask: Callable[[], T], what: str, still_mine: Callable[[], bool]) -> T:
        """Asks the store again and again while it is away, as long as the partition is ours."""
        for wait in chain(RETRY_SECONDS, repeat(RETRY_SECONDS[-1])):
            if not still_mine():
                break
            try:
                return ask()
            except (StoreError, OSError) as error:
                self.counts.store_errors += 1
                log.warning("%s waits for the store, next try in %s s: %s", what, wait, error)
                time.sleep(wait)
        raise AssignmentLostError(what)

    def _advance(self, state: Partition, batch: Batch, fresh: dict[str, None]) -> None:
        state.next_offset = batch.offset_to + 1
        state.claimed_to = None
        state.recent_ids.add(fresh)
        rejected = sum(isinstance(item.record, Rejected) for item in batch.records)
        self.counts.batches += 1
        self.counts.rejected += rejected
        self.counts.stored += len(batch.records) - rejected
        self.counts.duplicates += batch.duplicates
        self.counts.ignored += batch.ignored


def _beyond(messages: Sequence[Message], state: Partition) -> Sequence[Message]:
    """The messages the ledger does not cover."""
    start = state.next_offset
    return messages if start is None else [m for m in messages if m.offset >= start]


def _scored(message: Message, rules: Rules) -> Sequence[ScoredCall | Rejected | Ignored]:
    """The message's records. One that meets a fault of ours is kept for later and stops nothing."""
    try:
        return score_message(message.value, message.received_at, rules, message.format)
    except Exception as error:
        log.exception("the message at offset %d met a fault in Cutover", message.offset)
        detail = f"a fault in Cutover, {type(error).__name__}: send it again after an upgrade"
        return [Rejected("internal_error", detail, redact_bytes(message.value or b""))]
