"""How many more blocks a bet needs, from what is known of the difference: no chance involved, only its law.

Log wealth is taken for a Brownian motion with the drift and spread of the best bet; the time to
a threshold is then inverse Gaussian. The difference itself is uncertain: the law is averaged
over quantiles of its normal posterior.
"""

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from pipeline.verdicts import betting
from pipeline.verdicts.rates import Floats

_POSTERIOR = ndtri((np.arange(11) + 0.5) / 11)
_TIMES = np.geomspace(1, 1e9, 150)  # each 15 % later than the one before
BAND = (0.1, 0.5, 0.9)


def blocks_needed(
    mean: float, sd: float, variance: float, delta: float, remaining: float
) -> tuple[int | None, ...]:
    """Blocks until log e has grown by `remaining`, at the 10, 50 and 90 % points; None: never.

    The mean difference is N(mean, sd²), a block's varies with `variance`; the hypothesis bet against is
    "at least delta".
    """
    if remaining <= 0:
        return (0, 0, 0)
    drift, spread = betting.growth(mean + sd * _POSTERIOR, variance, delta)
    moving = drift > 0
    reached = _passage(drift[moving, None], spread[moving, None], remaining).sum(axis=0)
    reached /= len(_POSTERIOR)
    return tuple(
        None if reached[-1] < p else int(np.ceil(_TIMES[np.searchsorted(reached, p)])) for p in BAND
    )


def _passage(drift: Floats, spread: Floats, distance: float) -> Floats:
    """P(reached by each of _TIMES): the inverse Gaussian distribution."""
    root = np.sqrt(spread * _TIMES)
    late = 2 * drift * distance / spread + log_ndtr(-(drift * _TIMES + distance) / root)
    found: Floats = ndtr((drift * _TIMES - distance) / root) + np.exp(np.minimum(late, 0))
    return np.minimum(np.maximum.accumulate(found, axis=-1), 1)


def posterior(
    blocks: float, mean: float, variance: float, expected: float, sd: float
) -> tuple[float, float]:
    """Mean and sd of the difference from blocks with that mean, and N(expected, sd²) before them."""
    precision, prior = blocks / variance, 1 / sd**2
    total = precision + prior
    return (precision * mean + prior * expected) / total, total**-0.5
