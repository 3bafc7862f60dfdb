"""Thousands of migrations at once: the judge's own arithmetic, with one stream for each migration.

A migration is a row of blocks; everything is looked at after every block, which is after every
conversation that changes anything.
"""

from collections.abc import Callable, Iterator
from statistics import NormalDist

import msgspec
import numpy as np

from pipeline.verdicts import evidence, rates
from pipeline.verdicts.blocks import sizes
from pipeline.verdicts.changes import Bets
from pipeline.verdicts.evidence import Design, Stream, Sum, Tally
from pipeline.verdicts.state import RATIO_BETS

Draw = Callable[[np.random.Generator, int, int], tuple[np.ndarray, ...]]
DAY = 400  # blocks in a day
AT_ONCE = 100  # blocks drawn and folded at a time


def shares(kind: str, blocks: int) -> np.ndarray:
    """The candidate's share at each block: "even", "tenth", or the "ramp" 5-10-25-50 %."""
    if kind == "ramp":
        return np.repeat([0.05, 0.10, 0.25, 0.50], -(-blocks // 4))[:blocks]
    return np.full(blocks, {"even": 0.5, "tenth": 0.1}[kind])


def swing(blocks: int, low: float = 0.005, high: float = 0.035) -> np.ndarray:
    """A base rate that swings with the day."""
    return low + (high - low) * (1 + np.sin(2 * np.pi * np.arange(blocks) / DAY)) / 2


def steady(blocks: int, rate: float = 0.02) -> np.ndarray:
    return np.full(blocks, rate)


def failures(share: np.ndarray, rate: np.ndarray, loss: float) -> Draw:
    """Blocks of conversations that fail at the base rate, the candidate's at so much more."""
    k = np.array([sizes(s) for s in share])

    def draw(rng: np.random.Generator, start: int, migrations: int) -> tuple[np.ndarray, ...]:
        now = slice(start, start + AT_ONCE)
        k_a, k_b = (np.repeat(side[:, None], migrations, 1) for side in k[now].T)
        p = rate[now, None]
        return k_a, rng.binomial(k_a, p), k_b, rng.binomial(k_b, np.clip(p + loss, 0, 1))

    return draw


def means(
    draw: Callable[[np.random.Generator, tuple[int, int]], tuple[np.ndarray, np.ndarray]],
) -> Draw:
    """Blocks of one conversation (or pair) each way, with losses in [0, 1]."""

    def drawn(rng: np.random.Generator, start: int, migrations: int) -> tuple[np.ndarray, ...]:
        ones = np.ones((AT_ONCE, migrations))
        a, b = draw(rng, ones.shape)
        return ones, a, ones, b

    return drawn


def bare(stream: Stream, migrations: int) -> tuple[Design, Tally]:
    """One stream for each migration, with no rung but the margin."""
    full = evidence.design((stream,) * migrations)
    rung = [evidence.margin_rung(stream)]
    plan = msgspec.structs.replace(
        full,
        ratios=full.ratios[:, rung],
        deltas=full.deltas[:, rung],
        margin_rungs=np.zeros(migrations, int),
    )
    tally = evidence.empty(migrations)
    tally.at_least = [[0.0]] * migrations
    tally.at_most = [[0.0]] * migrations
    return plan, tally


def run(
    stream: Stream, draw: Draw, blocks: int, migrations: int, seed: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """(first block, log e to promote, log e to roll back, sums so far) of each piece; arrays (blocks, migrations)."""
    rng = np.random.default_rng(seed)
    plan, tally = bare(stream, migrations)
    for start in range(0, blocks, AT_ONCE):
        drawn = [np.asarray(x, float) for x in draw(rng, start, migrations)]
        paths = evidence.add(tally, plan, *drawn, np.zeros(len(drawn[0]), bool))
        yield start, paths.promote, paths.harm, np.array(tally.sums)


def first_over(pieces: Iterator[tuple[int, np.ndarray]], threshold: float) -> np.ndarray:
    """The block, counted from 1, after which each migration was first over the threshold; inf: never."""
    found: np.ndarray | None = None
    for start, path in pieces:
        over = path >= threshold
        at = np.where(over.any(axis=0), start + over.argmax(axis=0) + 1, np.inf)
        found = at if found is None else np.minimum(found, at)
    assert found is not None
    return found


def pooled_z(sums: np.ndarray, margin: float) -> np.ndarray:
    """The naive competitor: z of the pooled rates' difference above the margin."""
    n_a, n_b = sums[Sum.N_A], sums[Sum.N_B]
    a, b = sums[Sum.LOSS_A] / n_a, sums[Sum.LOSS_B] / n_b
    spread = np.sqrt(a * (1 - a) / n_a + b * (1 - b) / n_b)
    return (b - a - margin) / np.maximum(spread, 1e-12)


def allowed(alpha: float, migrations: int) -> float:
    """The largest share of wrong decisions that chance explains: three standard errors above alpha."""
    return alpha + 3 * np.sqrt(alpha * (1 - alpha) / migrations)


def ratio_alarms(
    ratio: float,
    migrations: int,
    seed: int,
    *,
    requests: int = 100_000,
    alpha: float = 0.01,
    lag: float = 0.0,
) -> tuple[np.ndarray, float]:
    """The request at which each migration is first rolled back for its failures (inf: never), and the naive share.

    The share climbs 1-5-10-25-50 % while the base rate swings between 0.5 and 3.5 % twice; the
    candidate fails `ratio` times as often. Failures arrive as a Poisson process, and are known so many
    requests later on average (`lag`), in another order than their conversations began in. Naive is a z-test of
    the pooled rates looked at every 1,000 requests.
    """
    rng = np.random.default_rng(seed)
    share = np.repeat([0.01, 0.05, 0.10, 0.25, 0.50], requests // 5)
    base = 0.005 + 0.03 * (1 + np.sin(4 * np.pi * np.arange(requests) / requests)) / 2
    expected = np.cumsum(base * (1 - share + share * ratio))
    number = rng.poisson(expected[-1], migrations)
    at = np.full((number.max(), migrations), requests)
    for j, n in enumerate(number):
        at[:n, j] = np.searchsorted(expected, np.sort(rng.random(n)) * expected[-1])
    happened = at < requests
    share_at = share[np.minimum(at, requests - 1)]
    theirs = rng.random(at.shape) < rates.chance(share_at, ratio)
    if lag:
        known = np.where(happened, at + rng.exponential(lag, at.shape), np.inf)
        order = np.argsort(known, axis=0)
        share_at, theirs = (np.take_along_axis(x, order, axis=0) for x in (share_at, theirs))
    first = _first_alarms(at, happened, share_at, theirs, alpha)
    return first, _naive_alarms(at, theirs, np.cumsum(share), NormalDist().inv_cdf(1 - alpha))


def _first_alarms(
    at: np.ndarray, happened: np.ndarray, share: np.ndarray, theirs: np.ndarray, alpha: float
) -> np.ndarray:
    bets, first = Bets.new(at.shape[1] * len(RATIO_BETS)), np.full(at.shape[1], np.inf)
    for i in range(0, len(at), AT_ONCE):
        now = slice(i, i + AT_ONCE)
        factors = rates.failure_log_e(
            theirs[now, :, None], share[now, :, None], np.array(RATIO_BETS), 1.0
        )
        factors = np.where(happened[now, :, None], factors, 0.0)
        over = bets.add(factors, np.zeros(len(factors), bool)) >= -np.log(alpha)
        hit = np.take_along_axis(at[now], over.argmax(axis=0)[None], axis=0)[0]
        first = np.minimum(first, np.where(over.any(axis=0), hit, np.inf))
    return first


def _naive_alarms(at: np.ndarray, theirs: np.ndarray, sent: np.ndarray, z: float) -> float:
    looks = np.arange(1_000, len(sent) + 1, 1_000)
    n_b = sent[looks - 1]
    n_a = looks - n_b
    alarmed = 0
    for j in range(at.shape[1]):
        y_b = np.searchsorted(at[theirs[:, j], j], looks)
        y_a = np.searchsorted(at[:, j], looks) - y_b
        a, b = y_a / n_a, y_b / n_b
        spread = np.sqrt(np.maximum(a * (1 - a) / n_a + b * (1 - b) / n_b, 1e-12))
        alarmed += bool(np.any((b - a) / spread > z))
    return alarmed / at.shape[1]
