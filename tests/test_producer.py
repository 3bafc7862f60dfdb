"""The producer when things go wrong: Kafka away, killed and started again, the process killed, the disk full."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from kafka_brokers import Broker, apache, embedded
from ports import own_port
from records import anthropic_record
from tapping import provider

from pipeline import kafka as module
from pipeline.embedded.supervisor import http_ready
from pipeline.formats.cutover import encode
from pipeline.kafka import CallProducer, KafkaError, cluster_id, ensure_topics
from pipeline.settings import Settings
from pipeline.spool import State
from pipeline.tap.recording import BODY_LIMIT

ROOT = Path(__file__).parent.parent
PATIENCE = 90.0
CHILD = """
import asyncio, json, sys
from pipeline.kafka import CallProducer
from pipeline.settings import Settings

async def main(calls, every):
    producer = CallProducer(Settings.read(), "test")
    await producer.start()
    for number in range(calls):
        producer.put_line(json.dumps([number % 7, number]).encode(), f"talk {number % 7}")
        if every:
            await asyncio.sleep(every)
    await producer.keep()
    print(producer.name, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
"""


@pytest.fixture(params=["embedded", "apache"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own that is not running yet."""
    made = embedded() if request.param == "embedded" else apache(tmp_path / "kafka")
    yield made
    made.kill()


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    return replace(Settings(), data=tmp_path / "data", kafka=broker.address)


@asynccontextmanager
async def producing(settings: Settings):
    producer = CallProducer(settings, "test")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def put(producer: CallProducer, numbers: range) -> None:
    for number in numbers:
        producer.put_line(json.dumps([number % 7, number]).encode(), f"talk {number % 7}")


async def up(broker: Broker, settings: Settings) -> None:
    await asyncio.to_thread(broker.start)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await ensure_topics(settings)
            except (KafkaError, OSError):
                await asyncio.sleep(0.2)


async def all_sent(producer: CallProducer) -> None:
    async with asyncio.timeout(PATIENCE):
        while producer.waiting:
            await asyncio.sleep(0.05)


async def lines(settings: Settings) -> list[list[tuple[int, int]]]:
    """(talk, number) of every line in the calls topic, one list a partition."""
    return [[(talk, number) for talk, number in found] for found in await values(settings)]


async def values(settings: Settings) -> list[list[Any]]:
    """Every line in the calls topic, decoded, one list a partition."""
    found: dict[int, list[Any]] = defaultdict(list)
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, auto_offset_reset="earliest"
    ) as consumer:
        places = [TopicPartition(settings.calls_topic, p) for p in range(settings.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(tp) < ends[tp] for tp in places]):
            for tp, messages in (await consumer.getmany(timeout_ms=500)).items():
                for message in messages:
                    found[tp.partition] += map(json.loads, message.value.split(b"\n"))
    return list(found.values())


async def assert_arrived(settings: Settings, producer: CallProducer, numbers: set[int]) -> None:
    """All of them, in order per conversation, and not one more than the producer admits."""
    partitions = await lines(settings)
    arrived = [number for partition in partitions for _, number in partition]
    assert set(arrived) == numbers
    counts = producer.counts
    assert counts.produced - counts.dropped == counts.sent == len(numbers)
    assert 0 <= len(arrived) - counts.sent <= counts.resent
    for partition in partitions:
        for talk in range(7):
            firsts = list(dict.fromkeys(n for t, n in partition if t == talk))
            assert firsts == sorted(firsts)


async def test_what_is_taken_before_kafka_is_there_waits_on_disk_and_arrives_in_order(
    broker: Broker, settings: Settings
) -> None:
    async with producing(settings) as producer:
        put(producer, range(300))
        assert await producer.keep()
        put(producer, range(300, 600))
        with pytest.raises(KafkaError):
            await producer.flush()
        assert (producer.waiting, producer.counts.sent) == (600, 0)
        await up(broker, settings)
        await all_sent(producer)
        await assert_arrived(settings, producer, set(range(600)))
        assert producer.counts.resent == 0


async def test_a_broker_that_is_killed_under_way_costs_nothing(
    broker: Broker, settings: Settings
) -> None:
    await up(broker, settings)
    first = await cluster_id(settings)
    numbers = itertools.count()

    async def talk(producer: CallProducer) -> None:
        for number in numbers:
            put(producer, range(number, number + 1))
            await asyncio.sleep(0.005)

    async with producing(settings) as producer:
        talking = asyncio.create_task(talk(producer))
        while producer.counts.sent < 100:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(broker.kill)
        gone = producer.counts.sent
        while producer.waiting < 300:
            await asyncio.sleep(0.05)
        await up(broker, settings)
        again = await cluster_id(settings)
        assert (again == first) is broker.keeps_its_log
        while producer.waiting > 100 or producer.counts.cluster != again:
            await asyncio.sleep(0.05)
        talking.cancel()
        last = next(numbers)
        await all_sent(producer)
        await producer.flush()
        kept = set(range(last))
        if not broker.keeps_its_log:  # what it had is gone with it, and the account starts anew
            in_kafka = {n for partition in await lines(settings) for _, n in partition}
            assert set(range(gone + 100, last)) <= in_kafka
            kept = in_kafka
        await assert_arrived(settings, producer, kept)


@pytest.mark.parametrize("kafka_is_there", [False, True])
async def test_what_a_killed_process_had_on_disk_is_sent_by_the_next_one(
    broker: Broker, settings: Settings, kafka_is_there: bool
) -> None:
    if kafka_is_there:
        await up(broker, settings)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, "2000", "0.002" if kafka_is_there else "0"],
        env={**os.environ, **settings.environ(), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    with child:
        if kafka_is_there:  # in the middle of its work
            await asyncio.sleep(0)
            places = settings.data / "spool" / "test-0" / "state"
            async with asyncio.timeout(PATIENCE):
                while _sent(places) < 200:
                    await asyncio.sleep(0.01)
        else:
            assert child.stdout
            name = (await asyncio.to_thread(child.stdout.readline)).decode().strip()
        child.send_signal(signal.SIGKILL)
        await asyncio.to_thread(child.wait)
    if not kafka_is_there:
        await up(broker, settings)
    async with producing(settings) as producer:
        await producer.flush()
        arrived = {n for partition in await lines(settings) for _, n in partition}
        await assert_arrived(settings, producer, arrived)
        assert arrived == set(range(len(arrived)))  # lost is the end alone
        if not kafka_is_there:
            assert producer.name == name
            assert len(arrived) == producer.counts.produced == 2000


def _sent(state: Path) -> int:
    return State(bytearray(state.read_bytes())).sent if state.exists() else 0


async def test_what_neither_disk_nor_memory_takes_is_dropped_and_counted(
    broker: Broker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 2_000)
    async with producing(replace(settings, spool_bytes=10_000)) as producer:
        for start in range(0, 3000, 50):
            put(producer, range(start, start + 50))
            kept = await producer.keep()
        assert not kept
        counts = producer.counts
        assert counts.produced == 3000
        assert 500 < producer.waiting < 2000
        assert counts.dropped == 3000 - producer.waiting
        assert producer.fullness > 0.9
        await up(broker, settings)
        await all_sent(producer)
        arrived = {n for partition in await lines(settings) for _, n in partition}
        await assert_arrived(settings, producer, arrived)
        put(producer, range(3000, 3010))
        await producer.flush()
        await assert_arrived(settings, producer, arrived | set(range(3000, 3010)))


async def test_without_a_folder_to_write_in_records_wait_in_memory(
    broker: Broker, settings: Settings
) -> None:
    settings.data.mkdir()
    (settings.data / "spool").write_text("a file")
    async with producing(settings) as producer:
        put(producer, range(100))
        assert not await producer.keep()
        await up(broker, settings)
        await all_sent(producer)
        await assert_arrived(settings, producer, set(range(100)))


async def test_the_tap_serves_without_kafka_and_its_records_arrive_later(
    broker: Broker, settings: Settings, tmp_path: Path
) -> None:
    settings = replace(
        settings, plan=tmp_path / "plan.yml", tap_port=own_port(), admin_port=own_port()
    )
    async with provider() as baseline, aiohttp.ClientSession() as client:
        settings.plan.write_text(
            "{migration: M, baseline: claude, workloads: {}, endpoints: {claude: {provider: anthropic, "
            f"base_urls: {{anthropic_messages: '{baseline.url}'}}}}}}}}"
        )
        tap = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "tap"], cwd=ROOT,
            env={**os.environ, **settings.environ()},
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{settings.tap_port}"
            async with asyncio.timeout(PATIENCE):
                while not await http_ready(f"{url}/healthz"):
                    await asyncio.sleep(0.1)
            ids = set()
            for _ in range(20):
                async with client.post(f"{url}/v1/messages", json={"model": "m"}) as answer:
                    assert answer.status == 200
                    ids.add(answer.headers["x-cutover-call-id"])
            logs = f"http://127.0.0.1:{settings.admin_port}/v1/logs"
            async with client.post(logs, data=encode(anthropic_record("sent"))) as answer:
                assert await answer.json() == {"taken": 1}
                ids.add("sent")
            await up(broker, settings)
            async with asyncio.timeout(PATIENCE):
                while {r["call_id"] for p in await values(settings) for r in p} != ids:
                    await asyncio.sleep(0.2)
            tap.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(tap.wait, 30) == 0
        finally:
            tap.kill()


async def test_a_record_kafka_would_never_take_does_not_stop_the_others(
    broker: Broker, settings: Settings
) -> None:
    await up(broker, settings)
    async with producing(settings) as producer:
        producer.put_line(b"x" * (module.LARGEST_MESSAGE + 1), "talk 0")
        put(producer, range(10))
        await producer.flush()
        assert (producer.counts.dropped, producer.counts.sent) == (1, 10)


async def test_a_record_too_large_for_kafka_is_shortened_until_it_fits_and_says_so(
    broker: Broker, settings: Settings
) -> None:
    """Both bodies as long as the tap keeps them, and what JSON adds."""
    await up(broker, settings)
    async with producing(settings) as producer:
        text = '"' * BODY_LIMIT
        producer.put(anthropic_record("large", request=text, response="y" * BODY_LIMIT))
        await producer.flush()
        assert (producer.counts.dropped, producer.counts.sent) == (0, 1)
    ((record,),) = await values(settings)
    assert record["tags"]["recording_cut"] == "request,response"
    assert record["request"] == '"' * (BODY_LIMIT // 2)
    assert record["response"] == "y" * (BODY_LIMIT // 2)


async def test_what_is_on_its_way_to_the_spool_outlives_who_waited_for_it(
    broker: Broker, settings: Settings
) -> None:
    settings.data.mkdir()
    (settings.data / "spool").write_text("a file")
    async with producing(settings) as producer:
        put(producer, range(100))
        keeping = asyncio.create_task(producer.keep())
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await up(broker, settings)
        await all_sent(producer)
        await assert_arrived(settings, producer, set(range(100)))


async def test_whoever_wants_a_connection_gets_the_same_one(
    broker: Broker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    connected = module._connected

    async def counted(settings: Settings) -> object:
        made.append(await connected(settings))
        return made[-1]

    monkeypatch.setattr(module, "_connected", counted)
    await up(broker, settings)
    async with producing(settings) as producer:
        await asyncio.gather(*(producer.connect() for _ in range(3)))
        await producer.flush()
    assert len(made) == 1
