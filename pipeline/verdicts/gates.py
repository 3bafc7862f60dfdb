"""Gates: what must be shown before a workload moves on, and what sends it back. Part of `plan.yml`.

gates:
  alpha: {promote: 0.05, rollback: 0.01}
  horizon: {conversations: 200, days: 0, final_days: 7}
  failure: {margin: 0.01, harm: 0.02, harm_ratio: 2}
  score: {margin: 0.02}
  checks: {tool_calls_valid: {margin: 0.02}}
  ttft_ms: {slo: 3000, margin: 0.05, quantile: 0.95, ratio: 1.3}
  duration_ms: {slo: 30000, margin: 0.05}
  cost: {ratio: 1.0, bound: 0.50, currency: USD}
  cost_per_success: {ratio: 1.0, currency: USD}
  pairs: {score: {margin: 0.02}, disagreement: {margin: 0.10}}

All of it may stand at the top of the plan, for every workload, and again in a workload, where each
entry given replaces the plan's; `null` takes a gate away. Failures and the quality score are gates
unless taken away; all others are only if given.

Points are shares: 0.01 is one percentage point. A *loss* is how much worse the candidate is.
"""

from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

Share = Annotated[float, Meta(ge=0, le=1)]
Probability = Annotated[float, Meta(gt=0, lt=0.5)]
Positive = Annotated[float, Meta(gt=0)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]


class GatesError(ValueError):
    """Gates that contradict themselves; the message names the entry and the mend."""


class Alpha(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a wrong PROMOTE and a wrong ROLLBACK may happen, however often one looks."""

    promote: Probability = 0.05
    rollback: Probability = 0.01


class Horizon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least that must have been seen before PROMOTE, however clear the evidence.

    `conversations` per arm at the share in force, over at least `days`; before the step to 100 %
    over at least `final_days`, so that a whole week has been seen.
    """

    conversations: Annotated[int, Meta(ge=1)] = 200
    days: Annotated[float, Meta(ge=0)] = 0.0
    final_days: Annotated[float, Meta(ge=0)] = 7.0


class PointsGate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mean in [0, 1]: the loss to be shown smaller than `margin`; a loss above `harm` rolls back.

    `harm` is the margin unless given, and never less: what is tolerable cannot be harm.
    """

    margin: Share
    harm: Share | None = None

    @property
    def harm_above(self) -> float:
        return self.margin if self.harm is None else self.harm


class FailureGate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Share of conversations with a failure.

    Rolled back too if the candidate fails more than `harm_ratio` times as often as the baseline
    (None: not judged), which shows sooner at a small share; or more often than `limit` at all.
    """

    margin: Share = 0.01
    harm: Share | None = None
    harm_ratio: Annotated[float, Meta(ge=1)] | None = 2.0
    limit: Annotated[float, Meta(gt=0, lt=1)] | None = None

    @property
    def harm_above(self) -> float:
        return self.margin if self.harm is None else self.harm


class LatencyGate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`slo` and `margin`: the share of conversations slower than `slo` ms, as points.

    `ratio`: the candidate's `quantile` to be shown less than so many times the baseline's. One of
    the two or both.
    """

    slo: Positive | None = None
    margin: Share = 0.05
    harm: Share | None = None
    quantile: Annotated[float, Meta(gt=0, lt=1)] = 0.95
    ratio: Positive | None = None

    @property
    def harm_above(self) -> float:
        return self.margin if self.harm is None else self.harm


class CostGate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mean cost of a conversation, at most `ratio` times the baseline's or `amount` more than it.

    `bound` is the most a conversation can cost; what costs more counts as `bound`, and is counted. With
    it the test is exact; without, it is an approximation that says nothing before 2,000
    conversations per arm. Costs in other currencies must have been converted into `currency`.
    """

    ratio: Positive | None = None
    amount: Decimal | None = None
    bound: Decimal | None = None
    currency: Currency = "USD"


class SuccessCostGate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cost per conversation without failure, at most `ratio` times the baseline's."""

    ratio: Positive
    currency: Currency = "USD"


class PairGates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shadow pairs: losses of candidate against baseline on the same request, one unit a conversation.

    They need a `shadow` in the workload. `disagreement`, which needs a `baseline_share` too, is how much
    more the candidate's answer differs from the baseline's than the baseline's second answer does from its first.
    """

    failure: PointsGate | None = None
    score: PointsGate | None = None
    disagreement: PointsGate | None = None


class Exclusions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Traffic that is no evidence: calls of these apps, teams or tags (values may be globs)."""

    apps: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    cached: bool = True  # answers out of a gateway's cache


class GateRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`gates:` as written, at the top of the plan or in a workload; UNSET where nothing is said."""

    alpha: Alpha | UnsetType = UNSET
    horizon: Horizon | UnsetType = UNSET
    idle_minutes: Annotated[float, Meta(gt=0)] | UnsetType = UNSET
    exclude: Exclusions | UnsetType = UNSET
    failure: FailureGate | UnsetType | None = UNSET
    score: PointsGate | UnsetType | None = UNSET
    checks: dict[str, PointsGate] | UnsetType = UNSET
    ttft_ms: LatencyGate | UnsetType | None = UNSET
    duration_ms: LatencyGate | UnsetType | None = UNSET
    cost: CostGate | UnsetType | None = UNSET
    cost_per_success: SuccessCostGate | UnsetType | None = UNSET
    pairs: PairGates | UnsetType = UNSET


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    """The gates of one workload, with everything filled in. None: no such gate."""

    alpha: Alpha = Alpha()
    horizon: Horizon = Horizon()
    idle_minutes: float = 30.0  # a conversation without calls for so long is closed
    exclude: Exclusions = Exclusions()
    failure: FailureGate | None = FailureGate()
    score: PointsGate | None = PointsGate(margin=0.02)
    checks: dict[str, PointsGate] = {}
    ttft_ms: LatencyGate | None = None
    duration_ms: LatencyGate | None = None
    cost: CostGate | None = None
    cost_per_success: SuccessCostGate | None = None
    pairs: PairGates = PairGates()


def resolve(*rules: GateRules) -> Gates:
    """Gates from rules in ascending order of precedence, over the defaults."""
    given = {
        name: value
        for rule in rules
        for name in rule.__struct_fields__
        if (value := getattr(rule, name)) is not UNSET
    }
    return Gates(**given)


def check_gates(where: str, gates: Gates) -> None:
    """Raises GatesError naming the entry under `where` and the mend."""
    points: dict[str, PointsGate | FailureGate | LatencyGate | None]
    points = {"failure": gates.failure, "score": gates.score}
    points |= {f"checks.{name}": gate for name, gate in gates.checks.items()}
    points |= {f"pairs.{name}": getattr(gates.pairs, name) for name in PairGates.__struct_fields__}
    points |= {"ttft_ms": gates.ttft_ms, "duration_ms": gates.duration_ms}
    for name, gate in points.items():
        if gate is not None and gate.harm_above < gate.margin:
            raise GatesError(
                f"{where}.{name}.harm: must be at least the margin, {gate.margin}: "
                "a loss that is tolerable cannot be harm"
            )
    for name in ("ttft_ms", "duration_ms"):
        latency = getattr(gates, name)
        if latency is not None and latency.slo is None and latency.ratio is None:
            raise GatesError(f"{where}.{name}: give slo (ms), or ratio of the quantiles, or both")
    if gates.cost is not None and (gates.cost.ratio is None) == (gates.cost.amount is None):
        raise GatesError(f"{where}.cost: give either ratio or amount")
    if gates.cost is not None and gates.cost.bound is not None and not gates.cost.bound > 0:
        raise GatesError(f"{where}.cost.bound: must be more than 0")
    if not any((gates.failure, gates.score, gates.checks, gates.ttft_ms, gates.duration_ms)):
        raise GatesError(
            f"{where}: keep at least one of failure, score, checks, ttft_ms, duration_ms"
        )
