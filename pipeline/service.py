"""The whole service on one machine: the parts as child processes, in the order they need each other."""

import asyncio
import fcntl
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import IO

from pipeline.account import messages_behind
from pipeline.catalog import load_catalog
from pipeline.embedded.ports import free_port
from pipeline.embedded.supervisor import Child, http_ready, supervise, tcp_ready
from pipeline.kafka import KafkaError, cluster_id, ensure_topics
from pipeline.plan_file import load_plan, start_plan
from pipeline.settings import Settings
from pipeline.store.connect import connect
from pipeline.store.migrate import migrate

DRAIN_SECONDS = 6.0


def on_free_ports(settings: Settings) -> Settings:
    """The settings with every port that is taken replaced by the next free one."""
    kafka = free_port(int(settings.kafka.rpartition(":")[2]))
    clickhouse = free_port(int(settings.clickhouse_url.rpartition(":")[2]))
    tap = free_port(settings.tap_port)
    worker = free_port(max(settings.worker_port, tap + 1))
    return replace(
        settings,
        kafka=f"127.0.0.1:{kafka}",
        clickhouse_url=f"http://127.0.0.1:{clickhouse}",
        tap_port=tap,
        worker_port=worker,
        admin_port=settings.admin_port and free_port(max(settings.admin_port, worker + 1)),
        dashboard_port=free_port(settings.dashboard_port),
    )


def children(settings: Settings) -> list[Child]:
    """Broker, store, worker, tap and dashboard; each is ready only when the next may use it."""
    env = settings.environ()
    kafka_port = int(settings.kafka.rpartition(":")[2])
    store_port = settings.clickhouse_url.rpartition(":")[2]

    async def broker_ready() -> bool:
        if not await tcp_ready(kafka_port):  # asked first: aiokafka logs every failed attempt
            return False
        try:
            await ensure_topics(settings)
        except (KafkaError, OSError):
            return False
        return True

    async def store_ready() -> bool:
        if not await http_ready(f"{settings.clickhouse_url}/ping"):
            return False
        await asyncio.to_thread(migrate, settings, load_catalog())
        return True

    def own(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "pipeline.cli", *arguments]

    return [
        Child(
            name="kafka",
            argv=[sys.executable, "-m", "pipeline.embedded.broker", "--port", str(kafka_port)],
            ready=broker_ready,
        ),
        Child(
            name="clickhouse",
            argv=[
                sys.executable, "-m", "pipeline.embedded.clickhouse",
                "--port", store_port, "--data", str(settings.data / "clickhouse"),
            ],
            ready=store_ready,
            restart=True,
        ),
        Child(
            name="worker",
            argv=own("worker"),
            env=env,
            ready=lambda: http_ready(f"http://127.0.0.1:{settings.worker_port}/healthz"),
            restart=True,
            before_stop=lambda: drained(settings),
        ),
        Child(
            name="tap",
            argv=own("tap"),
            env=env,
            ready=lambda: http_ready(f"http://127.0.0.1:{settings.tap_port}/healthz"),
            restart=True,
        ),
        Child(
            name="dashboard",
            argv=own("dashboard"),
            env=env,
            ready=lambda: http_ready(f"http://127.0.0.1:{settings.dashboard_port}/_stcore/health"),
            restart=True,
        ),
    ]  # fmt: skip


async def drained(settings: Settings, seconds: float = DRAIN_SECONDS) -> bool:
    """Waits until the ledger covers everything in Kafka; False if it does not within that time."""
    try:
        async with asyncio.timeout(seconds):
            cluster = await cluster_id(settings)
            with connect(settings) as client:
                while await messages_behind(settings, client, cluster):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
    except TimeoutError:
        return False
    return True


async def next_to_start() -> IO[str]:
    """Waits until no other service of this user starts, so that no two choose the same free port.

    Close the file once all ports are in use: then the next one may start.
    """
    lock = (Path(tempfile.gettempdir()) / f"cutover-{os.getuid()}.lock").open("w")
    while not _locked(lock):  # noqa: ASYNC110 - another process cannot set an event of ours
        await asyncio.sleep(0.2)
    return lock


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def run_up(settings: Settings) -> int:
    """The service for the user's own traffic, until Ctrl-C. Raises ChildError, OSError, BadFile, PlanError."""
    if start_plan(settings.plan):
        print(f"wrote {settings.plan}: every call goes where it went before, and is recorded")
    load_plan(settings.plan)
    start = await next_to_start()
    settings = on_free_ports(settings)

    async def body() -> None:
        start.close()
        print(welcome(settings), flush=True)
        await asyncio.Event().wait()

    await supervise(children(settings), settings.data, body)
    print("stopped")
    return 0


def welcome(settings: Settings) -> str:
    """What to open, and what to point clients at."""
    tap = f"http://127.0.0.1:{settings.tap_port}"
    return f"""
  Cutover is running:  http://127.0.0.1:{settings.dashboard_port}

  Point clients at the tap:
    ANTHROPIC_BASE_URL={tap}
    OPENAI_BASE_URL={tap}/v1
  and a client's calls count for a workload of the plan when its URL names it: {tap}/w/NAME

  Logs and data are in {settings.data}/. Ctrl-C stops everything.
"""
