"""How soon a call is visible, and what a worker and the store need, at a steady pace.

Sends calls at a fixed pace for some minutes through our producer, with the broker, one worker and the
store beside it. A call is visible once its batch is in the ledger, which is written after its row:
its age then, against Kafka's time of its message, is the freshness.
"""

import asyncio
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.pipelines import servers
from bench.records import demo_lines, demo_rules
from pipeline.embedded.ports import free_port
from pipeline.embedded.supervisor import http_ready
from pipeline.kafka import CallProducer, ensure_topics
from pipeline.service import drained
from pipeline.settings import Settings
from pipeline.store.connect import Client, connect
from pipeline.store.migrate import migrate

CALLS_A_SECOND = 2000
SECONDS = 300
TICK = 0.02

_AGES = """
    SELECT quantileExact(0.5)(age), quantileExact(0.99)(age), count() FROM
    (
        SELECT dateDiff('millisecond', c.received_at, l.inserted_at) AS age
        FROM calls AS c ASOF JOIN ledger AS l
        ON c.cluster = l.cluster AND c.topic = l.topic AND c.kafka_partition = l.kafka_partition
            AND c.kafka_offset >= l.offset_from
    )"""
_SIZES = """
    SELECT table, sum(bytes_on_disk) FROM system.parts
    WHERE active AND database = currentDatabase() GROUP BY table"""


def run(broker: str = "apache", seconds: int = SECONDS) -> dict[str, float]:
    """Freshness in ms, the worker's memory in MB over time, bytes a call on disk after merges."""
    with TemporaryDirectory() as folder, servers(broker, Path(folder)) as beside:
        settings = replace(beside, worker_port=free_port(8501))
        asyncio.run(ensure_topics(settings))
        migrate(settings, demo_rules().catalog)
        argv = [sys.executable, "-m", "pipeline.cli", "worker"]
        with (
            connect(settings) as client,
            subprocess.Popen(argv, env=settings.environ(), stderr=subprocess.DEVNULL) as worker,
        ):
            try:
                memory = asyncio.run(_steady(settings, worker.pid, seconds))
                p50, p99, calls = client.query(_AGES).result_rows[0]
                return {
                    f"stored at {CALLS_A_SECOND} calls/s for {seconds} s": calls,
                    "freshness p50, ms": p50,
                    "freshness p99, ms": p99,
                    "worker memory after a fifth of it, MB": memory[len(memory) // 5],
                    "worker memory at the end, MB": memory[-1],
                    "worker memory at most, MB": max(memory),
                    **_bytes_a_call(client, calls),
                }
            finally:
                worker.terminate()


async def _steady(settings: Settings, pid: int, seconds: int) -> list[int]:
    """Sends at the pace; returns the worker's memory, once a second."""
    lines = demo_lines(demo_rules(), 20_000)
    while not await http_ready(f"http://127.0.0.1:{settings.worker_port}/healthz"):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    producer = CallProducer(settings, "bench")
    await producer.start()
    memory: list[int] = []
    started, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - started) < seconds:
        for number in range(sent, round(elapsed * CALLS_A_SECOND)):
            producer.put_line(*_fresh(lines[number % len(lines)]))
            sent += 1
        if len(memory) <= elapsed:
            memory.append(_resident_mb(pid))
        await asyncio.sleep(TICK)
    await producer.stop()
    assert await drained(settings, 60), "the worker does not keep up"
    return memory


def _fresh(line: bytes) -> tuple[bytes, str]:
    """The record under ids of its own, as long as those of the tap."""
    head, _, rest = line.partition(b'"call_id":"')
    conversation = uuid.uuid4().hex
    ids = f'"call_id":"{uuid.uuid4().hex}","conversation_id":"{conversation}'
    after = rest.partition(b'","conversation_id":"')[2].partition(b'"')[2]
    return head + ids.encode() + b'"' + after, conversation


def _resident_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def _bytes_a_call(client: Client, calls: int) -> dict[str, float]:
    for (table,) in client.query("SHOW TABLES WHERE NOT name LIKE '%v_%'").result_rows:
        if (
            client.command(
                f"SELECT engine LIKE '%MergeTree' FROM system.tables WHERE database = currentDatabase() AND name = '{table}'"
            )
            == 1
        ):
            client.command(f"OPTIMIZE TABLE `{table}` FINAL")
    sizes = dict(client.query(_SIZES).result_rows)
    return {
        "table calls, bytes a call": round(sizes["calls"] / calls, 1),
        "all tables, bytes a call": round(sum(sizes.values()) / calls, 1),
    }
