"""Recounts from the raw rows what the ledger and the sums per minute say, and names the first difference.

What is being stored while the audit looks may seem wrong for a moment: a difference counts when it is
still there after `LOOKS` looks.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from pipeline.store.connect import Client, rows
from pipeline.store.migrate import SQL

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
LOOKS = 3
SECONDS_BETWEEN_LOOKS = 2.0


class Audit(msgspec.Struct, frozen=True):
    """What an audit looked at and what it found first; "" if everything agrees."""

    since: datetime
    batches: int
    calls: int
    rejected: int
    duplicates: int
    seconds: float
    first_discrepancy: str

    @property
    def ok(self) -> bool:
        return not self.first_discrepancy


def audit(client: Client, since: datetime = BEGINNING) -> Audit:
    """Audits what was stored since then (UTC) and records the result. Raises StoreError."""
    started = time.monotonic()
    found = ""
    for look in (_offsets, _rows, _repeats, *_rollups(client)):
        if found := _persistent(look, client, since):
            break
    sums = rows(client, _sql("audit_sums"), {"since": since})[0]
    result = Audit(
        since=since, seconds=round(time.monotonic() - started, 1), first_discrepancy=found, **sums
    )
    names = ("since", "ok", "first_discrepancy", "batches", "calls", "rejected", "duplicates")
    client.insert("audits", [[getattr(result, name) for name in names]], column_names=names)
    return result


Look = Callable[[Client, datetime], str]


def _persistent(look: Look, client: Client, since: datetime) -> str:
    """What a look finds again and again; "" once it finds nothing."""
    for _ in range(LOOKS - 1):
        if not look(client, since):
            return ""
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return look(client, since)


def _offsets(client: Client, since: datetime) -> str:
    """No offset is missing from the ledger and none is there twice."""
    for row in rows(client, _sql("audit_offsets"), {"since": since}):
        expected, begins = row["expected"], row["offset_from"]
        what = "is missing from" if begins > expected else "is twice in"
        first, last = sorted((expected, begins))
        return f"{_place(row)}: offset {first} to {last - 1} {what} the ledger"
    return ""


def _rows(client: Client, since: datetime) -> str:
    """Each batch has as many rows as the ledger says, one for each place in Kafka."""
    for row in rows(client, _sql("audit_rows"), {"since": since}):
        return (
            f"{_place(row)}: of offsets {row['offset_from']} to {row['offset_to']} the ledger has "
            f"{row['stored']} calls and {row['rejected']} rejected records; the tables have "
            f"{row['calls']} and {row['rejects']}, at {row['places']} places, and "
            f"{row['strays']} rows at offsets of no batch"
        )
    return ""


def _repeats(client: Client, since: datetime) -> str:
    """No call is stored twice."""
    for row in rows(client, _sql("audit_repeats"), {"since": since}):
        return f"call {row['call_id']!r} is stored {row['times']} times"
    return ""


def _rollups(client: Client) -> Iterator[Look]:
    """A look for each materialised view: its table equals the view's own query over the raw rows."""
    for view in rows(client, _sql("audit_rollups")):
        target, sums = view["target"], view["sums"]
        described = client.query(f"DESCRIBE ({sums})").result_rows
        yield _Rollup(target, sums, [row[0] for row in described])


class _Rollup:
    """One table of sums, day by day if it has minutes: a whole history would not fit into memory."""

    def __init__(self, target: str, sums: str, columns: Sequence[str]) -> None:
        self.target = target
        names = ", ".join(columns)
        self.sides = (
            f"SELECT {names} FROM ({sums})",
            f"SELECT {names} FROM {target} FINAL",
        )
        self.by_day = "minute" in columns

    def __call__(self, client: Client, since: datetime) -> str:
        for day in self._days(client, since) if self.by_day else [None]:
            raw, kept = (_on(side, day) for side in self.sides)
            for whose, one, other in (("the raw rows", raw, kept), (self.target, kept, raw)):
                only = f"SELECT * FROM ({one} EXCEPT {other}) LIMIT 1"
                for row in client.query(only).result_rows:
                    return f"{self.target} differs from the raw rows: only {whose} say {row}"
        return ""

    def _days(self, client: Client, since: datetime) -> list[date]:
        both = " UNION DISTINCT ".join(
            f"SELECT DISTINCT toDate(minute) AS day FROM ({side}) WHERE minute >= {{since:DateTime}}"
            for side in self.sides
        )
        return sorted(row[0] for row in client.query(both, parameters={"since": since}).result_rows)


def _on(side: str, day: date | None) -> str:
    return f"SELECT * FROM ({side}) WHERE toDate(minute) = '{day}'" if day else side


def _place(row: dict[str, Any]) -> str:
    return f"{row['topic']}/{row['kafka_partition']} of cluster {row['cluster']}"


def _sql(name: str) -> str:
    return (SQL / "queries" / f"{name}.sql").read_text(encoding="utf-8")
