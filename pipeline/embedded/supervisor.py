"""Runs several child processes as one service: up in order, down in reverse, none left behind.

Each child has its own session, so Ctrl-C in the terminal reaches only this process, which then
stops them one by one. On Linux the kernel kills the children if this process itself is killed.
In DIR: `pids.json` (name to process id, while it runs), `logs/NAME.log`, and `logs/NAME.log.1`
of the run before.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

READY_SECONDS = 60.0
STOP_SECONDS = 8.0
POLL_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 10.0
TAIL_LINES = 15
PR_SET_PDEATHSIG = 1  # linux/prctl.h

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildError(RuntimeError):
    """A child did not become ready, or ended when it should not have; says which and why."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """One process of the service; `env` is added to our own, `restart` brings it back if it dies.

    A child without `restart` may end with exit code 0; any other end stops the service.
    `before_stop` is awaited, for at most 8 s, before a child that runs is asked to end.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = field(default_factory=dict)
    restart: bool = False
    before_stop: Callable[[], Awaitable[object]] | None = None


async def supervise(
    children: Sequence[Child],
    directory: Path,
    body: Callable[[], Awaitable[None]],
    ready_seconds: float = READY_SECONDS,
) -> bool:
    """Runs the children in DIR, and `body` once all are ready; stops them when it returns.

    Returns True when the body ended, False when SIGINT or SIGTERM ended it. Raises ChildError when
    a child is not ready in time or ends for good, and whatever the body raises.
    """
    service = _Service(directory, ready_seconds)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    work = asyncio.create_task(service.run(children, body))
    signalled = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait((work, signalled), return_when=asyncio.FIRST_COMPLETED)
        return await _outcome(work)
    finally:
        signalled.cancel()
        await _cancelled(work)
        await service.stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _outcome(work: asyncio.Task[None]) -> bool:
    if work.done():
        await work
    return work.done()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


class _Service:
    """The processes that run now, in the order they were started."""

    def __init__(self, directory: Path, ready_seconds: float) -> None:
        self._directory = directory
        self._ready_seconds = ready_seconds
        self._processes: list[_Process] = []

    async def run(self, children: Sequence[Child], body: Callable[[], Awaitable[None]]) -> None:
        for child in children:
            process = _Process(child, self._directory / "logs" / f"{child.name}.log")
            self._processes.append(process)
            await self._start(process)
        try:
            async with asyncio.TaskGroup() as group:
                watchers = [group.create_task(self._watch(p)) for p in self._processes]
                await body()
                for watcher in watchers:
                    watcher.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _start(self, process: "_Process") -> None:
        await process.start()
        self._write_pids()
        await process.become_ready(self._ready_seconds)

    async def _watch(self, process: "_Process") -> None:
        pause = POLL_SECONDS
        while (code := await process.ended()) != 0 or process.child.restart:
            if not process.child.restart:
                raise process.failed(f"ended with exit code {code}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            await process.start()
            self._write_pids()

    def _write_pids(self) -> None:
        pids = {p.child.name: p.pid for p in self._processes}
        part = self._directory / "pids.json.part"
        part.write_text(json.dumps(pids, indent=1))
        part.replace(self._directory / "pids.json")

    async def stop(self) -> None:
        for process in reversed(self._processes):
            await process.stop()
        (self._directory / "pids.json").unlink(missing_ok=True)


class _Process:
    """One child while it runs, and its log file."""

    def __init__(self, child: Child, log: Path) -> None:
        self.child = child
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._was_ready = False
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            log.replace(log.with_name(log.name + ".1"))

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self.child.argv,
                    env={**os.environ, **self.child.env},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=partial(_die_with, os.getpid()),
                )
            except OSError as error:
                raise ChildError(f"{self.child.name} could not be started: {error}") from error

    async def become_ready(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not await self.child.ready():
                    self._raise_if_ended()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise self.failed(f"was not ready within {seconds:g} s") from None
        self._raise_if_ended()
        self._was_ready = True

    def _raise_if_ended(self) -> None:
        if self._process and self._process.returncode is not None:
            code = self._process.returncode
            raise self.failed(f"ended with exit code {code} before it was ready")

    async def ended(self) -> int:
        assert self._process, "watched before it was started"
        return await self._process.wait()

    def failed(self, what: str) -> ChildError:
        lines = self._log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return ChildError("\n".join((f"{self.child.name} {what}; {self._log} ends with:", *lines)))

    async def stop(self) -> None:
        """Asks it to end, and after 8 s ends it and whatever it has started itself."""
        if self._process is None:
            return
        await self._prepare_to_stop()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def _prepare_to_stop(self) -> None:
        running = self._process is not None and self._process.returncode is None
        if not (self.child.before_stop and self._was_ready and running):
            return
        # Whatever goes wrong in it, this child and those before it must still be stopped.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(STOP_SECONDS):
                await self.child.before_stop()


def _die_with(parent: int) -> None:
    """Runs in the new child: has the kernel kill it when its parent dies (Linux only)."""
    if _libc is None:
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


async def tcp_ready(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def http_ready(url: str) -> bool:
    """Whether a GET of this address is answered with a status below 400."""
    return await asyncio.to_thread(_answers, url)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except OSError:
        return False
