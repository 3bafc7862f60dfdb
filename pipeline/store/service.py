"""The small tables around the calls: events, producers' counts, partitions' ends, plans."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from pipeline.feedback import Rated
from pipeline.store.connect import Client

log = logging.getLogger(__name__)

LATEST = 4_102_444_800_000  # 2100, UTC ms: beyond it a DateTime has no room

Time = Annotated[int, msgspec.Meta(ge=0, le=LATEST)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Event(msgspec.Struct):
    """What every event must have, so that it can be stored; times are UTC ms."""

    event_id: str
    at: Time
    kind: str
    workload: str = ""
    provider: str = ""


class _ProducerCounts(_Event, kw_only=True):
    producer: str
    produced: _Count
    sent: _Count
    waiting: _Count
    dropped: _Count
    resent: _Count = 0


class _Mirroring(_Event, kw_only=True):
    tap: str
    hour: Time
    reason: str
    calls: _Count


_COUNTS = {"producer_counts": _ProducerCounts, "mirroring": _Mirroring}


def insert_events(client: Client, cluster: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Stores events as read from the events topic; producers' and taps' counts go to their own tables.

    One that is not as it must be is logged and left out: anybody may write to the topic.
    """
    sound = [event for event in events if _is_sound(event)]
    counts = [e for e in sound if e["kind"] == "producer_counts"]
    mirroring = [e for e in sound if e["kind"] == "mirroring"]
    others = [e for e in sound if e["kind"] not in _COUNTS]
    if counts:
        names = ["producer", "at", "produced", "sent", "waiting", "dropped", "resent"]
        rows = [[cluster, *(e.get(n, 0) for n in names)] for e in counts]
        client.insert("producers", rows, column_names=["cluster", *names])
    if mirroring:
        names = ["tap", "workload", "reason", "calls", "at"]
        rows = [[cluster, e["hour"] // 1000, *(e[n] for n in names)] for e in mirroring]
        client.insert("mirroring", rows, column_names=["cluster", "hour", *names])
    if others:
        names = ["event_id", "at", "kind", "workload", "provider", "fields"]
        client.insert("events", list(_event_rows(others)), column_names=names)


def _is_sound(event: Mapping[str, Any]) -> bool:
    try:
        msgspec.convert(event, _COUNTS.get(str(event["kind"]), _Event))
    except msgspec.ValidationError as error:
        log.warning("an event of kind %.40r is left out: %s", event["kind"], error)
        return False
    return True


def _event_rows(events: Sequence[Mapping[str, Any]]) -> Iterator[list[Any]]:
    own = ("event_id", "at", "kind", "workload", "provider")
    for event in events:
        fields = {key: value for key, value in event.items() if key not in own}
        try:
            told = json.dumps(fields, ensure_ascii=False)
        except RecursionError:
            log.warning("an event of kind %.40r is left out: nested too deeply", event["kind"])
            continue
        workload, provider = event.get("workload", ""), event.get("provider", "")
        yield [event["event_id"], event["at"], event["kind"], workload, provider, told]


def insert_feedback(client: Client, ratings: Sequence[Rated]) -> None:
    """Stores ratings; one with an event_id that is there takes its place."""
    if ratings:
        names = Rated.__struct_fields__
        client.insert("feedback", [*map(msgspec.structs.astuple, ratings)], column_names=names)


def insert_partition_ends(
    client: Client,
    cluster: str,
    ends: Mapping[tuple[str, int], tuple[int, int]],
    observed_at: int,
) -> None:
    """Stores (topic, partition) → (first offset, end offset) as seen at that time, UTC ms."""
    rows = [[cluster, t, p, first, end, observed_at] for (t, p), (first, end) in ends.items()]
    names = ["cluster", "topic", "kafka_partition", "first_offset", "end_offset", "observed_at"]
    if rows:
        client.insert("partitions", rows, column_names=names)


def insert_plan(client: Client, plan_hash: str, document: str, set_by: str = "") -> None:
    """Records the plan in force, as a JSON document, and who wrote it, unless it is in force already."""
    newest = client.query("SELECT plan_hash FROM plan_changes ORDER BY recorded_at DESC LIMIT 1")
    if newest.result_rows == [(plan_hash,)]:
        return
    client.insert("plans", [[plan_hash, document]], column_names=["plan_hash", "document"])
    client.insert("plan_changes", [[plan_hash, set_by]], column_names=["plan_hash", "set_by"])
