"""The judge at work: folds closed conversations, says what changed, and steers what is on autopilot.

One worker at a time judges, the one that owns the first partition of the calls topic; when it dies the group
gives that partition, and the judging with it, to another. Two that overlap cannot both store units
(`gathering`). Evidence is only ever folded from stored units in order of assignment, so replaying
them gives the same verdicts to the bit.
"""

import logging
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from math import log
from pathlib import Path
from typing import Any

import msgspec

from pipeline.catalog import Catalog
from pipeline.gathering import Asked, Gatherer, OvertakenError
from pipeline.plan_file import owner, read_courses, write_courses
from pipeline.store import verdicts as store
from pipeline.store.connect import Client, StoreError
from pipeline.store.verdicts import Epoch, Progress
from pipeline.verdicts.autopilot import Move, Said, leads_to_all, sail, stage_named, steered
from pipeline.verdicts.conversations import LONGEST, Arrival, Came, Conversation, PairArrival
from pipeline.verdicts.epochs import proven
from pipeline.verdicts.gates import resolve
from pipeline.verdicts.judge import fold, judge, start
from pipeline.verdicts.plan import Plan, epoch_hash, gates_of, plan_hash
from pipeline.verdicts.shown import evidence_rows, gate_rows
from pipeline.verdicts.state import State, currency_of
from pipeline.verdicts.streams import pair_measures
from pipeline.verdicts.units import Pair as ShadowPair
from pipeline.verdicts.units import Unit, bears, shadow_bears, share_against_baseline
from pipeline.verdicts.verdict import FORMULAS, Drift, Facts, Outcome, Verdict

logger = logging.getLogger(__name__)

TICK_SECONDS = 2.0
STEPS = 8  # of reading in a tick, while there is more to read
PAIRS_AT_ONCE = 12  # folded and judged in a tick; the others have their turn in the next
UNITS_AT_ONCE = 5000  # of one pair in a tick
STEADY_MS = (
    6000  # how long another verdict must be said before it is shown; ROLLBACK is shown at once
)
UNBALANCED_MS = 20_000  # how long the account must be out of balance
AGAIN_MS = 15_000  # after which a pair without new evidence is judged again
ROW_MS = 10_000  # between rows of a verdict with new evidence
IDLE_ROW_MS = 60_000  # between rows of one without
SAVE_MS = 60_000  # between savings of the fold's memory
WRITE_MS = 6000  # how long rows that tell of no change wait for others
GAINING_MS = 20_000  # over which it is seen whether a backlog gets shorter
SENT_MS = 40_000  # after which what was sent is seen in Kafka or in the store
ACCOUNT_MS = 10_000  # between looks at the account and at budgets
COST_DIGITS = Decimal("1e-12")
Event = dict[str, Any]


@dataclass
class Pair:
    """A workload and one of its candidates, in one epoch."""

    candidate: str  # the endpoint's name
    provider: str
    epoch: Epoch
    state: State
    units: list[Unit] = field(default_factory=list)  # not folded yet
    failures: list[Unit] = field(default_factory=list)  # of conversations open or closed
    shadows: list[ShadowPair] = field(default_factory=list)  # not folded yet
    verdict: Verdict | None = None  # the last one made
    shown: str = ""  # the outcome that is shown
    stage: str = ""
    since: int = 0
    other_since: int | None = None  # since when another outcome is said
    judged_at: int = 0
    row_at: int = 0
    saved_at: int = 0
    fresh: bool = False  # has folded since its last row
    alarms: dict[str, int] = field(default_factory=dict)  # gate → since when it drifts, as told

    @property
    def key(self) -> tuple[str, str]:
        return self.epoch.workload, self.candidate

    def among(self, units: Iterable[Unit], plan: Plan) -> list[Unit]:
        """The units that bear on it, in this epoch."""
        return [
            unit
            for unit in units
            if bears(unit, plan, *self.key) and unit.assigned_at >= self.epoch.starts_at
        ]

    def among_shadows(self, shadows: Iterable[ShadowPair], plan: Plan) -> list[ShadowPair]:
        """The same of shadow pairs."""
        return [
            shadow
            for shadow in shadows
            if shadow_bears(shadow, plan, *self.key) and shadow.assigned_at >= self.epoch.starts_at
        ]

    def failures_by(self, complete_to: int) -> list[Unit]:
        """Takes out those that came up to then, in order: no other can come before."""
        self.failures.sort(key=lambda unit: unit.failure_place)
        n = bisect_right(self.failures, complete_to, key=lambda unit: unit.failure_place[0])
        found, self.failures = self.failures[:n], self.failures[n:]
        return found


@dataclass
class Judge:
    """Everything a judging worker knows. `tick` is called every few seconds, by one thread at a time."""

    client: Client
    cluster: str
    topic: str
    writer: str
    catalog: Catalog
    plan_path: Path
    report_currency: str = "USD"
    _gatherer: Gatherer[Arrival, Unit] | None = None
    _shadows: Gatherer[PairArrival, ShadowPair] | None = None
    _plan: Plan | None = None  # as the pairs are for it
    _plan_hash: str = ""
    _pairs: dict[tuple[str, str], Pair] = field(default_factory=dict)
    _rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    _writing: list[Future[None]] = field(default_factory=list)
    _written_at: int = 0
    _lives: int = 0
    _currencies: dict[str, str] = field(default_factory=dict)  # of costs, by workload
    _shares: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)  # by stage
    _beside: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(3, "judge"))
    _marks: deque[tuple[int, int]] = field(default_factory=deque)  # (when seen, complete to)
    _account_at: int = 0
    _sent: deque[tuple[int, int]] = field(default_factory=deque)  # (when seen, calls sent)
    _unbalanced_since: int | None = None
    _spent: dict[tuple[str, str], float] = field(default_factory=dict)

    def forget(self) -> None:
        """Drops all that is known: another worker may judge meanwhile."""
        with suppress(StoreError):
            self.settle()
        self._lives += 1  # what may still be on its way to the store is another writer's
        self._gatherer, self._shadows, self._pairs, self._plan = None, None, {}, None
        self._rows.clear()
        self._writing.clear()
        self._marks.clear()

    def tick(self, plan: Plan, now: int) -> list[Event]:
        """One round, at `now` (UTC ms); returns what happened, for the events topic. Raises StoreError."""
        try:
            return self._tick(plan, now)
        except OvertakenError as error:
            logger.warning("another worker judges: it has stored %s", error)
            self.forget()
            return []
        except BaseException:
            self.forget()  # what was stored and what is known may differ
            raise

    def _tick(self, plan: Plan, now: int) -> list[Event]:
        if plan is not self._plan:
            self._begin_gathering(plan)
        events = self._begin(plan, now)
        in_force = steered(plan, read_courses(self.plan_path))
        # Evidence that has waited is judged while the store is asked for more.
        asking = self._beside.submit(self._ask)
        counting = self._count(now)
        beside: list[Future[Any]] = [asking, *counting]
        try:
            turn = [p for p in self._turn(now, PAIRS_AT_ONCE) if p.units or p.shadows]
            events += self._take_turns(plan, in_force, turn, now)
        finally:
            wait(beside)
        asked = asking.result()
        if now - self._written_at >= WRITE_MS:  # rows of earlier rounds: their batches are ours
            self._send_rows(now)
        self._gather(plan, now, asked)
        self._note_how_far(now)
        for account in counting:
            self._look_at_account(plan, account.result(), now)
        turn = self._turn(now, PAIRS_AT_ONCE - len(turn))
        events += self._take_turns(plan, in_force, turn, now)
        if events:
            self.write_out(now)
        events += self._steer(plan, now)
        if events:
            self.settle()  # what is told is in the store
        return events

    def write_out(self, now: int) -> None:
        """Stores what rounds have found, once it is sure that the batches it rests on are ours. Raises OvertakenError."""
        self._look()
        self._send_rows(now)

    def settle(self) -> None:
        """Waits until the store has all that rounds have written. Raises StoreError."""
        for gatherer in self._gatherers():
            gatherer.stored()
        writing, self._writing = self._writing, []
        for rows in writing:
            rows.result()

    def _begin_gathering(self, plan: Plan) -> None:
        """Shadow pairs are gathered as users' calls, apart from them, wherever there are shadow calls or gates for them."""
        gates = {key: gates_of(plan, key) for key in plan.workloads}
        self._currencies = {k: currency_of(g) or self.report_currency for k, g in gates.items()}
        self._shares.clear()
        writer = f"{self.writer}/{self._lives}"
        if self._gatherer is None:
            users = Gatherer(self.client, writer, store.USERS, self._units, self._beside)
            users.load()
            self._gatherer = users
        mirrors = any(w.shadow or _paired(plan, key) for key, w in plan.workloads.items())
        if mirrors and self._shadows is None:
            shadows = Gatherer(
                self.client, writer, store.PAIRS,
                lambda plan, conversation: conversation.pairs(lambda call: _model(plan, call)),
                self._beside,
            )  # fmt: skip
            shadows.load()
            self._shadows = shadows

    def _ask(self) -> list[Asked[Any]]:
        """What each gatherer has to take in next. Raises OvertakenError."""
        progress = self._look()
        return [gatherer.ask(progress) for gatherer in self._gatherers()]

    def _gather(self, plan: Plan, now: int, asked: list[Asked[Any]]) -> None:
        """Some steps on with both, while there is more to read. Raises OvertakenError."""
        self._step(plan, now, asked)
        for _ in range(STEPS - 1):
            if not any(answer.more for answer in asked):
                break
            asked = self._ask()
            self._step(plan, now, asked)

    def _step(self, plan: Plan, now: int, asked: list[Asked[Any]]) -> None:
        step = self._gathering().step(plan, now, asked[0])
        units, failures = (_by_workload(found) for found in (step.units, step.failures))
        for pair in self._pairs.values():
            pair.units += pair.among(units[pair.epoch.workload], plan)
            pair.failures += pair.among(failures[pair.epoch.workload], plan)
        if self._shadows is None:
            return
        theirs = self._shadows.step(plan, now, asked[1])
        for pair in self._pairs.values():
            pair.shadows += pair.among_shadows(theirs.units, plan)

    def _gatherers(self) -> list[Gatherer[Any, Any]]:
        return [g for g in (self._gatherer, self._shadows) if g is not None]

    def _look(self) -> Progress:
        """How far things are, and that all batches are still ours. Raises OvertakenError."""
        self.settle()
        gatherers = self._gatherers()
        newest = {g.source.kept: g.batch.number for g in gatherers}
        progress = store.read_progress(self.client, self.cluster, self.topic, newest)
        for gatherer in gatherers:
            gatherer.verify(progress)
        return progress

    def _write(self, table: str, row: dict[str, Any]) -> None:
        """A row for one INSERT a table, with others."""
        self._rows[table].append(row)

    def _send_rows(self, now: int) -> None:
        """Begins to store the rows that wait; `settle` waits until they are there."""
        for table, found in self._rows.items():
            self._writing.append(self._beside.submit(store.insert_rows, self.client, table, found))
        self._rows = defaultdict(list)
        self._written_at = now

    def _gathering(self) -> Gatherer[Arrival, Unit]:
        assert self._gatherer is not None
        return self._gatherer

    def _units(self, plan: Plan, conversation: Conversation[Arrival]) -> list[Unit]:
        first = conversation.first
        currency = self._currencies[first.workload]
        unit = conversation.unit(
            self._convert, currency, lambda key, stage: self._shares_in(plan, key, stage)
        )
        cost = None if unit.cost is None else unit.cost.quantize(COST_DIGITS)
        return [msgspec.structs.replace(unit, cost=cost, model=_model(plan, first))]

    def _shares_in(self, plan: Plan, workload: str, stage: str) -> dict[str, float]:
        if (workload, stage) not in self._shares:
            self._shares[workload, stage] = shares(plan, workload, stage)
        return self._shares[workload, stage]

    def _convert(self, amount: Decimal, currency: str, to: str, at_ms: int) -> Decimal | None:
        rate = self.catalog.fx(currency, to, at_ms)
        return None if rate is None else amount * rate.rate

    # Epochs

    def _begin(self, plan: Plan, now: int) -> list[Event]:
        """Pairs as the plan has them now; a new epoch where what evidence depends on has changed."""
        if plan is self._plan:
            return []
        wanted = {(key, name) for key, w in plan.workloads.items() for name in w.candidates}
        for gone in self._pairs.keys() - wanted:
            del self._pairs[gone]
        hashes = {key: epoch_hash(plan, *key) for key in wanted}
        stale = [
            k
            for k in sorted(wanted)
            if k not in self._pairs or self._pairs[k].epoch.epoch_hash != hashes[k]
        ]
        self._plan, self._plan_hash = plan, plan_hash(plan)
        if not stale:
            return []
        known, said = store.read_epochs(self.client), store.shown_verdicts(self.client)
        events = []
        for key in stale:
            epoch = known.get(key)
            if epoch is None or epoch.epoch_hash != hashes[key]:
                epoch = self._new_epoch(plan, key, hashes[key], epoch, now)
                events.append(_epoch_event(plan, epoch, now))
            self._pairs[key] = self._pair(plan, epoch, said.get(key))
        return events

    def _new_epoch(
        self, plan: Plan, key: tuple[str, str], fresh: str, before: Epoch | None, now: int
    ) -> Epoch:
        workload, candidate = key
        endpoint = plan.endpoints[candidate]
        is_alone = plan.endpoint_of(workload, endpoint.provider) == candidate
        models = () if is_alone else endpoint.named_models
        epoch = Epoch(
            workload=workload,
            candidate=candidate,
            epoch=before.epoch + 1 if before else 1,
            epoch_hash=fresh,
            plan_hash=plan_hash(plan),
            starts_at=now if before else 0,
            set_by=owner(self.plan_path),
            after_data=store.any_data(self.client, workload, endpoint.provider, models),
            gates=msgspec.json.encode(gates_of(plan, workload)).decode(),
        )
        store.insert_epoch(self.client, epoch)
        return epoch

    def _pair(self, plan: Plan, epoch: Epoch, said: dict[str, Any] | None) -> Pair:
        """A pair with its memory as kept, and the units since."""
        kept = store.read_state(self.client, epoch, FORMULAS)
        workload, candidate = epoch.workload, epoch.candidate
        provider, gates = plan.endpoints[candidate].provider, gates_of(plan, workload)
        arm = plan.arm_key(candidate)
        state = kept or start(gates, workload=workload, candidate=arm, epoch=epoch.epoch)
        state.gates = gates  # the horizon may have changed, which begins no epoch
        pair = Pair(candidate=candidate, provider=provider, epoch=epoch, state=state)
        if said and said["epoch"] == epoch.epoch:
            pair.shown, pair.since = said["verdict"], said["since_ms"]
            pair.alarms = alarms_of(msgspec.json.decode(said["drift"], type=tuple[Drift, ...]))
        both, place = (plan.endpoints[plan.baseline].provider, provider), state.place or (-1, "")
        while units := store.read_units(
            self.client, workload, providers=both, after=place, since=epoch.starts_at,
            limit=UNITS_AT_ONCE,
        ):  # fmt: skip
            pair.state, place = fold(pair.state, pair.among(units, plan)), units[-1].place
        place = state.pair_place or (-1, "")
        while shadows := store.read_pairs(
            self.client, workload, providers=(provider,), after=place, since=epoch.starts_at,
            limit=UNITS_AT_ONCE,
        ):  # fmt: skip
            pair.state = fold(pair.state, (), pair.among_shadows(shadows, plan))
            place = shadows[-1].place
        failures = store.read_failures(
            self.client, workload, both, since=epoch.starts_at, after=state.told.place
        )
        pair.failures = pair.among(failures, plan)
        return pair

    # Verdicts

    def _turn(self, now: int, at_most: int) -> list[Pair]:
        """The pairs to be judged now: those with evidence that waits, the longest first."""
        if not self._gathering().complete_to:
            return []  # a moment after the start: too early to say that anything is missing
        due = [
            pair
            for pair in self._pairs.values()
            if pair.units or pair.failures or pair.shadows or now - pair.judged_at >= AGAIN_MS
        ]
        return sorted(due, key=lambda pair: (pair.judged_at, pair.key))[:at_most]

    def _take_turns(self, plan: Plan, in_force: Plan, pairs: list[Pair], now: int) -> list[Event]:
        events: list[Event] = []
        for pair in pairs:
            self._fold(pair, now)
            events += self._judge(plan, in_force, pair, now)
        return events

    def _fold(self, pair: Pair, now: int) -> None:
        failures = pair.failures_by(self._gathering().complete_to)
        if pair.units or failures or pair.shadows:
            now_units, now_shadows = pair.units[:UNITS_AT_ONCE], pair.shadows[:UNITS_AT_ONCE]
            pair.state = fold(pair.state, now_units, now_shadows, failures=failures)
            pair.units, pair.shadows = pair.units[UNITS_AT_ONCE:], pair.shadows[UNITS_AT_ONCE:]
            pair.fresh = True
        if pair.fresh and now - pair.saved_at >= SAVE_MS:
            self._write("judge_states", store.state_row(pair.epoch, FORMULAS, pair.state))
            pair.saved_at = now

    def _judge(self, plan: Plan, in_force: Plan, pair: Pair, now: int) -> list[Event]:
        """Makes the verdict, shows it if it is steady, writes its rows; an event if it changed."""
        stage = in_force.workloads[pair.epoch.workload].stage_at(now)
        pair.stage = stage.name if stage else ""
        pair.judged_at = now
        pair.verdict = found = judge(pair.state, self._facts(plan, pair, now))
        before, events = pair.shown, _drift_events(pair, found)
        pair.alarms = alarms_of(found.drift)
        if not self._shows(pair, found, now):
            return events
        changed = pair.shown != before
        if changed:
            pair.since = now
        every = ROW_MS if pair.fresh else IDLE_ROW_MS
        if not changed and not events and now - pair.row_at < every:
            return []
        row = self._row(plan, pair, found, stage.shares.get(pair.candidate, 0.0) if stage else 0.0)
        self._write("verdicts", row | {"changed": changed})
        if pair.fresh:
            who = {"workload": pair.epoch.workload, "candidate": pair.candidate}
            for gate in evidence_rows(found, pair.state):
                self._write("evidence", who | {"epoch": pair.epoch.epoch} | gate)
        pair.row_at, pair.fresh = now, False
        return [*events, _verdict_event(row, before)] if changed else events

    def _shows(self, pair: Pair, found: Verdict, now: int) -> bool:
        """Whether the verdict made is the one shown; another one is shown once it is steady."""
        if found.outcome == pair.shown:
            pair.other_since = None
            return True
        first = pair.other_since is None
        pair.other_since = now if pair.other_since is None else pair.other_since
        at_once = not pair.shown or found.outcome is Outcome.ROLLBACK
        if not at_once and (first or now - pair.other_since < STEADY_MS):
            return False
        pair.shown, pair.other_since = str(found.outcome), None
        return True

    def _facts(self, plan: Plan, pair: Pair, now: int) -> Facts:
        key = pair.epoch.workload
        budget = plan.endpoints[pair.candidate].budget
        spent = self._spent.get((pair.provider, budget.currency), 0.0) if budget else 0.0
        idle_ms = round(gates_of(plan, key).idle_minutes * 60_000)
        unbalanced = (
            self._unbalanced_since is not None and now - self._unbalanced_since >= UNBALANCED_MS
        )
        return Facts(
            now=now,
            balanced=not unbalanced,
            watermark=self._watermark(plan, key),
            watermark_slack_ms=2 * LONGEST * idle_ms + 60_000,
            catching_up=self._catches_up(now),
            deadline=round(plan.deadline.timestamp() * 1000) if plan.deadline else None,
            final=leads_to_all(plan.workloads[key], pair.stage),
            spent_over_budget=budget is not None and spent >= budget.amount,
        )

    def _watermark(self, plan: Plan, workload: str) -> int | None:
        """Up to when all that the gates need is folded; of shadow pairs too if there are gates for them."""
        marks = [self._gathering().watermark(workload)]
        if self._shadows and _paired(plan, workload):
            marks.append(self._shadows.watermark(workload))
        known = [mark for mark in marks if mark is not None]
        return min(known) if len(known) == len(marks) else None

    def _note_how_far(self, now: int) -> None:
        self._marks.append((now, self._gathering().complete_to))
        while len(self._marks) > 1 and now - self._marks[1][0] >= GAINING_MS:
            self._marks.popleft()

    def _catches_up(self, now: int) -> bool:
        """Whether what is complete gains on the clock, by half at least; before that can be seen, it may."""
        if not self._marks or now - self._marks[0][0] < GAINING_MS / 2:
            return True
        since, complete_to = self._marks[0]
        return self._gathering().complete_to - complete_to > 1.5 * (now - since)

    def _count(self, now: int) -> list[Future[store.Account]]:
        """The account, asked for beside all else; nothing if it was looked at a moment ago."""
        if now - self._account_at < ACCOUNT_MS:
            return []
        self._account_at = now
        return [self._beside.submit(store.read_account, self.client, self.cluster)]

    def _look_at_account(self, plan: Plan, account: store.Account, now: int) -> None:
        self._sent.append((now, account.sent))
        while now - self._sent[0][0] > SENT_MS and len(self._sent) > 1:
            self._sent.popleft()
        before = self._sent[0][1] if now - self._sent[0][0] >= SENT_MS / 2 else 0
        if wrong := account.wrong(before):
            logger.warning("the account does not balance: %s", wrong)
            self._unbalanced_since = self._unbalanced_since or now
        else:
            self._unbalanced_since = None
        if any(endpoint.budget for endpoint in plan.endpoints.values()):
            self._spent = store.spent(self.client)

    def _row(self, plan: Plan, pair: Pair, found: Verdict, share: float) -> dict[str, Any]:
        """A row of `verdicts`, but for `changed`."""
        gatherer, key = self._gathering(), (pair.epoch.workload, pair.provider)
        return {
            "at": found.at,
            "workload": pair.epoch.workload,
            "candidate": pair.candidate,
            "provider": pair.provider,
            "model": plan.endpoints[pair.candidate].model,
            "epoch": pair.epoch.epoch,
            "verdict": str(found.outcome),
            "since": pair.since,
            "reason_en": " ".join(reason.en for reason in found.reasons),
            "reason_zh": "".join(reason.zh for reason in found.reasons),
            "stage": pair.stage,
            "share": share,
            "units_baseline": found.units_baseline,
            "units_candidate": found.units_candidate,
            "pairs": found.pairs,
            "late_calls": gatherer.late_calls.get(key, 0),
            "late_units": gatherer.late_units.get(key, 0),
            "late_pairs": self._late_shadows(key),
            "plan_hash": self._plan_hash,
            "set_by": pair.epoch.set_by,
            "after_data": pair.epoch.after_data,
            "proven": self._proven(plan, pair),
            "formulas": found.formulas,
            "gates": msgspec.json.encode(gate_rows(found)).decode(),
            "drift": msgspec.json.encode(found.drift).decode(),
        }

    def _late_shadows(self, key: tuple[str, str]) -> int:
        """Single pairs of a workload and provider, and conversations of them, that came too late."""
        found = self._shadows
        return found.late_calls.get(key, 0) + found.late_units.get(key, 0) if found else 0

    def _proven(self, plan: Plan, pair: Pair) -> bool:
        """Whether PROMOTE, or ROLLBACK, is believed among all workloads' (e-BH)."""
        alpha = resolve(plan.gates).alpha
        others = [p for p in self._pairs.values() if p.verdict is not None]
        if pair.shown == Outcome.PROMOTE:
            believed = proven([_least(p.verdict) for p in others if p.verdict], alpha.promote)
        elif pair.shown == Outcome.ROLLBACK:
            believed = proven([_most(p.verdict) for p in others if p.verdict], alpha.rollback)
        else:
            return False
        return others.index(pair) in believed

    # Autopilot

    def _steer(self, plan: Plan, now: int) -> list[Event]:
        """Moves stages by the verdicts shown, and tells of it."""
        courses = read_courses(self.plan_path)
        said = {
            pair.key: Said(Outcome(pair.shown), pair.epoch.epoch, pair.stage)
            for pair in self._pairs.values()
            if pair.shown
        }
        after, moves = sail(plan, courses, said, now)
        if after == courses:
            return []
        self._look()
        try:
            write_courses(self.plan_path, after)
        except OSError as error:
            logger.error("autopilot: the worker cannot write beside the plan: %s", error)
            return []
        return [_move_event(plan, move, now) for move in moves]


def shares(plan: Plan, workload: str, stage: str) -> dict[str, float]:
    """Candidate (`Plan.arm_key`) → its share against the baseline alone in a stage; empty where one share says it all."""
    planned = plan.workloads[workload]
    found = stage_named(planned, stage)
    if found is None or len(planned.candidates) < 2:
        return {}
    against = {name: share_against_baseline(found.shares, name) for name in planned.candidates}
    return {plan.arm_key(name): share for name, share in against.items() if share is not None}


def _by_workload(units: Iterable[Unit]) -> dict[str, list[Unit]]:
    found: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        found[unit.workload].append(unit)
    return found


def _model(plan: Plan, call: Came) -> str:
    """The model of a call as the endpoint it went to names it, where it does; else as the catalog does."""
    known = (call.request_model, call.model)
    name = plan.endpoint_of(call.workload, call.provider, known)
    named = plan.endpoints[name].named_models if name else ()
    return next((model for model in known if model in named), call.model)


def _paired(plan: Plan, workload: str) -> bool:
    """Whether a workload has gates for shadow pairs."""
    return bool(pair_measures(gates_of(plan, workload).pairs))


def _least(verdict: Verdict) -> float:
    """log e against "one of the gates is not kept"."""
    found = [g.log_e_promote for g in verdict.gates if g.log_e_promote is not None]
    return min(found, default=0.0)


def _most(verdict: Verdict) -> float:
    """log e against "no harm", the harms' number taken off."""
    found = [g.log_e_rollback for g in verdict.gates if g.log_e_rollback is not None]
    return max(found, default=0.0) - log(max(1, len(found)))


def _verdict_event(row: dict[str, Any], before: str) -> Event:
    told = (
        "workload",
        "candidate",
        "provider",
        "epoch",
        "verdict",
        "reason_en",
        "reason_zh",
        "stage",
        "share",
    )
    name = f"verdict/{row['workload']}/{row['candidate']}/{row['epoch']}/{row['at']}"
    return {
        "event_id": name, "at": row["at"], "kind": "verdict_changed", "before": before,
        **{key: row[key] for key in told},
    }  # fmt: skip


def alarms_of(drifts: Iterable[Drift]) -> dict[str, int]:
    """Gate → since when there is an alarm, UTC ms."""
    return {drift.gate: drift.since for drift in drifts if drift.since is not None}


def _drift_events(pair: Pair, found: Verdict) -> list[Event]:
    """Alarms after the cutover that have not been told; the same from whoever tells them."""
    who = f"{found.workload}/{pair.candidate}/{found.epoch}"
    return [
        {
            "event_id": f"drift/{who}/{drift.gate}/{drift.since}", "at": found.at, "kind": "drift_alarm",
            "workload": found.workload, "candidate": pair.candidate, "provider": pair.provider,
            "epoch": found.epoch, "stage": pair.stage, "gate": drift.gate, "limit": drift.limit,
            "since": drift.since, "message_en": drift.reason.en, "message_zh": drift.reason.zh,
        }
        for drift in found.drift
        if drift.reason and drift.since != pair.alarms.get(drift.gate)
    ]  # fmt: skip


def _epoch_event(plan: Plan, epoch: Epoch, now: int) -> Event:
    return {
        "event_id": f"epoch/{epoch.workload}/{epoch.candidate}/{epoch.epoch}",
        "at": now,
        "kind": "epoch_started",
        "workload": epoch.workload,
        "provider": plan.endpoints[epoch.candidate].provider,
        "candidate": epoch.candidate,
        "epoch": epoch.epoch,
        "set_by": epoch.set_by,
        "after_data": epoch.after_data,
        "plan_hash": epoch.plan_hash,
    }


def _move_event(plan: Plan, move: Move, now: int) -> Event:
    return {
        "event_id": f"autopilot/{move.workload}/{move.action}/{move.stage}/{now}",
        "at": now,
        "kind": "autopilot",
        "workload": move.workload,
        "provider": plan.endpoints[move.candidates[0]].provider if move.candidates else "",
        "action": move.action,
        "stage_from": move.stage_from,
        "stage": move.stage,
        "candidates": list(move.candidates),
    }
