"""What the store told, as the pages reckon with it: sums of a scope, parts of it, times, the account. Pure."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from dashboards.sides import Side
from pipeline import stats
from pipeline.stats import Estimate

HOUR_S = 3600
BY_THE_HOUR_S = 86_400  # ranges longer than this are read from sums per hour
STEPS_AIMED_AT = 40  # points of a curve


@dataclass(frozen=True)
class Scope:
    """What a page looks at: the last seconds, sums in a currency; one workload, provider, model or all ("").

    With `ago` it is the same span of time, so many seconds earlier.
    """

    seconds: int
    workload: str
    currency: str
    provider: str = ""
    model: str = ""
    ago: int = 0

    def parameters(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def recent(self) -> "Scope":
        """Its last hour, or less if it is shorter."""
        return replace(self, seconds=min(self.seconds, HOUR_S))

    @property
    def hour_ago(self) -> "Scope":
        """`recent` an hour earlier."""
        return replace(self.recent, ago=HOUR_S)


@dataclass(frozen=True)
class Sums:
    """What a side did in a scope; maps are by failure class, latency bucket or check."""

    side: Side
    arm: str
    calls: int
    recent_calls: int  # of this minute and the one before
    failed: int
    provider_failed: int
    cancelled: int
    streams: int
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
    findings: dict[str, int]
    generated_tokens: int
    generating_ms: int
    cost: Decimal
    priced: int

    @property
    def provider(self) -> str:
        return self.side.provider

    @property
    def finished(self) -> int:
        """Calls that answered or failed; one that the client cancelled is neither."""
        return self.calls - self.cancelled

    @property
    def failure_rate(self) -> Estimate | None:
        return stats.proportion(self.failed, self.finished)

    @property
    def provider_failure_rate(self) -> Estimate | None:
        """Failures that are the provider's own fault."""
        return stats.proportion(self.provider_failed, self.finished)

    @property
    def quality(self) -> Estimate | None:
        return stats.proportion(float(self.quality_sum), self.quality_calls)

    @property
    def cost_per_1000(self) -> Decimal | None:
        """Cost of 1,000 calls in the scope's currency, over the calls whose cost is known."""
        return 1000 * self.cost / self.priced if self.priced else None

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens per second of streaming, from the first token to the end of an answer."""
        return 1000 * self.generated_tokens / self.generating_ms if self.generating_ms else None

    def check(self, name: str) -> Estimate | None:
        return stats.proportion(float(self.check_sums.get(name, 0)), self.check_calls.get(name, 0))


@dataclass(frozen=True)
class Slice:
    """What a side did in a part of a scope."""

    side: Side
    slice: str
    calls: int
    failed: int
    cancelled: int
    quality_calls: int
    quality_sum: Decimal
    first_token_buckets: dict[int, int]
    duration_buckets: dict[int, int]

    @property
    def failure_rate(self) -> Estimate | None:
        return stats.proportion(self.failed, self.calls - self.cancelled)

    @property
    def quality(self) -> Estimate | None:
        return stats.proportion(float(self.quality_sum), self.quality_calls)


@dataclass(frozen=True)
class Bounds:
    """When the first known call was (None: there is none), and the store's clock."""

    first: datetime | None
    now: datetime

    def elapsed_s(self, seconds: int) -> float:
        """How much of the last seconds the store knows about; at least a minute."""
        if self.first is None:
            return float(seconds)
        return max(60.0, min(seconds + self.now.second, (self.now - self.first).total_seconds()))

    def by_the_hour(self, seconds: int) -> bool:
        """True if so much is known of the last seconds that sums per hour are fine enough."""
        return self.elapsed_s(seconds) > BY_THE_HOUR_S

    @property
    def recent_minutes(self) -> float:
        """How long this minute and the one before have lasted."""
        return 1 + self.now.second / 60

    def step_s(self, seconds: int) -> int:
        """The length of a curve's step, about STEPS_AIMED_AT of them: whole minutes, or whole hours where sums are."""
        unit = HOUR_S if self.by_the_hour(seconds) else 60
        return max(unit, round(self.elapsed_s(seconds) / STEPS_AIMED_AT / unit) * unit)


@dataclass(frozen=True)
class Freshness:
    """How old the numbers are. `last_stored_at` is None when nothing recent is stored."""

    now: datetime
    last_batch_at: datetime | None
    last_stored_at: datetime | None
    calls: int
    p50_ms: float
    p99_ms: float
    calls_per_second: float

    @property
    def age_s(self) -> float | None:
        """Seconds since the newest call became visible; None when there never was one."""
        newest = self.last_stored_at or self.last_batch_at
        return None if newest is None else max(0.0, (self.now - newest).total_seconds())


@dataclass(frozen=True)
class Account:
    """Produced = stored + rejected + duplicates + ignored + in flight, in calls, of one Kafka cluster."""

    cluster: str
    current: bool
    produced: int
    waiting: int  # at the producers, not yet in Kafka
    dropped: int
    resent: int  # up to that many are in Kafka twice
    produced_at: datetime  # the producers' last word
    stored: int
    rejected: int
    duplicates: int
    ignored: int  # records that tell of no call
    uncounted: int  # of those produced: from senders who do not say how many they send
    stored_rows: int
    rejected_rows: int
    messages_in_flight: int
    observed_at: datetime  # a worker's last look at Kafka
    last_batch_at: datetime

    @property
    def in_flight(self) -> int:
        return self.produced - self.dropped + self.twice - self._read

    @property
    def twice(self) -> int:
        """Calls known to be in Kafka twice, because a producer did not learn of the first time."""
        beyond = self._read - (self.produced - self.dropped)
        return beyond if 0 < beyond <= self.resent else 0

    @property
    def _read(self) -> int:
        return self.stored + self.rejected + self.duplicates + self.ignored

    @property
    def state(self) -> str:
        """balanced, in_flight, settling (one side's word is older than the other's) or unbalanced."""
        if self.in_flight < 0:
            return (
                "settling"
                if self.current and self.produced_at < self.last_batch_at
                else "unbalanced"
            )
        if self.in_flight == 0:
            return "balanced"
        if self.current and (self.messages_in_flight or self.waiting):
            return "in_flight"
        return "settling" if self.current and self.observed_at < self.produced_at else "unbalanced"
