"""Kafka for everyone but the worker: topics, offsets, and the producer that batches call records.

The only place that imports aiokafka.
"""

import asyncio
import json
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any
from zlib import crc32

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from pipeline.formats.cutover import Record, encode
from pipeline.settings import Settings

__all__ = [
    "CallProducer", "KafkaError", "calls_beyond", "cluster_id", "end_offsets", "ensure_topics",
    "missing_topics",
]  # fmt: skip

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.05
BATCH_CALLS = 500
BATCH_BYTES = 512 * 1024
WAITING_BYTES = 128 * 1024 * 1024  # what may wait in memory while Kafka is away
LARGEST_MESSAGE = 8 * 1024 * 1024
FORMAT_HEADER = "cutover-format"
COUNT_INTERVAL_SECONDS = 2.0


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
        wanted = {settings.calls_topic, settings.rejected_topic, settings.events_topic}
        return wanted - set(await admin.list_topics())
    finally:
        await admin.close()


async def cluster_id(settings: Settings) -> str:
    """The id of the Kafka cluster; a broker that was wiped has a new one. Raises KafkaError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


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
    """How many calls lie in the calls topic from the given offsets on, counted by reading them."""
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
            lines += sum(1 + m.value.strip().count(b"\n") for m in messages if m.value)
    return lines


class CallProducer:
    """Sends call records in batches per partition; `put` never waits and never raises.

    Records of one conversation go to one partition. While Kafka is away records wait in memory,
    up to `WAITING_BYTES`; what comes beyond is dropped and counted. Every two seconds it says on
    the events topic how many calls it produced, for the account.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = f"{name}-{uuid.uuid4().hex[:8]}"
        self.produced = self.sent = self.dropped = 0
        self._settings = settings
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka,
            compression_type="zstd",
            max_request_size=LARGEST_MESSAGE,
            acks="all",
        )
        self._lines: dict[tuple[int, str], list[bytes]] = defaultdict(list)  # by partition, format
        self._bytes = 0
        self._events: list[dict[str, Any]] = []
        self._partitions = settings.partitions
        self._work: list[asyncio.Task[None]] = []
        self._sending = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Calls produced but not yet in Kafka."""
        return self.produced - self.sent - self.dropped

    async def start(self) -> None:
        """Connects. Raises KafkaError if Kafka is away."""
        try:
            await self._producer.start()
        except KafkaError:
            await self._producer.stop()
            raise
        self._partitions = len(await self._producer.partitions_for(self._settings.calls_topic))
        self._work = [
            asyncio.create_task(self._every(BATCH_SECONDS, self.flush)),
            asyncio.create_task(self._every(COUNT_INTERVAL_SECONDS, self.report)),
        ]

    async def stop(self) -> None:
        """Sends what waits, says the final count, disconnects."""
        async with self._sending:  # a message cut off on its way would be sent a second time
            for task in self._work:
                task.cancel()
        try:
            await self.flush()
            await self.report()
        except KafkaError as error:
            log.error("%d calls could not be sent: %s", self.waiting, error)
        await self._producer.stop()

    def put(self, record: Record) -> None:
        """Takes one record."""
        self.put_line(encode(record), record.conversation_id or record.call_id)

    def put_line(self, line: bytes, key: str, format: str = "cutover") -> None:
        """Takes one encoded record; equal keys go to the same partition, in order."""
        self.produced += 1
        if self._bytes + len(line) > WAITING_BYTES:
            self.dropped += 1
            return
        self._bytes += len(line)
        partition = crc32(key.encode("utf-8", "replace")) % self._partitions
        self._lines[partition, format].append(line)

    def event(self, kind: str, fields: dict[str, Any]) -> None:
        """Takes one event for the events topic."""
        at = time.time_ns() // 1_000_000
        self._events.append({"event_id": uuid.uuid4().hex, "at": at, "kind": kind, **fields})

    async def flush(self) -> None:
        """Sends everything that waits and returns when Kafka has it. Raises KafkaError; nothing is lost then."""
        async with self._sending:
            while self._lines:
                place = next(iter(self._lines))
                await self._send_lines(place, self._lines.pop(place))
            while self._events:
                event = json.dumps(self._events[0], ensure_ascii=False).encode()
                await self._producer.send_and_wait(self._settings.events_topic, event)
                self._events.pop(0)

    async def report(self) -> None:
        """Says on the events topic what was produced so far."""
        counts = {"produced": self.produced, "sent": self.sent, "waiting": self.waiting}
        self.event("producer_counts", {"producer": self.name, "dropped": self.dropped, **counts})
        await self.flush()

    async def _send_lines(self, place: tuple[int, str], lines: list[bytes]) -> None:
        partition, format = place
        for start, stop in batches(lines):
            message = b"\n".join(lines[start:stop])
            try:
                await self._producer.send_and_wait(
                    self._settings.calls_topic,
                    message,
                    partition=partition,
                    headers=[(FORMAT_HEADER, format.encode())] if format else [],
                )
            except BaseException:
                self._lines[place] = lines[start:] + self._lines[place]
                raise
            self.sent += stop - start
            self._bytes -= sum(map(len, lines[start:stop]))

    async def _every(self, seconds: float, work: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except KafkaError as error:
                log.warning("Kafka is away, %d calls wait: %s", self.waiting, error)
                await asyncio.sleep(1)


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
