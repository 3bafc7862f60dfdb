"""What the judge says: a verdict, its reasons, and the evidence gate by gate."""

from enum import StrEnum

import msgspec

FORMULAS = 2  # raised when the same units give other numbers


class Outcome(StrEnum):
    """What a workload may do."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    ROLLBACK = "ROLLBACK"
    BLOCKED = "BLOCKED"


class GateState(StrEnum):
    """`passed`: shown tolerable. `harmed`: shown not to be. `no_data`: an arm has none."""

    PASSED = "passed"
    OPEN = "open"
    HARMED = "harmed"
    NO_DATA = "no_data"


class Reason(msgspec.Struct, frozen=True):
    """Why: a stable code, and one sentence in both languages."""

    code: str
    en: str
    zh: str


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations of both arms still needed, if things go on as they are; with its 10-90 % band.

    None: not to be expected at all (for `most`: in at least one of ten cases). `ready_at` are the same as
    UTC ms at the pace of the traffic. `in_time`: the middle is before the deadline; None without one.
    """

    conversations: int | None
    least: int | None
    most: int | None
    ready_at: int | None = None
    ready_at_least: int | None = None
    ready_at_most: int | None = None
    in_time: bool | None = None


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's evidence. Loss, interval, margin and harm are in `unit`, positive when worse.

    `unit`: "points" (shares, 0.01 is one point), "ratio" (candidate over baseline) or a currency.
    `baseline` and `candidate` are the measured values themselves: rates, scores, ms or money.
    `lower` and `upper` hold at all times at once with `confidence`; the loss counts as shown smaller
    than the margin when `upper` is. E-values are natural logarithms, to be compared with their
    thresholds; None where a gate has no such test.
    """

    name: str  # "failure", "score", "check:<name>", "ttft_slo", "ttft_quantile", "cost", "pair:score", …
    unit: str
    state: GateState
    method: str  # the test: "block", "betting", "quantile", "asymptotic", "paired"
    baseline: float | None
    candidate: float | None
    n_baseline: int
    n_candidate: int
    loss: float | None
    lower: float | None
    upper: float | None
    confidence: float
    margin: float
    harm: float | None
    log_e_promote: float | None
    promote_threshold: float
    log_e_rollback: float | None
    rollback_threshold: float | None
    since: int | None = None  # passed or harmed since, UTC ms
    forecast: Forecast | None = None  # only for open gates
    reason: Reason | None = None  # why it is not passed


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's loss after the cutover against `limit`, what it was before and the margin: an alarm, no comparison.

    `log_e` is that of an e-detector, no e-value; `since` (UTC ms) an alarm stands, None if none does.
    """

    gate: str
    limit: float
    log_e: float
    needed: float
    since: int | None = None
    reason: Reason | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the judge cannot see in the units. Times are UTC ms.

    `balanced`: produced = stored + rejected + duplicates + in flight. `watermark`: all
    conversations assigned before have been folded; older than `watermark_slack_ms`: BLOCKED, unless the judge is
    `catching_up`, which is HOLD. `final`: the next stage
    leaves the baseline nothing. `spent_over_budget`: the candidate's budget is used up.
    """

    now: int
    balanced: bool = True
    watermark: int | None = None
    watermark_slack_ms: int = 6 * 3_600_000
    catching_up: bool = False
    deadline: int | None = None
    final: bool = False
    spent_over_budget: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on one workload and candidate, why, and on what evidence."""

    workload: str
    candidate: str
    epoch: int
    at: int
    outcome: Outcome
    reasons: tuple[Reason, ...]  # the weightiest first
    gates: tuple[GateResult, ...]
    units_baseline: int
    units_candidate: int
    pairs: int
    blocks: int
    forecast: Forecast | None  # of the slowest open gate
    log_e_sample_ratio: float | None
    drift: tuple[Drift, ...]  # after the cutover
    late: int  # conversations that came too late to be counted
    formulas: int = FORMULAS
