"""From calls, in the order in which they come, to closed conversations: the units of evidence.

Users' calls and shadow calls alike, each kind apart: a conversation's shadow calls are a pair of answers.

A conversation is assigned by its first call and judged by intention to treat: whatever a retry or a
fallback made of it, the outcome of each request is that of its first attempt, and counts for the
provider the conversation was assigned to. Failures are told at once, so that of a conversation that has failed
arm, share and place stay as they were known then: calls that began earlier but come later change none of them.
It is closed when no call of it has come for the idle time, or after `LONGEST` times that; what comes later is
counted as late, never merged.

Closing goes by when calls *came* (Kafka's time), so that a past sent again closes like one that
happens; order goes by when conversations were assigned. A unit is handed out when nothing
assigned before it is still open: the longest conversation holds up the rest, at most for `LONGEST`.

Nothing here knows a clock: `complete_to` says up to when all calls that came are known.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from heapq import heappop, heappush
from itertools import takewhile
from typing import Generic, Protocol, Self, SupportsFloat, TypeVar

import msgspec

from pipeline.calls import Arm
from pipeline.verdicts.gates import Exclusions
from pipeline.verdicts.units import Pair, Unit

LONGEST = 8  # idle times after its first call at which a conversation is closed all the same
CHARGED = ("provider", "network")  # faults that are failures of the arm
Convert = Callable[[Decimal, str, str, int], Decimal | None]  # amount, from, to, UTC ms
Shares = Callable[[str, str], dict[str, float]]  # workload, stage → provider → share


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """A call that came, and where it stands in Kafka. Times are UTC ms."""

    cluster: str
    topic: str
    kafka_partition: int
    kafka_offset: int
    received_at: int
    call_id: str
    conversation_id: str = ""
    workload: str
    app: str = ""
    team: str = ""
    tags: dict[str, str] = {}
    provider: str
    request_model: str = ""
    model: str = ""
    started_at: int
    duration_ms: int | None = None
    attempt: int = 1
    fault: str = ""  # whose it is if the call failed; a shadow call's is nobody's
    doubts: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str, int]:
        """Its Kafka partition."""
        return self.cluster, self.topic, self.kafka_partition

    @property
    def conversation(self) -> tuple[str, str]:
        """Workload and conversation."""
        return self.workload, self.conversation_id or self.call_id

    @property
    def ended_at(self) -> int:
        return self.started_at + (self.duration_ms or 0)


class Arrival(Came, frozen=True, kw_only=True):
    """One row of `arrivals`: a call of a user."""

    request_id: str = ""
    arm: Arm
    stage: str = ""
    share: float | None = None
    time_to_first_token_ms: int | None = None
    cost: Decimal | None = None
    currency: str = ""
    quality: Decimal | None = None
    checks: dict[str, Decimal] = {}

    @property
    def conversation(self) -> tuple[str, str]:
        """Workload and conversation; a call without one is a conversation of its own with its retries."""
        return self.workload, self.conversation_id or self.request_id or self.call_id


class PairArrival(Came, frozen=True, kw_only=True):
    """One row of `pair_arrivals`: a shadow call beside the user's call it mirrors, which began at `started_at`.

    `failed` is None for a call that was cancelled; `agreement` is in [0, 1], 1 for the same.
    """

    shadow_of: str
    mirrored_to: Arm  # candidate, or baseline: its second answer
    failed: bool | None = None
    twin_failed: bool | None = None
    quality: Decimal | None = None
    twin_quality: Decimal | None = None
    agreement: dict[str, Decimal] = {}

    @property
    def conversation(self) -> tuple[str, str]:
        """Workload and conversation; a user's call without one is a conversation of its own."""
        return self.workload, self.conversation_id or self.shadow_of


class Placed(Protocol):
    """A unit of evidence: it has its place in the order in which units are judged, and belongs to a provider."""

    @property
    def place(self) -> tuple[int, str]: ...
    @property
    def workload(self) -> str: ...
    @property
    def provider(self) -> str: ...


C = TypeVar("C", bound=Came)
U = TypeVar("U", bound=Placed)


def excluded(call: Came, rules: Exclusions) -> bool:
    """True if the plan leaves the call out of the evidence."""
    return (
        any(fnmatchcase(call.app, pattern) for pattern in rules.apps)
        or any(fnmatchcase(call.team, pattern) for pattern in rules.teams)
        or any(fnmatchcase(call.tags.get(k, ""), pattern) for k, pattern in rules.tags.items())
        or (rules.cached and "gateway_cache_hit" in call.doubts)
    )


class Conversation(msgspec.Struct, Generic[C]):
    """A conversation's calls so far, in the order in which they came; times are UTC ms."""

    calls: list[C]
    assigned_at: int
    ended_at: int
    came_last: int
    failed_at: int | None = None  # when its first failure came

    @classmethod
    def begin(cls, call: C) -> Self:
        found = cls([], call.started_at, call.ended_at, call.received_at)
        found.add(call)
        return found

    def add(self, call: C) -> None:
        self.calls.append(call)
        self.ended_at = max(self.ended_at, call.ended_at)
        self.came_last = max(self.came_last, call.received_at)
        if self.failed_at is None and call.fault not in CHARGED:
            self.assigned_at = min(self.assigned_at, call.started_at)
        elif self.failed_at is None or call.received_at <= self.failed_at:
            self.failed_at = self._first_failure()
            self.assigned_at = self.first.started_at

    def _first_failure(self) -> int | None:
        """When a first attempt that failed came, going by the calls that had come by then."""
        came = sorted({call.received_at for call in self.calls if call.fault in CHARGED})
        return next((at for at in came if self._had_failed(at)), None)

    def _had_failed(self, at: int) -> bool:
        known = [call for call in self.calls if call.received_at <= at]
        return any(call.fault in CHARGED for call in _tries(known))

    @property
    def tries(self) -> list[C]:
        """First attempts, in order; of a conversation that has none, its first call."""
        return _tries(self.calls)

    @property
    def first(self) -> C:
        """The call it is assigned by: of one that has failed, the first that was known then."""
        known = (c for c in self.calls if self.failed_at is None or c.received_at <= self.failed_at)
        return min(known, key=lambda call: (call.started_at, call.attempt, call.call_id))

    def unit(
        self: "Conversation[Arrival]", convert: Convert, currency: str, shares: Shares
    ) -> Unit:
        """What users' calls say about the provider they were assigned to, costs in `currency`."""
        first, tries = self.first, self.tries
        qualities = [float(call.quality) for call in tries if call.quality is not None]
        cost = _total([_cost(call, convert, currency) for call in self.calls])
        return Unit(
            workload=first.workload,
            provider=first.provider,
            model=first.model,
            arm=first.arm,
            conversation_id=first.conversation[1],
            assigned_at=self.assigned_at,
            closed_at=self.ended_at,
            failed=self.failed_at is not None or any(call.fault in CHARGED for call in tries),
            failed_at=self.failed_at,
            score=_mean(qualities),
            cost=cost,
            currency=currency if cost is not None else "",
            ttft_ms=max((c.time_to_first_token_ms for c in tries if c.time_to_first_token_ms is not None), default=None),
            duration_ms=max((c.duration_ms for c in tries if c.duration_ms is not None), default=None),
            share=first.share,
            checks=_means(tries),
            shares=shares(first.workload, first.stage),
        )  # fmt: skip

    def pairs(
        self: "Conversation[PairArrival]", model_of: Callable[[PairArrival], str]
    ) -> list[Pair]:
        """What shadow calls say about each candidate they went to; nothing without any to a candidate.

        `model_of` names a call's model as the plan does. Disagreement and noise are means over the same calls: those that were also mirrored to the baseline.
        """
        calls = sorted(self.calls, key=lambda c: (c.started_at, c.call_id))
        floors = {c.shadow_of: _apart(c) for c in calls if c.mirrored_to is Arm.BASELINE}
        theirs = [call for call in calls if call.mirrored_to is Arm.CANDIDATE]
        candidates: dict[tuple[str, str], list[PairArrival]] = defaultdict(list)
        for call in theirs:
            candidates[call.provider, model_of(call)].append(call)
        return [self._pair(model, candidates[p, model], floors) for p, model in sorted(candidates)]

    def _pair(
        self: "Conversation[PairArrival]",
        model: str,
        calls: list[PairArrival],
        floors: dict[str, float | None],
    ) -> Pair:
        failed = [(c.twin_failed, c.failed) for c in calls]
        scores = [(c.twin_quality, c.quality) for c in calls]
        noise = [(floors.get(c.shadow_of), _apart(c)) for c in calls]
        failed_baseline, failed_candidate = _means_of_both(failed)
        score_baseline, score_candidate = _means_of_both(scores)
        floor, disagreement = _means_of_both(noise)
        if floor is None:
            disagreement = _mean([apart for _, apart in noise if apart is not None])
        return Pair(
            workload=calls[0].workload,
            provider=calls[0].provider,
            model=model,
            conversation_id=calls[0].conversation[1],
            assigned_at=self.assigned_at,
            closed_at=self.ended_at,
            pairs=len(calls),
            failed_baseline=failed_baseline,
            failed_candidate=failed_candidate,
            score_baseline=score_baseline,
            score_candidate=score_candidate,
            disagreement=disagreement,
            noise=floor,
        )


class Closed(msgspec.Struct, Generic[U], frozen=True):
    """Units whose turn it is, in order; and those whose turn had been before."""

    units: list[U]
    late: list[U]


class Conversations(Generic[C]):
    """One workload's open conversations, and the closed ones that wait for their turn."""

    def __init__(self, idle_ms: int, place: tuple[int, str] = (-1, "")) -> None:
        self.idle_ms = idle_ms
        self._open: dict[str, Conversation[C]] = {}  # in the order in which they were last heard of
        self._begun: dict[str, int] = {}  # when the first call came, in that order
        self._assigned: list[tuple[int, str]] = []  # a heap; some are open no more
        self._waiting: dict[str, Conversation[C]] = {}
        self._failed: list[
            tuple[int, str]
        ] = []  # a heap of failures not told yet; some came sooner
        self._told_to = -1  # failures that came up to then have been told
        self._place = place  # of the last unit handed out

    def knows(self, conversation: str) -> bool:
        """True if it is open, or waits for its turn."""
        return conversation in self._open or conversation in self._waiting

    def add(self, call: C) -> bool:
        """Takes a call; False if it is late: its conversation is closed, or was idle for too long.

        One whose message bears a time up to which failures have been told (its sender's clock is slow, or it was
        held up) counts as come just after: what was told is never changed.
        """
        key = call.conversation[1]
        if key in self._waiting:
            return False
        if call.received_at <= self._told_to:
            call = msgspec.structs.replace(call, received_at=self._told_to + 1)
        if (found := self._open.get(key)) is None:
            before, found = None, Conversation.begin(call)
            self._begun[key] = call.received_at
        elif call.started_at - found.ended_at > self.idle_ms:
            return False
        else:
            before = found.assigned_at, found.failed_at
            del self._open[key]
            found.add(call)
        self._open[key] = found
        if before is None or found.assigned_at != before[0]:
            heappush(self._assigned, (found.assigned_at, key))
        if found.failed_at is not None and (before is None or found.failed_at != before[1]):
            heappush(self._failed, (found.failed_at, key))
        return True

    def told(self, complete_to: int, units_of: Callable[[Conversation[C]], Iterable[U]]) -> list[U]:
        """Conversations that have failed by now, open or not, in the order in which their failures came.

        All calls up to `complete_to` are known, so none that failed before can follow.
        """
        found: list[U] = []
        self._told_to = max(self._told_to, complete_to)
        while self._failed and self._failed[0][0] <= complete_to:
            at, key = heappop(self._failed)
            if self._failed[:1] == [(at, key)]:
                continue  # it was thought to have failed sooner for a while, and is told once
            conversation = self._open.get(key) or self._waiting.get(key)
            if conversation and conversation.failed_at == at and not self._is_late(conversation):
                found += units_of(conversation)
        return found

    def close(
        self, complete_to: int, units_of: Callable[[Conversation[C]], Iterable[U]]
    ) -> Closed[U]:
        """Closes what is over, all that came up to `complete_to` being known, and hands out what has its turn."""
        for key in self._over(complete_to):
            self._waiting[key] = self._open.pop(key)
            del self._begun[key]
        held = self._held()
        ready = [key for key, c in self._waiting.items() if held is None or c.assigned_at < held]
        found = (unit for key in ready for unit in units_of(self._waiting.pop(key)))
        closed = sorted(found, key=lambda unit: (unit.place, unit.provider))
        late = [unit for unit in closed if unit.place <= self._place]
        units = closed[len(late) :]
        if units:
            self._place = units[-1].place
        return Closed(units, late)

    def _is_late(self, conversation: Conversation[C]) -> bool:
        return (conversation.assigned_at, conversation.first.conversation[1]) <= self._place

    def watermark(self, complete_to: int) -> int:
        """All conversations assigned before have been handed out, UTC ms."""
        held = self._held()
        return complete_to - self.idle_ms if held is None else min(held, complete_to - self.idle_ms)

    def calls(self) -> Iterator[C]:
        """The calls of all conversations not yet handed out."""
        for conversation in (*self._open.values(), *self._waiting.values()):
            yield from conversation.calls

    def _over(self, complete_to: int) -> list[str]:
        idle = takewhile(
            lambda key: self._open[key].came_last + self.idle_ms <= complete_to, self._open
        )
        long = takewhile(
            lambda key: (
                self._begun[key] + LONGEST * self.idle_ms <= complete_to
                and (self._open[key].failed_at or 0) <= complete_to  # or it would be judged untold
            ),
            self._begun,
        )
        return list(dict.fromkeys([*idle, *long]))

    def _held(self) -> int | None:
        """When the first of the open conversations was assigned; None if none is open."""
        while self._assigned:
            at, key = self._assigned[0]
            if key in self._open and self._open[key].assigned_at == at:
                return at
            heappop(self._assigned)
        return None


def _tries(calls: Iterable[C]) -> list[C]:
    """First attempts, in order; where there are none, the first call."""
    found = sorted(calls, key=lambda call: (call.started_at, call.call_id))
    return [call for call in found if call.attempt == 1] or found[:1]


def _cost(call: Arrival, convert: Convert, currency: str) -> Decimal | None:
    if call.cost is None or call.currency == currency:
        return call.cost
    return convert(call.cost, call.currency, currency, call.started_at)


def _total(costs: list[Decimal | None]) -> Decimal | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _apart(call: PairArrival) -> float | None:
    """How far a shadow call and its twin disagree, over all comparisons that apply."""
    same = _mean([float(value) for _, value in sorted(call.agreement.items())])
    return None if same is None else 1 - same


def _means_of_both(
    values: Sequence[tuple[SupportsFloat | None, SupportsFloat | None]],
) -> tuple[float | None, float | None]:
    """Baseline's and candidate's means, over the pairs where both are known."""
    known = [(float(a), float(b)) for a, b in values if a is not None and b is not None]
    return _mean([a for a, _ in known]), _mean([b for _, b in known])


def _means(calls: Iterable[Arrival]) -> dict[str, float]:
    """Check → the mean of its values where it applied."""
    values: dict[str, list[float]] = defaultdict(list)
    for call in calls:
        for name, value in call.checks.items():
            values[name].append(float(value))
    return {name: sum(found) / len(found) for name, found in sorted(values.items())}
