"""What blocks add up to: for each stream of losses the bets on a ladder of hypotheses.

A stream is one measured quantity; a *rung* of its ladder is one hypothesis about the loss, x_b - ratio·x_a =
delta. For each rung two e-processes run: one against "the loss is at least this" and one against "at
most this". One rung is the margin, so the test and the interval shown are the same numbers. Next to
them run the bets on harm that may begin some day (`changes`).

All arrays are (blocks, streams, rungs) or (blocks, streams, bets); sums run in order of the
blocks, so that one block at a time and all at once give the same bits.
"""

from enum import IntEnum
from functools import lru_cache

import msgspec
import numpy as np

from pipeline.verdicts import betting, rates
from pipeline.verdicts.changes import Bets
from pipeline.verdicts.rates import Flags, Floats

CHUNK = 512  # blocks worked on at a time
# Rungs of a ladder as multiples of the margin, both ways; finest around the margin.
MULTIPLES = (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 8, 12, 20, 35, 60, 100)
NO_MARGIN = 0.005  # unit of a ladder whose margin is 0
MOST = 0.999  # a loss beyond which there is no rung
# Rungs for ratios of means, as multiples of the ratio allowed.
RATIOS = (
    0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 1, 1.025, 1.05,
    1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.75, 2, 2.5, 3, 5, 10, 20,
)  # fmt: skip
# Stakes on harm, as shares of the most a bet may risk.
STAKES = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03)


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity to be compared: its margin and harm, as a difference of means or as a ratio.

    `binary`: losses are 0 or 1, and the sharper test for rates is used.
    """

    name: str
    margin: float
    harm: float
    binary: bool = False
    as_ratio: bool = False


class Design(msgspec.Struct, frozen=True):
    """The streams as arrays: ladders (streams, rungs) and stakes (streams, bets)."""

    binary: Flags  # (streams,)
    ratios: Floats
    deltas: Floats
    margin_rungs: np.ndarray  # (streams,)
    harm_ratio: Floats  # (streams, 1)
    harm_delta: Floats
    stakes: Floats


class Sum(IntEnum):
    """What is summed up over blocks, for each stream.

    x_a and x_b are a block's means; the weight of a block is n_a n_b / (n_a + n_b), as Mantel and
    Haenszel weigh strata.
    """

    BLOCKS = 0  # in which both arms have a value
    N_A = 1
    N_B = 2
    LOSS_A = 3
    LOSS_B = 4
    X_A = 5
    X_B = 6
    X_AA = 7
    X_AB = 8
    X_BB = 9
    WEIGHT = 10
    WEIGHTED_A = 11
    WEIGHTED_B = 12


class Tally(msgspec.Struct):
    """Everything remembered of the blocks so far, per stream.

    `sums[sum][stream]`; `at_least[stream][rung]` is log e against "the loss is at least this rung's";
    `harm` are the bets, (streams, bets) flat, on a loss above each stream's harm.
    """

    blocks: int
    sums: list[list[float]]
    at_least: list[list[float]]
    at_most: list[list[float]]
    harm: Bets

    def sum(self, which: Sum, stream: int) -> float:
        return self.sums[which][stream]


MOMENTS = (Sum.BLOCKS, Sum.X_A, Sum.X_B, Sum.X_AA, Sum.X_AB, Sum.X_BB)


class Paths(msgspec.Struct, frozen=True):
    """log e after each of the blocks added: (blocks, streams)."""

    promote: Floats
    harm: Floats


def ladder(stream: Stream) -> tuple[list[float], list[float]]:
    """(ratios, deltas) of a stream's rungs, ascending in the loss they stand for."""
    if stream.as_ratio:
        return [stream.margin * multiple for multiple in RATIOS], [0.0] * len(RATIOS)
    unit = stream.margin or NO_MARGIN
    up = [min(MOST, unit * multiple) for multiple in MULTIPLES]
    return [1.0] * (2 * len(up) + 1), [-delta for delta in reversed(up)] + [0.0, *up]


def margin_rung(stream: Stream) -> int:
    """Where the margin stands on the ladder."""
    if stream.as_ratio:
        return RATIOS.index(1)
    return len(MULTIPLES) + (MULTIPLES.index(1) + 1 if stream.margin else 0)


@lru_cache(maxsize=256)
def design(streams: tuple[Stream, ...]) -> Design:
    """The arrays of some streams."""
    ladders = [ladder(stream) for stream in streams]
    harm_ratio = np.array([[s.harm if s.as_ratio else 1.0] for s in streams]).reshape(-1, 1)
    harm_delta = np.array([[0.0 if s.as_ratio else s.harm] for s in streams]).reshape(-1, 1)
    return Design(
        binary=np.array([s.binary for s in streams], bool),
        ratios=np.array([ratios for ratios, _ in ladders]).reshape(len(streams), -1),
        deltas=np.array([deltas for _, deltas in ladders]).reshape(len(streams), -1),
        margin_rungs=np.array([margin_rung(stream) for stream in streams], int),
        harm_ratio=harm_ratio,
        harm_delta=harm_delta,
        stakes=betting.CAP / (harm_ratio + harm_delta) * np.array(STAKES),
    )


def empty(streams: int) -> Tally:
    """No blocks yet."""

    return Tally(
        blocks=0,
        sums=[[0.0] * streams for _ in Sum],
        at_least=[[0.0] * len(RATIOS) for _ in range(streams)],
        at_most=[[0.0] * len(RATIOS) for _ in range(streams)],
        harm=Bets.new(streams * len(STAKES)),
    )


def add(
    tally: Tally, plan: Design, n_a: Floats, s_a: Floats, n_b: Floats, s_b: Floats, is_step: Flags
) -> Paths:
    """Adds blocks: arrays (blocks, streams) of numbers of conversations and sums of their losses.

    `is_step` (blocks,) tells the first block after each change of the share.
    """
    parts = []
    for i in range(0, len(n_a), CHUNK):
        now = slice(i, i + CHUNK)
        parts.append(_add(tally, plan, n_a[now], s_a[now], n_b[now], s_b[now], is_step[now]))
    return Paths(
        np.concatenate([part.promote for part in parts]),
        np.concatenate([part.harm for part in parts]),
    )


def _add(
    tally: Tally, plan: Design, n_a: Floats, s_a: Floats, n_b: Floats, s_b: Floats, is_step: Flags
) -> Paths:
    used = (n_a > 0) & (n_b > 0)
    x_a = np.where(used, s_a / np.maximum(n_a, 1), 0.0)
    x_b = np.where(used, s_b / np.maximum(n_b, 1), 0.0)
    weight = np.where(used, n_a * n_b / np.maximum(n_a + n_b, 1), 0.0)
    added = (
        used, n_a, n_b, s_a, s_b, x_a, x_b, x_a * x_a, x_a * x_b, x_b * x_b,
        weight, weight * x_a, weight * x_b,
    )  # fmt: skip
    sums = _path(tally.sums, np.stack(added, axis=1))
    tally.sums = sums[-1].tolist()
    before = sums[:-1, :, :, None]
    log_e, against_at_least = _rungs(plan, before, (n_a, s_a, n_b, s_b), (x_a, x_b))
    log_e = np.where(used[:, :, None], log_e, 0.0)
    at_least = _path(tally.at_least, np.where(against_at_least, log_e, 0.0))
    at_most = _path(tally.at_most, np.where(against_at_least, 0.0, log_e))
    tally.at_least, tally.at_most = at_least[-1].tolist(), at_most[-1].tolist()
    excess = x_b[:, :, None] - plan.harm_ratio * x_a[:, :, None] - plan.harm_delta
    factors = np.where(used[:, :, None], np.log1p(plan.stakes * excess), 0.0)
    harm = tally.harm.add(factors, is_step)
    tally.blocks += len(n_a)
    return Paths(at_least[1:, np.arange(len(plan.binary)), plan.margin_rungs], harm)


def _path(start: list[list[float]], steps: Floats) -> Floats:
    """Running sums from `start`, which comes first; added one by one, so that batches do not matter."""
    found: Floats = np.concatenate([np.array(start)[None], steps])
    np.add.accumulate(found, axis=0, out=found)
    return found


def _rungs(
    plan: Design,
    before: Floats,
    counts: tuple[Floats, Floats, Floats, Floats],
    means: tuple[Floats, Floats],
) -> tuple[Floats, Flags]:
    """log e of each block and rung, and whether it counts against "at least" (else "at most")."""
    log_e = np.empty((len(counts[0]), *plan.deltas.shape))
    against_at_least = np.empty(log_e.shape, bool)
    for chosen, test in ((plan.binary, _rate_rungs), (~plan.binary, _mean_rungs)):
        if chosen.any():
            log_e[:, chosen], against_at_least[:, chosen] = test(
                plan.ratios[chosen],
                plan.deltas[chosen],
                before[:, :, chosen],
                [values[:, chosen, None] for values in (*counts, *means)],
            )
    return log_e, against_at_least


def _rate_rungs(
    ratios: Floats, deltas: Floats, before: Floats, now: list[Floats]
) -> tuple[Floats, Flags]:
    n_a, s_a, n_b, s_b, _, _ = now
    a = rates.guess(before[:, Sum.LOSS_A], before[:, Sum.N_A])
    b = rates.guess(before[:, Sum.LOSS_B], before[:, Sum.N_B])
    return rates.block_log_e(s_a, n_a, s_b, n_b, a, b, deltas), b - a < deltas


def _mean_rungs(
    ratios: Floats, deltas: Floats, before: Floats, now: list[Floats]
) -> tuple[Floats, Flags]:
    x_a, x_b = now[4:]
    n, a, b, aa, ab, bb = (before[:, which] for which in MOMENTS)
    mean, variance = betting.moments(n, a, b, aa, ab, bb, ratios)
    bet = betting.stake(mean, variance, deltas, ratios)
    return np.log1p(bet * (deltas - x_b + ratios * x_a)), bet > 0


def interval(
    stream: Stream, tally: Tally, index: int, threshold: float
) -> tuple[float | None, float | None]:
    """(lower, upper) of the loss: the rungs not rejected at a log threshold, widened to the next ones that are.

    None where every rung on that side stands. As a ratio or a difference, as the stream has it.
    """
    ratios, deltas = ladder(stream)
    rungs = ratios if stream.as_ratio else deltas
    above = np.array(tally.at_least[index]) >= threshold
    below = np.array(tally.at_most[index]) >= threshold
    # The lowest rung from which on all are rejected, and the highest up to which all are.
    uppers = len(rungs) - int(np.argmin(np.append(above[::-1], False)))
    lowers = int(np.argmin(np.append(below, False))) - 1
    return (
        rungs[lowers] if lowers >= 0 else None,
        rungs[uppers] if uppers < len(rungs) else None,
    )
