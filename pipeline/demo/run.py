"""Runs the simulated providers and the made-up traffic in one process.

    python -m pipeline.demo.run --simulators-port 8801 --tap http://127.0.0.1:8800 --seconds 60

Ends after that time, or at SIGTERM or SIGINT, and prints one JSON line: calls sent, by outcome,
and cancelled.
"""

import argparse
import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from aiohttp import web

from pipeline.demo.behaviour import load_behaviours
from pipeline.demo.simulators import Simulators
from pipeline.demo.traffic import DEFAULT_RATE, Tally, drive

HOST = "127.0.0.1"


@asynccontextmanager
async def serve_simulators(port: int, seed: int) -> AsyncIterator[str]:
    """The simulated providers on a loopback port (0: any free one); gives their address."""
    started = time.monotonic()
    simulators = Simulators(load_behaviours(), seed, lambda: (time.monotonic() - started) / 60)
    runner = web.AppRunner(simulators.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def wait_until_healthy(base_url: str, stop: asyncio.Event) -> None:
    """Returns once `/healthz` answers 200, or when told to stop."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while not stop.is_set():
            try:
                async with session.get(f"{base_url}/healthz") as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.2)


async def run(port: int, tap: str, rate: float, seconds: float | None, seed: int) -> Tally:
    """Simulators and traffic together, until the time is over or a signal comes."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve_simulators(port, seed):
        await wait_until_healthy(tap, stop)
        return await drive(tap, rate, seconds, seed, stop)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.run", description=__doc__)
    parser.add_argument("--simulators-port", type=int, required=True)
    parser.add_argument("--tap", required=True, help="base URL of the tap")
    parser.add_argument("--rate", type=float, default=DEFAULT_RATE, help="calls per second")
    parser.add_argument("--seconds", type=float, help="without it: until a signal comes")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    tally = asyncio.run(
        run(given.simulators_port, given.tap, given.rate, given.seconds, given.seed)
    )
    print(msgspec.json.encode(tally).decode(), flush=True)


if __name__ == "__main__":
    main()
