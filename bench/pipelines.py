"""Calls a second from a Kafka topic into the store: ours, what a team would write first, a peer, and the limits.

All cases read topics that hold the same calls, filled before; each consumer is a process of its own, and
the broker and the store run beside it on the same machine. The pace is taken from the store's own
clock: rows between the first insert and the last, so that starting up does not count.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from aiokafka import AIOKafkaProducer
from kafka_brokers import apache, embedded, running

from bench.records import demo_lines, demo_rules
from bench.servers import clickhouse
from pipeline.embedded.ports import free_port
from pipeline.kafka import FORMAT_HEADER, batches, ensure_topics
from pipeline.settings import Settings
from pipeline.store.connect import Client, connect
from pipeline.store.migrate import migrate

ROUNDS = 5
CALLS = {"batched": 40_000, "single": 10_000}
PARTITIONS = 4
PATIENCE = 300.0
CONTENDERS = {
    "ours, batched": ("batched", "ours"),
    "ours, batched, two workers": ("batched", "ours", 2),
    "ours, single": ("single", "ours"),
    "naive, single": ("single", "naive"),
    "peer (Quix Streams), single": ("single", "peer"),
    "floor (bare aiokafka), batched": ("batched", "floor"),
    "floor (bare aiokafka), single": ("single", "floor"),
}


@dataclass(frozen=True)
class Bench:
    """What the cases share: settings with the broker and the store, and the filled topics by kind."""

    settings: Settings
    topics: dict[str, str]


def run(broker: str = "apache", rounds: int = ROUNDS) -> dict[str, float]:
    """Median calls a second of each case over interleaved rounds, and the ratios between them."""
    rules = demo_rules()
    lines = demo_lines(rules, max(CALLS.values()))
    with TemporaryDirectory() as folder, servers(broker, Path(folder)) as settings:
        topics = {kind: _filled(settings, kind, lines[:count]) for kind, count in CALLS.items()}
        bench = Bench(settings, topics)
        contenders = {n: c for n, c in CONTENDERS.items() if c[1] != "peer" or _peer_installed()}
        found: dict[str, list[float]] = {name: [] for name in (*contenders, "limit")}
        for _ in range(rounds):
            for name, contender in contenders.items():
                found[name].append(_calls_per_second(bench, *contender))
            found["limit"].append(_limit(settings, Path(folder), lines))
    medians = {name: statistics.median(values) for name, values in found.items()}
    figures = {f"{name}, calls/s": round(value) for name, value in medians.items()}
    if _peer_installed():
        figures["single against the peer, times"] = round(
            medians["ours, single"] / medians["peer (Quix Streams), single"], 2
        )
    return figures | {
        "two workers against one, times": round(
            medians["ours, batched, two workers"] / medians["ours, batched"], 2
        ),
        "batched against naive, times": round(
            medians["ours, batched"] / medians["naive, single"], 1
        ),
        "single against naive, times": round(medians["ours, single"] / medians["naive, single"], 2),
        "limit against batched, times": round(medians["limit"] / medians["ours, batched"], 1),
    }


def _peer_installed() -> bool:
    """Not in the lock files: it wants other versions than the tests' libraries do."""
    return find_spec("quixstreams") is not None


@contextmanager
def servers(broker: str, folder: Path) -> Iterator[Settings]:
    """A broker and the store, on this machine."""
    with ExitStack() as up:
        kafka = up.enter_context(
            running(apache(folder / "kafka", ()) if broker == "apache" else embedded())
        )
        url, _ = up.enter_context(clickhouse(folder / "clickhouse"))
        yield replace(
            Settings(), data=folder, plan=folder / "plan.yml", kafka=kafka.address, partitions=PARTITIONS,
            clickhouse_url=url,
        )  # fmt: skip


def _filled(settings: Settings, kind: str, lines: list[bytes]) -> str:
    """A topic with these calls in it: one a message, or batches as our producer makes them."""
    topic = f"calls-{kind}"
    asyncio.run(ensure_topics(replace(settings, calls_topic=topic)))

    async def fill() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=settings.kafka, compression_type="zstd", linger_ms=20,
            max_request_size=8 << 20,
        ) as producer:  # fmt: skip
            parts = batches(lines) if kind == "batched" else ((n, n + 1) for n in range(len(lines)))
            for number, (start, stop) in enumerate(parts):
                await producer.send(
                    topic, b"\n".join(lines[start:stop]), partition=number % PARTITIONS,
                    headers=[(FORMAT_HEADER, b"cutover")],
                )  # fmt: skip
            await producer.flush()

    asyncio.run(fill())
    return topic


def _calls_per_second(bench: Bench, kind: str, who: str, processes: int = 1) -> float:
    """One contender, from an empty database to all calls stored."""
    run_id = uuid.uuid4().hex[:8]
    settings = replace(
        bench.settings, calls_topic=bench.topics[kind], consumer_group=f"bench-{run_id}",
        clickhouse_database=f"bench_{run_id}",
    )  # fmt: skip
    migrate(settings, demo_rules().catalog)
    argv = (
        ["pipeline.cli", "worker"] if who == "ours" else ["bench.contenders", who, str(CALLS[kind])]
    )
    log_file = settings.data / f"{run_id}.log"
    with connect(settings) as client, ExitStack() as running:
        running.callback(client.command, f"DROP DATABASE `{settings.clickhouse_database}`")
        log = running.enter_context(log_file.open("wb"))
        for number in range(processes):
            own_port = replace(settings, worker_port=free_port(8501 + 100 * number))
            process = subprocess.Popen(
                [sys.executable, "-m", *argv], env={**os.environ, **own_port.environ()},
                stdout=subprocess.PIPE if who == "floor" else subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
            running.callback(process.wait)
            running.callback(process.kill)
        if who == "floor":
            out, _ = process.communicate(timeout=PATIENCE)
            return float(out)
        _wait_until(lambda: _stored(client) >= CALLS[kind], process, log_file)
        return _pace(client)


def _stored(client: Client) -> int:
    return int(client.command("SELECT count() FROM calls"))


def _pace(client: Client) -> float:
    """Rows a second after the first insert, by the store's clock."""
    ((rows, seconds),) = client.query(
        "SELECT countIf(inserted_at > first), dateDiff('millisecond', any(first), max(inserted_at)) / 1000"
        " FROM (SELECT inserted_at, min(inserted_at) OVER () AS first FROM calls)"
    ).result_rows
    return rows / seconds


def _limit(settings: Settings, folder: Path, lines: list[bytes]) -> float:
    """The engine reading the same JSON lines into columns with one thread; nothing is scored or stored."""
    import chdb  # noqa: PLC0415 - in a child process of its own it would not be warm

    file = folder / "lines.jsonl"
    if not file.exists():
        file.write_bytes(b"\n".join(lines))
    started = time.perf_counter()
    chdb.query(
        f"SELECT sum(cityHash64(*)) FROM file('{file}', JSONEachRow) SETTINGS max_threads = 1,"
        " schema_inference_make_columns_nullable = 0", "TSV",
    )  # fmt: skip
    return len(lines) / (time.perf_counter() - started)


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        assert time.monotonic() < deadline, "the contender takes too long"
        time.sleep(0.3)
