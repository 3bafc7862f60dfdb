"""Writes one batch of a Kafka partition, so that repeating it changes nothing; and resumes after a crash.

Order: rejected rows, calls, then the ledger row, and only then does the caller tell Kafka. Each
INSERT is one atomic part and carries a deduplication token made of the batch's offset range, which
the materialised views use too. A crash in between leaves rows beyond the ledger: `Position`
says so, and the worker then repeats exactly that range.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import msgspec

from pipeline.calls import Rejected, ScoredCall
from pipeline.store.connect import ClickHouseType, Client

_ORIGIN = (
    "cluster", "topic", "kafka_partition", "batch_to", "received_on",
    "kafka_offset", "position", "received_at",
)  # fmt: skip
_REJECTED = ("reason", "detail", "value")
_LEDGER = (
    "cluster", "topic", "kafka_partition", "offset_from", "offset_to",
    "stored", "rejected", "duplicates", "worker",
)  # fmt: skip


class Scored(msgspec.Struct, frozen=True):
    """One record with its place: Kafka offset, index in its message, Kafka's time in UTC ms."""

    offset: int
    position: int
    received_at: int
    record: ScoredCall | Rejected


class Batch(msgspec.Struct, frozen=True):
    """Offsets `offset_from` to `offset_to` (both included) of one partition, scored and deduplicated."""

    cluster: str
    topic: str
    partition: int
    offset_from: int
    offset_to: int
    received_at: int  # of the batch's first message: fixes the table partition, UTC ms
    records: Sequence[Scored]
    duplicates: int

    @property
    def token(self) -> str:
        return f"{self.cluster}/{self.topic}/{self.partition}/{self.offset_from}/{self.offset_to}"


class Position(msgspec.Struct, frozen=True):
    """Where to go on in a partition.

    `next_offset` is the first one the ledger does not cover (None: nothing read yet). If
    `unfinished_to` is set, a batch from `next_offset` to it was cut short and must be repeated as one.
    `recent_ids` are the ids of the last calls stored, oldest first.
    """

    next_offset: int | None
    unfinished_to: int | None
    recent_ids: tuple[str, ...]


def insert_batch(client: Client, batch: Batch, worker: str) -> None:
    """Stores a batch and its ledger row. Safe to repeat. Raises StoreError; then repeat it."""
    calls = [item for item in batch.records if isinstance(item.record, ScoredCall)]
    rejected = [item for item in batch.records if isinstance(item.record, Rejected)]
    _insert(client, batch, "rejected", rejected, _REJECTED)
    _insert(client, batch, "calls", calls, ScoredCall.__struct_fields__)
    ledger = [
        batch.cluster, batch.topic, batch.partition, batch.offset_from, batch.offset_to,
        len(calls), len(rejected), batch.duplicates, worker,
    ]  # fmt: skip
    _insert_once(client, "ledger", _LEDGER, [[value] for value in ledger], batch.token)


def read_position(
    client: Client, cluster: str, topic: str, partition: int, recent: int
) -> Position:
    """Where the store says a partition stands; `recent` is how many ids to remember."""
    next_offset = read_next_offset(client, cluster, topic, partition)
    where = {"cluster": cluster, "topic": topic, "partition": partition, "next": next_offset or 0}
    ((unfinished, to),) = client.query(_UNFINISHED, parameters=where).result_rows
    ids = client.query(_RECENT_IDS, parameters={**where, "recent": recent}).result_rows
    return Position(next_offset, to if unfinished else None, tuple(row[0] for row in reversed(ids)))


def read_next_offset(client: Client, cluster: str, topic: str, partition: int) -> int | None:
    """The first offset the ledger does not cover; None if nothing of the partition was read yet."""
    where = {"cluster": cluster, "topic": topic, "partition": partition}
    ((read, last),) = client.query(_LAST_OFFSET, parameters=where).result_rows
    return last + 1 if read else None


_HERE = (
    "cluster = {cluster:String} AND topic = {topic:String} AND kafka_partition = {partition:UInt32}"
)
_LAST_OFFSET = f"SELECT count(), max(offset_to) FROM ledger WHERE {_HERE}"
_UNFINISHED = f"""
    SELECT count(), max(batch_to) FROM
    (
        SELECT batch_to FROM calls WHERE {_HERE} AND kafka_offset >= {{next:UInt64}}
        UNION ALL
        SELECT batch_to FROM rejected WHERE {_HERE} AND kafka_offset >= {{next:UInt64}}
    )"""
_RECENT_IDS = f"""
    SELECT call_id FROM calls WHERE {_HERE} AND kafka_offset < {{next:UInt64}}
    ORDER BY kafka_offset DESC, position DESC LIMIT {{recent:UInt32}}"""


def _insert(
    client: Client, batch: Batch, table: str, items: Sequence[Scored], names: Sequence[str]
) -> None:
    if not items:
        return
    count = len(items)
    columns: list[Sequence[Any]] = [
        [batch.cluster] * count,
        [batch.topic] * count,
        [batch.partition] * count,
        [batch.offset_to] * count,
        [_day(batch.received_at)] * count,
        [item.offset for item in items],
        [item.position for item in items],
        [item.received_at for item in items],
        *zip(*(msgspec.structs.astuple(item.record) for item in items), strict=True),
    ]
    _insert_once(client, table, (*_ORIGIN, *names), columns, batch.token)


def _insert_once(
    client: Client, table: str, names: tuple[str, ...], columns: Sequence[Any], token: str
) -> None:
    client.insert(
        table,
        columns,
        column_names=names,
        column_types=_column_types(client, table, names),
        column_oriented=True,
        settings=once(token),
    )


@lru_cache(maxsize=16)
def _column_types(client: Client, table: str, names: tuple[str, ...]) -> Sequence[ClickHouseType]:
    """Asked of the store once; otherwise every insert would ask again."""
    return client.create_insert_context(table, column_names=names).column_types


def once(token: str) -> dict[str, Any]:
    """Settings of an INSERT that adds nothing when it comes again with the same token."""
    return {
        "insert_deduplication_token": token,
        "deduplicate_blocks_in_dependent_materialized_views": 1,
    }


def _day(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date()
