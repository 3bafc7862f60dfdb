"""Faults at random moments against a running pipeline; at the end nothing may be lost or there twice.

    PYTHONPATH=.:tests python tests/chaos.py --broker apache --faults 200 --seed 7

A generator with a ledger of its own sends calls, repeats some and mixes in garbage, while workers are
killed, frozen for longer than their session, started and stopped, the broker and the store are killed,
frozen and started again, and inserts are cut, refused after they were stored, or arrive late. Then the
store must hold each call once, cost what the generator reckons to the last digit, agree with its own
sums, and the account must balance.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from unittest.mock import patch

import faulty_store
from faulty_store import FaultyStore
from kafka_brokers import Broker, apache, embedded, running
from ports import own_port
from records import anthropic_record
from workers import Worker

from pipeline import kafka
from pipeline.account import next_offsets, take_account
from pipeline.audit import audit
from pipeline.calls import ScoredCall
from pipeline.catalog import load_catalog
from pipeline.embedded.supervisor import http_ready
from pipeline.formats.cutover import encode
from pipeline.kafka import CallProducer, cluster_id, end_offsets, ensure_topics
from pipeline.rules import load_checks
from pipeline.scoring.score import Rules, score_message
from pipeline.service import drained
from pipeline.settings import Settings
from pipeline.store.connect import connect
from pipeline.store.migrate import migrate

FROZEN_SECONDS = 8.0  # longer than a worker's session of 6 s
MOST_WORKERS = 3
CALLS_A_SECOND = 150
PATIENCE = 180.0
ROOM = 512 * 1024  # bytes for records that wait for Kafka, on disk and again in memory
BURST = 1500  # calls that do not fit into both


@dataclass
class Generator:
    """Sends calls and keeps its own account: what was offered, how often, at what cost."""

    producer: CallProducer
    rules: Rules
    random: random.Random
    costs: dict[str, tuple[Decimal, str]] = field(default_factory=dict)
    garbage: int = 0
    repeated: int = 0
    recent: list[tuple[bytes, str]] = field(default_factory=list)

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            await asyncio.sleep(1 / CALLS_A_SECOND)
            chance = self.random.random()
            if chance < 0.03 and self.recent:
                line, key = self.random.choice(self.recent)
                self.repeated += 1
                self.producer.put_line(line, key)
            elif chance < 0.035:
                self.garbage += 1
                self.producer.put_line(b'{"cutover":1,"call', f"garbage {self.garbage}")
            else:
                self.call()

    def call(self) -> None:
        """A new call of one of many conversations."""
        now = time.time_ns() // 1_000_000
        tokens = self.random.randint(1, 90_000)
        conversation = f"conversation {self.random.randint(1, 200)}"
        record = anthropic_record(
            uuid.UUID(int=self.random.getrandbits(128)).hex,
            conversation_id=conversation, started_at=now - 1200, ended_at=now,
            response=_answer(tokens),
        )  # fmt: skip
        line = encode(record)
        (scored,) = score_message(line, now, self.rules)
        assert isinstance(scored, ScoredCall) and scored.cost is not None
        self.costs[scored.call_id] = (scored.cost, scored.currency)
        self.recent = [*self.recent[-500:], (line, conversation)]
        self.producer.put_line(line, conversation)


def _answer(tokens: int) -> str:
    return (
        '{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929",'
        '"content":[{"type":"text","text":"It arrives tomorrow."}],"stop_reason":"end_turn",'
        f'"usage":{{"input_tokens":100,"output_tokens":{tokens}}}}}'
    )


class Store:
    """The embedded ClickHouse endpoint as a process that can be killed and started again."""

    def __init__(self, data: Path) -> None:
        self.port = own_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._argv = [
            sys.executable, "-m", "pipeline.embedded.clickhouse",
            "--port", str(self.port), "--data", str(data),
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes]

    async def start(self) -> None:
        self.process = subprocess.Popen(self._argv)
        async with asyncio.timeout(PATIENCE):
            while not await http_ready(f"{self.url}/ping"):
                assert self.process.poll() is None, "the store ended before it was ready"
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Chaos:
    """The running pipeline, and the faults that can strike it."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        store: Store,
        proxy: FaultyStore,
        generator: "Generator",
        chance: random.Random,
    ) -> None:
        self.generator = generator
        self.settings, self.broker, self.store, self.proxy = settings, broker, store, proxy
        self.random = chance
        self.workers: list[Worker] = []
        self.started = 0
        self.faults: dict[str, Callable[[], Awaitable[None]]] = {
            "a worker is killed": self.worker_killed,
            "a worker is frozen": self.worker_frozen,
            "a worker joins": self.worker_joins,
            "a worker leaves": self.worker_leaves,
            "the broker is frozen": self.broker_frozen,
            "the store is killed": self.store_killed,
            "the store is frozen": self.store_frozen,
            "the broker is frozen and the spool is full": self.spool_full,
            "an insert is refused": lambda: self.insert(faulty_store.refused),
            "an insert is stored but refused": lambda: self.insert(faulty_store.stored_but_refused),
            "an insert is stored but cut": lambda: self.insert(faulty_store.stored_but_cut),
            "half an insert is sent": lambda: self.insert(faulty_store.half_sent),
            "an insert hangs": lambda: self.insert(faulty_store.late(3)),
            "a dead worker's insert arrives late": self.insert_of_the_dead,
        }
        if broker.keeps_its_log:
            self.faults["the broker is killed"] = self.broker_killed

    def worker(self) -> None:
        """Starts another worker."""
        self.started += 1
        worker = Worker(self.settings, f"worker-{self.started}")
        worker.start()
        self.workers.append(worker)

    async def strike(self) -> str:
        """One fault at random; returns its name once it has been done."""
        name = self.random.choice(list(self.faults))
        self.tend()
        await self.faults[name]()
        return name

    def tend(self) -> None:
        """Starts those again that ended because the store was away when they started; keeps one at least."""
        alive = [worker for worker in self.workers if worker.process.poll() is None]
        ended = len(self.workers) - len(alive)
        self.workers = alive
        for _ in range(max(ended, 1 - len(alive))):
            self.worker()

    async def worker_killed(self) -> None:
        self._taken_out().process.kill()
        self.worker()

    async def worker_frozen(self) -> None:
        frozen = self.random.choice(self.workers)
        frozen.signal(signal.SIGSTOP)
        if len(self.workers) == 1:
            self.worker()
        await asyncio.sleep(FROZEN_SECONDS + 2 * self.random.random())
        frozen.signal(signal.SIGCONT)

    async def worker_joins(self) -> None:
        if len(self.workers) == MOST_WORKERS:
            await self.worker_leaves()
        self.worker()

    async def worker_leaves(self) -> None:
        self._taken_out().signal(signal.SIGTERM)

    async def broker_frozen(self) -> None:
        self.broker.signal(signal.SIGSTOP)
        await asyncio.sleep(1 + 3 * self.random.random())
        self.broker.signal(signal.SIGCONT)

    async def spool_full(self) -> None:
        self.broker.signal(signal.SIGSTOP)
        for _ in range(BURST):
            self.generator.call()
        await asyncio.sleep(1)
        self.broker.signal(signal.SIGCONT)

    async def broker_killed(self) -> None:
        self.broker.kill()
        await asyncio.sleep(2 * self.random.random())
        await asyncio.to_thread(self.broker.start)

    async def store_killed(self) -> None:
        self.store.kill()
        await asyncio.sleep(2 * self.random.random())
        await self.store.start()

    async def store_frozen(self) -> None:
        self.store.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1 + 3 * self.random.random())
        self.store.process.send_signal(signal.SIGCONT)

    async def insert(self, fault: faulty_store.Fault) -> None:
        self.proxy.strike(fault)
        await self.struck()

    async def struck(self) -> None:
        """Waits until the fault has met an insert."""
        async with asyncio.timeout(PATIENCE):
            while self.proxy.armed:
                self.tend()
                await asyncio.sleep(0.02)

    async def insert_of_the_dead(self) -> None:
        """A worker dies, its insert is on its way for longer than it takes others to go on."""
        self.proxy.strike(faulty_store.late(12))
        await self.struck()
        while self.workers:  # whoever sent it
            self._taken_out().process.kill()
        self.worker()

    def _taken_out(self) -> Worker:
        return self.workers.pop(self.random.randrange(len(self.workers)))

    def logs_of_failure(self, kind: type[BaseException] | None, *_: object) -> None:
        """Prints what the workers said if the block they ran in failed."""
        if kind:
            print("\n\n".join(worker.log[-6000:] for worker in self.workers), file=sys.stderr)

    def stop(self) -> None:
        """Ends all workers, the frozen too."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()


@contextmanager
def running_broker(name: str, folder: Path) -> Iterator[Broker]:
    """The broker of that name: "apache" or "embedded"."""
    with running(apache(folder / "kafka") if name == "apache" else embedded()) as broker:
        yield broker


async def chaos(
    broker: Broker, folder: Path, faults: int, seed: int, say: Callable[[str], None]
) -> None:
    """Runs so many faults; raises AssertionError with what is wrong at the end."""
    chance = random.Random(seed)
    name = uuid.uuid4().hex[:8]
    store = Store(folder / "clickhouse")
    settings = replace(
        Settings(), data=folder, plan=folder / "plan.yml", kafka=broker.address, clickhouse_url=store.url,
        calls_topic=f"calls-{name}", rejected_topic=f"rejected-{name}", events_topic=f"events-{name}",
        consumer_group=f"worker-{name}", worker_port=own_port(), spool_bytes=ROOM,
    )  # fmt: skip
    async with AsyncExitStack() as up:
        up.enter_context(patch.object(kafka, "WAITING_BYTES", ROOM))
        await store.start()
        up.callback(store.kill)
        await ensure_topics(settings)
        await asyncio.to_thread(migrate, settings, load_catalog())
        proxy = await up.enter_async_context(FaultyStore(store.url).running())
        producer = CallProducer(settings, "chaos")
        await producer.start()
        generator = Generator(
            producer, Rules(load_catalog(), load_checks()), random.Random(seed + 1)
        )
        through_proxy = replace(settings, clickhouse_url=proxy.address)
        pipeline = Chaos(through_proxy, broker, store, proxy, generator, chance)
        up.callback(pipeline.stop)
        pipeline.worker()
        up.push(pipeline.logs_of_failure)
        async with sending(generator):
            for number in range(1, faults + 1):
                await asyncio.sleep(1.5 * chance.random())
                say(f"{number}/{faults}  {await pipeline.strike()}")
                if number % 10 == 0:
                    await settled(settings, pipeline)
                    say(
                        f"      {len(generator.costs)} calls so far, {len(pipeline.workers)} workers"
                    )
        await until_sent(producer)
        await producer.stop()
        await settled(settings, pipeline)
        say("the faults are over")
        await check(settings, generator, pipeline)
        say(
            f"{len(generator.costs)} calls, {generator.repeated} repeated, {generator.garbage} of garbage, "
            f"{producer.counts.dropped} dropped for want of room and counted, {producer.counts.resent} sent "
            f"again, {proxy.struck} inserts struck: each is there once, all sums agree"
        )


@contextlib.asynccontextmanager
async def sending(generator: Generator) -> AsyncIterator[None]:
    """The generator at work while the block runs."""
    task = asyncio.create_task(generator.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        task.result()


async def until_sent(producer: CallProducer) -> None:
    """Waits until Kafka has everything the producer took and did not drop."""
    async with asyncio.timeout(PATIENCE):
        while producer.waiting:
            await asyncio.sleep(0.1)


async def settled(settings: Settings, pipeline: Chaos) -> None:
    """Waits until what was sent by now is stored."""
    async with asyncio.timeout(PATIENCE):
        with connect(settings) as client:
            cluster, ends = await cluster_id(settings), await end_offsets(settings)
            while any(
                next_offsets(settings, client, cluster).get(partition, 0) < end
                for partition, end in ends.items()
            ):
                pipeline.tend()
                await asyncio.sleep(0.5)


async def check(settings: Settings, generator: Generator, pipeline: Chaos) -> None:
    """The store against the generator's ledger, and against itself."""
    assert await drained(settings, PATIENCE), "not all was stored in time"
    with connect(settings) as client:
        stored = client.query("SELECT call_id, cost, currency FROM calls").result_rows
        rejected = client.command("SELECT count() FROM rejected")
        found = await asyncio.to_thread(audit, client)
        cluster = await cluster_id(settings)
        producer = generator.producer
        counts = producer.counts
        account = await take_account(
            settings,
            client,
            cluster,
            counts.produced - counts.dropped,
            counts.waiting,
            counts.resent,
        )
    ids = {row[0] for row in stored}
    lost, strange = generator.costs.keys() - ids, ids - generator.costs.keys()
    assert len(lost) <= counts.dropped, f"{len(lost)} calls are lost, e.g. {sorted(lost)[:3]}"
    assert not strange, f"{len(strange)} calls were never sent, e.g. {sorted(strange)[:3]}"
    assert len(stored) == len(ids), f"{len(stored) - len(ids)} calls are there twice"
    assert all(generator.costs[call_id] == (cost, currency) for call_id, cost, currency in stored)
    assert generator.garbage - counts.dropped <= rejected <= generator.garbage
    assert found.ok, found.first_discrepancy
    assert account.in_flight == 0 and account.balanced, account


def main() -> int:
    """Exit code 0 if nothing was lost and nothing is there twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--broker", choices=["apache", "embedded"], default="apache")
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    options = parser.parse_args()
    print(
        f"{options.faults} faults on the {options.broker} broker, seed {options.seed}", flush=True
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        running_broker(options.broker, Path(folder)) as broker,
    ):
        say = lambda line: print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)  # noqa: E731
        asyncio.run(chaos(broker, Path(folder), options.faults, options.seed, say))
    return 0


if __name__ == "__main__":
    sys.exit(main())
