"""The formulas give the numbers of the literature and of other people's code, to the digits printed."""

from math import exp, log
from pathlib import Path

import numpy as np
import pytest

from pipeline.verdicts import cost, rates
from pipeline.verdicts.epochs import proven
from pipeline.verdicts.integrity import Split
from pipeline.yamlfile import read

GOLDEN = read(Path(__file__).parent / "data/verdict_golden.yml").value


def printed(value) -> object:
    """Equal to a printed number to half a unit of its last digit."""
    digits = -value.as_tuple().exponent
    return pytest.approx(float(value), abs=0.5001 * 10.0**-digits)


def test_a_block_of_two_rates() -> None:
    gold = GOLDEN["blocks"]
    a, b, delta = (np.array(float(gold[name])) for name in ("a", "b", "delta"))
    m = rates.projection(1, 1, a, b, delta)
    assert m == printed(gold["m"])
    for case in gold["e"]:
        assert np.exp(rates.block_log_e(case["y"][0], 1, case["y"][1], 1, a, b, delta)) == printed(
            case["e"]
        )
    growth = sum(
        (a if y_a else 1 - a)
        * (b if y_b else 1 - b)
        * rates.block_log_e(y_a, 1, y_b, 1, a, b, delta)
        for y_a in (0, 1)
        for y_b in (0, 1)
    )
    assert growth == printed(gold["growth"])


@pytest.mark.parametrize("case", GOLDEN["above"]["cases"], ids=str)
def test_a_rate_above_another(case) -> None:
    log_e = rates.above_log_e(case["k"], case["n"], float(case["rate"]), case["weight"])
    assert np.exp(log_e) == printed(case["e"])


def test_the_ranks_a_quantile_may_have() -> None:
    gold = GOLDEN["quantile_ranks"]
    k = np.arange(gold["n"] + 1)
    log_e = rates.equal_log_e(k, gold["n"], float(gold["q"]), gold["weight"])
    kept = k[log_e < -log(float(gold["alpha"]))]
    assert [kept.min(), kept.max()] == gold["kept"]


@pytest.mark.parametrize("case", GOLDEN["sample_ratio"]["cases"], ids=str)
def test_the_split_of_the_traffic(case) -> None:
    split = Split()
    for is_candidate, n in enumerate(case["n"]):
        for _ in range(n):
            split.add(bool(is_candidate), float(GOLDEN["sample_ratio"]["share"]))
    assert split.log_e == printed(case["log_e"])


def test_means_of_costs() -> None:
    gold = GOLDEN["asymptotic"]
    a, b = (
        cost.Sums(n=gold[arm]["n"], c=float(gold[arm]["sum"]), cc=float(gold[arm]["squares"]))
        for arm in "ab"
    )
    n, alpha = a.n + b.n, float(gold["alpha"])
    variance = a.variance / a.n + b.variance / b.n
    for tightest, half in gold["absolute"].items():
        assert cost.half_width(variance, n, alpha, int(tightest)) == printed(half)
    for told in gold["relative"]:
        assert relative(a.mean, b.mean, a.variance / a.n, b.variance / b.n, n, told) == [
            printed(told[name]) for name in ("estimate", "low", "high")
        ]
    (k_a, n_a), (k_b, n_b) = ((gold["shares"][arm]["k"], gold["shares"][arm]["n"]) for arm in "ab")
    p_a, p_b, told = k_a / n_a, k_b / n_b, gold["shares"]["relative"]
    spread = p_a * (1 - p_a) / n_a, p_b * (1 - p_b) / n_b
    assert relative(p_a, p_b, *spread, n_a + n_b, told) == [
        printed(told[name]) for name in ("estimate", "low", "high")
    ]


def relative(a, b, variance_a, variance_b, n, told) -> list[float]:
    """How much more b is than a, with the ends of its interval by the delta method."""
    spread = variance_b / a**2 + variance_a * b**2 / a**4
    half, estimate = cost.half_width(spread, n, 0.05, told["tightest"]), b / a - 1
    return [estimate, estimate - half, estimate + half]


def test_the_bound_of_a_normal_mixture() -> None:
    gold = GOLDEN["normal"]
    v = gold["variance"]
    assert v * cost.half_width(1 / v, v, 0.05, v) == printed(gold["bound"])


def tuned(alpha: float, variance: float, each: float) -> float:
    """The weight of a Beta mixture that is tightest at that variance; `each` is one trial's."""
    best = variance / (2 * log(1 / alpha) + log(1 + 2 * log(1 / alpha)))
    return best / each - 1


def test_a_beta_binomial_mixture() -> None:
    gold = GOLDEN["beta_binomial"]
    k, n, rate = gold["k"], gold["n"], float(gold["rate"])
    each = rate * (1 - rate)
    two, one = (tuned(alpha, n * each, each) for alpha in (0.05, 0.1))  # one side has all of alpha
    assert rates.equal_log_e(k, n, rate, two) == printed(gold["two_sided"])
    assert rates.above_log_e(k, n, rate, one) == printed(gold["one_sided"])


@pytest.mark.parametrize("case", GOLDEN["bernoulli"]["cases"], ids=str)
def test_the_interval_of_a_rate(case) -> None:
    rate = np.arange(1, 1_000_000) / 1_000_000
    log_e = rates.equal_log_e(case["k"], case["n"], rate, tuned(0.05, case["tightest"], 1))
    kept = rate[log_e < -log(0.05)]
    assert [kept.min(), kept.max()] == pytest.approx([float(x) for x in case["interval"]], abs=2e-6)


def test_the_interval_of_a_quantile() -> None:
    gold = GOLDEN["quantile_interval"]
    k = np.arange(gold["n"] + 1)
    log_e = rates.equal_log_e(k, gold["n"], float(gold["q"]), gold["weight"])
    kept = k[log_e < -log(float(gold["alpha"]))]
    assert [kept.min(), kept.max() + 1] == gold["interval"]


def test_which_of_many_to_believe() -> None:
    gold = GOLDEN["e_bh"]
    found = proven([log(e) for e in gold["e"]], float(gold["alpha"]))
    assert found == list(range(gold["believed"]))
    assert proven([], 0.05) == []


def test_far_tails_are_evidence_of_the_right_size() -> None:
    """Where floats end, one-sided evidence is small, never large; and there it joins on without a jump."""
    k = np.arange(0, 2001)
    log_e = rates.above_log_e(k, 2000, 0.95, 50)
    assert np.all(np.diff(log_e) > -1e-9)
    assert log_e[0] < -5 and log_e[-1] > 50
    assert exp(float(rates.above_log_e(0, 0, 0.95, 50))) == pytest.approx(1)
