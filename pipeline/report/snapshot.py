"""The full input of a report. Everything a report says is a pure function of it and a language.

Its name is the day it was taken and a digest of its bytes: the same name, the same numbers. Times are UTC,
money is Decimal in `currency` unless said otherwise, shares are 0 to 1.
"""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec

from pipeline.scoring.net_cost import NetCost
from pipeline.verdicts.plan import Plan

FORMAT = 1  # raised when older snapshots can no longer be read


class SnapshotError(ValueError):
    """A snapshot that is not there or cannot be used; the message says which and what to do."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is called and its colour, as the catalog had them then."""

    en: str
    zh: str
    color: str


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What the store held: None where there was nothing yet."""

    calls: int
    shadow_calls: int
    rejected: int
    unpriced: int
    first_at: datetime | None
    last_stored_at: datetime | None


class Account(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Calls of the Kafka cluster in use: produced = stored + rejected + duplicates + ignored + in flight.

    Of `resent` calls Kafka may have two. `settling`: the producers' last word is older than the last batch.
    """

    produced: int
    stored: int
    rejected: int
    duplicates: int
    ignored: int
    resent: int = 0
    settling: bool = False

    @property
    def in_flight(self) -> int:
        return self.produced - self.stored - self.rejected - self.duplicates - self.ignored

    @property
    def balanced(self) -> bool:
        """False if more was read than can have been produced."""
        return self.settling or -self.in_flight <= self.resent


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Users' calls of the plan's arms in one step of time; `migrated` went to candidates."""

    at: datetime
    workload: str
    migrated: int
    calls: int


class ArmSums(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider did for users in a workload during the period; buckets as in `stats`."""

    workload: str
    arm: str
    provider: str
    calls: int
    failed: int
    provider_failed: int
    cancelled: int
    with_usage: int
    input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    quality_calls: int
    quality_sum: Decimal
    failures: dict[str, int]
    first_token_buckets: dict[int, int]
    duration_buckets: dict[int, int]
    check_calls: dict[str, int]
    check_sums: dict[str, Decimal]
    cost: Decimal  # of the `priced` calls; means nothing if there are none
    priced: int

    @property
    def finished(self) -> int:
        """Calls that answered or failed; one that the client cancelled is neither."""
        return self.calls - self.cancelled


class SavedDay(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `queries/savings.sql`."""

    day: date
    workload: str
    arm: str
    calls: int
    cost: Decimal
    priced: int
    clusters: int
    yy: float
    yn: float
    nn: float


class DayCost(msgspec.Struct, frozen=True, kw_only=True):
    """What the priced calls to a provider cost on a day."""

    day: date
    provider: str
    cost: Decimal
    priced: int


class Unpriced(msgspec.Struct, frozen=True, kw_only=True):
    """A model the facts have no price for."""

    provider: str
    model: str
    reason: str
    calls: int


class StageChange(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    workload: str
    stage: str


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations of both arms and days from the verdict still needed, with a 10-90 % band.

    None: not to be expected.
    """

    conversations_p10: int | None = None
    conversations_p50: int | None = None
    conversations_p90: int | None = None
    days_p10: float | None = None
    days_p50: float | None = None
    days_p90: float | None = None


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's evidence: the loss of the candidate, positive when worse, against its margin."""

    gate: str
    unit: str
    state: str
    baseline: float | None = None
    candidate: float | None = None
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    margin: float = 0.0
    harm: float | None = None
    n_baseline: int = 0
    n_candidate: int = 0
    forecast: Forecast | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The judge's newest word on a workload and candidate."""

    at: datetime
    workload: str
    candidate: str
    provider: str
    verdict: str
    since: datetime | None
    reason_en: str
    reason_zh: str
    units_baseline: int
    units_candidate: int
    after_data: bool  # the margins were set when data had come already
    proven: bool  # it is also among those believed over all workloads together
    gates: tuple[Gate, ...]


class FxRate(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of `currency` in the report's currency, by the rate of that day."""

    currency: str
    rate: Decimal
    day: date
    estimated: bool


class FrozenPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan as it stood when the first calls were stored, since when, and how often it was changed after."""

    at: datetime
    plan_hash: str
    plan: Plan
    changes: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a report is made from."""

    taken_at: datetime
    currency: str
    stored: Stored
    format: int = FORMAT
    account: Account | None = None
    plan: Plan | None = None
    plan_hash: str = ""
    frozen: FrozenPlan | msgspec.UnsetType | None = msgspec.UNSET  # not in snapshots of before
    providers: dict[str, Provider] = {}
    since: datetime | None = None  # begin of the period that arms are compared over, up to taken_at
    curve: tuple[Step, ...] = ()
    recent: dict[str, tuple[int, int]] = {}  # workload: (migrated, calls) of the last 15 minutes
    weights: dict[str, int] = {}  # calls of the last day, by workload
    arms: tuple[ArmSums, ...] = ()
    saved: tuple[SavedDay, ...] = ()
    day_costs: tuple[DayCost, ...] = ()
    months: tuple[NetCost, ...] = ()  # in native currencies
    tokens_left: dict[str, int] = {}  # of grants, by provider that has any
    rates: tuple[FxRate, ...] = ()
    unpriced: tuple[Unpriced, ...] = ()
    stages: tuple[StageChange, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    def encode(self) -> bytes:
        """JSON; the same snapshot gives the same bytes. Workloads keep the plan's order."""
        return msgspec.json.encode(self)


def decode(data: bytes) -> Snapshot:
    """The snapshot of those bytes. Raises SnapshotError if this version cannot read them."""
    try:
        found = msgspec.json.decode(data, type=Snapshot)
    except msgspec.ValidationError as error:
        raise SnapshotError(f"the snapshot was made by another version: {error}") from None
    if found.format != FORMAT:
        raise SnapshotError(f"the snapshot has format {found.format}, this version reads {FORMAT}")
    return found


def name_of(snapshot: Snapshot) -> str:
    """20261125-3f9ac21b04: the day it was taken and ten digits of its digest."""
    return f"{snapshot.taken_at:%Y%m%d}-{sha256(snapshot.encode()).hexdigest()[:10]}"


def gates_from(document: str) -> tuple[Gate, ...]:
    """The gates of a verdict, from the JSON text of `v_verdicts`."""
    return tuple(msgspec.json.decode(document, type=list[Gate])) if document else ()


def verdict_from(row: Mapping[str, Any]) -> Verdict:
    """A verdict from a row of `v_verdicts`."""
    own = {name: row[name] for name in Verdict.__struct_fields__ if name != "gates"}
    return msgspec.convert({**own, "gates": gates_from(row["gates"])}, Verdict)
