"""What the fold remembers of one workload and candidate, and how a conversation changes it.

Plain numbers only, none of them infinite: msgspec writes and reads them to the bit.
"""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

import msgspec
import numpy as np

from pipeline.calls import Arm
from pipeline.verdicts import evidence, rates
from pipeline.verdicts.blocks import Losses, Matcher, sums
from pipeline.verdicts.changes import Bets
from pipeline.verdicts.cost import Sums
from pipeline.verdicts.drift import BEFORE, FALSE_ALARM_EVERY, Detector
from pipeline.verdicts.gates import Gates
from pipeline.verdicts.integrity import Split
from pipeline.verdicts.latency import bucket
from pipeline.verdicts.rates import Floats
from pipeline.verdicts.streams import Measure, PairMeasure, measures, pair_measures
from pipeline.verdicts.units import Pair, Unit

# How many times as often the candidate may fail: bets, as multiples of `harm_ratio`.
RATIO_BETS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 20.0)
WATCHED = ("failure", "score")  # after the cutover
RECENT = 20  # failures kept to be shown


class Latch(msgspec.Struct):
    """Since when (UTC ms) evidence has stood above its threshold.

    It is let go only when half of the evidence (of its logarithm) is gone, so that nothing flaps:
    `was` is when it was last let go.
    """

    since: int | None = None
    was: int | None = None

    def follow(self, path: Floats, times: Sequence[int], threshold: float) -> None:
        """Through log e after each of these times."""
        if self.since is None and path.max() < threshold:
            return
        over, under = path >= threshold, path < threshold / 2
        at = 0
        while at < len(path):
            wanted = under if self.since is not None else over
            found = np.flatnonzero(wanted[at:])
            if not len(found):
                return
            at += int(found[0])
            self.since, self.was = (
                (times[at], self.was) if self.since is None else (None, times[at])
            )


class Seen(msgspec.Struct):
    """One arm's conversations, in blocks or not: how many, when, and per stream number and sum of losses."""

    units: int = 0
    failed: int = 0
    first_at: int = 0
    last_at: int = 0
    n: list[int] = []
    losses: list[float] = []
    ttft: dict[int, int] = {}  # buckets of latency
    duration: dict[int, int] = {}
    cost: Sums = msgspec.field(default_factory=Sums)

    def add(self, unit: Unit, losses: Losses, currency: str) -> None:
        self.first_at = self.first_at if self.units else unit.assigned_at
        self.last_at = unit.assigned_at
        self.units += 1
        self.failed += unit.failed
        for i, loss in enumerate(losses):
            if loss is not None:
                self.n[i] += 1
                self.losses[i] += loss
        for buckets, ms in ((self.ttft, unit.ttft_ms), (self.duration, unit.duration_ms)):
            if ms is not None:
                b = bucket(ms)
                buckets[b] = buckets.get(b, 0) + 1
        if unit.cost is not None and unit.currency == currency:
            self.cost.add(float(unit.cost), float(not unit.failed))


class Phase(msgspec.Struct):
    """The time since the share last changed; whether no block has come since."""

    share: float | None = None
    n_a: int = 0
    n_b: int = 0
    first_at: int = 0
    last_at: int = 0
    before_block: bool = False

    def add(self, is_candidate: bool, share: float | None, at: int) -> None:
        if share != self.share or not self.first_at:
            self.before_block = bool(self.first_at)
            self.share, self.n_a, self.n_b, self.first_at = share, 0, 0, at
        self.last_at = at
        if is_candidate:
            self.n_b += 1
        else:
            self.n_a += 1


class Block(NamedTuple):
    """Conversations that are compared, when the last of them came, and whether it is the first after a step."""

    baseline: list[Losses]
    candidate: list[Losses]
    at: int
    is_step: bool


class FailureOf(NamedTuple):
    """Whose a failure is, the share of its conversation, when, and whether it is the first after a step."""

    is_candidate: bool
    share: float
    at: int
    is_step: bool


class Whose(msgspec.Struct):
    """Whose each failure is, given the shares: the bets on failures in one order.

    `share` is that of the conversations assigned since `since`; the last `RECENT` are kept to be shown.
    """

    place: tuple[int, str] | None = None
    share: float | None = None
    since: int = 0
    recent: list[bool] = []
    bets: Bets = msgspec.field(default_factory=lambda: Bets.new(len(RATIO_BETS)))
    harmed: Latch = msgspec.field(default_factory=Latch)

    def failure(self, unit: Unit, share: float, at: int, *, is_declared: bool) -> FailureOf:
        """The next one. A share that is not declared makes no step, nor do those assigned before the last one."""
        is_candidate, is_step = unit.arm is Arm.CANDIDATE, False
        if is_declared and share != self.share and unit.assigned_at > self.since:
            is_step = self.share is not None
            self.share, self.since = share, unit.assigned_at
        self.recent = [*self.recent[1 - RECENT :], is_candidate]
        return FailureOf(is_candidate, share, at, is_step)

    def add(self, failures: Sequence[FailureOf], ratio_0: float, threshold: float) -> None:
        """Bets on failures, one after the other."""
        if not failures:
            return
        factors = rates.failure_log_e(
            np.array([failure.is_candidate for failure in failures])[:, None],
            np.array([failure.share for failure in failures])[:, None],
            ratio_0 * np.array(RATIO_BETS),
            ratio_0,
        )
        path = self.bets.add(factors, np.array([failure.is_step for failure in failures]))
        self.harmed.follow(path, [failure.at for failure in failures], threshold)


class State(msgspec.Struct, kw_only=True):
    """Everything the fold remembers. `place`: the last conversation folded; `late`: came after their turn."""

    workload: str
    candidate: str  # as `Plan.arm_key` calls it in the units
    epoch: int
    gates: Gates
    place: tuple[int, str] | None = None
    late: int = 0
    baseline: Seen
    tested: Seen  # the candidate
    phase: Phase = msgspec.field(default_factory=Phase)
    split: Split = msgspec.field(default_factory=Split)
    matcher: Matcher = msgspec.field(default_factory=Matcher)
    tally: evidence.Tally
    passed: list[Latch]  # for each stream
    harmed: list[Latch]
    told: Whose = msgspec.field(default_factory=Whose)  # failures in the order in which they came
    untold: Whose = msgspec.field(default_factory=Whose)  # those without a time or a declared share
    drift: dict[str, Detector] = {}  # by gate, once no baseline is left
    pair_place: tuple[int, str] | None = None
    pair_first_at: int = 0
    pairs: int = 0
    pair_tally: evidence.Tally
    pair_passed: list[Latch]
    pair_harmed: list[Latch]


class Thresholds(msgspec.Struct, frozen=True):
    """log e to be reached: for a gate to pass, for a harm to be believed."""

    promote: float
    rollback: float


def empty(gates: Gates, workload: str, candidate: str, epoch: int) -> State:
    """No evidence yet."""
    own, paired = len(measures(gates)), len(pair_measures(gates.pairs))
    return State(
        workload=workload,
        candidate=candidate,
        epoch=epoch,
        gates=gates,
        baseline=Seen(n=[0] * own, losses=[0.0] * own),
        tested=Seen(n=[0] * own, losses=[0.0] * own),
        tally=evidence.empty(own),
        passed=[Latch() for _ in range(own)],
        harmed=[Latch() for _ in range(own)],
        pair_tally=evidence.empty(paired),
        pair_passed=[Latch() for _ in range(paired)],
        pair_harmed=[Latch() for _ in range(paired)],
    )


def add_units(state: State, units: Sequence[Unit], thresholds: Thresholds) -> None:
    """Folds units into the state, in place."""
    streams = measures(state.gates)
    blocks: list[Block] = []
    failures: list[FailureOf] = []
    for unit in units:
        if state.place is not None and unit.place <= state.place:
            state.late += 1
        else:
            _add_unit(state, streams, unit, blocks, failures)
    if blocks and streams:
        _add_blocks(state, streams, blocks, thresholds)
    if state.gates.failure and state.gates.failure.harm_ratio is not None:
        state.untold.add(failures, state.gates.failure.harm_ratio, thresholds.rollback)


def add_failures(state: State, units: Sequence[Unit], thresholds: Thresholds) -> None:
    """Folds failures in the order in which they came, their conversations closed or not; in place.

    What has been folded already changes nothing.
    """
    gate = state.gates.failure
    if gate is None or gate.harm_ratio is None:
        return
    failures = []
    for unit in units:
        share = unit.share_of(state.candidate)
        if unit.failed_at is None or share is None or not 0 < share < 1:
            continue
        if state.told.place is None or unit.failure_place > state.told.place:
            state.told.place = unit.failure_place
            failures.append(state.told.failure(unit, share, unit.failed_at, is_declared=True))
    state.told.add(failures, gate.harm_ratio, thresholds.rollback)


def _add_unit(
    state: State,
    streams: Sequence[Measure],
    unit: Unit,
    blocks: list[Block],
    failures: list[FailureOf],
) -> None:
    at, is_candidate = unit.assigned_at, unit.arm is Arm.CANDIDATE
    declared = unit.share_of(state.candidate)
    share = _share_so_far(state) if declared is None else declared
    losses = [measure.loss(unit) for measure in streams]
    state.place = unit.place
    state.phase.add(is_candidate, declared, at)
    if is_candidate and declared == 1:
        _watch(state, streams, losses, at)
    elif declared is not None:
        state.drift = {}  # there is a baseline to compare with again
    seen = state.tested if is_candidate else state.baseline
    seen.add(unit, losses, currency_of(state.gates))
    if declared is not None and 0 < declared < 1:
        state.split.add(is_candidate, declared)
    is_told = unit.failed_at is not None and declared is not None
    if unit.failed and not is_told and 0 < share < 1:
        failures.append(state.untold.failure(unit, share, at, is_declared=declared is not None))
    if block := state.matcher.add(is_candidate, at, share, losses):
        blocks.append(Block(*block, at, state.phase.before_block))
        state.phase.before_block = False


def _watch(state: State, streams: Sequence[Measure], losses: Losses, at: int) -> None:
    """After the cutover: are failures and scores still as good as they were before, give or take the margin?"""
    watched = [i for i, measure in enumerate(streams) if measure.stream.name in WATCHED]
    for i in watched:
        stream, n, total = streams[i].stream, state.tested.n[i], state.tested.losses[i]
        if stream.name not in state.drift and n >= BEFORE:
            limit = min(float(rates.guess(total, n)) + stream.margin, 1.0)
            needed = log(FALSE_ALARM_EVERY * len(watched))
            state.drift[stream.name] = Detector(limit=limit, needed=needed)
        loss, detector = losses[i], state.drift.get(stream.name)
        if detector is not None and loss is not None:
            detector.add(loss, at)


def _add_blocks(
    state: State, streams: Sequence[Measure], blocks: Sequence[Block], thresholds: Thresholds
) -> None:
    sides = [(*sums(block.baseline), *sums(block.candidate)) for block in blocks]
    n_a, s_a, n_b, s_b = (np.array([side[i] for side in sides], float) for i in range(4))
    plan = evidence.design(tuple(measure.stream for measure in streams))
    is_step = np.array([block.is_step for block in blocks])
    paths = evidence.add(state.tally, plan, n_a, s_a, n_b, s_b, is_step)
    _follow(paths, [block.at for block in blocks], state.passed, state.harmed, thresholds)


def _follow(
    paths: evidence.Paths,
    times: Sequence[int],
    passed: Sequence[Latch],
    harmed: Sequence[Latch],
    thresholds: Thresholds,
) -> None:
    for i in range(len(passed)):
        passed[i].follow(paths.promote[:, i], times, thresholds.promote)
        harmed[i].follow(paths.harm[:, i], times, thresholds.rollback)


def add_pairs(state: State, pairs: Sequence[Pair], thresholds: Thresholds) -> None:
    """Folds pairs into the state, in place; each is a block of its own."""
    streams: Sequence[PairMeasure] = pair_measures(state.gates.pairs)
    rows, times = [], []
    for pair in pairs:
        if state.pair_place is not None and pair.place <= state.pair_place:
            state.late += 1
            continue
        state.pair_first_at = state.pair_first_at if state.pairs else pair.assigned_at
        state.pair_place = pair.place
        state.pairs += 1
        rows.append([measure.losses(pair) for measure in streams])
        times.append(pair.assigned_at)
    if not rows or not streams:
        return
    both = np.array([[None not in losses for losses in row] for row in rows], float)
    s_a, s_b = (
        np.array([[losses[arm] or 0.0 for losses in row] for row in rows], float) for arm in (0, 1)
    )
    plan = evidence.design(tuple(measure.stream for measure in streams))
    never = np.zeros(len(rows), bool)
    paths = evidence.add(state.pair_tally, plan, both, s_a * both, both, s_b * both, never)
    _follow(paths, times, state.pair_passed, state.pair_harmed, thresholds)


def currency_of(gates: Gates) -> str:
    """The currency costs are compared in; "" if they are not."""
    gate = gates.cost or gates.cost_per_success
    return gate.currency if gate else ""


def _share_so_far(state: State) -> float:
    """Where no share was recorded: the candidate's share of the conversations so far."""
    return (state.tested.units + 1) / (state.tested.units + state.baseline.units + 2)
