"""What could not be used, listed, and sent again once the cause is mended: by `cutover rejected`, or by a
worker whom an operator asked on the pages.

A record that is sent again is a new production, with a place of its own in Kafka: the old row stays
rejected and is marked, so that the account balances before and after. What is sent are the stored
bytes: keys that were blanked out in them stay blanked out.
"""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from pipeline.forward import forward
from pipeline.kafka import CallProducer
from pipeline.settings import Settings
from pipeline.store.connect import Client
from pipeline.store.migrate import SQL
from pipeline.store.service import Time

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
PAGE = 200
_PLACE = ("cluster", "topic", "kafka_partition", "kafka_offset", "position")


class Wanted(msgspec.Struct, frozen=True):
    """Which rejected records: stored since a time and before another (UTC), of one reason or of all ("")."""

    since: datetime = BEGINNING
    reason: str = ""
    until: datetime | None = None  # None: now


class Asked(msgspec.Struct, frozen=True):
    """An event by which an operator asks, on the pages, for records to be sent again; `at` is UTC ms."""

    event_id: str
    at: Time
    kind: Literal["retry_wanted"]
    reason: str = ""
    by: str = ""

    @property
    def wanted(self) -> Wanted:
        """Those that the operator saw. What is rejected later, of these too, is not meant, however late this is read."""
        return Wanted(reason=self.reason, until=datetime.fromtimestamp(self.at / 1000, UTC))


def asked(event: Mapping[str, Any]) -> Asked | None:
    """The event as such a request; None if it is another one, or not as it must be."""
    try:
        return msgspec.convert(event, Asked)
    except msgspec.ValidationError:
        return None


class RejectedRow(msgspec.Struct, frozen=True):
    """One rejected record with its place in Kafka."""

    cluster: str
    topic: str
    kafka_partition: int
    kafka_offset: int
    position: int
    received_at: datetime
    reason: str
    detail: str
    value: bytes

    @property
    def origin(self) -> str:
        return f"{self.topic}/{self.kafka_partition}/{self.kafka_offset}/{self.position}"


class Retried(msgspec.Struct):
    """What was done: rejected rows marked, records sent for them, rows without anything to send."""

    rows: int = 0
    records: int = 0
    empty: int = 0


def pages(client: Client, wanted: Wanted) -> Iterator[list[RejectedRow]]:
    """Those that were not sent again yet and are there now, oldest first. Raises StoreError."""
    ((now,),) = client.query("SELECT now64(3, 'UTC')").result_rows
    until = wanted.until or now
    where: dict[str, Any] = {
        "since": wanted.since, "until": until, "reason": wanted.reason, "limit": PAGE,
        "received_at": BEGINNING, "cluster": "", "topic": "",
        "kafka_partition": 0, "kafka_offset": 0, "position": -1,
    }  # fmt: skip
    sql = (SQL / "queries" / "rejected.sql").read_text(encoding="utf-8")
    while True:
        found = client.query(sql, parameters=where, column_formats={"value": "bytes"})
        if not (page := [RejectedRow(**row) for row in found.named_results()]):
            return
        yield page
        where |= {name: getattr(page[-1], name) for name in (*_PLACE, "received_at")}


async def retry(settings: Settings, client: Client, wanted: Wanted, format: str = "") -> Retried:
    """Sends them again, recognised anew unless `format` names their format, and marks them.

    Raises StoreError, or KafkaError if Kafka is away. What was sent and not yet marked when it
    stops is sent again the next time; a call counts once.
    """
    done = Retried()
    producer = CallProducer(settings, "retry")
    await producer.start()
    try:
        await producer.connect()
        found = pages(client, wanted)
        while page := await asyncio.to_thread(next, found, None):
            for row in page:
                done.rows += 1
                if row.value.strip():
                    done.records += forward(producer, row.value, format)
                else:
                    done.empty += 1
            await producer.flush()
            await asyncio.to_thread(_mark, client, page)
    finally:
        await producer.stop()
    return done


def _mark(client: Client, page: list[RejectedRow]) -> None:
    rows = [[getattr(row, name) for name in _PLACE] for row in page]
    client.insert("retries", rows, column_names=_PLACE)


def line(row: RejectedRow) -> str:
    """One line for a person."""
    at = row.received_at.strftime("%Y-%m-%d %H:%M:%S")
    return f"{at}  {row.reason:<16}  {row.origin}  {len(row.value):,} bytes  {row.detail}"


def as_json(row: RejectedRow) -> bytes:
    """One JSON object, its bytes as text."""
    told = {name: getattr(row, name) for name in ("received_at", "reason", "origin", "detail")}
    return msgspec.json.encode({**told, "value": row.value.decode("utf-8", "replace")})
