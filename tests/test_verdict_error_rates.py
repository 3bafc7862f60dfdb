"""How often the judge is wrong when it is looked at after every conversation, over thousands of migrations.

Seeded, so that the figures are always the same; `docs/verdicts.md` quotes them. The naive competitor,
a z-test looked at again and again, must fail the same test, or the test would show nothing.
"""

from math import comb, log
from pathlib import Path

import numpy as np
import pytest
from verdict_simulation import (
    AT_ONCE,
    allowed,
    failures,
    first_over,
    means,
    pooled_z,
    ratio_alarms,
    run,
    shares,
    steady,
    swing,
)
from verdict_units import traffic, verdict

from pipeline.verdicts import cost, evidence, rates
from pipeline.verdicts.evidence import Stream
from pipeline.verdicts.gates import FailureGate, Gates, Horizon
from pipeline.verdicts.judge import Outcome, fold, start
from pipeline.yamlfile import read

PROMOTE, ROLLBACK = 0.05, 0.01
MARGIN = 0.01
MIGRATIONS = 2_000
BLOCKS = 1_000
Z = 1.6448536269514722
POWER = read(Path(__file__).parent / "data/verdict_golden.yml").value["power"]
RATE = Stream(name="failure", margin=MARGIN, harm=MARGIN, binary=True)


@pytest.mark.parametrize(
    ("share", "rate"),
    [("even", steady), ("tenth", steady), ("ramp", steady), ("even", swing), ("ramp", swing)],
    ids=["constant 1:1", "constant 9:1", "ramp", "daily swing", "ramp and swing"],
)
def test_at_the_boundary_neither_promoted_nor_rolled_back_too_often(share, rate) -> None:
    promoted, harmed, naive = (np.zeros(MIGRATIONS, bool) for _ in range(3))
    draw = failures(shares(share, BLOCKS), rate(BLOCKS), MARGIN)
    for _, promote, harm, sums in run(RATE, draw, BLOCKS, MIGRATIONS, seed=7):
        promoted |= (promote >= -log(PROMOTE)).any(axis=0)
        harmed |= (harm >= -log(ROLLBACK)).any(axis=0)
        naive |= pooled_z(sums, MARGIN) < -Z  # looks only now and then, and is wrong all the same
    print(
        f"promoted {promoted.mean():.4f} rolled back {harmed.mean():.4f} naive {naive.mean():.4f}"
    )
    assert promoted.mean() <= allowed(PROMOTE, MIGRATIONS)
    assert harmed.mean() <= allowed(ROLLBACK, MIGRATIONS)
    assert naive.mean() > allowed(PROMOTE, MIGRATIONS)


@pytest.mark.parametrize("alike", [0.2, 0.5])
def test_turns_of_a_conversation_are_no_units(alike) -> None:
    """Ten turns each, their failures correlated by `alike`, at the boundary (2 against 3 %)."""
    turns, blocks = 10, 400
    weight = 1 / alike - 1

    def draw(rng, shape):
        rate = np.array([0.02, 0.03])[:, None, None]
        own = rng.beta(rate * weight, (1 - rate) * weight, (2, *shape))
        return tuple(rng.binomial(turns, own) / turns)

    def by_turns(rng, start, migrations):
        n_a, a, n_b, b = means(draw)(rng, start, migrations)
        return turns * n_a, turns * a, turns * n_b, turns * b

    by_conversation = Stream(name="failure", margin=MARGIN, harm=MARGIN)
    wrong = {}
    for name, stream, units in (
        ("conversations", by_conversation, means(draw)),
        ("turns", RATE, by_turns),
    ):
        pieces = run(stream, units, blocks, MIGRATIONS, seed=11)
        first = first_over(((at, path) for at, path, _, _ in pieces), -log(PROMOTE))
        wrong[name] = float(np.isfinite(first).mean())
    print(f"promoted by conversations {wrong['conversations']:.4f}, by turns {wrong['turns']:.4f}")
    assert wrong["conversations"] <= allowed(PROMOTE, MIGRATIONS)
    assert wrong["turns"] > 2 * allowed(PROMOTE, MIGRATIONS)


@pytest.mark.parametrize("alike", [0.2, 0.5])
def test_pairs_of_a_conversation_are_one_unit_and_disagreement_counts_beyond_the_noise(
    alike: float,
) -> None:
    """Ten turns each; the baseline differs from itself in 25 % of them, the candidate in 35 %: exactly at the margin.

    Turns of one conversation are alike, in the noise as in the candidate's disagreement. *Naive* takes turns for
    units; *raw* forgets a noise floor of 40 %, and sends an equal candidate back.
    """
    turns, conversations, margin, harm = 10, 300, 0.10, 0.20
    weight = 1 / alike - 1

    def drawn(excess, noise=0.25):
        def draw(rng, shape):
            rate = np.array([noise, noise + excess])[:, None, None]
            own = rng.beta(rate * weight, (1 - rate) * weight, (2, *shape))
            return tuple(rng.binomial(turns, own) / turns)

        return draw

    def by_turns(rng, start, migrations):
        n_a, a, n_b, b = means(drawn(margin))(rng, start, migrations)
        return turns * n_a, turns * a, turns * n_b, turns * b

    def without_noise(rng, start, migrations):
        n_a, a, n_b, b = means(drawn(0.0, noise=0.4))(rng, start, migrations)
        return n_a, 0 * a, n_b, b

    stream = Stream(name="pair:disagreement", margin=margin, harm=harm)
    promoted = harmed = np.zeros(MIGRATIONS, bool)
    for _, promote, _, _ in run(stream, means(drawn(margin)), conversations, MIGRATIONS, seed=13):
        promoted = promoted | (promote >= -log(PROMOTE)).any(axis=0)
    for _, _, harm_e, _ in run(stream, means(drawn(harm)), conversations, MIGRATIONS, seed=17):
        harmed = harmed | (harm_e >= -log(ROLLBACK)).any(axis=0)
    rate = Stream(name="turns", margin=margin, harm=harm, binary=True)
    naive = run(rate, by_turns, conversations, MIGRATIONS, seed=13)
    naive_first = first_over(((at, path) for at, path, _, _ in naive), -log(PROMOTE))
    raw = run(stream, without_noise, conversations, 200, seed=19)
    raw_first = first_over(((at, path) for at, _, path, _ in raw), -log(ROLLBACK))
    wrong = [float(x) for x in (promoted.mean(), harmed.mean(), np.isfinite(naive_first).mean())]
    print("promoted {:.4f} rolled back {:.4f} turns {:.4f}".format(*wrong), end=" ")
    print(f"rolled back without the noise floor {np.isfinite(raw_first).mean():.4f}")
    assert promoted.mean() <= allowed(PROMOTE, MIGRATIONS)
    assert harmed.mean() <= allowed(ROLLBACK, MIGRATIONS)
    assert np.isfinite(naive_first).mean() > 2 * allowed(PROMOTE, MIGRATIONS)
    assert np.isfinite(raw_first).mean() > 0.5


def test_as_many_failures_as_the_baseline_are_no_alarm_in_a_ramp_with_a_swing() -> None:
    first, naive = ratio_alarms(1.0, MIGRATIONS, seed=5)
    print(f"rolled back {np.isfinite(first).mean():.4f} naive {naive:.4f}")
    assert np.isfinite(first).mean() <= allowed(ROLLBACK, MIGRATIONS)
    assert naive > 0.1


def test_failures_taken_in_the_order_in_which_they_come_are_no_alarm_either() -> None:
    """Conversations of three shares fail at the same time: each counts at the share it was assigned at."""
    first, _ = ratio_alarms(1.0, MIGRATIONS, seed=6, requests=50_000, lag=5_000)
    print(f"rolled back {np.isfinite(first).mean():.4f}")
    assert np.isfinite(first).mean() <= allowed(ROLLBACK, MIGRATIONS)


def test_pairs_at_the_boundary() -> None:
    first = _decided(Stream(name="score", margin=0.03, harm=0.03), means(_pairs(0.03)), 1_000, 11)
    print(f"promoted {np.isfinite(first).mean():.4f}")
    assert np.isfinite(first).mean() <= allowed(PROMOTE, MIGRATIONS)


def _decided(stream, draw, blocks, seed, migrations=MIGRATIONS):
    pieces = run(stream, draw, blocks, migrations, seed)
    return first_over(((at, path) for at, path, _, _ in pieces), -log(PROMOTE))


def _pairs(loss: float):
    """Pairs whose difference has a standard deviation of 0.15."""

    def draw(rng, shape):
        difference = np.clip(rng.normal(loss, 0.15, shape), -1, 1)
        return np.maximum(-difference, 0), np.maximum(difference, 0)

    return draw


@pytest.mark.parametrize("share", ["even", "tenth"])
@pytest.mark.parametrize("kind", ["block", "betting"])
def test_an_equal_candidate_passes_as_soon_as_it_should(kind, share) -> None:
    stream = Stream(name="failure", margin=MARGIN, harm=MARGIN, binary=kind == "block")
    draw = failures(shares(share, 5_000), steady(5_000), 0.0)
    median = np.median(_decided(stream, draw, 5_000, seed=7, migrations=400))
    print(f"median {median:.0f} blocks")
    assert median == pytest.approx(POWER[kind][share], rel=0.15)


def test_a_swing_of_both_arms_hardly_delays_a_right_decision() -> None:
    stream = Stream(name="failure", margin=MARGIN, harm=MARGIN)
    draw = failures(shares("even", 6_000), swing(6_000), 0.0)
    median = np.median(_decided(stream, draw, 6_000, seed=7, migrations=200))
    print(f"median {median:.0f} blocks")
    assert median == pytest.approx(POWER["betting"]["swing"], rel=0.15)


def test_the_asymptotic_interval_holds_from_its_burn_in_on_and_not_before() -> None:
    """Costs with a heavy tail (log-normal, sigma 1.5, cut at 100 times the mean), looked at 118 times."""
    runs, last = 400, 10_000
    most = 100 * np.exp(1.5**2 / 2)
    mean = 3.0685  # of the costs cut off: from 20 million draws
    costs = np.minimum(np.random.default_rng(3).lognormal(0, 1.5, (runs, last)), most)
    sums, squares = np.cumsum(costs, axis=1), np.cumsum(costs * costs, axis=1)
    looks = np.array([*range(50, 2_000, 50), *range(2_000, last + 1, 100)])
    means = sums[:, looks - 1] / looks
    variance = (squares[:, looks - 1] / looks - means**2) / (looks - 1)
    one = np.array([cost.half_width(1, n, PROMOTE, 1_000) for n in looks.tolist()])
    missed = np.abs(means - mean) > np.sqrt(variance) * one
    late, ever = missed[:, looks >= cost.BURN_IN].any(axis=1).mean(), missed.any(axis=1).mean()
    print(f"missed from the burn-in on {late:.4f}, from 50 on {ever:.4f}")
    assert late <= allowed(PROMOTE, runs)
    assert ever > allowed(PROMOTE, runs)


@pytest.mark.parametrize(
    ("loss", "name", "pairs"), [(0.0, "equal", 1_000), (0.02, "two_thirds_of_margin", 4_000)]
)
def test_pairs_pass_as_soon_as_they_should(loss, name, pairs) -> None:
    stream = Stream(name="score", margin=0.03, harm=0.03)
    median = np.median(_decided(stream, means(_pairs(loss)), pairs, seed=11, migrations=400))
    print(f"median {median:.0f} pairs")
    assert median == pytest.approx(POWER["pairs"][name], rel=0.15)


@pytest.mark.parametrize("ratio", [5, 3, 2, 1.5])
def test_more_failures_are_seen_as_soon_as_they_should_be(ratio) -> None:
    first, _ = ratio_alarms(ratio, 300, seed=5)
    print(f"median {np.median(first):.0f} requests")
    assert np.median(first) == pytest.approx(POWER["ratio"][str(ratio)], rel=0.15)


@pytest.mark.parametrize("k", [(1, 1), (9, 1), (19, 1), (3, 2), (1, 9)], ids=str)
@pytest.mark.parametrize(
    "guess",
    [(0.02, 0.02, 0.01), (0.1, 0.05, 0.02), (0.5, 0.5, 0.1), (0.3, 0.02, 0.0), (0.02, 0.2, 0.05)],
    ids=str,
)
def test_a_block_never_pays_more_than_its_stake_on_average(k, guess) -> None:
    """E[e] over every outcome, for every pair of rates for which the hypothesis bet against is true."""
    (k_a, k_b), (a, b, delta) = k, guess
    p_a, p_b = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 101))
    mean = np.zeros(p_a.shape)
    for y_a in range(k_a + 1):
        for y_b in range(k_b + 1):
            chance = comb(k_a, y_a) * p_a**y_a * (1 - p_a) ** (k_a - y_a)
            chance = chance * comb(k_b, y_b) * p_b**y_b * (1 - p_b) ** (k_b - y_b)
            log_e = rates.block_log_e(y_a, k_a, y_b, k_b, np.array(a), np.array(b), delta)
            mean += chance * np.exp(log_e)
    loss = p_b - p_a
    true = loss >= delta - 1e-12 if b - a < delta else loss <= delta + 1e-12
    assert mean[true].max() <= 1 + 1e-9


def test_the_interval_holds_at_all_times_and_is_what_the_tests_do_not_reject() -> None:
    """True losses are left out in at most 2α of the migrations, ever; the intervals cut ever smaller do not vanish more often."""
    migrations, truth = 200, MARGIN
    streams = (RATE,) * migrations
    plan, tally = evidence.design(streams), evidence.empty(migrations)
    rng = np.random.default_rng(3)
    draw = failures(shares("tenth", 1_000), steady(1_000), truth)
    missed, rungs = np.zeros(migrations, bool), evidence.ladder(RATE)[1]
    lowest, highest = np.full(migrations, -1.0), np.full(migrations, 1.0)
    for at in range(0, 1_000, AT_ONCE):
        drawn = [np.asarray(x, float) for x in draw(rng, at, migrations)]
        evidence.add(tally, plan, *drawn, np.zeros(AT_ONCE, bool))
        for i in range(migrations):
            lower, upper = evidence.interval(RATE, tally, i, -log(PROMOTE))
            lower, upper = -1.0 if lower is None else lower, 1.0 if upper is None else upper
            most = dict(zip(rungs, tally.at_most[i], strict=True))
            least = dict(zip(rungs, tally.at_least[i], strict=True))
            kept = [d for d in rungs if max(most[d], least[d]) < -log(PROMOTE)]
            assert all(lower < d < upper for d in kept)
            assert most.get(lower, np.inf) >= -log(PROMOTE) <= least.get(upper, np.inf)
            missed[i] |= not lower < truth < upper
            lowest[i], highest[i] = max(lowest[i], lower), min(highest[i], upper)
            narrow = evidence.interval(RATE, tally, i, -log(0.2))
            assert lower <= (-1.0 if narrow[0] is None else narrow[0])
            assert (1.0 if narrow[1] is None else narrow[1]) <= upper
            passed = tally.at_least[i][evidence.margin_rung(RATE)] >= -log(PROMOTE)
            assert passed == (upper <= MARGIN)
    assert missed.mean() <= allowed(2 * PROMOTE, migrations)
    assert (lowest >= highest).mean() <= allowed(2 * PROMOTE, migrations)


def test_the_whole_judge_at_the_boundary() -> None:
    """Conversation by conversation, through blocks, latches and all: wrong outcomes, ever."""
    gates = Gates(failure=FailureGate(margin=0.05), score=None, horizon=Horizon(conversations=20))
    migrations, promoted, harmed = 60, 0, 0
    for seed in range(migrations):
        state, ever = start(gates, workload="support", candidate="moonshot"), set()
        units = traffic(600, seed=seed, share=0.3, failing=(0.05, 0.10))
        for at in range(0, 600, 100):
            state = fold(state, units[at : at + 100])
            ever.add(verdict(state).outcome)
        promoted += Outcome.PROMOTE in ever
        harmed += Outcome.ROLLBACK in ever
    print(f"promoted {promoted / migrations:.4f} rolled back {harmed / migrations:.4f}")
    assert promoted / migrations <= allowed(PROMOTE, migrations)
    assert harmed / migrations <= allowed(ROLLBACK, migrations)
