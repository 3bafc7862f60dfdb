"""`cutover reprice`: reckons the costs of stored calls again with the facts of today.

A preview says what would change; applied, the changes become a new cost version. Stored rows stay
as they are, so a report on an older version keeps its numbers. A call's tokens, provider, region,
plan and model names are the row's own; what the facts say about them is today's.
"""

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec

from pipeline.calls import Cost
from pipeline.catalog import Catalog
from pipeline.facts import FACTS
from pipeline.scoring.cost import charged_model, price_call
from pipeline.store.connect import Client
from pipeline.store.versions import (
    Change,
    Scope,
    StoredCall,
    Version,
    commit,
    insert_changes,
    newest_version,
    stored_calls,
)

_HEAD = ("provider", "model", "currency", "calls", "old sum", "new sum", "difference", "now priced")


class Difference(msgspec.Struct):
    """What changes for a provider's model in one currency ("" where neither cost is known)."""

    calls: int = 0
    old: Decimal = Decimal("0E-12")
    new: Decimal = Decimal("0E-12")
    now_priced: int = 0


Key = tuple[str, str, str]  # provider, model, currency
Preview = dict[Key, Difference]


def reprice(
    client: Client,
    catalog: Catalog,
    scope: Scope,
    *,
    note: str = "",
    facts: str = "",
    apply: bool = False,
) -> tuple[Preview, int | None]:
    """What the facts change in the scope, and the cost version made of it (None: none was made).

    `facts` is the fingerprint of the facts, kept with the version. Raises StoreError, and
    VersionTakenError if another run was faster; nothing has changed then.
    """
    version = Version(
        number=newest_version(client) + 1, run=uuid.uuid4().hex, note=note, facts=facts
    )
    preview: Preview = {}
    calls = 0
    for part, changes in enumerate(_changes(client, catalog, scope)):
        add_up(preview, changes)
        calls += len(changes)
        if apply:
            insert_changes(client, version, changes, part)
    if not apply or not calls:
        return preview, None
    commit(client, version, scope, calls)
    return preview, version.number


def _changes(client: Client, catalog: Catalog, scope: Scope) -> Iterator[list[Change]]:
    for calls in stored_calls(client, scope):
        costs = ((call, cost_of(catalog, call)) for call in calls)
        if changes := [Change(call, cost) for call, cost in costs if cost != call.charged]:
            yield changes


def cost_of(catalog: Catalog, call: StoredCall) -> Cost:
    """The cost of a stored call by the catalog, as if it were scored now."""
    return price_call(
        catalog,
        provider=call.provider,
        region=call.region,
        plan=call.flat_rate_plan,
        model=charged_model(catalog, call.provider, call.request_model, call.response_model),
        usage=call.usage,
        at_ms=call.started_at_ms,
    )


def add_up(preview: Preview, changes: Iterable[Change]) -> None:
    """Adds the changes to the preview. One from a currency to another is a call of both."""
    for change in changes:
        old, new = change.call.charged, change.cost
        for currency in {_currency(old), _currency(new)} - {""} or {""}:
            key = (change.call.provider, change.call.model, currency)
            line = preview.setdefault(key, Difference())
            line.calls += 1
            if currency == _currency(old):
                line.old += old.amount or 0
            if currency == _currency(new):
                line.new += new.amount or 0
                line.now_priced += old.amount is None and new.amount is not None


def _currency(cost: Cost) -> str:
    return "" if cost.amount is None else cost.currency


def render(preview: Preview) -> str:
    """The preview as a table for a terminal, one line per provider, model and currency."""
    lines = [_HEAD, *(_cells(key, preview[key]) for key in sorted(preview))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(key: Key, line: Difference) -> tuple[str, ...]:
    provider, model, currency = key
    sums = (f"{amount:f}" for amount in (line.old, line.new, line.new - line.old))
    known = tuple(sums) if currency else ("unknown", "unknown", "")
    return provider, model, currency, str(line.calls), *known, str(line.now_priced)


def fingerprint(folder: Path = FACTS) -> str:
    """Tells one state of the facts from any other: SHA-256 over the folder's YAML files."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.yml")):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
