"""Units of evidence: conversations, and pairs of answers to the same request.

A conversation is one unit however many calls it had, because its calls are alike: taken one by one
they would look like more evidence than they are. Its arm and share are those of its first call, whatever
happened later. Read and written as CSV by `cutover verdict`, so that a verdict can be recomputed
from a file.
"""

import csv
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from io import StringIO
from typing import Any

import msgspec

from pipeline.calls import Arm
from pipeline.verdicts.plan import Plan

CHECK = "check:"  # prefix of columns with a check's mean score
SHARE = "share:"  # prefix of columns with one candidate's share against the baseline alone


class UnitsError(ValueError):
    """Units that cannot be used; the message names line and column, and the mend."""


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

    `provider` is the candidate's. Failures are shares of its pairs. `disagreement` in [0, 1] is candidate
    against baseline, `noise` baseline's second answer against its first (None: not sampled; such a
    conversation is no evidence on disagreement).
    """

    workload: str
    provider: str
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
    rows = csv.reader(StringIO(text, newline=""), strict=True)
    header = next(rows, [])
    _check_header(header)
    found: dict[tuple[str, str], Unit] = {}
    try:
        for row in rows:
            _add(found, _unit(header, row, rows.line_num), rows.line_num)
    except csv.Error as error:
        raise UnitsError(f"line {rows.line_num}: not CSV: {error}; mend the quotes") from None
    return sorted(found.values(), key=lambda unit: unit.place)


def write_units(units: Iterable[Unit]) -> str:
    """The CSV file `read_units` reads, in the order given, with a column for every check and share."""
    units = list(units)
    checks = sorted({name for unit in units for name in unit.checks})
    shares = sorted({name for unit in units for name in unit.shares})
    out = StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    columns = [*COLUMNS, *MORE_COLUMNS]
    table.writerow([*columns, *(CHECK + c for c in checks), *(SHARE + s for s in shares)])
    for unit in units:
        table.writerow(
            [
                *(_written(getattr(unit, column)) for column in columns),
                *(_written(unit.checks.get(name)) for name in checks),
                *(_written(unit.shares.get(name)) for name in shares),
            ]
        )
    return out.getvalue()


def units_hash(units: Iterable[Unit]) -> str:
    """SHA-256 of the units as CSV in order of assignment: the same for the same evidence."""
    return sha256(write_units(sorted(units, key=lambda unit: unit.place)).encode()).hexdigest()


def _check_header(header: list[str]) -> None:
    if missing := [column for column in COLUMNS if column not in header]:
        raise UnitsError(f"line 1: no column {', '.join(missing)}; wanted are {','.join(COLUMNS)}")
    for column in header:
        if column not in _READERS and not column.startswith((CHECK, SHARE)):
            raise UnitsError(f"line 1: unknown column {column!r}; take it out")
        if header.count(column) > 1:
            raise UnitsError(f"line 1: column {column!r} stands there twice; keep one")


def _unit(header: list[str], row: list[str], line: int) -> Unit:
    if len(row) != len(header):
        raise UnitsError(f"line {line}: {len(row)} cells for {len(header)} columns; mend the row")
    fields: dict[str, Any] = {"checks": {}, "shares": {}}
    for column, cell in zip(header, row, strict=True):
        try:
            if column in _READERS:
                fields[column] = _READERS[column](cell)
            elif cell:
                kind = "checks" if column.startswith(CHECK) else "shares"
                fields[kind][column.partition(":")[2]] = _in_one(cell)
        except ValueError as error:
            raise UnitsError(f"line {line}, column {column}: {cell!r} {error}") from None
    if fields["cost"] is not None and not fields["currency"]:
        raise UnitsError(f"line {line}, column currency: a cost needs its currency, e.g. USD")
    if fields["closed_at"] < fields["assigned_at"]:
        raise UnitsError(f"line {line}, column closed_at: must not be before assigned_at")
    return Unit(**fields)


def _add(found: dict[tuple[str, str], Unit], unit: Unit, line: int) -> None:
    key = unit.workload, unit.conversation_id
    if found.setdefault(key, unit) != unit:
        raise UnitsError(
            f"line {line}, column conversation_id: {unit.conversation_id!r} stands there twice "
            f"with different values; a conversation is one unit"
        )


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
_READERS = COLUMNS | MORE_COLUMNS
