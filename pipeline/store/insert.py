"""Writes one batch of a Kafka partition, so that repeating it changes nothing; and resumes after a crash.

Order: the claim, rejected rows, calls, pairs, then the ledger row, and only then does the caller
tell Kafka. The claim fixes where a batch ends before anything of it is stored, and the store keeps only
the first claim of a start, so that everybody who stores that batch, now or after a crash, stores
the same offsets. Each INSERT is one atomic part and carries a deduplication token made of the
batch's offset range, which the materialised views use too: the second of two adds nothing.
`docs/exactly-once.md` says why this is enough.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import msgspec

from pipeline.calls import Pair, Rejected, ScoredCall
from pipeline.store.connect import ClickHouseType, Client

_ORIGIN = (
    "cluster", "topic", "kafka_partition", "received_on", "kafka_offset", "position", "received_at",
)  # fmt: skip
_CALL = ScoredCall.__struct_fields__[:-1]  # all but the pair, which has a table of its own
_REJECTED = ("reason", "detail", "value")
_CLAIM = ("cluster", "topic", "kafka_partition", "offset_from", "offset_to", "worker")
_LEDGER = (*_CLAIM, "stored", "rejected", "duplicates", "ignored", "uncounted")


class Scored(msgspec.Struct, frozen=True):
    """One record with its place: Kafka offset, index in its message, Kafka's time in UTC ms."""

    offset: int
    position: int
    received_at: int
    record: ScoredCall | Rejected | Pair


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
    ignored: int = 0  # records that tell of no call
    uncounted: int = 0  # records whose senders do not say how many they send
    begun: bool = False  # somebody claimed it before: some of it may be stored

    @property
    def start(self) -> str:
        """Names the batch by where it begins: its claim's deduplication token."""
        return f"{self.cluster}/{self.topic}/{self.partition}/{self.offset_from}"

    @property
    def token(self) -> str:
        """Names the batch by its offset range: the deduplication token of its rows."""
        return f"{self.start}/{self.offset_to}"


class Position(msgspec.Struct, frozen=True):
    """Where to go on in a partition.

    `next_offset` is the first one the ledger does not cover (None: nothing read yet). If
    `claimed_to` is set, the batch from `next_offset` on was claimed to end there, and must.
    `recent_ids` are the ids of the last calls stored, oldest first.
    """

    next_offset: int | None
    claimed_to: int | None
    recent_ids: tuple[str, ...]


class Claim(msgspec.Struct, frozen=True):
    """What the store keeps of a batch's start: where the batch must end, and how far the ledger is."""

    offset_to: int
    next_offset: int | None


def claim_batch(client: Client, batch: Batch, worker: str) -> Claim:
    """Claims a batch's offsets, unless someone has before. Safe to repeat. Raises StoreError."""
    claim = (*_extent(batch), worker)
    _insert_once(client, "claims", _CLAIM, [[value] for value in claim], batch.start)
    where = {"cluster": batch.cluster, "topic": batch.topic, "partition": batch.partition}
    found = client.query(_CLAIMED, parameters={**where, "from": batch.offset_from})
    ((offset_to, read, last),) = found.result_rows
    return Claim(offset_to, last + 1 if read else None)


def insert_batch(client: Client, batch: Batch, worker: str) -> None:
    """Stores a claimed batch and its ledger row. Safe to repeat. Raises StoreError; then repeat it."""
    calls = [item for item in batch.records if isinstance(item.record, ScoredCall)]
    rejected = [item for item in batch.records if isinstance(item.record, Rejected)]
    _insert(client, batch, "rejected", rejected, _REJECTED)
    _insert(client, batch, "calls", calls, _CALL)
    _insert(client, batch, "pairs", list(_pairs(calls)), Pair.__struct_fields__)
    counts = len(calls), len(rejected), batch.duplicates
    if batch.begun:  # by another worker, perhaps of another version: what it stored stays
        counts = _counted(client, batch, sum(counts))
    ledger = (*_extent(batch), worker, *counts, batch.ignored, batch.uncounted)
    _insert_once(client, "ledger", _LEDGER, [[value] for value in ledger], batch.token)


def read_position(
    client: Client, cluster: str, topic: str, partition: int, recent: int
) -> Position:
    """Where the store says a partition stands; `recent` is how many ids to remember."""
    where = {"cluster": cluster, "topic": topic, "partition": partition}
    ((read, last),) = client.query(_LAST_OFFSET, parameters=where).result_rows
    here = {**where, "from": last + 1 if read else 0}
    claims = client.query(_OPEN_CLAIM, parameters=here).result_rows
    ids = client.query(_RECENT_IDS, parameters={**here, "recent": recent}).result_rows
    return Position(
        next_offset=last + 1 if read else None,
        claimed_to=claims[0][0] if claims else None,
        recent_ids=tuple(row[0] for row in reversed(ids)),
    )


_HERE = (
    "cluster = {cluster:String} AND topic = {topic:String} AND kafka_partition = {partition:UInt32}"
)
_LAST_OFFSET = f"SELECT count(), max(offset_to) FROM ledger WHERE {_HERE}"
_CLAIMED = f"""
    SELECT
        (SELECT argMin(offset_to, claimed_at) FROM claims WHERE {_HERE} AND offset_from = {{from:UInt64}}),
        ledger.read, ledger.last
    FROM (SELECT count() AS read, max(offset_to) AS last FROM ledger WHERE {_HERE}) AS ledger"""
_OPEN_CLAIM = f"""
    SELECT offset_to FROM claims WHERE {_HERE} AND offset_from >= {{from:UInt64}}
    ORDER BY offset_from, claimed_at LIMIT 1"""
# Of an earlier cluster too: a broker that was wiped may be sent the same records again. Only as many
# days are read as hold enough ids; what lies beyond the ledger is of a batch that was cut short.
_EARLIER = """
    topic = {topic:String} AND kafka_partition = {partition:UInt32}
    AND (cluster != {cluster:String} OR kafka_offset < {from:UInt64})"""
_RECENT_IDS = f"""
    WITH newest_days AS
    (
        SELECT received_on, sum(count()) OVER (ORDER BY received_on DESC) - count() AS later
        FROM calls WHERE {_EARLIER} GROUP BY received_on
    )
    SELECT call_id FROM calls
    WHERE {_EARLIER} AND received_on IN (SELECT received_on FROM newest_days WHERE later < {{recent:UInt32}})
    ORDER BY received_at DESC, kafka_offset DESC, position DESC LIMIT {{recent:UInt32}}"""
_IN_BATCH = f"{_HERE} AND kafka_offset BETWEEN {{from:UInt64}} AND {{to:UInt64}}"
_COUNTED = f"""
    SELECT
        (SELECT count() FROM calls WHERE {_IN_BATCH}),
        (SELECT count() FROM rejected WHERE {_IN_BATCH})"""


def _counted(client: Client, batch: Batch, records: int) -> tuple[int, int, int]:
    """Stored, rejected and duplicates of a batch, by what the tables hold of it."""
    here = {
        "cluster": batch.cluster, "topic": batch.topic, "partition": batch.partition,
        "from": batch.offset_from, "to": batch.offset_to,
    }  # fmt: skip
    ((stored, rejected),) = client.query(_COUNTED, parameters=here).result_rows
    return stored, rejected, records - stored - rejected


def _extent(batch: Batch) -> tuple[str, str, int, int, int]:
    return batch.cluster, batch.topic, batch.partition, batch.offset_from, batch.offset_to


def _pairs(calls: Sequence[Scored]) -> Iterator[Scored]:
    for item in calls:
        if isinstance(item.record, ScoredCall) and item.record.pair:
            yield Scored(item.offset, item.position, item.received_at, item.record.pair)


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
        [_day(batch.received_at)] * count,
        [item.offset for item in items],
        [item.position for item in items],
        [item.received_at for item in items],
        *zip(*(msgspec.structs.astuple(i.record)[: len(names)] for i in items), strict=True),
    ]
    _insert_once(client, table, (*_ORIGIN, *names), columns, batch.token)


def _insert_once(
    client: Client, table: str, names: tuple[str, ...], columns: Sequence[Any], token: str
) -> None:
    client.insert(
        table,
        columns,
        column_names=names,
        column_types=column_types(client, table, names),
        column_oriented=True,
        settings=once(token),
    )


@lru_cache(maxsize=16)
def column_types(client: Client, table: str, names: tuple[str, ...]) -> Sequence[ClickHouseType]:
    """Asked of the store once; otherwise every insert would ask again."""
    return client.create_insert_context(table, column_names=names).column_types


def once(token: str) -> dict[str, Any]:
    """Settings of an INSERT that adds nothing when it comes again with the same token, and is one part however large."""
    return {
        "insert_deduplication_token": token,
        "deduplicate_blocks_in_dependent_materialized_views": 1,
        "min_insert_block_size_rows": 2**40,  # what comes in blocks is put together first:
        "min_insert_block_size_bytes": 0,  # it is there whole, or not at all
    }


def _day(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date()
