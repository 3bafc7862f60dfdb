"""Two failure rates, compared block by block or failure by failure. All logarithms are natural.

Everything works on arrays, element by element, so that many blocks, margins or simulated
migrations are one call.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaln

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

GAMMA = 0.18  # pseudo-failures and pseudo-successes in each guess; Turner, Ly & Grünwald 2024, §4
NEVER = -1e9  # log of nothing that JSON can write
_EDGE = 1e-12
_TINY = 1e-290


def guess(failures: ArrayLike, n: ArrayLike) -> Floats:
    """The rate to bet on next, from what came before: never 0 or 1."""
    return (np.asarray(failures) + GAMMA) / (np.asarray(n) + 2 * GAMMA)


def projection(k_a: Any, k_b: Any, a: Floats, b: Floats, delta: Any) -> Floats:
    """The baseline's rate m where (m, m + delta) is nearest to the guesses (a, b) in Kullback-Leibler distance.

    The middle root of k_a (m-a)/(m(1-m)) + k_b (m+δ-b)/((m+δ)(1-m-δ)) = 0, which is a cubic with
    three real roots (Turner & Grünwald 2023, arXiv 2203.09785, §3); the roots by Viète's formula.
    """
    d, slope, level = delta - b, 1 - 2 * delta, delta * (1 - delta)
    k = np.maximum(k_a + k_b, 1)  # of a block without a conversation nothing counts
    c2 = -(k_a * (slope + a) + k_b * (1 - d)) / k
    c1 = -(k_a * (level - a * slope) + k_b * d) / k
    c0 = k_a * a * level / k
    third = c2 / 3
    p = c1 / 3 - third * third
    q = third * (third * third - c1 / 2) + c0 / 2
    radius = np.sqrt(np.maximum(-p, _EDGE))
    angle = np.arccos(np.clip(-q / (radius * radius * radius), -1, 1)) / 3
    m = 2 * radius * np.cos(angle - 2 * np.pi / 3) - third
    low, high = np.maximum(0, -delta), np.minimum(1, 1 - delta)
    found: Floats = np.clip(m, low + _EDGE, high - _EDGE)
    return found


def block_log_e(y_a: Any, k_a: Any, y_b: Any, k_b: Any, a: Floats, b: Floats, delta: Any) -> Floats:
    """log e of a block with y failures among k conversations of each arm, against p_b - p_a = delta.

    With guesses a, b from earlier blocks. Where b - a < delta it is an e-value for "the loss is
    at least delta"; where b - a > delta for "at most delta". Turner & Grünwald 2023, eq. 5.
    """
    m = projection(k_a, k_b, a, b, delta)
    n = m + delta
    found: Floats = (
        y_a * np.log(a / m)
        + (k_a - y_a) * np.log((1 - a) / (1 - m))
        + y_b * np.log(b / n)
        + (k_b - y_b) * np.log((1 - b) / (1 - n))
    )
    return found


def chance(share: ArrayLike, ratio: ArrayLike) -> Floats:
    """P(a failure is the candidate's) if it fails `ratio` times as often and has that share of traffic."""
    weighted = np.asarray(share) * ratio
    found: Floats = weighted / (weighted + 1 - np.asarray(share))
    return found


def failure_log_e(is_candidate: ArrayLike, share: ArrayLike, ratio: Any, ratio_0: float) -> Floats:
    """log e of one failure, `ratio` against `ratio_0`: given that it happened, whose it is.

    Whatever both arms' failure rates do over time cancels out, and any ramp of the share does.
    Lindon & Malek 2022 (arXiv 2011.03567), inhomogeneous Bernoulli processes.
    """
    bet, null = chance(share, ratio), chance(share, ratio_0)
    return np.where(is_candidate, np.log(bet / null), np.log((1 - bet) / (1 - null)))


def above_log_e(k: ArrayLike, n: ArrayLike, rate: ArrayLike, weight: float) -> Floats:
    """log e from counts against "each of n trials succeeds with at most `rate`", k having succeeded.

    A Beta(weight·rate, weight·(1-rate)) mixture cut off below the rate (reference: Howard, Ramdas,
    McAuliffe & Sekhon 2021, Prop. 7; Robbins 1970). Valid for a constant rate and for any
    rates below `rate`.
    """
    k, n, rate = np.asarray(k, float), np.asarray(n, float), np.asarray(rate, float)
    a, b = weight * rate, weight * (1 - rate)
    found: Floats = (
        betaln(a + k, b + n - k)
        - betaln(a, b)
        + _log_upper(a + k, b + n - k, rate)
        - _log_upper(a, b, rate)
        - k * np.log(rate)
        - (n - k) * np.log1p(-rate)
    )
    return found


def equal_log_e(k: ArrayLike, n: ArrayLike, rate: ArrayLike, weight: float) -> Floats:
    """log e from counts against "each of n trials succeeds with `rate`": the same mixture, not cut off."""
    k, n, rate = np.asarray(k, float), np.asarray(n, float), np.asarray(rate, float)
    a, b = weight * rate, weight * (1 - rate)
    found: Floats = (
        betaln(a + k, b + n - k) - betaln(a, b) - k * np.log(rate) - (n - k) * np.log1p(-rate)
    )
    return found


def _log_upper(a: Floats, b: Floats, rate: Floats) -> Floats:
    """log P(X > rate) for X ~ Beta(a, b); where floats cannot hold it, a lower bound.

    The bound is the first term of a series of positive ones: P = (1-r)^b r^a / (b B(a, b)) · F(a+b, 1; b+1; 1-r)
    (DLMF 8.17.8).
    """
    upper: Floats = betainc(b, a, 1 - rate)
    first = b * np.log1p(-rate) + a * np.log(rate) - np.log(b) - betaln(a, b)
    found: Floats = np.where(upper > _TINY, np.log(np.maximum(upper, _TINY)), first)
    return found
