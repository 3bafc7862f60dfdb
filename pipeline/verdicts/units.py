"""Units of evidence: conversations, and pairs of answers to the same request.

A conversation is one unit however many calls it had, because its calls are alike: taken one by one
they would look like more evidence than they are. Its arm and share are those of its first call, whatever
happened later. Read and written as CSV by `cutover verdict`, so that a verdict can be recomputed
from a file.
"""

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from io import StringIO
from typing import Any, TypeVar

import msgspec

from pipeline.calls import Arm
from pipeline.verdicts.plan import Plan

CHECK = "check:"  # prefix of columns with a check's mean score
SHARE = "share:"  # prefix of columns with one candidate's share against the baseline alone


class UnitsError(ValueError):
    """Units that cannot be used; the message names line and column, and the mend."""


P = TypeVar("P", "Unit", "Pair")
Readers = Mapping[str, Callable[[str], Any]]  # column → what reads a cell
_KINDS = {CHECK: "checks", SHARE: "shares"}


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """A closed conversation. Times are UTC ms; scores are in [0, 1], 1 is good; None is unknown.

    `provider` and `model` are those of its first call, the model as the plan names it where it does. `failed`: the user met a failure of the first attempt
    that was the provider's or the network's; `failed_at` is when that came to be known, None if it was
    told only when the conversation was closed. `score` and `checks` are means over its calls, `cost`
    their sum (None if any is unknown) in `currency`, `ttft_ms` and `duration_ms` their maxima.
    `share` is the candidates' share in force at its first call; where a workload has several candidates,
    `shares` holds for each (`Plan.arm_key`) its share against the baseline alone, s_c / (s_c + s_baseline).
    """

    workload: str
    provider: str
    model: str = ""
    arm: Arm
    conversation_id: str
    assigned_at: int
    closed_at: int
    failed: bool
    failed_at: int | None = None
    score: float | None = None
    cost: Decimal | None = None
    currency: str = ""
    ttft_ms: int | None = None
    duration_ms: int | None = None
    share: float | None = None
    checks: dict[str, float] = {}
    shares: dict[str, float] = {}

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the order in which conversations are judged."""
        return self.assigned_at, self.conversation_id

    @property
    def failure_place(self) -> tuple[int, str]:
        """Where its failure stands in the order in which failures came; (-1, …) if it did not."""
        return -1 if self.failed_at is None else self.failed_at, self.conversation_id

    def share_of(self, candidate: str) -> float | None:
        """That candidate's share against the baseline when this conversation was assigned.

        Units of earlier versions name it by its provider alone.
        """
        by_provider = self.shares.get(candidate.partition("/")[0], self.share)
        return self.shares.get(candidate, by_provider)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation's shadow pairs, averaged: what both arms made of the same requests.

    `provider` and `model` are the candidate's, as in a unit. Failures are shares of its pairs. `disagreement` in [0, 1] is candidate
    against baseline, `noise` baseline's second answer against its first (None: not sampled; such a
    conversation is no evidence on disagreement).
    """

    workload: str
    provider: str
    model: str = ""
    conversation_id: str
    assigned_at: int
    closed_at: int
    pairs: int = 1
    failed_baseline: float | None = None
    failed_candidate: float | None = None
    score_baseline: float | None = None
    score_candidate: float | None = None
    disagreement: float | None = None
    noise: float | None = None

    @property
    def place(self) -> tuple[int, str]:
        return self.assigned_at, self.conversation_id


def bears(unit: Unit, plan: Plan, workload: str, candidate: str) -> bool:
    """True if a unit bears on one candidate (an endpoint's name) of a workload: its own and the baseline's do."""
    if unit.workload != workload or unit.arm is not Arm.CANDIDATE:
        return unit.workload == workload and unit.arm is Arm.BASELINE
    return plan.endpoint_of(workload, unit.provider, (unit.model,)) == candidate


def shadow_bears(pair: Pair, plan: Plan, workload: str, candidate: str) -> bool:
    """True if a conversation's shadow pairs bear on one candidate of a workload: only its own do."""
    mine = pair.workload == workload
    return mine and plan.endpoint_of(workload, pair.provider, (pair.model,)) == candidate


def shadows_of(pairs: Iterable[Pair], plan: Plan, workload: str, candidate: str) -> list[Pair]:
    """The shadow pairs that bear on one candidate of a workload, in order of assignment."""
    mine = (pair for pair in pairs if shadow_bears(pair, plan, workload, candidate))
    return sorted(mine, key=lambda pair: pair.place)


def of_pair(units: Iterable[Unit], plan: Plan, workload: str, candidate: str) -> list[Unit]:
    """The units that bear on one candidate of a workload, in order of assignment."""
    mine = (unit for unit in units if bears(unit, plan, workload, candidate))
    return sorted(mine, key=lambda unit: unit.place)


def failures_of(units: Iterable[Unit]) -> list[Unit]:
    """Those whose failure was told, in the order in which the failures came."""
    told = (unit for unit in units if unit.failed_at is not None)
    return sorted(told, key=lambda unit: unit.failure_place)


def share_against_baseline(shares: dict[str, float], candidate: str) -> float | None:
    """A candidate's share against the baseline alone, from all candidates' shares of a stage.

    None where neither of the two had any traffic.
    """
    baseline, own = 1 - sum(shares.values()), shares.get(candidate, 0.0)
    return own / (own + baseline) if own + baseline > 1e-9 else None


def read_units(text: str) -> list[Unit]:
    """Units of a CSV file, in order of assignment; a row that stands there twice counts once.

    Columns are those of `COLUMNS`, in any order, those of `MORE_COLUMNS` as far as known, and any
    `check:<name>` and `share:<provider>`. An empty cell is unknown. Raises UnitsError naming line and column.
    """
    found: dict[tuple[str, ...], Unit] = {}
    for line, fields in _rows(text, COLUMNS, MORE_COLUMNS, _KINDS):
        if fields["cost"] is not None and not fields["currency"]:
            raise UnitsError(f"line {line}, column currency: a cost needs its currency, e.g. USD")
        _add(found, ("workload", "conversation_id"), Unit(**fields), line)
    return sorted(found.values(), key=lambda unit: unit.place)


def read_pairs(text: str) -> list[Pair]:
    """Conversations' shadow pairs of a CSV file with the columns of `PAIR_COLUMNS`; else as `read_units`."""
    found: dict[tuple[str, ...], Pair] = {}
    for line, fields in _rows(text, PAIR_COLUMNS, {}, {}):
        _add(found, ("workload", "provider", "model", "conversation_id"), Pair(**fields), line)
    return sorted(found.values(), key=lambda pair: (pair.place, pair.provider, pair.model))


def write_units(units: Iterable[Unit]) -> str:
    """The CSV file `read_units` reads, in the order given, with a column for every check and share."""
    units = list(units)
    checks = sorted({name for unit in units for name in unit.checks})
    shares = sorted({name for unit in units for name in unit.shares})
    columns = [*COLUMNS, *MORE_COLUMNS]
    header = [*columns, *(CHECK + c for c in checks), *(SHARE + s for s in shares)]
    cells = (
        [
            *(getattr(unit, column) for column in columns),
            *(unit.checks.get(name) for name in checks),
            *(unit.shares.get(name) for name in shares),
        ]
        for unit in units
    )
    return _table(header, cells)


def write_pairs(pairs: Iterable[Pair]) -> str:
    """The CSV file `read_pairs` reads, in the order given."""
    return _table(PAIR_COLUMNS, ([getattr(p, column) for column in PAIR_COLUMNS] for p in pairs))


def units_hash(units: Iterable[Unit]) -> str:
    """SHA-256 of the units as CSV in order of assignment: the same for the same evidence."""
    return sha256(write_units(sorted(units, key=lambda unit: unit.place)).encode()).hexdigest()


def pairs_hash(pairs: Iterable[Pair]) -> str:
    """The same of shadow pairs."""
    ordered = sorted(pairs, key=lambda pair: (pair.place, pair.provider, pair.model))
    return sha256(write_pairs(ordered).encode()).hexdigest()


def _rows(
    text: str, columns: Readers, more: Readers, kinds: Mapping[str, str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line and fields of every row: of all columns, and of `more` where given.

    `kinds`: prefix of further columns → the field that gathers their values.
    """
    rows = csv.reader(StringIO(text, newline=""), strict=True)
    header, readers = next(rows, []), {**columns, **more}
    if missing := [column for column in columns if column not in header]:
        raise UnitsError(f"line 1: no column {', '.join(missing)}; wanted are {','.join(columns)}")
    _check_header(header, readers, tuple(kinds))
    try:
        for row in rows:
            yield rows.line_num, _fields(header, row, rows.line_num, readers, kinds)
    except csv.Error as error:
        raise UnitsError(f"line {rows.line_num}: not CSV: {error}; mend the quotes") from None


def _check_header(header: list[str], readers: Collection[str], prefixes: tuple[str, ...]) -> None:
    for column in header:
        if column not in readers and not column.startswith(prefixes):
            raise UnitsError(f"line 1: unknown column {column!r}; take it out")
        if header.count(column) > 1:
            raise UnitsError(f"line 1: column {column!r} stands there twice; keep one")


def _fields(
    header: list[str],
    row: list[str],
    line: int,
    readers: Readers,
    kinds: Mapping[str, str],
) -> dict[str, Any]:
    if len(row) != len(header):
        raise UnitsError(f"line {line}: {len(row)} cells for {len(header)} columns; mend the row")
    fields: dict[str, Any] = {kind: {} for kind in kinds.values()}
    for column, cell in zip(header, row, strict=True):
        try:
            if column in readers:
                fields[column] = readers[column](cell)
            elif cell:
                prefix, _, name = column.partition(":")
                fields[kinds[f"{prefix}:"]][name] = _in_one(cell)
        except ValueError as error:
            raise UnitsError(f"line {line}, column {column}: {cell!r} {error}") from None
    if fields["closed_at"] < fields["assigned_at"]:
        raise UnitsError(f"line {line}, column closed_at: must not be before assigned_at")
    return fields


def _add(found: dict[tuple[str, ...], P], key: tuple[str, ...], unit: P, line: int) -> None:
    named = tuple(getattr(unit, name) for name in key)
    if found.setdefault(named, unit) != unit:
        raise UnitsError(
            f"line {line}, column conversation_id: {named[-1]!r} stands there twice "
            f"with different values; a conversation is one unit"
        )


def _table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    out = StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(header)
    table.writerows([_written(cell) for cell in row] for row in rows)
    return out.getvalue()


def _written(value: Any) -> str:
    """A cell: what `read_units` reads back to the same value."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _text(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


def _arm(value: str) -> Arm:
    if value not in (Arm.BASELINE, Arm.CANDIDATE):
        raise ValueError("must be baseline or candidate")
    return Arm(value)


def _flag(value: str) -> bool:
    if value not in ("0", "1", "true", "false"):
        raise ValueError("must be 0 or 1")
    return value in ("1", "true")


def _whole(value: str) -> int:
    if not (value.isascii() and value.isdecimal()):
        raise ValueError("must be a whole number of milliseconds, 0 or more")
    return int(value)


def _count(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and int(value)):
        raise ValueError("must be a whole number, 1 or more")
    return int(value)


def _in_one(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number") from None
    if not 0 <= number <= 1:
        raise ValueError("must be between 0 and 1")
    return number


def _money(value: str) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError("must be a decimal number") from None
    if not amount.is_finite():
        raise ValueError("must be a decimal number")
    return amount


def _maybe(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda value: read(value) if value else None


COLUMNS: dict[str, Callable[[str], Any]] = {
    "workload": _text,
    "provider": _text,
    "arm": _arm,
    "conversation_id": _text,
    "assigned_at": _whole,
    "closed_at": _whole,
    "failed": _flag,
    "score": _maybe(_in_one),
    "cost": _maybe(_money),
    "currency": str,
    "ttft_ms": _maybe(_whole),
    "duration_ms": _maybe(_whole),
    "share": _maybe(_in_one),
}  # with what reads a cell
MORE_COLUMNS: dict[str, Callable[[str], Any]] = {"failed_at": _maybe(_whole), "model": str}
PAIR_COLUMNS: dict[str, Callable[[str], Any]] = {
    "workload": _text,
    "provider": _text,
    "model": str,
    "conversation_id": _text,
    "assigned_at": _whole,
    "closed_at": _whole,
    "pairs": _count,
    "failed_baseline": _maybe(_in_one),
    "failed_candidate": _maybe(_in_one),
    "score_baseline": _maybe(_in_one),
    "score_candidate": _maybe(_in_one),
    "disagreement": _maybe(_in_one),
    "noise": _maybe(_in_one),
}
