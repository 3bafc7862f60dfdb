"""`cutover replay`: old files through a real broker, with a rate, from where it stopped, or only looked at."""

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from records import anthropic_record

from pipeline.formats import read_message
from pipeline.formats.cutover import encode
from pipeline.kafka import FORMAT_HEADER
from pipeline.replay import Marks, render, replay, summarise
from pipeline.scoring.score import Rules
from pipeline.settings import Settings

ROOT = Path(__file__).parent.parent


def lines(*names: str, **changes: Any) -> bytes:
    return b"".join(encode(anthropic_record(name, **changes)) + b"\n" for name in names)


async def sent(settings: Settings) -> list[Any]:
    """Every record that is in the calls topic, read as the worker reads it."""
    found: list[Any] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, auto_offset_reset="earliest"
    ) as consumer:
        places = [TopicPartition(settings.calls_topic, p) for p in range(settings.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(tp) < ends[tp] for tp in places]):
            for messages in (await consumer.getmany(timeout_ms=500)).values():
                for m in messages:
                    format = dict(m.headers).get(FORMAT_HEADER, b"").decode()
                    found += read_message(m.value, format)
    return found


def ids(records: list[Any]) -> list[str]:
    return sorted(getattr(record, "call_id", "") or record.reason for record in records)


async def test_all_records_of_all_shapes_arrive_one_for_one(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "1.jsonl").write_bytes(lines("a", "b") + b"garbage\nmore garbage\n" + b'{"x": 1}\n' * 2)
    (logs / "2.json.gz").write_bytes(
        gzip.compress(json.dumps([json.loads(x) for x in lines("c", "d").splitlines()], indent=2).encode())
    )  # fmt: skip
    done = await replay(kafka_settings, sorted(logs.iterdir()))
    assert (done.files, done.records, done.unreadable) == (2, 8, [])
    found = await sent(kafka_settings)
    expected = ["a", "b", "c", "d", "not_json", "not_json", "unknown_format", "unknown_format"]
    assert ids(found) == expected


async def test_it_goes_on_where_it_stopped_and_sees_what_was_added(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "calls.jsonl"
    names = [f"call {number}" for number in range(300)]
    log.write_bytes(lines(*names))
    assert (await replay(kafka_settings, [log], resume=True)).records == 300
    again = await replay(kafka_settings, [log], resume=True)
    assert (again.records, again.skipped) == (0, 300)
    with log.open("ab") as file:
        file.write(lines("added"))
    added = await replay(kafka_settings, [log], resume=True)
    assert (added.records, added.skipped) == (1, 300)
    log.write_bytes(lines("another file of the same name"))
    assert (await replay(kafka_settings, [log], resume=True)).records == 1
    assert len(ids(await sent(kafka_settings))) == 302


def test_a_file_that_cannot_be_read_as_marks_marks_nothing(tmp_path: Path) -> None:
    (tmp_path / "replay.json").write_bytes(b"torn")
    marks = Marks(tmp_path / "replay.json")
    assert marks.read("x") == 0
    marks.write("x", 5)
    marks.write("x", 3)
    assert Marks(tmp_path / "replay.json").read("x") == 5


async def test_a_rate_holds_it_back(kafka_settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    log.write_bytes(lines(*map(str, range(100))))
    started = time.monotonic()
    assert (await replay(kafka_settings, [log], rate=100)).records == 100
    assert time.monotonic() - started > 0.9


def test_a_dry_run_says_what_would_come_of_it(rules: Rules, tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    log.write_bytes(
        lines("a", "b")
        + lines("c", request="{}", response='{"type":"message","model":"nobody-knows"}')
        + lines("d", http_status=529)
        + b"garbage\n"
        + b'{"x": 1}\n'
        + b'{"resourceMetrics": []}\n'
    )
    found = summarise([log], rules)
    assert (found.calls, found.formats["cutover"], found.providers["anthropic"]) == (4, 4, 4)
    assert found.rejected == {"not_json": 1, "unknown_format": 1}
    assert "record 5" in found.examples["not_json"]
    assert found.failures.total() >= 1
    assert found.costs["anthropic", "USD"] > 0
    assert ("unknown_model", "anthropic", "nobody-knows") in found.unpriced
    told = render(found)
    assert re.search(r"0\.00\d*[1-9]\d* USD  anthropic", told)  # little is not nothing
    assert re.search(r"1  not_traces; the first: .*record 7: OpenTelemetry's metrics or logs", told)


def cutover(
    *arguments: str, stdin: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "replay", *arguments], input=stdin, check=False,
        capture_output=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )  # fmt: skip


async def test_standard_input_goes_through_too(kafka_settings: Settings) -> None:
    ran = await asyncio.to_thread(cutover, "-", stdin=lines("a", "b"), **kafka_settings.environ())
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == b"sent 2 records of 1 file\n"
    assert ran.stderr == b""  # progress is for terminals, and one connection was enough
    assert ids(await sent(kafka_settings)) == ["a", "b"]


def test_a_dry_run_needs_no_server_and_a_damaged_file_is_exit_1(tmp_path: Path) -> None:
    away = {"CUTOVER_KAFKA": "127.0.0.1:9", "CUTOVER_DATA": str(tmp_path / "data")}
    ran = cutover("--dry-run", "-", stdin=lines("a"), **away)
    assert ran.returncode == 0, ran.stderr
    assert "1 calls in 1 files, 0 records would be rejected" in ran.stdout.decode()
    assert not (tmp_path / "data").exists()
    (tmp_path / "bad.json.gz").write_bytes(gzip.compress(lines("a") * 500)[:-20])
    ran = cutover("--dry-run", str(tmp_path / "bad.json.gz"), **away)
    assert ran.returncode == 1
    assert "bad.json.gz: damaged" in ran.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--rate", "0", "x.json"], "--rate"), (["empty"], "no log files in empty"), (["none.json"], "none.json")],
)  # fmt: skip
def test_wrong_use_is_exit_2(tmp_path: Path, arguments: list[str], named: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.json").write_bytes(b"{}")
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "replay", *arguments], cwd=tmp_path, check=False,
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ran.returncode == 2
    assert named in ran.stderr
