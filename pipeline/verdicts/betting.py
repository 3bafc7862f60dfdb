"""Bets on differences in [-1, 1]: the test of every bounded quantity, in blocks or in pairs.

A bettor who starts with 1 and bets against a hypothesis gets rich only if it is false: the
fortune is an e-value. Waudby-Smith & Ramdas 2024 (arXiv 2010.09686), with differences of blocks so
that what moves both arms alike cancels out.
"""

from typing import Any

import numpy as np

from pipeline.verdicts.rates import Floats

CAP = 0.5  # a bet risks at most half of the fortune, so that no single block can ruin it


def stake(mean: Any, variance: Any, delta: Any, ratio: Any) -> Floats:
    """How much to bet on each unit of delta - D, D = x_b - ratio · x_a with x in [0, 1].

    Positive against "E[D] is at least delta", negative against "at most". `mean` and `variance` of D
    are guesses from the past: the approximately growth-optimal bet, aGRAPA (§B.3).
    """
    gap = delta - mean
    low, high = -CAP / (ratio + delta), CAP / (1 - delta)
    found: Floats = np.clip(gap / (variance + gap * gap), low, high)
    return found


def moments(n: Any, s_a: Any, s_b: Any, s_aa: Any, s_ab: Any, s_bb: Any, ratio: Any) -> Any:
    """Guesses of mean and variance of D = x_b - ratio · x_a from n blocks' sums.

    Shrunk as if one block with D = 0 and variance 1/4 had come first (§B.1).
    """
    mean = (s_b - ratio * s_a) / np.maximum(n, 1)
    squares = s_bb - 2 * ratio * s_ab + ratio * ratio * s_aa - n * mean * mean
    return n * mean / (n + 1), (0.25 + np.maximum(squares, 0)) / (n + 1)


def growth(mean: Any, variance: Any, delta: Any) -> tuple[Any, Any]:
    """Mean and variance of log wealth per block against "loss at least delta", at the best bet.

    To second order of log(1 + x); 0 where the hypothesis is true.
    """
    gap = np.maximum(delta - mean, 0)
    spread = variance + gap * gap
    bet = np.minimum(gap / spread, CAP / (1 - delta))
    return bet * gap - bet * bet * spread / 2, bet * bet * variance
