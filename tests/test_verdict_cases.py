"""Cases that canary judges got wrong, and what must not change a verdict."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_simulation import AT_ONCE, failures, shares, steady
from verdict_units import traffic, unit, verdict

from pipeline.verdicts import evidence
from pipeline.verdicts.evidence import Stream
from pipeline.verdicts.gates import FailureGate, Gates, Horizon, LatencyGate, PointsGate
from pipeline.verdicts.judge import GateState, Outcome, State, fold, start
from pipeline.yamlfile import read

GOLDEN = read(Path(__file__).parent / "data/verdict_golden.yml").value
GATES = Gates(
    failure=FailureGate(margin=0.01),
    score=None,
    horizon=Horizon(conversations=50, final_days=0),
)


def begin(gates: Gates = GATES) -> State:
    return start(gates, workload="support", candidate="moonshot")


def gate(state: State, name: str):
    return next(g for g in verdict(state).gates if g.name == name)


def points(values: list[float], per_point: int) -> State:
    """Per point so many conversations of each arm; the candidate's first ones of each fail, `values` of them."""
    units, i = [], 0
    for value in values:
        for n in range(per_point):
            units.append(unit(i, candidate=False))
            units.append(unit(i + 1, candidate=True, failed=n < value))
            i += 2
    return fold(begin(), units)


def test_a_few_errors_against_a_clean_baseline_are_no_rollback_and_no_promotion() -> None:
    state = points([0, 1, 2, 1, 0, 0], per_point=100)
    assert verdict(state).outcome is Outcome.HOLD
    assert gate(state, "failure").baseline == 0


def test_many_errors_against_a_clean_baseline_are_a_rollback() -> None:
    assert verdict(points([30, 30, 30], per_point=100)).outcome is Outcome.ROLLBACK


def test_more_spread_at_an_equal_mean_is_no_harm() -> None:
    gates = Gates(failure=None, score=PointsGate(margin=0.03), horizon=Horizon(conversations=50))
    rng = np.random.default_rng(4)
    units = [
        unit(i, candidate=i % 2 == 1, score=float(rng.beta(2, 0.5) if i % 2 else rng.beta(80, 20)))
        for i in range(6_000)
    ]
    state = fold(begin(gates), units)
    assert gate(state, "score").state is GateState.PASSED
    assert verdict(state).outcome is Outcome.PROMOTE


def test_seven_of_ten_minutes_a_hundred_times_slower_are_a_rollback_though_three_are_equal() -> (
    None
):
    gates = msgspec.structs.replace(GATES, ttft_ms=LatencyGate(slo=5_000, margin=0.05))
    slow = [100, 100, 1, 100, 100, 1, 100, 100, 1, 100]
    units = [
        unit(40 * minute + i, candidate=i % 2 == 1, ttft_ms=1_000 * (slow[minute] if i % 2 else 1))
        for minute in range(10)
        for i in range(40)
    ]
    assert verdict(fold(begin(gates), units)).outcome is Outcome.ROLLBACK


def test_ten_conversations_alone_decide_nothing() -> None:
    state = points([1, 1, 0, 1, 1, 0, 1, 1, 0, 1], per_point=1)
    assert verdict(state).outcome is Outcome.HOLD


def test_a_ramp_does_not_turn_a_loss_into_a_gain() -> None:
    """Friday 99/1, Saturday 50/50 (Kohavi), at a tenth of the size: pooled a gain, day by day a loss."""
    gold = GOLDEN["simpson"]
    (c_1, c_2), (t_1, t_2) = gold["baseline"], gold["candidate"]
    pooled = (t_1[0] + t_2[0]) / (t_1[1] + t_2[1]) - (c_1[0] + c_2[0]) / (c_1[1] + c_2[1])
    assert pooled == pytest.approx(float(gold["pooled"]), abs=1e-8)
    tally = evidence.empty(1)
    plan = evidence.design((Stream(name="failure", margin=0.01, harm=0.01, binary=True),))
    for (y_a, n_a), (y_b, n_b), blocks in ((c_1, t_1, 100), (c_2, t_2, 5_000)):
        each = [np.full((blocks, 1), x / blocks) for x in (n_a, y_a, n_b, y_b)]
        evidence.add(tally, plan, *each, np.zeros(blocks, bool))
    weight, a, b = (
        tally.sum(which, 0)
        for which in (evidence.Sum.WEIGHT, evidence.Sum.WEIGHTED_A, evidence.Sum.WEIGHTED_B)
    )
    assert (b - a) / weight == pytest.approx(float(gold["stratified"]), abs=1e-8)
    assert f"{100 * (b - a) / weight:+.3f}" == "+0.203"


def test_the_same_ramp_through_the_judge_is_a_loss_too() -> None:
    """A percent of the size, conversation by conversation."""
    rng = np.random.default_rng(8)
    units: list = []
    for n_a, y_a, n_b, y_b in ((9_900, 200, 100, 2), (5_000, 50, 5_000, 60)):
        fates = [(False, i < y_a) for i in range(n_a)] + [(True, i < y_b) for i in range(n_b)]
        for candidate, failed in rng.permutation(fates):
            units.append(
                unit(
                    len(units),
                    candidate=bool(candidate),
                    share=n_b / (n_a + n_b),
                    failed=bool(failed),
                )
            )
    arms_of = {arm: [u for u in units if u.arm == arm] for arm in ("baseline", "candidate")}
    pooled = [np.mean([u.failed for u in arms_of[arm]]) for arm in ("baseline", "candidate")]
    assert pooled[1] < pooled[0]
    result = gate(fold(begin(), units), "failure")
    assert result.loss is not None and result.loss > 0


def test_swapping_the_arms_mirrors_the_evidence() -> None:
    streams = (
        Stream(name="failure", margin=0.01, harm=0.01, binary=True),
        Stream(name="score", margin=0.01, harm=0.01),
    )
    plan = evidence.design(streams)
    draw = failures(shares("tenth", 400), steady(400, 0.1), 0.02)
    drawn = [
        np.concatenate(parts).astype(float)
        for parts in zip(
            *(draw(np.random.default_rng(i), i, 2) for i in range(0, 400, AT_ONCE)), strict=True
        )
    ]
    n_a, s_a, n_b, s_b = drawn
    one, other = evidence.empty(2), evidence.empty(2)
    never = np.zeros(len(n_a), bool)
    evidence.add(one, plan, n_a, s_a, n_b, s_b, never)
    evidence.add(other, plan, n_b, s_b, n_a, s_a, never)
    np.testing.assert_allclose(one.at_least, np.array(other.at_most)[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(one.at_most, np.array(other.at_least)[:, ::-1], atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 1_500), st.booleans())
def test_ties_never_turn_a_promotion_into_a_rollback(seed, ties, failed) -> None:
    gates = msgspec.structs.replace(GATES, failure=FailureGate(margin=0.05))
    state = fold(begin(gates), traffic(900, seed=seed, failing=(0.02, 0.03)))
    before = verdict(state).outcome
    state = fold(
        state, [unit(900 + i, candidate=i % 2 == 1, failed=failed) for i in range(2 * ties)]
    )
    if before is not Outcome.ROLLBACK:
        assert verdict(state).outcome is not Outcome.ROLLBACK
