"""The worker as a process of its own, between a real broker and a real store, whatever is sent and whoever dies."""

import asyncio
import json
import subprocess
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from conftest import process
from conftest import until as answering
from ports import own_port
from workers import (
    CONTINUE,
    KILL,
    STOP,
    TERMINATE,
    Worker,
    assert_all_is_accounted_for,
    caught_up,
    live_record,
    producing,
    traffic,
    until,
    watched_commits,
    worker,
    writes,
)

from pipeline.catalog import Catalog
from pipeline.embedded.supervisor import http_ready
from pipeline.formats.cutover import encode
from pipeline.kafka import LARGEST_MESSAGE, ensure_topics
from pipeline.settings import Settings
from pipeline.store.connect import Client, connect
from pipeline.store.migrate import migrate

TRUNCATED = encode(live_record("truncated"))[:-40]
BAD = {
    "garbage": (b"\x00\xffgarbage", "not_json"),
    "empty": (b"", "empty"),
    "tombstone": (None, "empty"),
    "5 MB of garbage": (b"\xfe" * 5_000_000, "not_json"),
    "as large as a message can be": (b"x" * (LARGEST_MESSAGE - 100), "not_json"),
    "truncated": (TRUNCATED, "not_json"),
    "JSON of nobody": (b'{"hello": 1}', "unknown_format"),
    "no call id": (b'{"cutover":1,"provider":"zhipu"}', "malformed_record"),
    "NaN": (b'{"cutover":1,"call_id":"nan","share":NaN}', "not_json"),
}
EVENT = {"event_id": "e", "at": 1_795_000_000_000, "kind": "of others"}
BAD_EVENTS = [
    b"[" * 200_000,
    json.dumps(EVENT | {"event_id": "half a pair: \ud83d"}).encode(),
    json.dumps(EVENT | {"at": 10**30}).encode(),
    json.dumps(EVENT).encode(),  # the only sound one
]
USAGE = {"input_tokens": -5, "output_tokens": 20}
DOUBTFUL = {
    "from 1970": (live_record("from 1970", started_at=12, ended_at=20), "start_too_old"),
    "from 2100": (live_record("from 2100", started_at=4_102_444_800_000), "start_in_future"),
    "negative": (
        live_record(
            "negative",
            response=json.dumps({"type": "message", "model": "claude-sonnet-4-5", "usage": USAGE}),
        ),
        "bad_token_count",
    ),
    "no model": (live_record("no model", request="{}", response="{}"), "model_missing"),
}


async def send(settings: Settings, values: list[bytes | None]) -> None:
    """Puts messages on the calls topic as a gateway would, one after the other on partition 0."""
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka, max_request_size=LARGEST_MESSAGE
    ) as producer:
        for value in values:
            await producer.send_and_wait(settings.calls_topic, value, key=b"", partition=0)


async def send_events(settings: Settings, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        for value in values:
            await producer.send_and_wait(settings.events_topic, value, partition=0)


async def rejected_copies(settings: Settings, wanted: int) -> list[tuple[str, str, bytes]]:
    """Reason, origin and length of what is on the rejected topic."""
    copies: list[tuple[str, str, bytes]] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=LARGEST_MESSAGE,
    ) as consumer:
        topic = settings.rejected_topic
        consumer.assign([TopicPartition(topic, p) for p in range(settings.partitions)])
        async with asyncio.timeout(30):
            while len(copies) < wanted:
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    for message in messages:
                        headers = {name: value.decode() for name, value in message.headers}
                        reason, origin = headers["cutover-reason"], headers["cutover-origin"]
                        copies.append((reason, origin, message.value or b""))
    return copies


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


async def are_there(store: Client, count: str) -> bool:
    return bool(await asyncio.to_thread(store.command, count))


async def test_whatever_is_sent_becomes_rows_or_rejected_records_and_the_worker_goes_on(
    kafka_settings: Settings, store: Client
) -> None:
    settings = kafka_settings
    with worker(settings) as running:
        async with producing(settings) as producer:
            for number in range(300):
                producer.put(live_record(f"call {number}"))
            producer.put(live_record("call 0", conversation_id="conversation of call 0"))
        await send(settings, [value for value, _ in BAD.values()])
        await send(settings, [encode(record) for record, _ in DOUBTFUL.values()])
        await send(settings, [b"\n".join((encode(live_record("beside")), b"garbage"))])
        await send_events(settings, BAD_EVENTS)
        await assert_all_is_accounted_for(settings, store, producer, running)
        not_the_producers = len(BAD) + len(DOUBTFUL) + 2
        assert store.command("SELECT sum(uncounted) FROM ledger") == not_the_producers
        await running.ready()
        health = json.loads(get(f"{running.url}/healthz"))
        metrics = get(f"{running.url}/metrics")

        assert health["ok"]
        assert "cutover_worker_stored_total 305.0" in metrics
        assert "cutover_worker_duplicates_total 1.0" in metrics
        stored = store.query("SELECT call_id, doubts, findings FROM calls").result_rows
        said = {row[0]: [*row[1], *row[2]] for row in stored}
        assert len(said) == len(stored) == 305
        assert said["beside"] == []
        for call_id, (_, doubt) in DOUBTFUL.items():
            assert doubt in said[call_id]
        reasons = "SELECT reason FROM rejected ORDER BY kafka_offset, position"
        expected = [reason for _, reason in BAD.values()] + ["not_json"]
        assert [row[0] for row in store.query(reasons).result_rows] == expected

        small = [reason for value, reason in BAD.values() if len(value or b"") < 6_000_000]
        copies = await rejected_copies(settings, len(small) + 1)
        assert sorted(reason for reason, _, _ in copies) == sorted([*small, "not_json"])
        origins = {origin for _, origin, _ in copies}
        assert len(origins) == len(copies)
        assert all(origin.startswith(f"{settings.calls_topic}/0/") for origin in origins)
        assert b"\xfe" * 5_000_000 in {value for _, _, value in copies}

        events = "SELECT count() FROM events WHERE kind = 'of others'"
        await until(lambda: are_there(store, events), running)

        running.signal(TERMINATE)
        assert await running.ended() == 0
        assert "Traceback" not in running.log


async def test_workers_that_freeze_or_die_are_followed_by_others_without_loss_or_repetition(
    kafka_settings: Settings, store: Client
) -> None:
    settings = kafka_settings
    with worker(settings, "first") as first:
        await first.ready()
        async with watched_commits(settings, store), traffic(settings) as producer:
            await writes(store, first)
            with worker(settings, "second") as second:
                await asyncio.gather(writes(store, first), writes(store, second))
                first.signal(STOP)
                await caught_up(settings, store, second)
                first.signal(CONTINUE)
                await writes(store, first)
                second.signal(KILL)
                await caught_up(settings, store, first)
        await assert_all_is_accounted_for(settings, store, producer, first)


async def test_a_worker_whose_partitions_went_to_another_no_longer_tells_where_they_end(
    kafka_settings: Settings, store: Client
) -> None:
    """One partition for two workers; who is frozen loses it, and knows so when it wakes up."""
    topic = f"{kafka_settings.calls_topic}-single"
    settings = replace(kafka_settings, partitions=1, calls_topic=topic)
    await ensure_topics(settings)

    async def told(partitions: int, *workers: Worker) -> bool:
        health = [await asyncio.to_thread(get, f"{one.url}/healthz") for one in workers]
        return sum(json.loads(each)["partitions"] for each in health) == partitions

    with worker(settings, "first") as first:
        await first.ready()
        await until(lambda: told(1, first), first)
        with worker(settings, "second") as second:
            await second.ready()
            first.signal(STOP)
            await until(lambda: told(1, second), second)
            first.signal(CONTINUE)
            await until(lambda: told(1, first, second), first, second)


async def test_a_worker_goes_on_where_a_killed_one_stopped(
    kafka_settings: Settings, store: Client
) -> None:
    settings = kafka_settings
    with ExitStack() as running:
        killed = running.enter_context(worker(settings, "killed"))
        async with traffic(settings) as producer:
            await writes(store, killed)
            killed.signal(KILL)
            successor = running.enter_context(worker(settings, "successor"))
            await writes(store, successor)
        await assert_all_is_accounted_for(settings, store, producer, successor)


async def test_nothing_is_lost_when_the_store_dies_and_comes_back(
    kafka_settings: Settings, catalog: Catalog, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{own_port()}"
    settings = replace(kafka_settings, clickhouse_url=url)
    with ExitStack() as running:

        async def start_store() -> subprocess.Popen[bytes]:
            arguments = ("--port", url.rpartition(":")[2], "--data", str(tmp_path / "clickhouse"))
            started = running.enter_context(process("pipeline.embedded.clickhouse", *arguments))
            await answering(lambda: http_ready(f"{url}/ping"), started)
            return started

        doomed = await start_store()
        await asyncio.to_thread(migrate, settings, catalog)
        store = running.enter_context(connect(settings))
        survivor = running.enter_context(worker(settings))
        async with traffic(settings) as producer:
            await writes(store, survivor)
            doomed.kill()
            await until(lambda: says(survivor, "waits for the store"), survivor)
            await start_store()
            await writes(store, survivor)
        await assert_all_is_accounted_for(settings, store, producer, survivor)
        survivor.signal(TERMINATE)
        assert await survivor.ended() == 0
        assert "Traceback" not in survivor.log


async def says(running: Worker, words: str) -> bool:
    return words in running.log
