"""Quantiles, rates and means with their intervals, from sums alone. Pure.

Every interval here is a fixed-sample 95 % interval: right for one look at the end, optimistic
for someone who watches all day. The pages and the report say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

Z = 1.959963984540054  # two-sided 95 %
BUCKET_BASE = 1.02  # bucket b of a latency histogram holds (1.02^(b-1), 1.02^b] ms
COARSE = 12  # buckets in a class of a heatmap


@dataclass(frozen=True)
class Estimate:
    """A number, the interval around it, and the number of calls it rests on."""

    value: float
    low: float
    high: float
    n: int


def quantile(buckets: Mapping[int, int], q: float) -> float | None:
    """The q-quantile in ms from bucket counts, within 1 % (a bucket's geometric middle); None without counts."""
    total = sum(buckets.values())
    return _at_rank(buckets, q * total) if total else None


def latency(buckets: Mapping[int, int], q: float) -> Estimate | None:
    """A quantile with its distribution-free interval from order statistics.

    The ranks are n·q ± Z·√(n·q·(1−q)): Conover, Practical Nonparametric Statistics (1999), §3.2.
    """
    n = sum(buckets.values())
    if not n:
        return None
    half = Z * sqrt(n * q * (1 - q))
    low, high = max(1.0, n * q - half), min(float(n), n * q + half + 1)
    return Estimate(_at_rank(buckets, q * n), _at_rank(buckets, low), _at_rank(buckets, high), n)


def _at_rank(buckets: Mapping[int, int], rank: float) -> float:
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= rank:
            break
    return 1.0 if bucket == 0 else BUCKET_BASE ** (bucket - 0.5)


def cumulative(buckets: Mapping[int, int]) -> list[tuple[float, float]]:
    """(ms, share of calls at most that slow), for a curve."""
    total, seen, curve = sum(buckets.values()), 0, []
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        curve.append((BUCKET_BASE**bucket, seen / total))
    return curve


def coarse(buckets: Mapping[int, int]) -> dict[tuple[float, float], int]:
    """The counts in classes of COARSE buckets (a factor of 1.27 each): (from ms, to ms] → count."""
    found: dict[tuple[float, float], int] = {}
    for bucket, count in buckets.items():
        first = (max(bucket, 1) - 1) // COARSE * COARSE
        edges = (BUCKET_BASE**first, BUCKET_BASE ** (first + COARSE))
        found[edges] = found.get(edges, 0) + count
    return found


def proportion(total: float, n: int) -> Estimate | None:
    """A rate, or a mean of scores in [0, 1], with its Wilson score interval; None for n = 0.

    Wilson, JASA 22 (1927) 209-212. A mean of scores varies at most as much as a rate of the same
    size (variance ≤ μ(1−μ)), so for scores the interval is rather too wide than too narrow.
    """
    if n <= 0:
        return None
    p = min(1.0, max(0.0, total / n))
    scale = 1 + Z**2 / n
    centre = (p + Z**2 / (2 * n)) / scale
    half = Z * sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / scale
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), n)


def difference(candidate: Estimate | None, baseline: Estimate | None) -> Estimate | None:
    """candidate − baseline of two proportions, by Newcombe's hybrid score method (his number 10).

    Newcombe, Statistics in Medicine 17 (1998) 873-890.
    """
    if candidate is None or baseline is None:
        return None
    gap = candidate.value - baseline.value
    down = sqrt((candidate.value - candidate.low) ** 2 + (baseline.high - baseline.value) ** 2)
    up = sqrt((candidate.high - candidate.value) ** 2 + (baseline.value - baseline.low) ** 2)
    return Estimate(gap, gap - down, gap + up, min(candidate.n, baseline.n))


@dataclass(frozen=True)
class Spread:
    """Sums over minutes of an amount y and the calls n it rests on."""

    n: float
    minutes: int
    y: float
    yy: float
    yn: float
    nn: float


def mean(spread: Spread) -> Estimate | None:
    """y per call, with the interval of a ratio estimator whose clusters are minutes.

    Cochran, Sampling Techniques (1977), eq. 2.46. None without calls; with one minute no interval
    can be told, and it spans everything.
    """
    if spread.n <= 0:
        return None
    ratio = spread.y / spread.n
    if spread.minutes < 2:
        return Estimate(ratio, float("-inf"), float("inf"), int(spread.n))
    residual = max(0.0, spread.yy - 2 * ratio * spread.yn + ratio**2 * spread.nn)
    half = Z * sqrt(residual * spread.minutes / (spread.minutes - 1)) / spread.n
    return Estimate(ratio, max(0.0, ratio - half), ratio + half, int(spread.n))
