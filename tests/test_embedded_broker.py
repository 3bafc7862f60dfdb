"""The embedded broker as a Kafka client sees it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from ports import own_port

from pipeline.embedded.broker import broker_command
from pipeline.embedded.supervisor import tcp_ready

TOPIC = "llm.calls"


@asynccontextmanager
async def running() -> AsyncIterator[str]:
    """A broker of its own for one test, by its bootstrap address."""
    port = own_port()
    command = [sys.executable, "-m", "pipeline.embedded.broker", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not await tcp_ready(port):
                assert process.poll() is None
                await asyncio.sleep(0.02)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


@asynccontextmanager
async def administering(broker: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def producing(broker: str, compression: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(
        bootstrap_servers=broker, compression_type=compression, max_request_size=10 * 2**20
    ) as producer:
        yield producer


class Assigned(ConsumerRebalanceListener):  # type: ignore[misc]
    """Lets a test await that a consumer has a number of partitions."""

    def __init__(self) -> None:
        self.counts: asyncio.Queue[int] = asyncio.Queue()

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        pass

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.counts.put_nowait(len(assigned))

    async def becomes(self, count: int) -> None:
        while await asyncio.wait_for(self.counts.get(), 15) != count:
            pass


async def joined(broker: str, assigned: Assigned) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        group_id="workers",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
    )
    consumer.subscribe([TOPIC], listener=assigned)
    await consumer.start()
    return consumer


def test_each_start_has_a_cluster_id_of_its_own() -> None:
    assert broker_command(9092) != broker_command(9092)


async def test_clients_see_the_new_cluster_id_and_an_empty_log_after_a_restart() -> None:
    seen = []
    for _ in range(2):
        async with running() as broker, administering(broker) as admin:
            assert await admin.list_topics() == []
            await admin.create_topics([NewTopic(TOPIC, 1, 1)])
            async with producing(broker) as producer:
                assert (await producer.send_and_wait(TOPIC, b"first")).offset == 0
            seen.append((await admin.describe_cluster())["cluster_id"])
    assert all(name.startswith("embedded-") for name in seen)
    assert seen[0] != seen[1]


@pytest.mark.parametrize("compression", [None, "gzip", "lz4", "zstd"])
async def test_messages_come_back_whole(compression: str | None) -> None:
    """Key, headers and 8 MB of value, whatever the compression."""
    value = os.urandom(8 * 2**20)
    headers = [("cutover-format", b"litellm"), ("empty", b"")]
    async with running() as broker:
        async with administering(broker) as admin:
            await admin.create_topics([NewTopic(TOPIC, 4, 1)])
        async with producing(broker, compression) as producer:
            await producer.send_and_wait(TOPIC, value, key=b"c1", headers=headers, partition=3)
        consumer = AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest")
        async with consumer:
            consumer.assign([TopicPartition(TOPIC, 3)])
            message = await asyncio.wait_for(consumer.getone(), 15)
    assert (message.key, message.offset, message.value == value) == (b"c1", 0, True)
    assert list(message.headers) == headers


async def test_two_consumers_share_partitions_and_one_takes_over_where_the_other_committed() -> (
    None
):
    async with running() as broker:
        async with administering(broker) as admin:
            await admin.create_topics([NewTopic(TOPIC, 4, 1)])
        async with producing(broker) as producer:
            for partition in range(4):
                await producer.send_and_wait(TOPIC, b"read", partition=partition)
                await producer.send_and_wait(TOPIC, b"left", partition=partition)
        assigned = [Assigned(), Assigned()]
        first = await joined(broker, assigned[0])
        second = await joined(broker, assigned[1])
        try:
            await asyncio.gather(*(each.becomes(2) for each in assigned))
            theirs = second.assignment()
            assert len(first.assignment() | theirs) == 4
            await second.commit(dict.fromkeys(theirs, 1))
        finally:
            await second.stop()
        try:
            await assigned[0].becomes(4)
            assert [await first.committed(each) for each in theirs] == [1, 1]
            first.pause(*(first.assignment() - theirs))
            for each in theirs:
                await first.seek_to_committed(each)
            messages = [await asyncio.wait_for(first.getone(*theirs), 15) for _ in theirs]
            assert {message.value for message in messages} == {b"left"}
        finally:
            await first.stop()
