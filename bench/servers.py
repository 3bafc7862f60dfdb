"""Servers for benchmarks: each a process of its own that ends with the block."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.embedded.ports import free_port
from pipeline.embedded.supervisor import http_ready

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


@contextmanager
def server(argv: Sequence[str], health: str, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """A server that answers at its health address until the block ends: its process id."""
    with subprocess.Popen(
        argv, env={**os.environ, **(env or {})}, stderr=subprocess.DEVNULL
    ) as process:
        try:
            asyncio.run(_up(health))
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def clickhouse(folder: Path) -> Iterator[tuple[str, int]]:
    """An embedded engine with its data there: its address and process id."""
    port = free_port(28123)
    argv = [sys.executable, "-m", "pipeline.embedded.clickhouse", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with server([*argv, "--data", str(folder)], f"{url}/ping") as engine:
        yield url, engine


def used_ms(pid: int) -> float:
    """Processor time that a process has used, in steps of the kernel's tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_MS


async def _up(url: str) -> None:
    async with asyncio.timeout(120):
        while not await http_ready(url):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
