"""Quantiles and intervals against published examples and against brute force."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import stats
from pipeline.stats import Spread


def test_wilson_matches_newcombes_table() -> None:
    """81 of 263: Newcombe (1998, Statistics in Medicine 17, 857-872), table I, method 3."""
    found = stats.proportion(81, 263)
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_difference_matches_newcombes_table() -> None:
    """56/70 − 48/80: Newcombe (1998, Statistics in Medicine 17, 873-890), table II, method 10."""
    found = stats.difference(stats.proportion(56, 70), stats.proportion(48, 80))
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)


def test_nothing_known_is_none() -> None:
    assert stats.proportion(0, 0) is None
    assert stats.difference(None, stats.proportion(1, 2)) is None
    assert stats.quantile({}, 0.5) is None
    assert stats.latency({}, 0.5) is None
    assert stats.mean(Spread(n=0, minutes=0, y=0, yy=0, yn=0, nn=0)) is None


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_rate_and_stays_a_share(case: tuple[int, int]) -> None:
    found = stats.proportion(*case)
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(
    st.lists(st.integers(1, 3_600_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.95])
)
def test_a_quantile_from_buckets_is_within_one_percent(durations: list[int], q: float) -> None:
    buckets: dict[int, int] = {}
    for duration in durations:
        bucket = next(b for b in range(900) if stats.BUCKET_BASE**b >= duration * (1 - 1e-12))
        buckets[bucket] = buckets.get(bucket, 0) + 1
    rank = max(1, -(-len(durations) * q // 1))
    exact = sorted(durations)[int(rank) - 1]
    assert stats.quantile(buckets, q) == pytest.approx(exact, rel=0.0101)
    found = stats.latency(buckets, q)
    assert found is not None
    assert found.low <= found.value <= found.high


def test_the_mean_of_equal_minutes_has_no_width_and_one_minute_no_end() -> None:
    equal = stats.mean(Spread(n=20, minutes=2, y=60, yy=1800, yn=600, nn=200))
    assert equal is not None
    assert (equal.value, equal.low, equal.high) == (3, 3, 3)
    single = stats.mean(Spread(n=10, minutes=1, y=30, yy=900, yn=300, nn=100))
    assert single is not None
    assert single.high == inf
