"""Rejected records: listed, sent again once the cause is mended, said loudly when they are most of a minute."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from records import anthropic_record
from workers import assert_ledger_has_no_gaps, caught_up, until, worker

from pipeline.account import take_account
from pipeline.formats.cutover import encode
from pipeline.kafka import FORMAT_HEADER, cluster_id
from pipeline.rejected import Wanted, pages, retry
from pipeline.rejecting import RejectingWatch
from pipeline.settings import Settings
from pipeline.store.connect import Client, rows

ROOT = Path(__file__).parent.parent


async def send(settings: Settings, *messages: tuple[bytes, bytes]) -> None:
    """Messages as (format, bytes); "" names none."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        for format, value in messages:
            headers = [(FORMAT_HEADER, format)] if format else []
            await producer.send_and_wait(settings.calls_topic, value, partition=0, headers=headers)


def listed(store: Client, **wanted: Any) -> list[tuple[str, bytes]]:
    return [(row.reason, row.value) for page in pages(store, Wanted(**wanted)) for row in page]


def cutover(settings: Settings, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "rejected", *arguments],
        env={**os.environ, **settings.environ(), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return ran.stdout


GOOD = [encode(anthropic_record(name)) for name in ("a", "b")]


async def test_what_is_sent_again_is_a_production_of_its_own_and_the_account_balances(
    kafka_settings: Settings, store: Client
) -> None:
    """Two good records under a wrong format's name, and two that nobody can read."""
    settings = kafka_settings
    with worker(settings) as running:
        await send(settings, (b"no such", b"\n".join(GOOD)), (b"", b"garbage"), (b"", b""))
        await caught_up(settings, store, running)
        reasons = [reason for reason, _ in listed(store)]
        assert reasons == ["unknown_format", "not_json", "empty"]
        assert listed(store)[0][1] == b"\n".join(GOOD)

        told = await asyncio.to_thread(cutover, settings, "list", "--json", "--reason", "not_json")
        (row,) = map(json.loads, told.splitlines())
        assert (row["value"], row["origin"]) == ("garbage", f"{settings.calls_topic}/0/1/0")
        assert "3 rejected" not in told

        said = await asyncio.to_thread(cutover, settings, "retry", "--reason", "unknown_format")
        assert "sent 2 records again for 1 rejected ones" in said
        await caught_up(settings, store, running)
        ids = [row[0] for row in store.query("SELECT call_id FROM calls ORDER BY 1").result_rows]
        assert ids == ["a", "b"]
        assert [reason for reason, _ in listed(store)] == ["not_json", "empty"]

        done = await retry(settings, store, Wanted())
        assert (done.rows, done.records, done.empty) == (2, 1, 1)
        await caught_up(settings, store, running)
        assert listed(store) == [("not_json", b"garbage")]  # rejected again, under its new place

        async def told() -> bool:  # the producer's own count comes by another topic
            (made,) = rows(store, "SELECT sum(produced) AS produced FROM producers FINAL")
            return made["produced"] == 3

        await until(told, running)
        cluster = await cluster_id(settings)
        account = await take_account(settings, store, cluster, produced=3, waiting=0)
        assert (account.stored, account.rejected, account.in_flight) == (2, 4, 0)
        assert account.balanced, account
        assert_ledger_has_no_gaps(store)
        retried = store.query("SELECT count() FROM v_rejected WHERE retried").result_rows
        assert retried == [(3,)]


async def ask(settings: Settings, at: int, **fields: Any) -> None:
    """An operator's event, as the Pipeline page sends it."""
    event = {"event_id": f"asked at {at}", "at": at, "kind": "retry_wanted", **fields}
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        await producer.send_and_wait(
            settings.events_topic, json.dumps(event).encode(), b"retry_wanted"
        )


def outcomes(store: Client) -> list[dict[str, Any]]:
    found = rows(store, "SELECT at, fields FROM v_events WHERE kind = 'retried' ORDER BY at")
    return [json.loads(row["fields"]) for row in found]


async def test_a_worker_sends_again_what_an_operator_asked_for_on_the_pages(
    kafka_settings: Settings, store: Client
) -> None:
    """Only what was rejected before the request: an old one that is read again sends nothing new."""
    settings = kafka_settings
    with worker(settings) as running:
        await send(settings, (b"no such", b"\n".join(GOOD)), (b"", b"garbage"))
        await caught_up(settings, store, running)
        ((now,),) = store.query("SELECT toUnixTimestamp64Milli(now64(3, 'UTC'))").result_rows

        async def told(n: int) -> bool:
            return len(await asyncio.to_thread(outcomes, store)) == n

        await ask(settings, now - 3_600_000, by="ann@example.com")
        await until(lambda: told(1), running)
        assert outcomes(store)[0] | {"of": "", "by": ""} == {
            "of": "", "by": "", "reason": "", "rows": 0, "records": 0, "empty": 0,
        }  # fmt: skip
        assert len(listed(store)) == 2

        await ask(settings, now + 1, reason="unknown_format", by="ann@example.com")
        await ask(settings, -1, reason="not_json")  # no time: it is no request, and does no harm
        await until(lambda: told(2), running)
        done = outcomes(store)[1]
        assert (done["rows"], done["records"], done["empty"]) == (1, 2, 0)
        assert (done["of"], done["by"]) == (f"asked at {now + 1}", "ann@example.com")
        await caught_up(settings, store, running)
        ids = [row[0] for row in store.query("SELECT call_id FROM calls ORDER BY 1").result_rows]
        assert ids == ["a", "b"]
        assert [reason for reason, _ in listed(store)] == ["not_json"]


async def test_all_pages_are_listed_and_retried(
    kafka_settings: Settings, store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.rejected.PAGE", 7)
    names = ["cluster", "topic", "kafka_partition", "kafka_offset", "position", "received_at",
             "received_on", "reason", "detail", "value"]  # fmt: skip
    at = 1_795_000_000_000
    some = [
        ["c", "calls", n % 2, n // 4, n % 3, at + n // 10, at // 86_400_000, "unknown_format", "", b'{"x": %d}' % n]
        for n in range(100)
    ]  # fmt: skip
    places = {tuple(row[:5]) for row in some}
    store.insert("rejected", some, column_names=names)
    assert len(listed(store)) == 100
    assert len({value for _, value in listed(store)}) == 100
    done = await retry(kafka_settings, store, Wanted(reason="unknown_format"))
    assert (done.rows, done.records) == (100, 100)
    marked = (
        "SELECT uniqExact(cluster, topic, kafka_partition, kafka_offset, position) FROM retries"
    )
    assert store.command(marked) == len(places)
    assert listed(store) == []


async def test_a_worker_that_rejects_almost_everything_says_so_loudly(
    kafka_settings: Settings, store: Client
) -> None:
    with worker(kafka_settings) as running:
        await send(kafka_settings, *[(b"", b'{"hello": %d}' % n) for n in range(60)])
        await caught_up(kafka_settings, store, running)
        (flag,) = rows(store, "SELECT * FROM v_rejecting")
        assert (flag["records"], flag["rejected"], flag["reason"]) == (60, 60, "unknown_format")
        assert flag["mostly"]
        async with asyncio.timeout(30):
            while "most records of the last minute were rejected, 60 of 60" not in running.log:
                await asyncio.sleep(0.2)


def test_nothing_in_the_last_minute_is_no_alarm(store: Client) -> None:
    (flag,) = rows(store, "SELECT * FROM v_rejecting")
    assert (flag["records"], flag["rejected"], flag["mostly"]) == (0, 0, False)


def test_the_watch_speaks_once_a_minute_and_of_the_last_minute_alone() -> None:
    watch = RejectingWatch()
    assert not watch.look(0, 0, 0)
    assert not watch.look(2, 15, 15)  # too few to say
    assert watch.share == 0
    assert watch.look(4, 30, 40)
    assert watch.share == 0.75
    assert not watch.look(6, 60, 70)  # it has been said
    assert not watch.look(70, 60, 170)
    assert watch.share == 0
    assert watch.look(80, 300, 420)
