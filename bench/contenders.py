"""The other ways from a topic into the store, each as short as a team would write it.

    python -m bench.contenders naive|peer|floor CALLS

All score with the same `score_message` and insert the same columns; none keeps a ledger, drops repeats, or
survives a crash without loss or repetition.
"""

import asyncio
import sys
import time

from bench.records import demo_rules
from pipeline.calls import ScoredCall
from pipeline.scoring.score import score_message
from pipeline.settings import Settings
from pipeline.store.connect import connect

NAMES = tuple(name for name in ScoredCall.__struct_fields__ if name != "pair")


class Store:
    """Inserts scored calls row by row, as the client's documentation shows."""

    def __init__(self, settings: Settings) -> None:
        self.client = connect(settings)

    def insert(self, calls: list[ScoredCall]) -> None:
        rows = [[getattr(call, name) for name in NAMES] for call in calls]
        self.client.insert("calls", rows, column_names=NAMES)


def naive(settings: Settings) -> None:
    """A Faust agent: `take` a thousand messages, score, insert."""
    import faust  # noqa: PLC0415

    rules, store = demo_rules(), Store(settings)
    app = faust.App(
        settings.consumer_group, broker=f"kafka://{settings.kafka}", topic_disable_leader=True,
        consumer_auto_offset_reset="earliest", web_bind="127.0.0.1", web_port=settings.worker_port, datadir=str(settings.data / "naive"),
    )  # fmt: skip
    topic = app.topic(settings.calls_topic, value_serializer="raw", key_serializer="raw")

    @app.agent(topic)
    async def store_calls(stream):
        async for values in stream.take(1000, within=1):
            now = time.time_ns() // 1_000_000
            store.insert([call for value in values for call in score_message(value, now, rules)])

    faust.Worker(app, loglevel="ERROR").execute_from_commandline()


def peer(settings: Settings) -> None:
    """Quix Streams with a batching sink."""
    from quixstreams import Application  # noqa: PLC0415
    from quixstreams.sinks import BatchingSink  # noqa: PLC0415

    rules, store = demo_rules(), Store(settings)

    class ClickHouse(BatchingSink):
        def write(self, batch) -> None:
            store.insert([call for item in batch for call in item.value])

    app = Application(
        broker_address=settings.kafka, consumer_group=settings.consumer_group,
        auto_offset_reset="earliest", commit_interval=1.0, loglevel="ERROR",
    )  # fmt: skip
    topic = app.topic(settings.calls_topic, value_deserializer="bytes", key_deserializer="bytes")
    frame = app.dataframe(topic)
    frame = frame.apply(lambda value: score_message(value, time.time_ns() // 1_000_000, rules))
    frame.sink(ClickHouse())
    app.run()


async def floor(settings: Settings, calls: int) -> float:
    """A bare consumer that counts lines; calls a second after the first fetch."""
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415

    seen, started = 0, 0.0
    async with AIOKafkaConsumer(
        settings.calls_topic, bootstrap_servers=settings.kafka, auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 << 20,
    ) as consumer:  # fmt: skip
        while seen < calls:
            for messages in (await consumer.getmany(timeout_ms=500)).values():
                started = started or time.perf_counter()
                seen += sum(1 + message.value.count(b"\n") for message in messages)
    return seen / (time.perf_counter() - started)


def main() -> None:
    """Runs one of them until it is killed; `floor` prints its pace and ends."""
    who, calls = sys.argv[1], int(sys.argv[2])
    sys.argv = sys.argv[:1]  # Faust reads it too
    settings = Settings.read()
    if who == "floor":
        print(asyncio.run(floor(settings, calls)))
    else:
        {"naive": naive, "peer": peer}[who](settings)


if __name__ == "__main__":
    main()
