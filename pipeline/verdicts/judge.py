"""The judge: a fold over closed conversations in order of assignment, and the verdict on what it holds.

    state = start(gates, workload="support", candidate="moonshot", epoch=1)
    state = fold(state, units)            # any number at a time: the same bits come out
    verdict = judge(state, facts)         # PROMOTE | HOLD | ROLLBACK | BLOCKED, with reasons

One state for each workload and candidate; msgspec encodes it, JSON or MessagePack, to the bit.
Nothing here knows a clock: the time is one of the facts. What each gate is tested with, and why:
docs/verdicts.md.
"""

from collections.abc import Sequence
from math import log

import msgspec

from pipeline.verdicts import words
from pipeline.verdicts.epochs import alpha_of
from pipeline.verdicts.gates import Gates
from pipeline.verdicts.results import gate_results
from pipeline.verdicts.state import (
    State,
    Thresholds,
    add_failures,
    add_pairs,
    add_units,
    empty,
)
from pipeline.verdicts.streams import measures, pair_measures
from pipeline.verdicts.units import Pair, Unit
from pipeline.verdicts.verdict import (
    Drift,
    Facts,
    Forecast,
    GateResult,
    GateState,
    Outcome,
    Reason,
    Verdict,
)

DAY_MS = 24 * 60 * 60_000


def start(gates: Gates, *, workload: str, candidate: str, epoch: int = 1) -> State:
    """The state before any evidence. `epoch` counts starts: the j-th has 6α/(π²j²) of each α."""
    return empty(gates, workload, candidate, epoch)


def fold(
    state: State,
    units: Sequence[Unit],
    pairs: Sequence[Pair] = (),
    *,
    failures: Sequence[Unit] = (),
) -> State:
    """The state after these units and pairs, each in order of `place`; one at a time or all at once.

    What is not after the last one folded has come late, or a second time: it is counted, and
    changes nothing else. Units of other workloads and providers must have been left out (`of_pair`).
    `failures` are conversations that have failed, closed or not, in order of `failure_place`:
    whose each failure is counts as soon as it has come.
    """
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State)
    limits = thresholds(state)
    add_units(state, units, limits)
    add_failures(state, failures, limits)
    add_pairs(state, pairs, limits)
    return state


def thresholds(state: State) -> Thresholds:
    """log e to be reached. Promoting needs every gate, so each may have all of α; harm is any of them, so they share it."""
    alpha, gates = state.gates.alpha, state.gates
    harms = sum(measure.rolls_back for measure in measures(gates))
    harms += len(pair_measures(gates.pairs))
    if gates.failure:
        # Failures in the order in which they came are one test, those without a time another.
        harms += 2 * (gates.failure.harm_ratio is not None) + (gates.failure.limit is not None)
    return Thresholds(
        promote=-log(alpha_of(alpha.promote, state.epoch)),
        rollback=log(max(1, harms)) - log(alpha_of(alpha.rollback, state.epoch)),
    )


def judge(state: State, facts: Facts) -> Verdict:
    """The verdict on what has been folded; pure: the same state and facts, the same verdict."""
    results = gate_results(state, facts, thresholds(state))
    unsound, late = _unsound(state, facts, results), _late(facts)
    harmed = [
        result.reason for result in results if result.reason and result.state is GateState.HARMED
    ]
    waiting = _waiting(state, facts, results)
    if unsound:
        outcome, reasons = Outcome.BLOCKED, [*unsound, *late, *harmed]
    elif harmed:
        outcome, reasons = Outcome.ROLLBACK, [*harmed, *late]
    elif late:
        outcome, reasons = Outcome.HOLD if facts.catching_up else Outcome.BLOCKED, late
    elif waiting:
        outcome, reasons = Outcome.HOLD, waiting
    else:
        outcome, reasons = Outcome.PROMOTE, [_passed(state, results)]
    forecasts = [result.forecast for result in results if result.forecast]
    return Verdict(
        workload=state.workload,
        candidate=state.candidate,
        epoch=state.epoch,
        at=facts.now,
        outcome=outcome,
        reasons=tuple(reasons),
        gates=results,
        units_baseline=state.baseline.units,
        units_candidate=state.tested.units,
        pairs=state.pairs,
        blocks=state.tally.blocks,
        forecast=max(forecasts, key=_slowness, default=None),
        log_e_sample_ratio=state.split.log_e if state.split.n_a + state.split.n_b else None,
        drift=_drift(state),
        late=state.late,
    )


def _unsound(state: State, facts: Facts, results: Sequence[GateResult]) -> list[Reason]:
    """Why the numbers cannot be believed."""
    found = [] if facts.balanced else [words.reason("unbalanced")]
    if state.split.unsound:
        share, n_b = state.split.share, state.split.n_b
        found.append(
            words.reason(
                "split",
                n_b=f"{n_b:,}",
                n=f"{state.split.n_a + n_b:,}",
                share=words.measured(share, "share"),
            )
        )
    names = [measure.stream.name for measure in measures(state.gates)]
    if "unscored" in names:
        uneven = any(state.harmed[names.index(n)].since for n in ("unscored", "scored"))
        if uneven and not state.passed[names.index("score_at_worst")].since:
            i = names.index("unscored")
            shares = [arm.losses[i] / arm.n[i] for arm in (state.baseline, state.tested)]
            a, b = (words.measured(share, "share") for share in shares)
            found.append(words.reason("unscored", a=a, b=b))
    return found


def _late(facts: Facts) -> list[Reason]:
    """Whether recent conversations are still missing. What is known already stays true."""
    age = None if facts.watermark is None else facts.now - facts.watermark
    if age is not None and age <= facts.watermark_slack_ms:
        return []
    if age is None:
        return [words.reason("late_unknown")]
    if facts.catching_up:
        return [words.reason("catching_up", age=words.lasting(age))]
    allowed = words.lasting(facts.watermark_slack_ms)
    return [words.reason("late", age=words.lasting(age), allowed=allowed)]


def _waiting(state: State, facts: Facts, results: Sequence[GateResult]) -> list[Reason]:
    """What is still missing before PROMOTE; nothing is missing if empty."""
    needed = _needed(state, results)
    if not state.tested.units and not needed:
        return [words.reason("no_candidate")]
    order = (GateState.NO_DATA, GateState.OPEN)
    found = [drift.reason for drift in _drift(state) if drift.reason]
    found += [
        result.reason
        for kind in order
        for result in needed
        if result.state is kind and result.reason
    ]
    if facts.spent_over_budget:
        found.append(words.reason("budget"))
    return found + _horizon(state, facts)


def _drift(state: State) -> tuple[Drift, ...]:
    """Alarms after the cutover, which are no comparison and prove nothing against the candidate."""
    return tuple(
        Drift(
            gate=name,
            limit=found.limit,
            log_e=found.log_e,
            needed=found.needed,
            since=found.since,
            reason=None if found.since is None else words.drift(name, found.limit),
        )
        for name, found in state.drift.items()
    )


def _needed(state: State, results: Sequence[GateResult]) -> list[GateResult]:
    """The gates that must be passed: before users have met the candidate, those of shadow pairs."""
    if state.tested.units:
        return list(results)
    return [result for result in results if result.name.startswith("pair:")]


def _horizon(state: State, facts: Facts) -> list[Reason]:
    """Whether enough has been seen at this share, and for long enough."""
    horizon, phase, tested = state.gates.horizon, state.phase, state.tested
    if not tested.units:
        n, first_at, last_at = state.pairs, state.phase.first_at, state.phase.last_at
    else:
        n = phase.n_b if phase.share == 1 else min(phase.n_a, phase.n_b)
        first_at, last_at = phase.first_at, phase.last_at
    found = []
    if n < horizon.conversations:
        code = "horizon" if tested.units else "horizon_in_shadow"
        found.append(words.reason(code, n=f"{n:,}", wanted=f"{horizon.conversations:,}"))
    wanted = [(horizon.days, last_at - first_at)]
    if facts.final:
        wanted.append((horizon.final_days, tested.last_at - tested.first_at))
    for days, seen in wanted:
        if seen < days * DAY_MS:
            found.append(words.reason("days", days=f"{seen / DAY_MS:.1f}", wanted=f"{days:g}"))
    return found


def _passed(state: State, results: Sequence[GateResult]) -> Reason:
    names = words.gate_names([result.name for result in _needed(state, results)])
    return words.reason("passed" if state.tested.units else "passed_in_shadow", gates=names)


def _slowness(forecast: Forecast) -> tuple[bool, int]:
    return forecast.conversations is None, forecast.conversations or 0


__all__ = [
    "Facts",
    "Forecast",
    "GateResult",
    "GateState",
    "Outcome",
    "Reason",
    "State",
    "Verdict",
    "fold",
    "judge",
    "start",
    "thresholds",
]
