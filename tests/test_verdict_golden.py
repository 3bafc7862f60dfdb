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
    relative = b.variance / b.n / a.mean**2 + a.variance / a.n * b.mean**2 / a.mean**4
    half = cost.half_width(relative, n, alpha, gold["relative"]["tightest"])
    estimate = b.mean / a.mean - 1
    assert estimate == printed(gold["relative"]["estimate"])
    assert estimate - half == printed(gold["relative"]["low"])
    assert estimate + half == printed(gold["relative"]["high"])


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
