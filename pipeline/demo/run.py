"""The demo for a service that runs already (compose): plan, simulated providers and traffic in one process.

    python -m pipeline.demo.run --tap http://tap:8400 --host 0.0.0.0 --port 8600 --url http://demo:8600

Ends after `--seconds`, or at SIGTERM or SIGINT, and prints one JSON line: calls sent, by outcome,
and cancelled.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from pipeline.demo.behaviour import load_behaviours
from pipeline.demo.past import sending_past
from pipeline.demo.scenario import demo_plan
from pipeline.demo.simulators import Simulators
from pipeline.demo.traffic import DEFAULT_RATE, Tally, drive
from pipeline.plan_file import STARTER
from pipeline.settings import Settings, SettingsError

HOST = "127.0.0.1"


@asynccontextmanager
async def serve_simulators(port: int, seed: int, host: str = HOST) -> AsyncIterator[str]:
    """The simulated providers on a port (0: any free one); gives their address."""
    started = time.monotonic()
    simulators = Simulators(load_behaviours(), seed, lambda: (time.monotonic() - started) / 60)
    runner = web.AppRunner(simulators.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
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


async def run(settings: Settings, given: argparse.Namespace) -> Tally:
    """Writes the plan, then simulators, past and traffic, until the time is over or a signal comes."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    now = time.time_ns() // 1_000_000
    _keep_a_plan_of_others(settings.plan)
    async with serve_simulators(given.port, given.seed, given.host) as url:
        settings.plan.write_text(demo_plan(now, given.url or url, given.history))
        await wait_until_healthy(given.tap, stop)
        async with sending_past(settings, given.history, given.seed, now):
            return await drive(given.tap, given.rate, given.seconds, given.seed, stop)


def _keep_a_plan_of_others(plan: Path) -> None:
    """Raises SettingsError where the demo's plan would take the place of one that somebody wrote."""
    if not plan.exists() or plan.read_text() == STARTER.read_text():
        return
    if not plan.read_text().startswith(demo_plan(0, "", 0).partition("\n")[0]):
        raise SettingsError(
            f"CUTOVER_PLAN: {plan} is a plan of your own, and the demo would write over it; "
            "move it away first, or run the demo elsewhere"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.run", description=__doc__)
    parser.add_argument("--tap", required=True, help="base URL of the tap")
    parser.add_argument("--host", default=HOST, help="address the simulators bind to")
    parser.add_argument(
        "--port", type=int, default=0, help="port of the simulators (0: any free one)"
    )
    parser.add_argument("--url", default="", help="the simulators' URL as the tap sees it")
    parser.add_argument("--rate", type=float, default=DEFAULT_RATE, help="calls per second")
    parser.add_argument("--seconds", type=float, help="without it: until a signal comes")
    parser.add_argument(
        "--history", type=int, default=0, metavar="DAYS", help="days of made-up past"
    )
    parser.add_argument("--seed", type=int, default=1)
    try:
        tally = asyncio.run(run(Settings.read(), parser.parse_args()))
    except SettingsError as error:
        sys.exit(f"demo: {error}")
    print(msgspec.json.encode(tally).decode(), flush=True)


if __name__ == "__main__":
    main()
