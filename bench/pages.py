"""How long the pages take over a store of 20 million calls in 60 days: every query, first paint, page switch.

The store is filled by SQL, for this benchmark alone. Queries are timed as the pages send them, while
each page runs without a browser; paint and switch are timed in Chromium.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import seed_store
from playwright.sync_api import Page, sync_playwright
from test_dashboard_browser import APP, ARGUMENTS, CHROMIUM, PAGES

from pipeline.catalog import load_catalog
from pipeline.embedded.ports import free_port
from pipeline.embedded.supervisor import http_ready
from pipeline.settings import Settings

CALLS = 20_000_000
DAYS = 60
ROUNDS = 5
RANGES = ("15m", "24h", "all")


def run(calls: int = CALLS) -> dict[str, float]:
    """Median and largest milliseconds of each query; seconds of first paint and page switch."""
    seed_store.SPAN_S = DAYS * 86_400
    with TemporaryDirectory() as folder, _store(Path(folder)) as url:
        started = time.perf_counter()
        with seed_store.seeded(url, load_catalog(), calls=calls) as settings:
            filled = {"calls": calls, "seconds to fill": round(time.perf_counter() - started)}
            return filled | _queries(settings) | _browser(settings)


@contextmanager
def _store(folder: Path) -> Iterator[str]:
    port = free_port(28123)
    argv = [sys.executable, "-m", "pipeline.embedded.clickhouse", "--port", str(port)]
    with _process([*argv, "--data", str(folder)], f"http://127.0.0.1:{port}/ping", {}) as url:
        yield url.removesuffix("/ping")


def _queries(settings: Settings) -> dict[str, float]:
    """Runs every page over every range, as a viewer would, and times what it asks."""
    os.environ.update(settings.environ())
    import streamlit as st  # noqa: PLC0415
    from streamlit.testing.v1 import AppTest  # noqa: PLC0415
    from test_dashboard_pages import PAGE  # noqa: PLC0415

    from dashboards import queries  # noqa: PLC0415

    taken: dict[str, list[float]] = defaultdict(list)
    ask, current = queries.rows, [""]

    def timed(client, sql, parameters=None):
        started = time.perf_counter()
        found = ask(client, sql, parameters)
        name = next((f.stem for f in queries.SQL.glob("*.sql") if f.read_text() == sql), "other")
        taken[f"{name} ({current[0]})"].append((time.perf_counter() - started) * 1000)
        return found

    queries.rows = timed
    for _ in range(ROUNDS):
        for range_ in RANGES:
            for page in PAGES:
                current[0] = range_
                st.cache_data.clear()
                app = AppTest.from_string(PAGE.format(page=page), default_timeout=120)
                app.query_params["range"] = range_
                app.run()
                assert not app.exception, app.exception
    queries.rows = ask
    medians = {name: statistics.median(values) for name, values in taken.items()}
    slowest = sorted(medians, key=medians.__getitem__)[-8:]
    return {
        "queries timed": sum(map(len, taken.values())),
        "slowest query, median ms": round(max(medians.values())),
        **{f"query {name}, median ms": round(medians[name]) for name in reversed(slowest)},
    }


def _browser(settings: Settings) -> dict[str, float]:
    """Seconds to the first figures of Live, and from a click on another page to its figures."""
    port = free_port(18600)
    argv = [
        sys.executable, "-m", "streamlit", "run", str(APP), "--server.address", "127.0.0.1",
        "--server.port", str(port), "--server.headless", "true", "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
    env = {**settings.environ(), "PYTHONPATH": str(APP.parent.parent)}
    paints: list[float] = []
    switches: dict[str, list[float]] = defaultdict(list)
    with (
        _process(argv, f"http://127.0.0.1:{port}/_stcore/health", env),
        sync_playwright() as driver,
    ):
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        for _ in range(ROUNDS):
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            paints.append(_until(page, "live", lambda p=page: p.goto(f"http://127.0.0.1:{port}/")))
            for path in ("compare", "rollout", "calls", "pipeline", "live"):
                link = page.locator(f"a[href$='/{'' if path == 'live' else path}']").first
                switches[path].append(_until(page, path, link.click))
            page.close()
        chromium.close()
    return {"first paint, median s": round(statistics.median(paints), 2)} | {
        f"switch to {path}, median s": round(statistics.median(found), 2)
        for path, found in switches.items()
    }


def _until(page: Page, path: str, act) -> float:
    started = time.perf_counter()
    act()
    page.locator(PAGES[path]).first.wait_for(timeout=60_000)
    return time.perf_counter() - started


@contextmanager
def _process(argv: list[str], health: str, env: dict[str, str]) -> Iterator[str]:
    """A server until the block ends."""
    with subprocess.Popen(argv, env={**os.environ, **env}, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(_up(health))
            yield health
        finally:
            process.terminate()


async def _up(url: str) -> None:
    async with asyncio.timeout(120):
        while not await http_ready(url):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
