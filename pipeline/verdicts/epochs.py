"""Error rates shared out: over starts, over gates, over workloads."""

from collections.abc import Sequence
from math import log, pi


def alpha_of(alpha: float, epoch: int) -> float:
    """The error rate of the j-th start, 6α/(π²j²): all starts together have α."""
    return 6 * alpha / (pi * epoch) ** 2


def proven(log_e: Sequence[float], alpha: float) -> list[int]:
    """Which of the e-values to believe so that at most a share alpha of those believed is wrong, on average.

    e-BH, under any dependence: the k largest with e >= M/(kα), for the largest such k. Wang & Ramdas 2022.
    """
    order = sorted(range(len(log_e)), key=lambda i: -log_e[i])
    m = len(log_e)
    most = max(
        (k for k in range(1, m + 1) if log_e[order[k - 1]] >= -log(k * alpha / m)), default=0
    )
    return sorted(order[:most])
