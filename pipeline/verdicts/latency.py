"""Latency quantiles from exact counts in fixed buckets, which merge in any order.

Bucket b holds (1.02^(b-1), 1.02^b] ms, as in the store's sums per minute. A rank at a bucket's edge is
exact; between edges the worst case is taken, so that rounding never counts as evidence.
"""

from collections.abc import Mapping
from math import ceil, log

import numpy as np

from pipeline.verdicts.rates import Floats, above_log_e, equal_log_e

BASE = 1.02
WEIGHT = 50.0  # of the mixtures, in conversations
_MOST_STEPS = 120  # ratios looked at, in powers of BASE either way: up to 10.8 times


def bucket(ms: float) -> int:
    """The bucket of a duration."""
    return ceil(log(max(ms, 1)) / log(BASE))


def quantile(buckets: Mapping[int, int], q: float) -> float | None:
    """The q-quantile in ms, within 1 %: the middle of its bucket; None without counts."""
    left = q * sum(buckets.values())
    for b in sorted(buckets):
        left -= buckets[b]
        if left <= 0:
            return 1.0 if b == 0 else BASE ** (b - 0.5)
    return None


def steps_of(ratio: float) -> int:
    """The ratio as a power of BASE, rounded down: what is tested is never easier than what is asked."""
    return int(np.floor(log(ratio) / log(BASE) + 1e-9))


def ratio_log_e(a: Mapping[int, int], b: Mapping[int, int], q: float, steps: np.ndarray) -> Floats:
    """log e against "b's q-quantile is at least BASE^step times a's", for each step.

    The least, over every place x where a's quantile may lie, of the product of an e-value that it lies
    there and one that b's share below BASE^step·x is at most q. Howard & Ramdas 2022 (arXiv
    1906.09712) and Ville's inequality; valid at all times while each arm's latencies keep their
    distribution.
    """
    if not a or not b:
        return np.zeros(len(steps))
    first, last = min(*a, *b), max(*a, *b)
    below_a, below_b = _cumulated(a, first, last), _cumulated(b, first, last)
    n_a, n_b = below_a[-1], below_b[-1]
    # Cell i: x between edges first-1+i and first+i. E_A is convex in the rank: least at the ends or at q·n.
    low, high = below_a[:-1], below_a[1:]
    near_a = equal_log_e(np.clip(q * n_a, low, high), n_a, q, WEIGHT)
    tails_a = equal_log_e(np.array([0.0, n_a]), n_a, q, WEIGHT)
    near_a = np.concatenate([[tails_a[0]], near_a, [tails_a[1]]])
    # E_B grows with the rank: least at the cell's lower edge. Below all edges the rank is 0.
    far_b = above_log_e(below_b, n_b, q, WEIGHT)
    edges = np.concatenate([[-(10**9)], np.arange(len(below_a))])
    at = np.clip(edges[None, :] + np.asarray(steps)[:, None], 0, len(below_b) - 1)
    found: Floats = (near_a[None, :] + far_b[at]).min(axis=1)
    return found


def ratio_bounds(
    a: Mapping[int, int], b: Mapping[int, int], q: float, threshold: float
) -> tuple[float | None, float | None]:
    """(lower, upper) of b's quantile over a's at a log threshold; None where there is no bound."""
    steps = np.arange(-_MOST_STEPS, _MOST_STEPS + 1)
    upper = _first(steps, ratio_log_e(a, b, q, steps) >= threshold)
    lower = _first(steps, ratio_log_e(b, a, q, steps) >= threshold)
    return (None if lower is None else BASE**-lower), (None if upper is None else BASE**upper)


def _first(steps: np.ndarray, rejected: np.ndarray) -> int | None:
    """The least step from which on all are rejected."""
    kept = np.flatnonzero(~rejected)
    after = kept[-1] + 1 if len(kept) else 0
    return int(steps[after]) if after < len(steps) else None


def _cumulated(buckets: Mapping[int, int], first: int, last: int) -> Floats:
    """How many are at most each edge first-1 … last."""
    counts = np.zeros(last - first + 2)
    counts[np.array(list(buckets)) - first + 1] = list(buckets.values())
    return np.cumsum(counts)
