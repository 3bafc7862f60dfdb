"""Worker processes and traffic for tests, and what must hold of what was stored."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from ports import own_port
from records import anthropic_record

from pipeline.account import next_offsets, take_account
from pipeline.embedded.supervisor import http_ready
from pipeline.formats.cutover import Record
from pipeline.kafka import CallProducer, cluster_id, end_offsets
from pipeline.service import drained
from pipeline.settings import Settings
from pipeline.store.connect import Client

PATIENCE = 60.0


class Worker:
    """A worker process, its address and its log."""

    def __init__(self, settings: Settings, name: str = "worker") -> None:
        self.settings = replace(settings, worker_port=own_port())
        self.url = f"http://127.0.0.1:{self.settings.worker_port}"
        self._log = Path(settings.data) / f"{name}.log"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "worker"],
                env={**os.environ, **self.settings.environ()}, stdout=log, stderr=log,
            )  # fmt: skip

    async def ready(self) -> None:
        await until(lambda: http_ready(f"{self.url}/healthz"), self)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself or by a signal sent before."""
        async with asyncio.timeout(PATIENCE):
            return await asyncio.to_thread(self.process.wait, PATIENCE)


@contextmanager
def worker(settings: Settings, name: str = "worker") -> Iterator[Worker]:
    """A worker that does not outlive the block; it may not be ready yet."""
    started = Worker(settings, name)
    started.start()
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


async def until(condition: Callable[[], Any], *workers: Worker) -> None:
    """Waits for a condition; fails with a worker's log if one ends before, or with all of them."""
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        dead = [w for w in workers if w.process.poll() is not None]
        if dead or time.monotonic() > deadline:
            raise AssertionError("\n\n".join(w.log[-5000:] for w in dead or workers))
        await asyncio.sleep(0.1)


@asynccontextmanager
async def producing(settings: Settings) -> AsyncIterator[CallProducer]:
    """A producer of call records; on leaving everything is in Kafka."""
    producer = CallProducer(settings, "test")
    await producer.start()
    try:
        yield producer
        async with asyncio.timeout(PATIENCE):  # stopping it waits for some seconds only
            while producer.waiting:
                await asyncio.sleep(0.05)
    finally:
        await producer.stop()


@asynccontextmanager
async def traffic(settings: Settings) -> AsyncIterator[CallProducer]:
    """About a hundred calls a second while the block runs."""

    async def talk(producer: CallProducer) -> None:
        for number in itertools.count():
            producer.put(live_record(f"call {number}"))
            await asyncio.sleep(0.01)

    async with producing(settings) as producer:
        talking = asyncio.create_task(talk(producer))
        try:
            yield producer
        finally:
            talking.cancel()


def live_record(call_id: str, **changes: Any) -> Record:
    """A record of a call that ended just now."""
    now = time.time_ns() // 1_000_000
    return anthropic_record(call_id, **{"started_at": now - 1200, "ended_at": now, **changes})


async def caught_up(settings: Settings, store: Client, *workers: Worker) -> None:
    """Waits until the ledger covers what is in Kafka now, whatever comes meanwhile."""
    cluster, ends = await cluster_id(settings), await end_offsets(settings)

    async def covered() -> bool:
        ledger = await asyncio.to_thread(next_offsets, settings, store, cluster)
        return all(ledger.get(partition, 0) >= end for partition, end in ends.items())

    await until(covered, *workers)


async def writes(store: Client, writer: Worker) -> None:
    """Waits until this worker writes a row of the ledger that is not there yet."""
    count = f"SELECT count() FROM ledger WHERE endsWith(worker, ':{writer.settings.worker_port}')"
    before = await asyncio.to_thread(store.command, count)

    async def more() -> bool:
        return await asyncio.to_thread(store.command, count) != before

    await until(more, writer)


async def committed_offsets(settings: Settings) -> dict[int, int]:
    """Partition → the offset the worker's group has committed."""
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        group_id=settings.consumer_group,
        enable_auto_commit=False,
    ) as consumer:
        places = [TopicPartition(settings.calls_topic, p) for p in range(settings.partitions)]
        consumer.assign(places)
        return {tp.partition: await consumer.committed(tp) or 0 for tp in places}


@asynccontextmanager
async def watched_commits(settings: Settings, store: Client) -> AsyncIterator[None]:
    """Looks while the block runs whether Kafka's committed offsets ever pass the ledger."""
    cluster = await cluster_id(settings)

    async def watch() -> None:
        while True:
            await assert_ledger_covers_commits(settings, store, cluster)
            await asyncio.sleep(0.3)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    if not watching.cancelled():
        watching.result()


async def assert_ledger_covers_commits(settings: Settings, store: Client, cluster: str) -> None:
    committed = await committed_offsets(settings)
    ledger = await asyncio.to_thread(next_offsets, settings, store, cluster)
    assert all(offset <= ledger.get(partition, 0) for partition, offset in committed.items())


async def assert_all_is_accounted_for(
    settings: Settings, store: Client, producer: CallProducer, *workers: Worker
) -> None:
    """Waits until the ledger covers Kafka; then nothing may be missing and nothing there twice."""
    assert await drained(settings, PATIENCE), "\n\n".join(w.log[-5000:] for w in workers)
    cluster = await cluster_id(settings)
    counts = producer.counts
    account = await take_account(
        settings, store, cluster, counts.produced, counts.waiting, counts.resent
    )
    assert account.balanced, account
    assert account.in_flight == 0
    assert store.command("SELECT count() - uniqExact(call_id) FROM calls") == 0
    assert store.command("SELECT count() FROM calls") == store.command(
        "SELECT sum(calls) FROM calls_per_minute"
    )
    assert_ledger_has_no_gaps(store)
    await assert_ledger_covers_commits(settings, store, cluster)


def assert_ledger_has_no_gaps(store: Client) -> None:
    """Each partition's rows follow each other from offset 0 on."""
    rows = store.query(
        "SELECT kafka_partition, offset_from, offset_to FROM ledger ORDER BY 1, 2"
    ).result_rows
    for _, ranges in itertools.groupby(rows, key=lambda row: row[0]):
        expected = 0
        for _, first, last in ranges:
            assert first == expected, rows
            expected = last + 1


KILL, STOP, CONTINUE, TERMINATE = (
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM,
)  # fmt: skip
