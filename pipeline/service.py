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
from pipeline.settings import Settings, SettingsError, variable
from pipeline.store.connect import connect
from pipeline.store.migrate import migrate

DRAIN_SECONDS = 6.0


def on_free_ports(settings: Settings) -> Settings:
    """The settings with every port that is taken replaced by the next free one."""
    kafka = free_port(_port(settings.kafka, 9092))
    clickhouse = free_port(_port(settings.clickhouse_url.rstrip("/"), 8123))
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


def _port(address: str, default: int) -> int:
    port = address.rpartition(":")[2]
    return int(port) if port.isdigit() else default


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


def alone_in(folder: Path) -> IO[str]:
    """Makes the folder this service's own for as long as the returned file is open.

    Raises SettingsError if another service runs in it, OSError if it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "running.lock").open("w")
    if not _locked(lock):
        lock.close()
        raise SettingsError(
            f"{folder}: another Cutover runs there; stop it, or set CUTOVER_DATA to another folder"
        )
    return lock


async def run_up(settings: Settings) -> int:
    """The service for the user's own traffic, until Ctrl-C. Raises ChildError, OSError, SettingsError, BadFile, PlanError."""
    if start_plan(settings.plan):
        print(f"wrote {settings.plan}: every call goes where it went before, and is recorded")
    load_plan(settings.plan)
    with alone_in(settings.data):
        start = await next_to_start()
        running = on_free_ports(settings)

        async def body() -> None:
            start.close()
            print(welcome(running, settings), flush=True)
            await asyncio.Event().wait()

        await supervise(children(running), running.data, body)
    print("stopped")
    return 0


def welcome(settings: Settings, asked: Settings, more: str = "") -> str:
    """What to open, what to point clients at, and the variables (and `more`) that differ from those asked for."""
    tap = f"http://127.0.0.1:{settings.tap_port}"
    moved = [
        f"{variable(name)}={getattr(settings, name)}"
        for name in ("plan", "kafka", "clickhouse_url")
        if getattr(settings, name) != getattr(asked, name)
    ]
    moved += [more] if more else []
    elsewhere = f"  Other commands find it with\n    export {' '.join(moved)}\n\n" if moved else ""
    return f"""
  Cutover is running:  http://127.0.0.1:{settings.dashboard_port}

  Point clients at the tap:
    ANTHROPIC_BASE_URL={tap}
    OPENAI_BASE_URL={tap}/v1
  and a client's calls count for a workload of the plan when its URL names it: {tap}/w/NAME

{elsewhere}  Logs and data are in {settings.data}/. Ctrl-C stops everything.
"""
