"""Sends a made-up past through Kafka, as old log files are replayed, while the live demo runs.

    python -m pipeline.demo.past --days 14 --per-day 20000 --seed 1 --end-ms 1795000000000

It never runs far ahead of the store, so that live calls do not wait behind days of history.
"""

import argparse
import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.account import messages_behind
from pipeline.demo.history import history
from pipeline.kafka import CallProducer, cluster_id
from pipeline.plan_file import load_plan
from pipeline.settings import Settings
from pipeline.store.connect import connect

CALLS_PER_DAY = 20_000
CHUNK = 10_000
MESSAGES_AHEAD = 320


async def send_past(settings: Settings, days: int, per_day: int, seed: int, end_ms: int) -> int:
    """Returns how many records were sent. Raises KafkaError, StoreError."""
    sent = 0
    producer = CallProducer(settings, "history")
    await producer.start()
    try:
        with connect(settings) as client:
            if client.command("SELECT count() FROM calls"):
                return 0  # there is a past already
            cluster = await cluster_id(settings)
            for record in history(load_plan(settings.plan), days, per_day, seed, end_ms):
                producer.put(record)
                sent += 1
                if producer.waiting >= CHUNK:
                    await producer.flush()
                    while await messages_behind(settings, client, cluster) > MESSAGES_AHEAD:  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
        await producer.flush()
    finally:
        await producer.stop()
    return sent


@asynccontextmanager
async def sending_past(
    settings: Settings, days: int, seed: int, end_ms: int
) -> AsyncIterator[None]:
    """Sends the past from a process of its own beside what happens within, and waits for its end."""
    if not days:
        yield
        return
    numbers = {"days": days, "per-day": CALLS_PER_DAY, "seed": seed, "end-ms": end_ms}
    arguments = [f"--{name}={number}" for name, number in numbers.items()]
    sender = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pipeline.demo.past", *arguments,
        env={**os.environ, **settings.environ()}, stdout=DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
        await sender.wait()
    finally:
        if sender.returncode is None:
            sender.terminate()
            await sender.wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.past", description=__doc__)
    for name in ("days", "per-day", "seed", "end-ms"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    settings = Settings.read()
    sent = asyncio.run(send_past(settings, given.days, given.per_day, given.seed, given.end_ms))
    print(f"sent {sent} records")


if __name__ == "__main__":
    main()
