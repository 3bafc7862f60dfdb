"""Latency quantiles from bucket counts, and forecasts: no chance in either."""

from collections import Counter
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.verdicts.forecast import blocks_needed, posterior
from pipeline.verdicts.latency import (
    BASE,
    bucket,
    quantile,
    ratio_bounds,
    ratio_log_e,
    steps_of,
)
from pipeline.yamlfile import read

Q = 0.95
POWER = read(Path(__file__).parent / "data/verdict_golden.yml").value["power"]["quantile"]
counts = st.dictionaries(st.integers(0, 400), st.integers(1, 50), max_size=20)


def latencies(n: int, seed: int, ratio: float = 1.0) -> Counter:
    rng = np.random.default_rng(seed)
    return Counter(bucket(ratio * 800 * ms) for ms in rng.lognormal(0, 0.6, n))


def log_e(a: Counter, b: Counter, ratio: float) -> float:
    return float(ratio_log_e(a, b, Q, np.array([steps_of(ratio)]))[0])


def test_buckets_are_those_of_the_store() -> None:
    assert [bucket(ms) for ms in (0, 1, 1.02, 1.03, 1000)] == [0, 0, 1, 2, 349]
    assert quantile({}, Q) is None
    assert quantile({bucket(1000): 3}, Q) == pytest.approx(1000, rel=0.02)


@given(counts, counts, counts)
def test_counts_merge_in_any_order(one, two, other) -> None:
    merged = Counter(one) + Counter(two)
    again = Counter(two) + Counter(one)
    assert log_e(merged, Counter(other), 1.2) == log_e(again, Counter(other), 1.2)


def test_a_ratio_is_rounded_to_what_is_harder_to_show() -> None:
    assert BASE ** steps_of(1.2) <= 1.2
    assert steps_of(BASE**9) == 9


def test_equal_latencies_are_shown_to_be_less_than_a_fifth_slower_and_a_fifth_slower_never() -> (
    None
):
    """1,500 per arm in the median (reference simulation), looked at every 750."""
    needed = []
    for seed in range(40):
        a, b, slow = Counter(), Counter(), Counter()
        for look in range(1, 9):
            a += latencies(750, 1_000 * seed + look)
            b += latencies(750, 1_000 * seed + look + 500)
            slow += latencies(750, 1_000 * seed + look + 300, ratio=1.2)
            assert log_e(a, slow, 1.2) < -log(0.05)
            if log_e(a, b, 1.2) >= -log(0.05):
                break
        needed.append(750 * look)
    assert np.median(needed) <= 2_250
    assert max(needed) < 6_000


@pytest.mark.parametrize(
    ("ratio", "name", "each"), [(1.0, "equal", 150), (0.9, "a_tenth_faster", 750)]
)
def test_a_quantile_is_shown_as_soon_as_it_should_be(ratio, name, each) -> None:
    needed = []
    for seed in range(60):
        a, b, look = Counter(), Counter(), 0
        while log_e(a, b, 1.2) < -log(0.05) and look < 100:
            look += 1
            a += latencies(each, 2_000 * seed + look)
            b += latencies(each, 2_000 * seed + look + 1_000, ratio=ratio)
        needed.append(each * look)
    print(f"median {np.median(needed):.0f} per arm")
    assert np.median(needed) == pytest.approx(POWER[name], rel=0.15)


def test_the_bounds_of_the_ratio_hold_the_truth_and_agree_with_the_test() -> None:
    a, b = latencies(6_000, 1), latencies(6_000, 2, ratio=1.3)
    lower, upper = ratio_bounds(a, b, Q, -log(0.05))
    assert lower is not None and upper is not None and lower < 1.3 < upper
    assert log_e(a, b, upper * 1.001) >= -log(0.05) > log_e(a, b, upper / BASE * 0.999)


def test_an_arm_without_data_is_no_evidence() -> None:
    assert log_e(Counter(), latencies(100, 1), 1.2) == 0
    assert ratio_bounds(Counter(), latencies(100, 1), Q, 3.0) == (None, None)


def test_a_known_difference_takes_as_long_as_its_growth_says() -> None:
    """Rule of thumb for 2 % failures and a margin of 1 point: log 20 / growth = 2,414 blocks."""
    least, middle, most = blocks_needed(0.0, 1e-9, 0.0392, 0.01, log(20))
    assert least is not None and middle is not None and most is not None
    assert least < middle < most
    assert 1_200 < middle < 2_900


def test_what_is_not_so_is_never_shown() -> None:
    assert blocks_needed(0.02, 1e-9, 0.04, 0.01, 3.0) == (None, None, None)
    assert blocks_needed(0.0, 0.01, 0.04, 0.01, 0.0) == (0, 0, 0)
    assert blocks_needed(0.0, 0.02, 0.04, 0.01, 3.0)[2] is None  # may be, may be not


def test_evidence_outweighs_what_was_expected() -> None:
    assert posterior(0, 0.0, 0.04, 0.5, 0.1) == pytest.approx((0.5, 0.1))
    mean, sd = posterior(1e9, 0.02, 0.04, 0.5, 0.1)
    assert mean == pytest.approx(0.02, abs=1e-6) and sd < 1e-4
