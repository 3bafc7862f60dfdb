"""How long the pages take over a store of 20 million calls in 60 days: every query, first paint, page switch.

Queries are timed as the pages send them, while each page runs without a browser: by the clock, and by the processor
time of the engine, which other work on the machine hardly changes. Paint and switch are timed in Chromium.
"""

import os
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright
from test_dashboard_browser import APP, ARGUMENTS, CHROMIUM, PAGES

from bench.large_store import large_store
from bench.servers import clickhouse, server, used_ms
from pipeline import net
from pipeline.embedded.ports import free_port
from pipeline.settings import Settings

CALLS = 20_000_000
ROUNDS = 5
RANGES = ("15m", "24h", "7d", "all")
SHOWN = 12  # queries named in the results, the slowest first


def run(calls: int = CALLS) -> dict[str, float]:
    """Milliseconds of the queries, seconds of first paint and page switch."""
    with TemporaryDirectory() as folder, clickhouse(Path(folder)) as (url, engine):
        started = time.perf_counter()
        with large_store(url, calls) as settings:
            filled = {"calls": calls, "seconds to fill": round(time.perf_counter() - started)}
            return filled | _queries(settings, engine) | _browser(settings)


def _queries(settings: Settings, engine: int) -> dict[str, float]:
    """Runs every page over every range, as a viewer would, and times what it asks."""
    os.environ.update(settings.environ())
    import streamlit as st  # noqa: PLC0415
    from streamlit.testing.v1 import AppTest  # noqa: PLC0415
    from test_dashboard_pages import PAGE  # noqa: PLC0415

    from dashboards import queries  # noqa: PLC0415

    clock: dict[str, list[float]] = defaultdict(list)
    processor: dict[str, list[float]] = defaultdict(list)
    named = {
        queries._sql(file.stem, by_the_hour=hours): file.stem
        for folder in queries.SQL
        for file in folder.glob("*.sql")
        for hours in (False, True)
    }
    ask, current = queries.rows, [""]

    def timed(client, sql, parameters=None):
        started, used = time.perf_counter(), used_ms(engine)
        found = ask(client, sql, parameters)
        name = f"{named[sql]} ({current[0]})"
        clock[name].append((time.perf_counter() - started) * 1000)
        processor[name].append(used_ms(engine) - used)
        return found

    queries.rows = net.rows = timed
    for _ in range(ROUNDS):
        for range_ in RANGES:
            for page in PAGES:
                current[0] = range_
                st.cache_data.clear()
                app = AppTest.from_string(PAGE.format(page=page), default_timeout=300)
                app.query_params["range"] = range_
                app.run()
                assert not app.exception, app.exception
    queries.rows = net.rows = ask
    medians = {name: statistics.median(values) for name, values in clock.items()}
    slowest = sorted(medians, key=medians.__getitem__, reverse=True)
    return {
        "queries timed": sum(map(len, clock.values())),
        "queries slower than 300 ms, by median": sum(ms > 300 for ms in medians.values()),
    } | {
        f"{name}, {what}": round(value)
        for name in slowest[:SHOWN]
        for what, value in (
            ("median ms", medians[name]),
            ("mean processor ms", statistics.fmean(processor[name])),
        )
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
        server(argv, f"http://127.0.0.1:{port}/_stcore/health", env),
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
