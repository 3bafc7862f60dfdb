"""The Faust worker: topics, streams and timers wired to the intake. The only place that imports faust.

Raw bytes are read and decoded by us (a typed topic drops what it cannot decode), without Faust's
own acknowledgement: a message is acknowledged after the ledger has it. No tables are kept:
ClickHouse is the truth. One stream loop per worker; scale by partitions and workers.
"""

import asyncio
import gc
import json
import logging
import socket
import time
import uuid
from collections.abc import AsyncIterable, Sequence
from typing import Any, TypeAlias

import faust
import msgspec
from faust.exceptions import ProducerSendError
from faust.types import TP, EventT
from prometheus_client import generate_latest
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily

from pipeline.calls import Rejected
from pipeline.feedback import Rated, read_feedback
from pipeline.intake import AssignmentLostError, Intake, Message
from pipeline.judging import TICK_SECONDS, Judge
from pipeline.kafka import FORMAT_HEADER, LARGEST_MESSAGE, PRODUCER_HEADER, KafkaError
from pipeline.lanes import Lanes
from pipeline.plan_file import owner
from pipeline.rejected import Asked, asked, retry
from pipeline.rejecting import RejectingWatch
from pipeline.rules import RulesFile
from pipeline.settings import Settings
from pipeline.store import service
from pipeline.store.connect import StoreError, connect
from pipeline.store.insert import Scored

log = logging.getLogger(__name__)

Event: TypeAlias = EventT[bytes]

MESSAGES_AT_ONCE = 500
PROBE_SECONDS = 2.0
# A broker that is starting may not know its topics yet. A group formed at that moment owns nothing
# until it looks again, which by default it does after five minutes.
METADATA_MS = 10_000
UNUSABLE_BYTES = 1000  # of feedback that cannot be used are kept


def create_app(settings: Settings, cluster: str) -> faust.App:
    """The Faust application. The store must be migrated and the topics must exist."""
    app = faust.App(
        settings.consumer_group,
        broker=[f"kafka://{address}" for address in settings.kafka.split(",")],
        datadir=str(settings.data / "faust"),
        web_bind=settings.worker_host,
        web_port=settings.worker_port,
        web_host=settings.worker_host,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=LARGEST_MESSAGE,
        consumer_metadata_max_age_ms=METADATA_MS,
        producer_max_request_size=LARGEST_MESSAGE,
        broker_commit_interval=1.0,
        broker_request_timeout=30.0,  # an answer that never comes: ask again
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        broker_rebalance_timeout=10.0,
        stream_buffer_maxsize=MESSAGES_AT_ONCE,
        stream_recovery_delay=0.0,
        stream_wait_empty=False,
        agent_supervisor="mode.CrashingSupervisor",  # a restarted agent has lost what it had read
        worker_redirect_stdouts=False,
    )
    worker = _Worker(app, settings, cluster)
    worker.wire()
    return app


def run(settings: Settings, cluster: str) -> None:
    """Runs a worker until SIGTERM or SIGINT; ends the process."""
    gc.set_threshold(100_000, 20, 20)  # rows are many small objects that hold no cycles
    app = create_app(settings, cluster)
    gc.freeze()  # what lives as long as the worker need not be looked through again and again
    faust.Worker(app, loglevel="INFO", redirect_stdouts=False).execute_from_commandline()


class _Worker:
    """One worker's state: the intake, the rules, and the lanes of messages on their way to the store."""

    def __init__(self, app: faust.App, settings: Settings, cluster: str) -> None:
        self.app = app
        self.settings = settings
        self.rules = RulesFile(settings.plan)
        self.client = connect(settings)
        self.intake = Intake(
            client=self.client,
            cluster=cluster,
            worker=f"{socket.gethostname()}:{settings.worker_port}",
            batch_calls=settings.batch_calls,
            remembered_ids=settings.recent_ids,
        )
        self.lanes = Lanes(
            key=lambda event: event.message.tp,
            size=lambda event: len(event.message.value or b""),
            age=lambda event: time.time() - event.message.timestamp,
            store=self.store_partition,
            seconds=settings.batch_ms / 1000,
        )
        self.judge = Judge(
            self.client, cluster, settings.calls_topic, f"{self.intake.worker}/{uuid.uuid4().hex[:8]}",
            self.rules.current().catalog, settings.plan, settings.report_currency,
        )  # fmt: skip
        self.tick_seconds = 0.0
        self.ends: dict[TP, tuple[int, int]] = {}
        self.rejecting = RejectingWatch()
        self.retrying = asyncio.Lock()  # two requests at once would send the same records twice
        self.joined = False  # the group has told it which partitions are its own

    def wire(self) -> None:
        raw = {"key_serializer": "raw", "value_serializer": "raw", "allow_empty": True}
        calls = self.app.topic(self.settings.calls_topic, **raw)
        self.events = events = self.app.topic(self.settings.events_topic, **raw)
        feedback = self.app.topic(self.settings.feedback_topic, **raw)
        self.rejected = self.app.topic(self.settings.rejected_topic, **raw)
        self.app.agent(calls, name="store_calls")(self.store_calls)
        self.app.agent(events, name="store_events")(self.store_events)
        self.app.agent(feedback, name="store_feedback")(self.store_feedback)
        self.app.timer(PROBE_SECONDS)(self.probe)
        self.app.timer(TICK_SECONDS)(self.judge_again)
        self.app.on_partitions_assigned.connect(self.on_assigned)

        @self.app.page("/healthz")  # type: ignore[untyped-decorator]
        async def healthz(web: Any, request: Any) -> Any:
            return web.json(self.health(), status=200 if self.joined else 503)

        @self.app.page("/metrics")  # type: ignore[untyped-decorator]
        async def metrics(web: Any, request: Any) -> Any:
            registry = CollectorRegistry()
            registry.register(self)
            return web.bytes(generate_latest(registry), content_type="text/plain")

    async def on_assigned(self, app: faust.App, assigned: set[TP], **_: Any) -> None:
        """Who owns what has changed: what is known of the partitions may be old."""
        self.joined = True
        self.intake.forget()
        self.lanes.clear()

    async def store_calls(self, stream: Any) -> None:
        """Reads the stream's channel: a message costs half of what it costs through the stream."""
        await self.lanes.run(aiter(stream.channel))

    async def store_partition(self, tp: TP, events: Sequence[Event]) -> list[Event]:
        """Stores messages of one partition and acknowledges what the ledger has; returns the rest."""
        by_offset = {e.message.offset: e for e in events}  # after a rebalance one may come again
        messages = [_message(by_offset[offset]) for offset in sorted(by_offset)]
        try:
            next_offset, rejected = await asyncio.to_thread(
                self.intake.store, tp.topic, tp.partition, messages, self.rules.current(),
                lambda: tp in self.app.consumer.assignment(),
            )  # fmt: skip
        except AssignmentLostError:
            log.info("%s/%d went to another worker", tp.topic, tp.partition)
            self.intake.forget()
            return []
        await self.send_rejected(tp, rejected)
        for event in events:
            if event.message.offset < next_offset:
                event.ack()
        return [event for event in events if event.message.offset >= next_offset]

    async def send_rejected(self, tp: TP, rejected: Sequence[Scored]) -> None:
        for item in rejected:
            assert isinstance(item.record, Rejected)
            headers = {
                "cutover-reason": item.record.reason.encode(),
                "cutover-origin": f"{tp.topic}/{tp.partition}/{item.offset}/{item.position}".encode(),
            }
            try:
                await self.rejected.send(value=item.record.value, headers=headers)
            except ProducerSendError as error:  # with its headers it may be too large
                log.warning("%s is in the store, but no copy in Kafka: %s", headers, error)

    async def store_events(self, stream: AsyncIterable[bytes]) -> None:
        async for events in stream.noack_take(MESSAGES_AT_ONCE, within=1.0):  # type: ignore[attr-defined]
            decoded = {e: d for e in events if (d := _event(e.message.value)) is not None}
            await self.until_stored(service.insert_events, self.intake.cluster, [*decoded.values()])
            for event in events:
                if request := asked(decoded.get(event, {})):
                    self.app.add_future(self.send_again(event, request))
                else:
                    event.ack()

    async def send_again(self, event: Event, request: Asked) -> None:
        """Sends rejected records again as an operator asked, and tells by an event what came of it.

        The request is acknowledged in the end: a worker that dies before leaves it to the next one.
        """
        async with self.retrying:
            while True:
                try:
                    done = await retry(self.settings, self.client, request.wanted)
                    break
                except (StoreError, KafkaError, OSError) as error:
                    log.warning("sending rejected records again waits: %s", error)
                    await asyncio.sleep(1)
        told = {
            "event_id": uuid.uuid4().hex,
            "at": time.time_ns() // 1_000_000,
            "kind": "retried",
            "of": request.event_id,
            "by": request.by,
            "reason": request.reason,
            **msgspec.structs.asdict(done),
        }
        await self.events.send(value=json.dumps(told, ensure_ascii=False).encode())
        event.ack()

    async def store_feedback(self, stream: AsyncIterable[bytes]) -> None:
        """Stores ratings; one that cannot be used becomes an event that says why."""
        async for events in stream.noack_take(MESSAGES_AT_ONCE, within=1.0):  # type: ignore[attr-defined]
            read = [(e, read_feedback(e.message.value, _received_at(e))) for e in events]
            rated = [item for _, item in read if isinstance(item, Rated)]
            unusable = [_unusable(e, item) for e, item in read if isinstance(item, Rejected)]
            await self.until_stored(service.insert_feedback, rated)
            await self.until_stored(service.insert_events, self.intake.cluster, unusable)
            for event in events:
                event.ack()

    async def until_stored(self, insert: Any, *arguments: Any) -> None:
        """Repeats an insert that may be repeated until the store takes it."""
        while True:
            try:
                return await asyncio.to_thread(insert, self.client, *arguments)
            except (StoreError, OSError) as error:
                log.warning("%s: the store is away: %s", insert.__name__, error)
                await asyncio.sleep(1)

    def watch_rejected(self) -> None:
        """Says loudly if most of the last minute's records were rejected."""
        c, watch = self.intake.counts, self.rejecting
        if watch.look(time.monotonic(), c.rejected, c.stored + c.rejected + c.duplicates):
            log.error(
                "most records of the last minute were rejected, %d of %d: is their format known "
                "here? `cutover rejected list` shows them", watch.rejected, watch.read,
            )  # fmt: skip

    async def probe(self) -> None:
        """Notes where the assigned partitions end, and the plan in force, for the pages."""
        self.watch_rejected()
        consumer = self.app.consumer
        mine = [tp for tp in consumer.assignment() if tp.topic == self.settings.calls_topic]
        now = time.time_ns() // 1_000_000  # before asking: what comes while this waits is not seen
        if mine:
            first, end = await consumer.earliest_offsets(*mine), await consumer.highwaters(*mine)
            self.ends = {tp: (first[tp] or 0, end[tp] or 0) for tp in mine}
        else:
            self.ends = {}
        ends = {(tp.topic, tp.partition): found for tp, found in self.ends.items()}
        try:
            await asyncio.to_thread(
                service.insert_partition_ends, self.client, self.intake.cluster, ends, now
            )
            if new := self.rules.unrecorded_plan():
                by = owner(self.settings.plan)
                await asyncio.to_thread(service.insert_plan, self.client, *new, by)
                self.rules.recorded()
        except (StoreError, OSError) as error:
            log.warning("probe is not stored: %s", error)

    async def judge_again(self) -> None:
        """Judges if this worker owns the first partition: then no other one does."""
        plan = self.rules.current().plan
        if TP(self.settings.calls_topic, 0) not in self.app.consumer.assignment():
            self.judge.forget()
            return
        if plan is None:
            return
        started = time.monotonic()
        try:
            now = time.time_ns() // 1_000_000
            happened = await asyncio.to_thread(self.judge.tick, plan, now)
        except (StoreError, OSError) as error:
            log.warning("judging waits for the store: %s", error)
            return
        self.tick_seconds = time.monotonic() - started
        for event in happened:
            log.info("%s", event)
            await self.events.send(value=json.dumps(event, ensure_ascii=False).encode())

    def health(self) -> dict[str, Any]:
        return {
            "ok": self.joined,
            "partitions": len(self.ends),
            "stored": self.intake.counts.stored,
        }

    def collect(self) -> list[Any]:
        """Prometheus's view of the counts."""
        c = self.intake.counts
        counters = {
            "stored": ("calls stored", c.stored),
            "rejected": ("records rejected", c.rejected),
            "duplicates": ("repeated calls dropped", c.duplicates),
            "ignored": ("records that tell of no call", c.ignored),
            "batches": ("batches inserted", c.batches),
            "store_errors": ("failed inserts", c.store_errors),
            "insert_seconds": ("time spent in inserts", c.insert_seconds),
        }
        share = GaugeMetricFamily(
            "cutover_worker_rejected_share",
            "share of the last minute's records that was rejected; 0 below 20 records",
            value=self.rejecting.share,
        )
        end = GaugeMetricFamily(
            "cutover_worker_end_offset", "end of an assigned partition", labels=["partition"]
        )
        for tp, (_, offset) in self.ends.items():
            end.add_metric([str(tp.partition)], offset)
        tick = GaugeMetricFamily(
            "cutover_worker_judge_tick_seconds", "time the last round of judging took", value=self.tick_seconds
        )  # fmt: skip
        return [
            tick,
            *(CounterMetricFamily(f"cutover_worker_{name}", text, value=value)
              for name, (text, value) in counters.items()),
            share,
            end,
        ]  # fmt: skip


def _message(event: Event) -> Message:
    message = event.message
    headers = dict(message.headers or {})
    return Message(
        offset=message.offset,
        received_at=_received_at(event),
        value=message.value,
        format=bytes(headers.get(FORMAT_HEADER, b"")).decode("utf-8", "replace"),
        counted=PRODUCER_HEADER in headers,
    )


def _received_at(event: Event) -> int:
    """Kafka's time of the message, UTC ms."""
    seconds: float = event.message.timestamp
    return round(seconds * 1000)


def _unusable(event: Event, rejected: Rejected) -> dict[str, Any]:
    """An event that tells of a message that could not be used; of the same one always the same."""
    message = event.message
    return {
        "event_id": f"{message.topic}/{message.partition}/{message.offset}",
        "at": _received_at(event),
        "kind": "feedback_rejected",
        "reason": rejected.reason,
        "detail": rejected.detail,
        "value": rejected.value[:UNUSABLE_BYTES].decode("utf-8", "replace"),
    }


def _event(value: bytes | None) -> dict[str, Any] | None:
    """An event of ours; anything else on the topic is left alone."""
    try:  # json.loads would let halves of surrogate pairs through, which no store takes
        event = msgspec.json.decode(value or b"")
    except (ValueError, RecursionError):
        return None
    own = isinstance(event, dict) and {"event_id", "at", "kind"} <= event.keys()
    return event if own else None
