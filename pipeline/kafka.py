"""Kafka for everyone but the worker: topics, offsets, and the producer that batches call records.

The only place that imports aiokafka.
"""

import asyncio
import logging
import math
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    BrokerResponseError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)

from pipeline.settings import Settings
from pipeline.spool import Batch, Spool, State

if TYPE_CHECKING:  # the producer also runs inside gateways, where nothing else of ours is wanted
    from pipeline.formats.cutover import Record

__all__ = [
    "CallProducer", "KafkaError", "calls_beyond", "cluster_id", "end_offsets", "ensure_topics",
    "missing_topics", "send", "why_not",
]  # fmt: skip

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.05
BATCH_CALLS = 500
BATCH_BYTES = 512 * 1024
WAITING_BYTES = 64 * 1024 * 1024  # what may wait in memory, on its way to the spool or beyond it
LARGEST_MESSAGE = 8 * 1024 * 1024
LARGEST_LINE = LARGEST_MESSAGE - 1024  # beside headers and what Kafka itself adds
FORMAT_HEADER = "cutover-format"
PRODUCER_HEADER = "cutover-producer"  # its sender counts: it stands in the account of `producers`
COUNT_INTERVAL_SECONDS = 2.0
CONNECT_SECONDS = 20.0
STOP_SECONDS = 5.0
AGAIN_SECONDS = 1.0  # between two tries to connect
RETRY_SECONDS = 1.0  # aiokafka sends nothing a second time before that
PATIENCE_SECONDS = 3.0  # without an answer, look whether it is the same cluster still


async def ensure_topics(settings: Settings) -> None:
    """Creates the topics that are missing and waits until they are there.

    Raises KafkaError if Kafka is away or refuses.
    """
    if not (missing := await missing_topics(settings)):
        return
    config = {"max.message.bytes": str(LARGEST_MESSAGE)}
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        answer = await admin.create_topics(
            [
                NewTopic(name, settings.partitions, settings.replication, topic_configs=config)
                for name in sorted(missing)
            ]
        )
    finally:
        await admin.close()
    for topic, code, *message in answer.topic_errors:
        error = for_code(code)
        if error not in (NoError, TopicAlreadyExistsError):  # another process may be faster
            raise error(f"topic {topic}: {message[0] if message else error.description}")
    while await missing_topics(settings):  # noqa: ASYNC110 - Kafka tells its brokers a little later
        await asyncio.sleep(0.1)


async def missing_topics(settings: Settings) -> set[str]:
    """Topics of the settings that Kafka does not have. Raises KafkaError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        wanted = {
            settings.calls_topic, settings.rejected_topic, settings.feedback_topic, settings.events_topic,
        }  # fmt: skip
        return wanted - set(await admin.list_topics())
    finally:
        await admin.close()


async def cluster_id(settings: Settings) -> str:
    """The id of the Kafka cluster; a broker that was wiped has a new one. Raises KafkaError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await admin.start()
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


async def send(settings: Settings, topic: str, key: str, value: bytes) -> None:
    """Sends a single message and waits until Kafka has it. Raises KafkaError."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, acks="all")
    try:
        await producer.start()
        await producer.send_and_wait(topic, value, key=key.encode())
    finally:
        await producer.stop()


def why_not(settings: Settings, error: Exception) -> str:
    """What is the matter with Kafka, and the mend, in a sentence."""
    away = isinstance(error, KafkaConnectionError | OSError)
    what = "does not answer" if away else f"refuses: {error}"
    return f"Kafka at {settings.kafka or 'no address'} {what}; start it or set CUTOVER_KAFKA"


async def end_offsets(settings: Settings) -> dict[int, int]:
    """Partition of the calls topic → the offset its next message will get. Raises KafkaError."""
    consumer = _reader(settings)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        return {tp.partition: end for tp, end in ends.items()}
    finally:
        await consumer.stop()


async def calls_beyond(settings: Settings, next_offsets: dict[int, int]) -> int:
    """How many calls of producers who count lie in the calls topic from the given offsets on.

    Counted by reading them.
    """
    consumer = _reader(settings)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        behind = {tp: end for tp, end in ends.items() if next_offsets.get(tp.partition, 0) < end}
        consumer.pause(*ends.keys() - behind.keys())
        for tp in behind:
            consumer.seek(tp, next_offsets.get(tp.partition, 0))
        return await _count_lines(consumer, behind)
    finally:
        await consumer.stop()


def _reader(settings: Settings) -> AIOKafkaConsumer:
    """A consumer of all partitions of the calls topic, in no group."""
    return AIOKafkaConsumer(
        settings.calls_topic,
        bootstrap_servers=settings.kafka,
        max_partition_fetch_bytes=LARGEST_MESSAGE,
    )


async def _count_lines(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> int:
    lines = 0
    while any([await consumer.position(tp) < end for tp, end in ends.items()]):
        for messages in (await consumer.getmany(timeout_ms=500)).values():
            counted = [m for m in messages if m.value and PRODUCER_HEADER in dict(m.headers)]
            lines += sum(1 + m.value.strip().count(b"\n") for m in counted)
    return lines


class CallProducer:
    """Sends call records in batches per partition; `put` never waits and never raises.

    Records of one conversation go to one partition, in order. They wait in the spool, so that they
    outlive a Kafka that is away and the process itself; if the disk takes no more, in memory, up to
    `WAITING_BYTES`; what comes beyond is dropped and counted. Every two seconds the counts go to
    the events topic, for the account. A broker that can tell a repeated batch from a new one is
    asked to; with another one, calls that may have arrived twice are counted as resent.
    """

    def __init__(self, settings: Settings, kind: str) -> None:
        """`kind` names the place in the spool that a later process of the same kind goes on with."""
        self.counts = State()
        self._settings = settings
        self._kind = kind
        self._spool: Spool | None = None
        self._producer: AIOKafkaProducer | None = None
        self._repeats_are_known = False
        self._partitions = settings.partitions
        self._lines: dict[tuple[int, str], list[bytes]] = defaultdict(list)  # by partition, format
        self._whole: list[Batch] = []
        self._events: list[bytes] = []
        self._memory: deque[Batch] = deque()  # what the spool did not take; sent after what it has
        self._bytes = 0  # in memory
        self._reported_at = 0.0
        self._said_away_at = -math.inf
        self._work: list[asyncio.Task[None]] = []
        self._more = asyncio.Event()
        self._keeping, self._sending, self._connecting = (asyncio.Lock() for _ in range(3))

    @property
    def name(self) -> str:
        """Its name in the account; it stays the same when a later process goes on with the spool."""
        return self.counts.name

    @property
    def waiting(self) -> int:
        """Calls taken but not yet in Kafka."""
        return self.counts.waiting

    @property
    def fullness(self) -> float:
        """How much of the room for waiting records is used; at 1 they are dropped."""
        on_disk = self._spool.fullness if self._spool else 1.0
        return self._bytes / WAITING_BYTES if on_disk >= 1 else on_disk

    async def start(self) -> None:
        """Opens the spool and starts sending as soon as Kafka is there."""
        folder = self._settings.data / "spool"
        try:
            self._spool = await asyncio.to_thread(
                Spool, folder, self._kind, self._settings.spool_bytes
            )
        except OSError as error:
            log.error("no spool, records wait in memory only: %s", error)
            self.counts.name = f"{self._kind}-{uuid.uuid4().hex[:8]}"
        else:
            self._spool.state.add(self.counts)
            self.counts = self._spool.state
        self._work = [
            asyncio.create_task(self._keep_on_keeping()),
            asyncio.create_task(self._keep_on_sending()),
        ]

    async def connect(self) -> None:
        """Connects if it is not connected. Raises KafkaError if Kafka is away."""
        async with self._connecting:  # else two that come at once make two connections
            if not self._producer:
                await self._connect()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self.counts.begin(await cluster_id(self._settings))
                self._producer, self._repeats_are_known = await _connected(self._settings)
                found = await self._producer.partitions_for(self._settings.calls_topic)
        except (TimeoutError, OSError) as error:
            await self._disconnect()
            raise KafkaConnectionError(str(error) or "no answer") from error
        except BaseException:
            await self._disconnect()
            raise
        self._partitions = len(found)

    async def stop(self) -> None:
        """Sends what waits and the final counts, within some seconds; the rest stays in the spool."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                async with self._sending:  # a batch cut off on its way would be sent again
                    self._cancel()
                await self.flush()
                await self.report()
        except (KafkaError, TimeoutError) as error:
            if self.waiting:
                log.warning("%d calls stay in the spool: %s", self.waiting, error or "no time left")
        finally:
            self._cancel()
            await asyncio.gather(*self._work, return_exceptions=True)
            await self.keep()
            await self._disconnect()
            if self._spool:
                await asyncio.to_thread(self._spool.close)

    def put(self, record: "Record") -> None:
        """Takes one record of our own format; its bodies are shortened until Kafka can take it."""
        line = msgspec.json.encode(record)
        while len(line) > LARGEST_LINE and (record.request or record.response) and not record.twin:
            record = _shortened(record)
            line = msgspec.json.encode(record)
        self.put_line(line, record.conversation_id or record.call_id)

    def put_line(self, line: bytes, key: str, format: str = "cutover") -> None:
        """Takes one encoded record; equal keys go to the same partition, in order."""
        if self._has_room(len(line), 1):
            self._lines[self._partition(key), format].append(line)

    def put_message(self, value: bytes, key: str, format: str, calls: int) -> None:
        """Takes a whole Kafka message of so many records; for formats that are not made of lines."""
        if self._has_room(len(value), calls):
            topic, partition = self._settings.calls_topic, self._partition(key)
            self._whole.append(Batch(topic, partition, format, calls, value))

    def event(self, kind: str, fields: dict[str, Any]) -> None:
        """Takes one event for the events topic."""
        self._events.append(_event(kind, fields))

    def _has_room(self, size: int, calls: int) -> bool:
        """Counts some calls, as dropped too if memory is full."""
        self.counts.produced += calls
        if self._bytes + size > WAITING_BYTES:
            self.counts.dropped += calls
            return False
        self._bytes += size
        return True

    def _partition(self, key: str) -> int:
        return crc32(key.encode("utf-8", "replace")) % self._partitions

    async def keep(self) -> bool:
        """Hands everything taken so far to the spool; False if some of it is in memory only.

        Goes on if who waits for it is cancelled: what is on its way would be lost half-way.
        """
        return await asyncio.shield(asyncio.create_task(self._keep()))

    async def _keep(self) -> bool:
        async with self._keeping:
            lines, self._lines = self._lines, defaultdict(list)
            whole, self._whole = self._whole, []
            events, self._events = self._events, []
            topic = self._settings.calls_topic
            new = [
                Batch(topic, partition, format, stop - start, b"\n".join(some[start:stop]))
                for (partition, format), some in lines.items()
                for start, stop in batches(some)
            ]
            new += whole
            new += [Batch(self._settings.events_topic, None, "", 0, event) for event in events]
            left = await asyncio.to_thread(self._append, new) if new else []
            self._memory += left
            self._bytes -= sum(len(line) for some in lines.values() for line in some)
            self._bytes -= sum(len(batch.value) for batch in whole)
            self._bytes += sum(len(batch.value) for batch in left)
            self._more.set()
            return not self._memory

    async def flush(self) -> None:
        """Sends everything that waits and returns when Kafka has it. Raises KafkaError; nothing is lost then."""
        await self.keep()
        await self._send_all()

    async def report(self) -> None:
        """Says on the events topic what was produced so far. Raises KafkaError."""
        await self.connect()
        counts = {
            name: getattr(self.counts, name)
            for name in ("produced", "sent", "waiting", "dropped", "resent")
        }
        event = _event("producer_counts", {"producer": self.name, **counts})
        self._reported_at = time.monotonic()
        await self._deliver(Batch(self._settings.events_topic, None, "", 0, event))

    async def _send_all(self) -> None:
        async with self._sending:
            await self.connect()
            while batch := await self._head():
                await self._send(batch)
                await self._report_if_due()
            await self._report_if_due()

    async def _report_if_due(self) -> None:
        if time.monotonic() - self._reported_at >= COUNT_INTERVAL_SECONDS:
            await self.report()

    def _append(self, new: list[Batch]) -> list[Batch]:
        """Appends to the spool; returns what must stay in memory. Order is kept."""
        if self._memory or not self._spool:
            return new
        for index, batch in enumerate(new):
            if not self._spool.append(batch):
                return new[index:]
        return []

    async def _head(self) -> Batch | None:
        """The batch to send next: what the spool has is older than what memory has."""
        if self._spool and (batch := await asyncio.to_thread(self._spool.head)):
            return batch
        return self._memory[0] if self._memory else None

    async def _send(self, batch: Batch) -> None:
        """Sends the first batch that waits, and takes it away when Kafka has it."""
        counts = self.counts
        counts.resent += batch.calls if counts.trying else 0
        counts.trying = 1
        started = time.monotonic()
        try:
            await self._deliver(batch)
        except MessageSizeTooLargeError:
            log.error("a record of %d bytes is too large for Kafka: dropped", len(batch.value))
            counts.dropped += batch.calls
            await self._take_away(batch, 0)
        else:
            if time.monotonic() - started >= RETRY_SECONDS:
                await self._was_slow(batch)
            await self._take_away(batch, batch.calls)

    async def _take_away(self, batch: Batch, sent: int) -> None:
        counts = self.counts
        if self._memory and batch is self._memory[0]:
            self._bytes -= len(self._memory.popleft().value)
            counts.advance(sent=counts.sent + sent)
            counts.trying = 0
        elif self._spool:
            await asyncio.to_thread(self._spool.pop, sent)

    async def _was_slow(self, batch: Batch) -> None:
        """aiokafka may have tried again meanwhile: what does that mean for the account?"""
        with suppress(KafkaError, OSError):
            self.counts.begin(await cluster_id(self._settings))
        if not self._repeats_are_known:
            self.counts.resent += batch.calls

    async def _deliver(self, batch: Batch) -> None:
        """Returns when Kafka has it. After a failure everything starts with a new connection."""
        assert self._producer
        headers = [(PRODUCER_HEADER, self.name.encode())]
        headers += [(FORMAT_HEADER, batch.format.encode())] if batch.format else []
        partition = None if batch.partition is None else batch.partition % self._partitions
        try:
            sending = await self._producer.send(
                batch.topic, batch.value, partition=partition, headers=headers
            )
            while not (await asyncio.wait([sending], timeout=PATIENCE_SECONDS))[0]:
                await self._must_be_the_same_cluster()
            sending.result()
        except MessageSizeTooLargeError:
            raise
        except BaseException:
            await self._disconnect()
            raise

    async def _must_be_the_same_cluster(self) -> None:
        """Raises KafkaError if another cluster answers now: it would be waited for in vain."""
        try:
            found = await cluster_id(self._settings)
        except (KafkaError, OSError):
            return
        if found != self.counts.cluster:
            raise KafkaConnectionError(f"another cluster answers at {self._settings.kafka}")

    async def _disconnect(self) -> None:
        if self._producer:
            producer, self._producer = self._producer, None
            await _close(producer)

    async def _keep_on_keeping(self) -> None:
        while True:
            await asyncio.sleep(BATCH_SECONDS)
            if self._lines or self._whole or self._events:
                await self.keep()

    async def _keep_on_sending(self) -> None:
        while True:
            self._more.clear()
            try:
                await self._send_all()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._more.wait(), COUNT_INTERVAL_SECONDS)
            except (KafkaError, OSError) as error:
                self._say_away(error)
                await asyncio.sleep(AGAIN_SECONDS)

    def _say_away(self, error: Exception) -> None:
        """Once a minute, that Kafka is away."""
        if time.monotonic() - self._said_away_at >= 60:
            self._said_away_at = time.monotonic()
            log.warning("%d calls wait: %s", self.waiting, why_not(self._settings, error))

    def _cancel(self) -> None:
        for task in self._work:
            task.cancel()


def _shortened(record: "Record") -> "Record":
    """The record without the second half of its longer body, and with a tag that says so."""
    longer = max("request", "response", key=lambda name: len(getattr(record, name)))
    text = getattr(record, longer)
    cut = {longer, *record.tags.get("recording_cut", longer).split(",")}
    tags = record.tags | {"recording_cut": ",".join(sorted(cut))}
    return msgspec.structs.replace(record, **{longer: text[: len(text) // 2]}, tags=tags)


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    at = time.time_ns() // 1_000_000
    return msgspec.json.encode({"event_id": uuid.uuid4().hex, "at": at, "kind": kind, **fields})


async def _connected(settings: Settings) -> tuple[AIOKafkaProducer, bool]:
    """A producer, and whether the broker knows repeated batches. Raises KafkaError if Kafka is away."""
    sender = logging.getLogger("aiokafka.producer.sender")
    for idempotent in (True, False):
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka,
            compression_type="zstd",
            max_request_size=LARGEST_MESSAGE,
            acks="all",
            enable_idempotence=idempotent,
            retry_backoff_ms=round(RETRY_SECONDS * 1000),
        )
        sender.disabled = idempotent  # a broker that knows none of it says so with an error
        try:
            await producer.start()
        except BaseException as error:
            await _close(producer)
            if idempotent and isinstance(error, BrokerResponseError):
                continue
            raise
        finally:
            sender.disabled = False
        return producer, idempotent
    raise AssertionError("the second one is not refused for being idempotent")


async def _close(producer: AIOKafkaProducer) -> None:
    """Disconnects, and gives up what aiokafka would try to send for as long as Kafka is away."""
    stopping = asyncio.create_task(producer.stop())
    if not (await asyncio.wait([stopping], timeout=1))[0]:
        stopping.cancel()
        await producer.client.close()
        if task := producer._sender.sender_task:
            task.cancel()
            await asyncio.wait([task], timeout=RETRY_SECONDS * 2)


def batches(lines: list[bytes]) -> Iterable[tuple[int, int]]:
    """Cuts lines into messages: (start, stop) index pairs within the limits of calls and bytes."""
    start = size = 0
    for index, line in enumerate(lines):
        if index > start and (index - start >= BATCH_CALLS or size + len(line) > BATCH_BYTES):
            yield start, index
            start, size = index, 0
        size += len(line)
    if lines:
        yield start, len(lines)
