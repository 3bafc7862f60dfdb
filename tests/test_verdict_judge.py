"""The judge folds conversations into the same bits however they arrive, and says why it says what it says."""

import random
from decimal import Decimal
from math import log, pi

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_units import MINUTE, START, traffic, unit, verdict

from pipeline.verdicts.drift import FALSE_ALARM_EVERY, Detector
from pipeline.verdicts.gates import (
    Alpha,
    CostGate,
    FailureGate,
    Gates,
    Horizon,
    LatencyGate,
    PairGates,
    PointsGate,
    SuccessCostGate,
)
from pipeline.verdicts.integrity import Split
from pipeline.verdicts.judge import GateState, Outcome, State, fold, start, thresholds
from pipeline.verdicts.state import Latch
from pipeline.verdicts.units import Pair, failures_of

LOOSE = Gates(
    failure=FailureGate(margin=0.03),
    score=PointsGate(margin=0.03),
    horizon=Horizon(conversations=100, final_days=0),
)
EVERYTHING = msgspec.structs.replace(
    LOOSE,
    ttft_ms=LatencyGate(slo=3000, margin=0.05, ratio=1.4),
    duration_ms=LatencyGate(ratio=1.4),
    cost=CostGate(ratio=1.2, bound=Decimal("0.1")),
    cost_per_success=SuccessCostGate(ratio=1.5),
    checks={"complete": PointsGate(margin=0.03)},
)


def begin(gates: Gates = LOOSE, epoch: int = 1) -> State:
    return start(gates, workload="support", candidate="moonshot", epoch=epoch)


def codes(state: State, **facts) -> list[str]:
    return [reason.code for reason in verdict(state, **facts).reasons]


def gate(state: State, name: str, **facts):
    return next(g for g in verdict(state, **facts).gates if g.name == name)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 300), max_size=12), st.integers(0, 10**6))
def test_however_the_stream_is_cut_the_bits_are_the_same(cuts, seed) -> None:
    units = traffic(600, seed=seed, share=0.3, failing=(0.05, 0.1))
    state, at = begin(EVERYTHING), 0
    for cut in [*cuts, len(units)]:
        state = fold(state, units[at : at + cut])
        at += cut
    assert msgspec.json.encode(state) == msgspec.json.encode(fold(begin(EVERYTHING), units))


def test_a_state_survives_being_stored_to_the_bit() -> None:
    units = traffic(800, share=0.2)
    half = fold(begin(EVERYTHING), units[:400])
    for codec in (msgspec.json, msgspec.msgpack):
        stored = codec.decode(codec.encode(half), type=State)
        assert stored == half
        assert fold(stored, units[400:]) == fold(begin(EVERYTHING), units)


def test_folding_leaves_the_state_it_was_given_alone() -> None:
    state = fold(begin(), traffic(50))
    before = msgspec.json.encode(state)
    fold(state, traffic(50, first=50))
    assert msgspec.json.encode(state) == before


def test_what_comes_twice_or_late_changes_nothing_but_its_count() -> None:
    units = traffic(300)
    once = fold(begin(), units)
    again = fold(once, units[100:200])
    assert again.late == 100
    assert msgspec.structs.replace(again, late=0) == once


def test_an_equal_candidate_is_promoted_and_never_before_the_horizon() -> None:
    state = fold(begin(), traffic(3000))
    assert verdict(state).outcome is Outcome.PROMOTE
    assert codes(state) == ["passed"]
    wide = msgspec.structs.replace(LOOSE, horizon=Horizon(conversations=5000))
    assert codes(fold(begin(wide), traffic(3000))) == ["horizon"]


def test_the_last_step_waits_for_a_whole_week() -> None:
    gates = msgspec.structs.replace(LOOSE, horizon=Horizon(conversations=100))
    state = fold(begin(gates), traffic(3000))
    assert verdict(state).outcome is Outcome.PROMOTE
    assert codes(state, final=True) == ["days"]


def test_after_each_step_the_horizon_starts_anew() -> None:
    state = fold(begin(), traffic(3000))
    state = fold(state, traffic(50, first=3000, share=0.75))
    assert codes(state) == ["horizon"]


def test_a_candidate_that_fails_is_rolled_back() -> None:
    state = fold(begin(), traffic(1000, failing=(0.02, 0.2)))
    said = verdict(state)
    assert said.outcome is Outcome.ROLLBACK
    assert said.reasons[0].code in ("harmed", "harmed_ratio")
    assert "Failures" in said.reasons[0].en and "失败率" in said.reasons[0].zh
    assert gate(state, "failure").state is GateState.HARMED


def test_a_candidate_that_begins_to_fail_after_a_long_good_time_is_rolled_back_soon() -> None:
    state = fold(begin(), traffic(20_000))
    assert verdict(state).outcome is Outcome.PROMOTE
    state = fold(state, traffic(300, seed=2, first=20_000, failing=(0.02, 0.45)))
    assert verdict(state).outcome is Outcome.ROLLBACK


def test_failures_in_the_order_in_which_they_came_give_the_same_bits_however_they_are_cut() -> None:
    rng = random.Random(4)
    units = [
        msgspec.structs.replace(u, failed_at=u.closed_at + rng.randrange(10 * MINUTE))
        if u.failed
        else u
        for share in (0.1, 0.3)
        for u in traffic(500, seed=5, first=round(5000 * share), share=share, failing=(0.05, 0.4))
    ]
    failures = failures_of(units)
    whole = fold(begin(), [], failures=failures)
    assert gate(whole, "failure").state is GateState.HARMED
    assert whole.told.bets.steps == 1, "conversations of before the step fail after it"
    one_by_one = begin()
    for failure in failures:
        one_by_one = fold(one_by_one, [], failures=[failure, failures[0]])
    assert msgspec.json.encode(one_by_one) == msgspec.json.encode(whole)
    assert fold(whole, units).told == whole.told, "a closed conversation's failure counts once"
    assert fold(whole, units).untold.bets == begin().untold.bets


def test_worse_answers_roll_back_too() -> None:
    state = fold(begin(), traffic(3000, score=(0.9, 0.7)))
    assert gate(state, "score").state is GateState.HARMED
    assert gate(state, "score").candidate == pytest.approx(0.7, abs=0.03)
    assert verdict(state).outcome is Outcome.ROLLBACK


def test_without_a_candidates_conversation_there_is_nothing_to_say() -> None:
    assert codes(begin()) == ["no_candidate"]
    state = fold(begin(), [unit(i, candidate=False, share=0.0, score=0.9) for i in range(500)])
    said = verdict(state)
    assert (said.outcome, said.reasons[0].code) == (Outcome.HOLD, "no_candidate")
    assert said.forecast is not None and said.forecast.conversations  # from day one


def test_a_baseline_without_data_is_no_data_not_a_pass() -> None:
    state = fold(begin(), [unit(i, candidate=True, score=1.0) for i in range(900)])
    assert verdict(state).outcome is not Outcome.PROMOTE
    assert gate(state, "failure").state is GateState.NO_DATA


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"balanced": False}, "unbalanced"),
        ({"watermark": None}, "late_unknown"),
        ({"watermark": START - 10**9}, "late"),
    ],
)
def test_facts_that_block(facts, code) -> None:
    state = fold(begin(), traffic(3000))
    said = verdict(state, **facts)
    assert said.outcome is Outcome.BLOCKED
    assert said.reasons[0].code == code


def test_a_judge_that_is_catching_up_waits_but_harm_is_told_at_once() -> None:
    late = {"watermark": START - 10**9, "catching_up": True}
    said = verdict(fold(begin(), traffic(3000)), **late)
    assert said.outcome is Outcome.HOLD
    assert [reason.code for reason in said.reasons] == ["catching_up"]
    harmed = verdict(fold(begin(), traffic(3000, failing=(0.02, 0.3))), **late)
    assert harmed.outcome is Outcome.ROLLBACK


@pytest.mark.parametrize(
    ("ms", "told"),
    [
        (45_000, ("45 s", "45 秒")),
        (3 * 60_000, ("3.0 min", "3.0 分钟")),
        (119 * 60_000, ("119.0 min", "119.0 分钟")),
        (5 * 3_600_000, ("5.0 h", "5.0 小时")),
        (1_013_082_000, ("11.7 days", "11.7 天")),
    ],
)
def test_how_late_data_is_is_said_as_people_would(ms: int, told: tuple[str, str]) -> None:
    state = fold(begin(), traffic(3000))
    (late,) = verdict(
        state, now=2 * START, watermark=2 * START - ms, watermark_slack_ms=30_000
    ).reasons
    assert told[0] in late.en and told[1] in late.zh


def test_being_late_does_not_hide_harm_that_is_known() -> None:
    state = fold(begin(), traffic(1000, failing=(0.02, 0.3)))
    assert verdict(state, watermark=None).outcome is Outcome.ROLLBACK
    assert verdict(state, balanced=False).outcome is Outcome.BLOCKED


def test_a_split_other_than_declared_blocks() -> None:
    units = [unit(i, candidate=i % 3 == 0, share=0.5, score=0.9) for i in range(900)]
    state = fold(begin(), units)
    assert codes(state)[0] == "split"
    assert verdict(state).outcome is Outcome.BLOCKED


def test_evidence_on_the_split_is_kept_over_the_steps_of_a_ramp() -> None:
    """The product of the phases', each against its own share: 60 of 100 at 0.5 twice over are more than once."""
    whole, parts = Split(), []
    for share, of_candidate in ((0.1, 20), (0.5, 60), (0.1, 20)):
        part = Split()
        for i in range(100):
            for split in (whole, part):
                split.add(i < of_candidate, share)
        parts.append(part.log_e)
    assert parts[0] == parts[2] > 0
    assert whole.log_e == pytest.approx(sum(parts))


def test_scores_missing_in_one_arm_block_unless_the_worst_case_passes() -> None:
    def units(missing: float, margin: float) -> State:
        gates = msgspec.structs.replace(LOOSE, score=PointsGate(margin=margin))
        some = traffic(4000)
        holes = [
            msgspec.structs.replace(u, score=None)
            if u.arm == "candidate" and i % 100 < 100 * missing
            else u
            for i, u in enumerate(some)
        ]
        return fold(begin(gates), holes)

    assert codes(units(0.3, 0.03))[0] == "unscored"
    assert verdict(units(0.12, 0.4)).outcome is Outcome.PROMOTE


def test_a_budget_that_is_used_up_holds() -> None:
    assert codes(fold(begin(), traffic(3000)), spent_over_budget=True) == ["budget"]


def test_evidence_that_turns_takes_a_promotion_back_and_says_so() -> None:
    gates = msgspec.structs.replace(
        LOOSE, score=None, failure=FailureGate(margin=0.02, harm=0.3, harm_ratio=None)
    )
    state = fold(begin(gates), traffic(4000, failing=(0.02, 0.02)))
    assert verdict(state).outcome is Outcome.PROMOTE
    state = fold(state, traffic(2500, seed=3, first=4000, failing=(0.02, 0.12)))
    assert codes(state) == ["no_longer"]


def test_after_the_cutover_there_is_a_drift_alarm_that_says_it_is_no_comparison() -> None:
    state = fold(begin(), traffic(3000))
    calm = fold(state, traffic(2000, seed=2, first=3000, share=1.0))
    assert "drift" not in codes(calm)
    said = verdict(fold(calm, traffic(150, seed=3, first=5000, share=1.0, failing=(0, 0.4))))
    assert (said.outcome, said.reasons[0].code) == (Outcome.HOLD, "drift")
    assert "not a comparison" in said.reasons[0].en
    (failure, score) = said.drift
    assert (failure.gate, score.gate, score.since) == ("failure", "score", None)
    assert failure.log_e > failure.needed == pytest.approx(log(2 * FALSE_ALARM_EVERY))
    assert failure.since and failure.reason and "漂移告警" in failure.reason.zh
    worse = verdict(fold(calm, traffic(300, seed=4, first=5000, share=1.0, score=(0.9, 0.6))))
    assert [drift.gate for drift in worse.drift if drift.since] == ["score"]
    assert "quality score below 8" in worse.reasons[0].en


def test_a_drift_alarm_ends_when_there_is_a_baseline_again() -> None:
    state = fold(begin(), traffic(3000))
    state = fold(state, traffic(300, seed=3, first=3000, share=1.0, failing=(0, 0.4)))
    assert verdict(state).drift[0].since
    back = fold(state, traffic(10, first=3300))
    assert verdict(back).drift == ()


def test_what_goes_on_as_before_raises_no_drift_alarm() -> None:
    """Exactly at the limit, 50 times 4,000 conversations: the promise is one false alarm in 100,000 on average."""
    rng, alarms = np.random.default_rng(6), 0
    for _ in range(50):
        watch = Detector(limit=0.05)
        for failed in rng.random(4_000) < 0.05:
            watch.add(float(failed), START)
            if watch.since:
                alarms += 1
                break
    assert alarms <= 6, "two on average, four more by chance"


def test_rollback_is_shared_out_over_gates_and_starts_are_charged() -> None:
    one = Gates(score=None, failure=FailureGate(harm_ratio=None))
    limited = Gates(failure=FailureGate(limit=0.2))
    paired = msgspec.structs.replace(one, pairs=PairGates(score=PointsGate(margin=0.1)))
    # The blocks' failures; those and the score, and whose failures are, in both orders; a limit too; pairs.
    for gates, harms in ((one, 1), (Gates(), 4), (limited, 5), (paired, 2)):
        for epoch in (1, 2, 5):
            charged = 6 / (pi * epoch) ** 2  # of all that may ever be started: they sum to 1
            wanted = thresholds(begin(gates, epoch))
            assert wanted.rollback == pytest.approx(log(harms / (charged * 0.01)))
            assert wanted.promote == pytest.approx(log(1 / (charged * 0.05)))
    strict = thresholds(begin(msgspec.structs.replace(one, alpha=Alpha(promote=0.001))))
    assert strict.promote == pytest.approx(log(pi**2 / 6 / 0.001))


def test_too_many_failures_at_all_are_a_rollback_though_the_baseline_has_as_many() -> None:
    gates = Gates(failure=FailureGate(margin=0.05, limit=0.1), score=None)
    assert verdict(fold(begin(gates), traffic(1000, failing=(0.08, 0.08)))).outcome is not Outcome.ROLLBACK  # fmt: skip
    state = fold(begin(gates), traffic(1000, failing=(0.3, 0.3)))
    said = verdict(state)
    assert (said.outcome, [reason.code for reason in said.reasons]) == (Outcome.ROLLBACK, ["over_limit"])  # fmt: skip
    unlimited = Gates(failure=FailureGate(margin=0.05), score=None)
    assert verdict(fold(begin(unlimited), traffic(1000, failing=(0.3, 0.3)))).outcome is not Outcome.ROLLBACK  # fmt: skip


def test_a_gate_stays_passed_until_half_of_its_evidence_is_gone() -> None:
    latch, times = Latch(), list(range(1, 8))
    latch.follow(np.array([1.0, 3.9, 4.0, 3.0, 2.0, 1.9, 3.9]), times, 4.0)
    assert (latch.since, latch.was) == (None, 6)
    latch.follow(np.array([4.1, 2.1]), [8, 9], 4.0)
    assert (latch.since, latch.was) == (8, 6)


def test_cheaper_passes_dearer_holds_and_neither_rolls_back() -> None:
    for dearer, state in ((0.5, GateState.PASSED), (2.0, GateState.OPEN)):
        result = gate(fold(begin(EVERYTHING), traffic(6000, dearer=dearer)), "cost")
        assert result.state is state
        assert result.loss == pytest.approx(dearer, rel=0.1)
        assert result.lower and result.upper and result.lower < result.loss < result.upper
    assert verdict(fold(begin(EVERYTHING), traffic(6000, dearer=2.0))).outcome is Outcome.HOLD


def test_a_cost_in_another_currency_is_unknown_and_never_compared() -> None:
    foreign = [
        msgspec.structs.replace(u, currency="CNY") if u.arm == "candidate" else u
        for u in traffic(200)
    ]
    state = fold(begin(EVERYTHING), foreign)
    for name in ("cost", "cost_per_success"):
        result = gate(state, name)
        assert (result.n_candidate, result.state) == (0, GateState.NO_DATA)
        assert result.n_baseline > 50


def test_the_approximate_cost_gate_says_nothing_before_its_burn_in() -> None:
    few, many = (fold(begin(EVERYTHING), traffic(n)) for n in (3000, 6000))
    early = gate(few, "cost_per_success")
    assert early.reason and early.reason.code == "burn_in"
    assert (early.upper, early.state) == (None, GateState.OPEN)
    assert gate(many, "cost_per_success").state is GateState.PASSED


def test_slow_answers_count_against_the_candidate_and_failures_are_slow() -> None:
    gates = msgspec.structs.replace(LOOSE, ttft_ms=LatencyGate(slo=1000, margin=0.05))
    fast = [unit(i, candidate=i % 2 == 0, ttft_ms=500, score=0.9) for i in range(1000)]
    slow = [
        msgspec.structs.replace(u, ttft_ms=None, failed=True) if u.arm == "candidate" else u
        for u in fast
    ]
    assert gate(fold(begin(gates), fast), "ttft_slo").state is GateState.PASSED
    assert gate(fold(begin(gates), slow), "ttft_slo").candidate == 1.0


def test_a_quantile_may_be_the_only_gate() -> None:
    gates = Gates(failure=None, score=None, duration_ms=LatencyGate(ratio=1.4))
    state = fold(begin(gates), traffic(6000))
    assert gate(state, "duration_quantile").state is GateState.PASSED
    assert verdict(state).outcome is Outcome.PROMOTE


def test_shadow_pairs_alone_open_the_way_to_the_first_step() -> None:
    gates = msgspec.structs.replace(
        LOOSE, pairs=PairGates(score=PointsGate(margin=0.05), disagreement=PointsGate(margin=0.1))
    )
    pairs = [
        Pair(
            workload="support",
            provider="moonshot",
            conversation_id=f"p{i:05}",
            assigned_at=START + i * MINUTE,
            closed_at=START + i * MINUTE,
            score_baseline=0.9 - (i % 3) / 10,
            score_candidate=0.9 - (i % 2) / 10,
            disagreement=0.3,
            noise=0.25 + (i % 5) / 50 if i % 2 else None,
        )
        for i in range(1500)
    ]
    state = fold(begin(gates), [], pairs)
    assert codes(state) == ["passed_in_shadow"]
    assert gate(state, "pair:disagreement").n_candidate == 750
    assert fold(fold(begin(gates), [], pairs[:700]), [], pairs[700:]) == state
    assert codes(fold(state, traffic(20)))[0] != "passed_in_shadow"
