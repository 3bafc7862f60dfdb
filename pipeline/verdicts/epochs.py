"""Error rates shared out over starts: who begins again must pay for it."""

from math import pi


def alpha_of(alpha: float, epoch: int) -> float:
    """The error rate of the j-th start, 6α/(π²j²): all starts together have α."""
    return 6 * alpha / (pi * epoch) ** 2
