"""How many calls a second one worker scores and stores in the embedded engine, both on this machine."""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.records import NOW_MS, demo_lines, demo_rules
from bench.servers import clickhouse
from pipeline.intake import Intake, Message
from pipeline.settings import Settings
from pipeline.store.connect import connect
from pipeline.store.migrate import migrate

CALLS = 50_000
CALLS_A_MESSAGE = 200


def run() -> dict[str, float]:
    """Calls a second from Kafka's bytes to visible rows, without Kafka itself."""
    rules = demo_rules()
    lines = demo_lines(rules, CALLS)
    starts = range(0, CALLS, CALLS_A_MESSAGE)
    messages = [
        Message(n, NOW_MS, b"\n".join(lines[start : start + CALLS_A_MESSAGE]))
        for n, start in enumerate(starts)
    ]
    with TemporaryDirectory() as folder, clickhouse(Path(folder)) as (url, _):
        settings = replace(Settings(), clickhouse_url=url)
        migrate(settings, rules.catalog)
        with connect(settings) as client:
            intake = Intake(client, "bench", "bench", 10_000, 200_000)
            started = time.perf_counter()
            intake.store("llm.calls", 0, messages, rules, lambda: True)
            seconds = time.perf_counter() - started
            assert client.command("SELECT count() FROM calls") == CALLS
    return {"score and store, calls/s": round(CALLS / seconds)}
