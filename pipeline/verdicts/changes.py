"""Harm that begins some day: bets on many possible beginnings at once, from a fixed set of bets.

A candidate that was fine for a month has given its accuser a month of lost bets. So a tenth of the
stake is held back for later beginnings: half of it for the times at which the share changes, half
spread over every `GRAIN`-th time. With weight π_k a new bettor starts at time k. The sum of what they own is
an e-process, since each of them is one and the weights, fixed before, sum to 1: the Bayesian mixture
over change points (Shiryaev 1963), kept in two numbers per bet:

    S_t = Σ log factor,   A_t = log Σ_{k<=t} π_k exp(-S_{k-1}),   log wealth = S_t + A_t.
"""

from typing import Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from pipeline.verdicts.rates import NEVER, Flags, Floats

AT_STEPS = 0.05  # of the stake, for changes of the share; each takes a quarter of what is left
LATER = 0.05  # for any other time
AT_START = 1 - AT_STEPS - LATER
GRAIN = 16
_STEP = 0.25


def left(t: ArrayLike, steps: ArrayLike) -> Floats:
    """The weight not yet staked after t times, `steps` of which were changes of the share."""
    t = np.asarray(t)
    grains = np.maximum(t - 1, 0) // GRAIN
    later = LATER / np.log2(grains + 2) + AT_STEPS * (1 - _STEP) ** np.asarray(steps)
    return np.where(t < 1, 1.0, later)


def staked(t: int, steps: int, is_step: Flags) -> Floats:
    """The weights staked at times t, t + 1, … with `steps` changes before; falls like 1 / (k log² k)."""
    times = t + np.arange(len(is_step))
    grains = times // GRAIN
    later = LATER * (1 / np.log2(grains + 1.0 + (grains == 0)) - 1 / np.log2(grains + 2.0))
    weight = np.where((times % GRAIN == 0) & (grains > 0), later, 0.0)
    number = steps + np.cumsum(is_step) - 1
    weight += np.where(is_step, AT_STEPS * _STEP * (1 - _STEP) ** np.maximum(number, 0), 0.0)
    return np.where(times == 0, weight + AT_START, weight)


class Bets(msgspec.Struct):
    """S and A of some bets, flat, and how many times and changes of the share they have seen."""

    s: list[float]
    a: list[float]
    times: int = 0
    steps: int = 0

    @classmethod
    def new(cls, bets: int) -> Self:
        return cls([0.0] * bets, [NEVER] * bets)

    def add(self, factors: Floats, is_step: Flags) -> Floats:
        """Log factors (T, …, J) of T times, some of them the first after a change; the path (T, …) of log e."""
        shape = factors.shape[1:]
        weights = staked(self.times, self.steps, is_step)
        s, a = run(
            np.array(self.s).reshape(shape), np.array(self.a).reshape(shape), factors, weights
        )
        rest = left(self.times + 1 + np.arange(len(factors)), self.steps + np.cumsum(is_step))
        self.s, self.a = s[-1].ravel().tolist(), a[-1].ravel().tolist()
        self.times += len(factors)
        self.steps += int(is_step.sum())
        return log_wealth(s, a, rest)

    def log_e(self, streams: int) -> list[float]:
        """log e now, for each of so many streams."""
        shape = streams, len(self.s) // max(streams, 1)
        s, a = (np.array(values).reshape(shape) for values in (self.s, self.a))
        rest = np.broadcast_to(left(self.times, self.steps), streams)
        found: list[float] = log_wealth(s, a, rest).tolist()
        return found


def run(s: Floats, a: Floats, factors: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The paths (T, …, J) of S and A through log factors (T, …, J); `weights` (T,) are staked before each."""
    after = np.concatenate([s[None], factors])
    np.add.accumulate(after, axis=0, out=after)
    with np.errstate(divide="ignore"):
        fresh = np.log(weights).reshape(-1, *[1] * (factors.ndim - 1)) - after[:-1]
    held = np.logaddexp.accumulate(np.concatenate([a[None], fresh]), axis=0)
    return after[1:], held[1:]


def log_wealth(s: Floats, a: Floats, left: Floats) -> Floats:
    """log e (T, …): the mean over the J bets, the last axis, and the weight (T,) not yet staked."""
    own = np.logaddexp.reduce(s + a, axis=-1) - np.log(max(s.shape[-1], 1))
    found: Floats = np.logaddexp(own, np.log(left).reshape(-1, *[1] * (own.ndim - 1)))
    return found
