"""Cost versions: calls with their newest cost, and the changes that make up a new version.

The changes come first, batch by batch, and the row of `cost_versions` last: only then do the views
see them. A run that breaks off leaves changes that belong to no version and count nowhere.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from pipeline.calls import Cost, Usage
from pipeline.store.connect import Client, rows
from pipeline.store.insert import once
from pipeline.store.migrate import SQL

SLICE_CALLS = 20_000  # held in memory at a time
NO_END = date(2149, 1, 1)  # near the last day a column of type Date can hold

_NAMED_BY = (
    "cluster", "topic", "kafka_partition", "kafka_offset", "position", "call_id",
    "started_at", "workload", "provider", "model", "arm", "stage",
)  # fmt: skip
_COST = ("cost", "currency", "price_id", "cost_estimated", "cost_unknown")
_CHANGE = (
    "run",
    "version",
    *_NAMED_BY,
    *(f"{age}_{name}" for age in ("old", "new") for name in _COST),
)


class VersionTakenError(RuntimeError):
    """Another run wrote a cost version meanwhile."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls: begun from the day `since` on and before the day `until`, UTC; provider "" is all."""

    since: date
    until: date
    provider: str = ""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A cost version to be: its number, the id of the run that makes it, why, and with which facts."""

    number: int
    run: str
    note: str
    facts: str


class StoredCall(msgspec.Struct, frozen=True, kw_only=True):
    """What names a stored call, what its cost depends on, and its newest cost."""

    cluster: str
    topic: str
    kafka_partition: int
    kafka_offset: int
    position: int
    call_id: str
    started_at_ms: int
    workload: str
    provider: str
    model: str
    arm: str
    stage: str
    region: str
    flat_rate_plan: str
    request_model: str
    response_model: str
    input_tokens: int | None
    cache_read_input_tokens: int | None
    cache_write_5m_input_tokens: int | None
    cache_write_1h_input_tokens: int | None
    output_tokens: int | None
    reasoning_output_tokens: int | None
    usage_estimated: bool
    cost: Decimal | None
    currency: str
    price_id: str
    cost_estimated: bool
    cost_unknown: str

    @property
    def usage(self) -> Usage:
        return Usage(
            input_tokens=self.input_tokens,
            cache_read_input_tokens=self.cache_read_input_tokens,
            cache_write_5m_input_tokens=self.cache_write_5m_input_tokens,
            cache_write_1h_input_tokens=self.cache_write_1h_input_tokens,
            output_tokens=self.output_tokens,
            reasoning_output_tokens=self.reasoning_output_tokens,
            estimated=self.usage_estimated,
        )

    @property
    def charged(self) -> Cost:
        """The newest cost."""
        return Cost(
            amount=self.cost,
            currency=self.currency,
            price_id=self.price_id,
            estimated=self.cost_estimated,
            unknown=self.cost_unknown,
        )


class Change(msgspec.Struct, frozen=True):
    """A call whose cost is another one by the facts of today."""

    call: StoredCall
    cost: Cost


def newest_version(client: Client) -> int:
    """The number of the newest cost version; 0 if costs are as scored."""
    return int(client.command("SELECT max(version) FROM cost_versions"))  # type: ignore[arg-type]


def stored_calls(client: Client, scope: Scope) -> Iterator[list[StoredCall]]:
    """The calls of a scope in order of time, in lists of about SLICE_CALLS."""
    where = msgspec.structs.asdict(scope)
    slices = rows(client, _sql("reprice_slices"), {**where, "limit": SLICE_CALLS})
    for span in slices:
        found = rows(client, _sql("reprice_calls"), {**span, "provider": scope.provider})
        yield [StoredCall(**row) for row in found]


def insert_changes(client: Client, version: Version, changes: Sequence[Change], part: int) -> None:
    """Stores one part of a version's changes; they count once the version is committed."""
    client.insert(
        "cost_changes",
        [_row(version, change) for change in changes],
        column_names=_CHANGE,
        settings=once(f"{version.run}/{part}"),
    )


def commit(client: Client, version: Version, scope: Scope, calls: int) -> None:
    """Makes the version the newest one. Raises VersionTakenError if its number is gone.

    The token lets one run alone have the number, whichever was first.
    """
    row = {
        "version": version.number,
        "run": version.run,
        "note": version.note,
        "facts": version.facts,
        **msgspec.structs.asdict(scope),
        "calls": calls,
    }
    token = f"cost version {version.number}"
    client.insert("cost_versions", [[*row.values()]], column_names=[*row], settings=once(token))
    sql = "SELECT run FROM cost_versions WHERE version = {number:UInt32}"
    if client.command(sql, parameters={"number": version.number}) != version.run:
        raise VersionTakenError(
            f"another run wrote cost version {version.number} meanwhile; nothing was changed, run it again"
        )


def _row(version: Version, change: Change) -> list[object]:
    call = change.call
    named = (call.started_at_ms if n == "started_at" else getattr(call, n) for n in _NAMED_BY)
    costs = (*msgspec.structs.astuple(call.charged), *msgspec.structs.astuple(change.cost))
    return [version.run, version.number, *named, *costs]


def _sql(name: str) -> str:
    return (SQL / "queries" / f"{name}.sql").read_text(encoding="utf-8")
