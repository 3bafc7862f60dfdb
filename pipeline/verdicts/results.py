"""Gate by gate: the numbers of a state as people read them."""

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from pipeline.verdicts import cost, evidence, forecast, latency, rates, words
from pipeline.verdicts.blocks import sizes
from pipeline.verdicts.epochs import alpha_of
from pipeline.verdicts.evidence import Stream, Sum, Tally
from pipeline.verdicts.gates import CostGate, LatencyGate
from pipeline.verdicts.state import Latch, State, Thresholds, Whose
from pipeline.verdicts.streams import Measure, PairMeasure, measures, pair_measures
from pipeline.verdicts.verdict import Facts, Forecast, GateResult, GateState, Reason

LIMIT_WEIGHT = 20.0  # conversations the limit counts for in its test
_PRIOR_BLOCKS = 20  # blocks the baseline's own spread counts for in a forecast
_LEAST_PACE = 20  # conversations before a pace is told
Text = tuple[str, str]


def gate_results(state: State, facts: Facts, thresholds: Thresholds) -> tuple[GateResult, ...]:
    """Every gate of the plan, in its order."""
    return (
        *_of_streams(state, facts, thresholds),
        *_of_quantiles(state, thresholds),
        *_of_costs(state),
        *_of_pairs(state, facts, thresholds),
    )


def _of_streams(state: State, facts: Facts, thresholds: Thresholds) -> Iterator[GateResult]:
    streams = measures(state.gates)
    harms = state.tally.harm.log_e(len(streams))
    for i, measure in enumerate(streams):
        if measure.decides:
            counts = (state.baseline.n[i], state.tested.n[i])
            totals = (state.baseline.losses[i], state.tested.losses[i])
            latches = (state.passed[i], state.harmed[i])
            result = _of_stream(
                measure, i, state.tally, counts, totals, latches, harms[i], state, thresholds
            )
            if measure.stream.name == "failure":
                result = _with_failure_harms(result, state, thresholds)
            ahead = _forecast(state, facts, measure.stream, i, result, thresholds)
            yield _with_forecast(result, ahead, facts)


def _of_stream(
    measure: Measure | PairMeasure,
    i: int,
    tally: Tally,
    counts: tuple[int, int],
    totals: tuple[float, float],
    latches: tuple[Latch, Latch],
    harm_log_e: float,
    state: State,
    thresholds: Thresholds,
) -> GateResult:
    stream = measure.stream
    scale = measure.scale if isinstance(measure, Measure) else 1.0
    unit = measure.unit if isinstance(measure, Measure) else "points"
    rolls_back = measure.rolls_back if isinstance(measure, Measure) else True
    a, b = _means(tally, i, counts, totals)
    loss = _loss(stream, a, b)
    lower, upper = evidence.interval(stream, tally, i, thresholds.promote)
    step = 1.0 if stream.as_ratio else scale
    passed, harmed = latches
    kind = _state(counts, passed, harmed if rolls_back else Latch())
    result = GateResult(
        name=stream.name,
        unit=unit,
        state=kind,
        method="paired"
        if isinstance(measure, PairMeasure)
        else "block"
        if stream.binary
        else "betting",
        baseline=_shown(a, measure.is_score, scale),
        candidate=_shown(b, measure.is_score, scale),
        n_baseline=counts[0],
        n_candidate=counts[1],
        loss=_times(loss, step),
        lower=_times(lower, step),
        upper=_times(upper, step),
        confidence=1 - 2 * alpha_of(state.gates.alpha.promote, state.epoch),
        margin=stream.margin * step,
        harm=stream.harm * step if rolls_back else None,
        log_e_promote=tally.at_least[i][evidence.margin_rung(stream)],
        promote_threshold=thresholds.promote,
        log_e_rollback=harm_log_e if rolls_back else None,
        rollback_threshold=thresholds.rollback if rolls_back else None,
        since=harmed.since if kind is GateState.HARMED else passed.since,
    )
    return _with(result, reason=_reason(result, passed))


def _shown(loss: float | None, is_score: bool, scale: float) -> float | None:
    if loss is None:
        return None
    return 1 - loss if is_score else loss * scale


def _means(
    tally: Tally, i: int, counts: tuple[int, int], totals: tuple[float, float]
) -> tuple[float | None, float | None]:
    """Mean losses of both arms at the same times; of all conversations where no block compares them yet."""
    if weight := tally.sum(Sum.WEIGHT, i):
        return tally.sum(Sum.WEIGHTED_A, i) / weight, tally.sum(Sum.WEIGHTED_B, i) / weight
    a, b = (total / n if n else None for n, total in zip(counts, totals, strict=True))
    return a, b


def _loss(stream: Stream, a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    if not stream.as_ratio:
        return b - a
    return b / a if a else None


def _state(counts: tuple[int, int], passed: Latch, harmed: Latch) -> GateState:
    if harmed.since is not None:
        return GateState.HARMED
    if passed.since is not None:
        return GateState.PASSED
    return GateState.OPEN if min(counts) else GateState.NO_DATA


def _with_failure_harms(result: GateResult, state: State, thresholds: Thresholds) -> GateResult:
    """The failure gate with its other two harms: too many times as often, and too often at all."""
    gate = state.gates.failure
    assert gate is not None
    if gate.harm_ratio is not None:
        for whose in (state.told, state.untold):
            log_e = max(result.log_e_rollback or 0.0, whose.bets.log_e(1)[0])
            result = _with(result, log_e_rollback=log_e)
            if whose.harmed.since is not None and result.state is not GateState.HARMED:
                reason = _whose(whose, gate.harm_ratio)
                reason = reason or _told(result, "harmed_ratio", harm=f"{gate.harm_ratio:g}")
                since = whose.harmed.since
                result = _with(result, state=GateState.HARMED, since=since, reason=reason)
    if gate.limit is not None and state.tested.units:
        log_e = float(
            rates.above_log_e(state.tested.failed, state.tested.units, gate.limit, LIMIT_WEIGHT)
        )
        result = _with(result, log_e_rollback=max(result.log_e_rollback or 0.0, log_e))
        if log_e >= thresholds.rollback and result.state is not GateState.HARMED:
            reason = _told(result, "over_limit", harm=words.measured(gate.limit, "share"))
            result = _with(result, state=GateState.HARMED, since=None, reason=reason)
    return result


def _whose(whose: Whose, harm_ratio: float) -> Reason | None:
    """How the last failures fell, while the rates measured may not yet show it; None without declared shares."""
    if whose.share is None:
        return None
    return words.reason(
        "harmed_lately",
        gate=words.gate_name("failure"),
        n=str(len(whose.recent)),
        n_b=str(sum(whose.recent)),
        share=words.measured(whose.share, "share"),
        harm=f"{harm_ratio:g}",
    )


def _of_quantiles(state: State, thresholds: Thresholds) -> Iterator[GateResult]:
    gates = state.gates
    arms = (state.baseline, state.tested)
    if gates.ttft_ms and gates.ttft_ms.ratio:
        a, b = (arm.ttft for arm in arms)
        yield _of_quantile(
            "ttft_quantile", gates.ttft_ms, gates.ttft_ms.ratio, a, b, state, thresholds
        )
    if gates.duration_ms and gates.duration_ms.ratio:
        a, b = (arm.duration for arm in arms)
        yield _of_quantile(
            "duration_quantile", gates.duration_ms, gates.duration_ms.ratio, a, b, state, thresholds
        )


def _of_quantile(
    name: str,
    gate: LatencyGate,
    ratio: float,
    a: Mapping[int, int],
    b: Mapping[int, int],
    state: State,
    thresholds: Thresholds,
) -> GateResult:
    q = gate.quantile
    at_a, at_b = latency.quantile(a, q), latency.quantile(b, q)
    log_e = float(latency.ratio_log_e(a, b, q, np.array([latency.steps_of(ratio)]))[0])
    lower, upper = latency.ratio_bounds(a, b, q, thresholds.promote)
    n_a, n_b = sum(a.values()), sum(b.values())
    kind = GateState.PASSED if log_e >= thresholds.promote else GateState.OPEN
    result = GateResult(
        name=name,
        unit="ratio",
        state=kind if min(n_a, n_b) else GateState.NO_DATA,
        method="quantile",
        baseline=at_a,
        candidate=at_b,
        n_baseline=n_a,
        n_candidate=n_b,
        loss=at_b / at_a if at_a and at_b else None,
        lower=lower,
        upper=upper,
        confidence=1 - 2 * alpha_of(state.gates.alpha.promote, state.epoch),
        margin=ratio,
        harm=None,
        log_e_promote=log_e,
        promote_threshold=thresholds.promote,
        log_e_rollback=None,
        rollback_threshold=None,
    )
    return _with(result, reason=_reason(result, Latch()))


def _of_costs(state: State) -> Iterator[GateResult]:
    gates = state.gates
    if gates.cost and not gates.cost.bound:
        yield _of_mean_cost("cost", gates.cost, state)
    if gates.cost_per_success:
        own = gates.cost_per_success
        as_cost = CostGate(ratio=own.ratio, currency=own.currency)
        yield _of_mean_cost("cost_per_success", as_cost, state)


def _of_mean_cost(name: str, gate: CostGate, state: State) -> GateResult:
    a, b = state.baseline.cost, state.tested.cost
    alpha = alpha_of(state.gates.alpha.promote, state.epoch)
    per_success = name == "cost_per_success"
    estimate = None
    if min(a.n, b.n) > 1:
        if gate.ratio is None:
            estimate = cost.difference(a, b, alpha)
        else:
            estimate = cost.ratio(a, b, alpha, per_success=per_success)
    loss, lower, upper = estimate or (None, None, None)
    ripe = min(a.n, b.n) >= cost.BURN_IN
    margin = gate.ratio if gate.ratio is not None else float(gate.amount or 0)
    passed = ripe and upper is not None and upper <= margin
    kind = GateState.PASSED if passed else GateState.OPEN if min(a.n, b.n) else GateState.NO_DATA
    result = GateResult(
        name=name,
        unit="ratio" if gate.ratio is not None else gate.currency,
        state=kind,
        method="asymptotic",
        baseline=_cost_of(a, per_success),
        candidate=_cost_of(b, per_success),
        n_baseline=a.n,
        n_candidate=b.n,
        loss=loss,
        lower=lower if ripe else None,
        upper=upper if ripe else None,
        confidence=1 - alpha,
        margin=margin,
        harm=None,
        log_e_promote=None,
        promote_threshold=-float(np.log(alpha)),
        log_e_rollback=None,
        rollback_threshold=None,
    )
    reason = _reason(result, Latch())
    if kind is GateState.OPEN and not ripe:
        reason = words.reason("burn_in", gate=words.gate_name(name), needed=f"{cost.BURN_IN:,}")
    return _with(result, reason=reason)


def _cost_of(sums: cost.Sums, per_success: bool) -> float | None:
    n = sums.s if per_success else sums.n
    return sums.c / n if n else None


def _of_pairs(state: State, facts: Facts, thresholds: Thresholds) -> Iterator[GateResult]:
    streams = pair_measures(state.gates.pairs)
    harms = state.pair_tally.harm.log_e(len(streams))
    for i, measure in enumerate(streams):
        n = int(state.pair_tally.sum(Sum.BLOCKS, i))
        totals = (state.pair_tally.sum(Sum.LOSS_A, i), state.pair_tally.sum(Sum.LOSS_B, i))
        latches = (state.pair_passed[i], state.pair_harmed[i])
        result = _of_stream(
            measure, i, state.pair_tally, (n, n), totals, latches, harms[i], state, thresholds
        )
        if result.state is GateState.NO_DATA:
            result = _with(result, reason=_no_pairs(state, result.name))
        ahead = _pair_forecast(state, facts, measure.stream, i, result, thresholds)
        yield _with_forecast(result, ahead, facts)


def _no_pairs(state: State, name: str) -> Reason:
    """Why there is nothing to bet on: no pairs at all, or none whose noise is known."""
    no_noise = state.pairs and name == "pair:disagreement"
    return words.reason("no_noise" if no_noise else "no_pairs", gate=words.gate_name(name))


def _reason(result: GateResult, passed: Latch) -> Reason | None:
    """Why the gate is not passed."""
    if result.state is GateState.PASSED:
        return None
    if result.state is GateState.HARMED:
        code = "harmed_noise" if result.name == "pair:disagreement" else "harmed"
        return _told(result, code, harm=words.amount(result.harm, result.unit))
    if result.state is GateState.NO_DATA:
        empty = (not result.n_baseline, not result.n_candidate)
        who = "both" if all(empty) else "baseline" if empty[0] else "candidate"
        return words.reason("no_data", gate=words.gate_name(result.name), arms=words.arms(who))
    if passed.was is not None:
        return words.reason("no_longer", gate=words.gate_name(result.name))
    return _open(result, ("", ""))


def _open(result: GateResult, more: Text) -> Reason:
    better = result.unit != "ratio" and result.loss is not None and result.loss < 0
    code = "open_better" if better else "open_ratio" if result.unit == "ratio" else "open"
    if result.name == "pair:disagreement":
        code = "open_noise"
    return words.reason(
        code,
        gate=words.gate_name(result.name),
        baseline=words.measured(result.baseline, "share"),
        loss=words.amount(result.loss, result.unit),
        gain=words.amount(abs(result.loss or 0), result.unit),
        upper=words.amount(result.upper, result.unit),
        margin=words.amount(result.margin, result.unit),
        more=more,
    )


def _told(result: GateResult, code: str, harm: Text | str) -> Reason:
    return words.reason(
        code,
        gate=words.gate_name(result.name),
        baseline=words.measured(result.baseline, "share"),
        candidate=words.measured(result.candidate, "share"),
        harm=harm,
    )


def _forecast(
    state: State, facts: Facts, stream: Stream, i: int, result: GateResult, thresholds: Thresholds
) -> Forecast | None:
    """What is still needed for an open gate, from what both arms did so far; None without a baseline."""
    n_a = state.baseline.n[i]
    if result.state not in (GateState.OPEN, GateState.NO_DATA) or not n_a:
        return None
    share = state.phase.share if state.phase.share else None
    share = share if share is not None and share < 1 else _share_so_far(state)
    k_a, k_b = sizes(share)
    mean_a, ratio = state.baseline.losses[i] / n_a, stream.margin if stream.as_ratio else 1.0
    n, mean, squares = _difference(state.tally, i, ratio)
    # Before evidence: the spread a rate of the baseline's size has, few blocks of it where not a rate.
    spread = max(mean_a * (1 - mean_a), 1e-6) * (1 / k_b + ratio**2 / k_a)
    weight = _PRIOR_BLOCKS if stream.binary else 1
    variance = (weight * spread + squares) / (weight + n)
    if stream.as_ratio:  # before evidence: as dear as the baseline, give or take half
        expected, sd = mean_a * (1 - ratio), mean_a / 2
    else:
        expected, sd = 0.0, max(stream.margin, evidence.NO_MARGIN) / 2
    where = forecast.posterior(n, mean, variance, expected, max(sd, 1e-6))
    delta = 0.0 if stream.as_ratio else stream.margin
    remaining = thresholds.promote - (result.log_e_promote or 0.0)
    blocks = forecast.blocks_needed(*where, variance, delta, remaining)
    per_block = max(k_b / share, k_a / (1 - share))
    return _dated(state, facts, [None if b is None else round(b * per_block) for b in blocks])


def _pair_forecast(
    state: State, facts: Facts, stream: Stream, i: int, result: GateResult, thresholds: Thresholds
) -> Forecast | None:
    """The same for pairs, in conversations of both arms that go by until enough are mirrored; None before some were."""
    n, mean, squares = _difference(state.pair_tally, i, 1.0)
    pace = _pace(state)
    span = state.pair_place[0] - state.pair_first_at if state.pair_place else 0
    if result.state is not GateState.OPEN or n < _LEAST_PACE or pace is None or span <= 0:
        return None
    variance = max(squares / n, 1e-6)
    sd = max(stream.margin, evidence.NO_MARGIN) / 2
    where = forecast.posterior(n, mean, variance, 0.0, sd)
    remaining = thresholds.promote - (result.log_e_promote or 0.0)
    pairs = forecast.blocks_needed(*where, variance, stream.margin, remaining)
    per_pair = pace * span / n
    return _dated(state, facts, [None if p is None else round(p * per_pair) for p in pairs])


def _difference(tally: Tally, i: int, ratio: float) -> tuple[float, float, float]:
    """Blocks, mean of x_b - ratio·x_a, and the sum of squares around it."""
    n, a, b, aa, ab, bb = (tally.sum(which, i) for which in evidence.MOMENTS)
    mean = (b - ratio * a) / max(n, 1)
    return n, mean, max(0.0, bb - 2 * ratio * ab + ratio**2 * aa - n * mean * mean)


def _share_so_far(state: State) -> float:
    return (state.tested.units + 1) / (state.tested.units + state.baseline.units + 2)


def _pace(state: State) -> float | None:
    """Conversations of both arms per ms at the share in force; None before a pace can be told."""
    n, span = state.phase.n_a + state.phase.n_b, state.phase.last_at - state.phase.first_at
    return n / span if n >= _LEAST_PACE and span > 0 else None


def _dated(state: State, facts: Facts, conversations: list[int | None]) -> Forecast:
    pace = _pace(state)
    at = [None if c is None or pace is None else facts.now + round(c / pace) for c in conversations]
    in_time = None
    if facts.deadline is not None and (at[1] is not None or conversations[1] is None):
        in_time = at[1] is not None and at[1] <= facts.deadline
    return Forecast(
        least=conversations[0],
        conversations=conversations[1],
        most=conversations[2],
        ready_at_least=at[0],
        ready_at=at[1],
        ready_at_most=at[2],
        in_time=in_time,
    )


def _may_be_in_time(ahead: Forecast, facts: Facts) -> bool:
    at, deadline = ahead.ready_at_least, facts.deadline
    return at is not None and deadline is not None and at <= deadline


def _with_forecast(result: GateResult, ahead: Forecast | None, facts: Facts) -> GateResult:
    """The result with its forecast, which goes into the sentence too."""
    if ahead is None:
        return result
    reason = result.reason
    if ahead.in_time is False and not _may_be_in_time(ahead, facts):
        reason = words.reason("unreachable", gate=words.gate_name(result.name))
    elif ahead.in_time is False:
        reason = words.reason("unlikely", gate=words.gate_name(result.name))
    elif reason is not None and reason.code.startswith("open"):
        reason = _open(result, words.needed(ahead.conversations))
    return _with(result, forecast=ahead, reason=reason)


def _times(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _with(result: GateResult, **changed: object) -> GateResult:
    return msgspec.structs.replace(result, **changed)
