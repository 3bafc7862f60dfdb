"""The migration plan: who moves where, in which steps. `plan.yml` is read into these types.

migration: Leaving Claude
baseline: claude
endpoints:
  claude: {provider: anthropic}
  kimi: {provider: moonshot, model: kimi-k2.6, key_env: MOONSHOT_API_KEY}
workloads:
  support:
    name: {en: Support bot, zh: 客服机器人}
    owner: Chen Wei
    match: {app: support-bot}
    stages:
      - {name: canary, from: 2026-11-02T01:00:00Z, shares: {kimi: 0.05}}
      - {name: all, from: 2026-12-01T01:00:00Z, shares: {kimi: 1}}
    autopilot: off
deadline: 2026-12-31T00:00:00Z
gates: {failure: {margin: 0.01}, score: {margin: 0.02}}

`gates` are explained in `gates.py`.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase, translate
from functools import cached_property, partial
from hashlib import sha256
from operator import attrgetter
from typing import Annotated

import msgspec
from msgspec import Meta

from pipeline.calls import Arm, Call, Protocol
from pipeline.verdicts.gates import (
    GateRules,
    Gates,
    GatesError,
    Horizon,
    PairGates,
    check_gates,
    resolve,
)


class PlanError(ValueError):
    """The plan contradicts itself; the message names the entry and the mend."""


class Name(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What people call it, in both languages of the pages."""

    en: str
    zh: str = ""


class TokenGrant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Free tokens, input and output alike: from a day on to the day they expire, both included.

    Only for `models`, by their ids in the catalog; for all of the provider's if none is named.
    """

    tokens: Annotated[int, Meta(gt=0)]
    starts: date = msgspec.field(name="from")
    expires: date | None = None
    models: tuple[str, ...] = ()

    def holds(self, day: date, model: str) -> bool:
        """True if a call of that day and model may be free."""
        return self.in_time(day) and (not self.models or model in self.models)

    def in_time(self, day: date) -> bool:
        """True if it has begun and not expired."""
        return self.starts <= day <= (self.expires or date.max)


class MonthlyPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flat price per calendar month, from a day on and before the day `until`.

    It pays for the calls under `path`, a plan the catalog knows by its base URLs ("coding"); without
    `path` for all calls to the provider.
    """

    price: Decimal
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    starts: date = msgspec.field(name="from")
    until: date | None = None
    path: str = ""

    def holds(self, day: date) -> bool:
        """True if that day is paid for."""
        return self.starts <= day < (self.until or date.max)

    def pays(self, day: date, flat_rate_plan: str) -> bool:
        """True if a call of that day under that plan ("": none) is paid by this one."""
        return self.holds(day) and self.path in ("", flat_rate_plan)


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most to be spent at a candidate's before somebody decides anew; by list price."""

    amount: Decimal
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")] = "USD"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place calls can be sent to.

    `base_urls` (protocol → URL) defaults to the provider's own, in `region`, from the catalog.
    `model` replaces the model the caller asked for; `models` maps single names first (glob → name).
    The caller's key goes to the baseline only; every other endpoint needs `key_env`, the name of
    the environment variable that holds its key.
    `grants` and `plans` are what the provider agreed besides its list prices; `offer_taken` is the
    day from which the grants in the provider's facts hold too. They belong to the provider: several
    endpoints of one provider share them. A candidate over its `budget` is not promoted.
    """

    provider: str
    region: str = ""
    model: str = ""
    models: dict[str, str] = {}
    base_urls: dict[Protocol, str] = {}
    key_env: str = ""
    grants: tuple[TokenGrant, ...] = ()
    plans: tuple[MonthlyPlan, ...] = ()
    offer_taken: date | None = None
    budget: Budget | None = None

    @property
    def named_models(self) -> frozenset[str]:
        """The models it may send for; none if the caller's own model stays."""
        return frozenset({self.model, *self.models.values()} - {""})

    def model_for(self, requested: str) -> str:
        """The model name to send for the one the caller asked for."""
        for pattern, name in self.models.items():
            if fnmatchcase(requested, pattern):
                return name
        return self.model or requested


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Which calls belong to a workload: all the conditions given must hold. Values may be globs."""

    app: str = ""
    team: str = ""
    model: str = ""
    path: str = ""
    tags: dict[str, str] = {}

    def fits(self, call: Call) -> bool:
        """True if every condition given holds; a rule without conditions fits nothing."""
        conditions = self._conditions
        return bool(conditions) and all(fits(told(call)) for told, fits in conditions)

    @cached_property
    def _conditions(self) -> tuple[tuple[Callable[[Call], str], Callable[[str], object]], ...]:
        """Of each condition that is given: what it asks a call for, and what finds that it fits."""
        wanted: list[tuple[str, Callable[[Call], str]]] = [
            (self.app, attrgetter("app")),
            (self.team, attrgetter("team")),
            (self.model, attrgetter("exchange.request_model")),
            (self.path, attrgetter("path")),
            *((value, partial(_tag, key)) for key, value in self.tags.items()),
        ]
        return tuple((told, re.compile(translate(glob)).match) for glob, told in wanted if glob)


def _tag(key: str, call: Call) -> str:
    return call.tags.get(key, "")


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From a moment on, which share of the conversations each candidate gets; the baseline has the rest."""

    name: str
    starts: datetime = msgspec.field(name="from")
    shares: dict[str, float] = {}

    @property
    def starts_ms(self) -> int:
        return round(self.starts.timestamp() * 1000)

    @property
    def migrated(self) -> float:
        """The candidates' shares together, 0 to 1."""
        return sum(self.shares.values())


class Shadow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which conversations are mirrored, for comparison only: nobody gets the mirrored answers.

    `share` of the conversations that the baseline answers goes to a candidate too; of these,
    `baseline_share` (of all conversations, so at most `share`) to the baseline a second time: how much it
    disagrees with itself. Both together cost at most `budget_per_day`, by list price, per UTC day
    and tap. `tools` are the types of tools run by the vendor ("web_search") that may run twice.
    """

    share: Annotated[float, Meta(gt=0, le=1)]
    baseline_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    budget_per_day: Decimal
    currency: Annotated[str, Meta(pattern=r"^(USD|CNY)$")] = "USD"
    tools: tuple[str, ...] = ()


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stream of calls that moves as a whole: its owner, how to recognise it, its stages.

    `autopilot` lets a PROMOTE move it one stage up and a ROLLBACK send it back at once. Raise `epoch` to
    judge afresh, after a mend at the candidate's: each new start is judged more strictly.
    """

    name: Name
    owner: str = ""
    match: Match = Match()
    stages: tuple[Stage, ...] = ()
    shadow: Shadow | None = None
    gates: GateRules = GateRules()
    autopilot: bool = False
    epoch: Annotated[int, Meta(ge=1)] = 1

    def stage_at(self, at_ms: int) -> Stage | None:
        """The stage in force at that time; None before the first one."""
        begun = [stage for stage in self.stages if stage.starts_ms <= at_ms]
        return begun[-1] if begun else None

    @property
    def candidates(self) -> tuple[str, ...]:
        """Endpoint names in order of first appearance in the stages."""
        return tuple(dict.fromkeys(name for stage in self.stages for name in stage.shares))

    def candidates_at(self, at_ms: int) -> tuple[str, ...]:
        """The candidates of the stage in force and of those to come: not those given up."""
        now = self.stage_at(at_ms)
        left = self.stages[self.stages.index(now) :] if now else self.stages
        return tuple(dict.fromkeys(name for stage in left for name in stage.shares))


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole migration."""

    migration: str
    baseline: str
    endpoints: dict[str, Endpoint]
    workloads: dict[str, Workload] = {}
    deadline: datetime | None = None
    gates: GateRules = GateRules()

    def workload_of(self, call: Call) -> str:
        """The workload a call names, or the first whose rule fits; "" if none does."""
        if call.workload:
            return call.workload
        return next((key for key, w in self.workloads.items() if w.match.fits(call)), "")

    def provider_of(self, name: str) -> str:
        """The provider of the endpoint that a gateway calls by that name; else the name itself."""
        return self.endpoints[name].provider if name in self.endpoints else name

    def region_of(self, provider: str) -> str:
        """The region the plan calls that provider in, "" if it does not say."""
        return next((e.region for e in self.endpoints.values() if e.provider == provider), "")

    def endpoint_of(self, workload: str, provider: str, models: Iterable[str] = ()) -> str | None:
        """The workload's endpoint, baseline or candidate, that was called; None outside the plan.

        Told by the provider; of several of one provider by the model, `models` being all that is known of
        its name: an endpoint without models of its own takes what no other names.
        """
        if workload not in self.workloads:
            return None
        every = (self.baseline, *self.workloads[workload].candidates)
        same = [name for name in every if self.endpoints[name].provider == provider]
        if len(same) < 2:
            return same[0] if same else None
        known = set(models)
        named = (name for name in same if known & self.endpoints[name].named_models)
        rest = (name for name in same if not self.endpoints[name].named_models)
        return next(named, next(rest, None))

    def arm_of(self, workload: str, provider: str, models: Iterable[str] = ()) -> Arm:
        """Baseline or candidate, told by what was called; NONE outside the plan."""
        name = self.endpoint_of(workload, provider, models)
        if name is None:
            return Arm.NONE
        return Arm.BASELINE if name == self.baseline else Arm.CANDIDATE

    def arm_key(self, candidate: str) -> str:
        """What a candidate is called in units: its provider and model."""
        endpoint = self.endpoints[candidate]
        models = endpoint.model or ",".join(sorted(endpoint.named_models))
        return f"{endpoint.provider}/{models}" if models else endpoint.provider


def check(plan: Plan) -> Plan:
    """The plan itself if it is sound. Raises PlanError naming the entry and the mend."""
    if plan.baseline not in plan.endpoints:
        raise PlanError(f"baseline: {plan.baseline!r} is not one of endpoints {_names(plan)}")
    for name, endpoint in plan.endpoints.items():
        _check_terms(name, endpoint)
    for key, workload in plan.workloads.items():
        _check_stages(plan, key, workload)
        _check_shadow(f"workloads.{key}.shadow", workload)
        gates = gates_of(plan, key)
        try:
            check_gates(f"workloads.{key}.gates", gates)
        except GatesError as error:
            raise PlanError(str(error)) from None
        _check_paired(f"workloads.{key}", workload, gates.pairs)
    for name in {n for w in plan.workloads.values() for n in w.candidates}:
        if not plan.endpoints[name].key_env:
            raise PlanError(
                f"endpoints.{name}.key_env: name the environment variable that holds its API key; "
                "the caller's key is only ever sent to the baseline"
            )
    return plan


def gates_of(plan: Plan, workload: str) -> Gates:
    """The gates in force for a workload: its own, over the plan's, over the defaults."""
    return resolve(plan.gates, plan.workloads[workload].gates)


def plan_hash(plan: Plan) -> str:
    """SHA-256 of the plan as a JSON document, as it is recorded in the store."""
    return sha256(msgspec.json.encode(plan)).hexdigest()


def epoch_hash(plan: Plan, workload: str, candidate: str) -> str:
    """SHA-256 of all that evidence was gathered under; when it changes, evidence starts anew.

    That is: both endpoints as far as they decide what answers, how conversations are told and
    left out, margins and error rates, and the workload's own `epoch`.
    """
    gates = msgspec.structs.replace(gates_of(plan, workload), horizon=Horizon())
    answers = [
        (e.provider, e.region, e.model, e.models, e.base_urls)
        for e in (plan.endpoints[plan.baseline], plan.endpoints[candidate])
    ]
    what = (plan.workloads[workload].epoch, plan.workloads[workload].match, answers, gates)
    return sha256(msgspec.json.encode(what, order="deterministic")).hexdigest()


def _check_terms(name: str, endpoint: Endpoint) -> None:
    if endpoint.budget and not (endpoint.budget.amount.is_finite() and endpoint.budget.amount > 0):
        raise PlanError(f"endpoints.{name}.budget.amount: must be more than 0")
    for number, grant in enumerate(endpoint.grants):
        if grant.expires and grant.expires < grant.starts:
            where = f"endpoints.{name}.grants[{number}]"
            raise PlanError(f"{where}.expires: must not be before from, {grant.starts}")
    for number, plan in enumerate(endpoint.plans):
        where = f"endpoints.{name}.plans[{number}]"
        if not plan.price.is_finite() or plan.price < 0:
            raise PlanError(f"{where}.price: must be 0 or more")
        if plan.until and plan.until <= plan.starts:
            raise PlanError(f"{where}.until: must be later than from, {plan.starts}")


def _check_stages(plan: Plan, key: str, workload: Workload) -> None:
    previous = datetime.min.replace(tzinfo=UTC)
    for number, stage in enumerate(workload.stages):
        where = f"workloads.{key}.stages[{number}]"
        if stage.starts.tzinfo is None:
            raise PlanError(f"{where}.from: give the time zone, e.g. 2026-11-02T01:00:00Z")
        if stage.starts <= previous:
            raise PlanError(f"{where}.from: stages must start one after the other")
        if unknown := set(stage.shares) - set(plan.endpoints):
            raise PlanError(f"{where}.shares: {sorted(unknown)} not in endpoints {_names(plan)}")
        if plan.baseline in stage.shares:
            raise PlanError(f"{where}.shares: leave out the baseline, it has the rest")
        if min(stage.shares.values(), default=0) < 0 or stage.migrated > 1 + 1e-9:
            raise PlanError(f"{where}.shares: shares are between 0 and 1 and add up to at most 1")
        previous = stage.starts
    _check_apart(plan, key, workload)


def _check_apart(plan: Plan, key: str, workload: Workload) -> None:
    """Raises PlanError if calls to two of the workload's endpoints could not be told apart."""
    seen: dict[tuple[str, str], str] = {}
    for name in (plan.baseline, *workload.candidates):
        endpoint = plan.endpoints[name]
        for model in endpoint.named_models or {""}:
            other = seen.setdefault((endpoint.provider, model), name)
            if other != name:
                raise PlanError(
                    f"workloads.{key}: endpoints {other} and {name} are both {endpoint.provider} "
                    f"with {model or 'any model'}: their calls could not be told apart; give each its own model"
                )


def _check_shadow(where: str, workload: Workload) -> None:
    shadow = workload.shadow
    if shadow is None:
        return
    if shadow.baseline_share > shadow.share:
        raise PlanError(f"{where}.baseline_share: must not be more than share, {shadow.share}")
    if not shadow.budget_per_day.is_finite() or shadow.budget_per_day < 0:
        raise PlanError(f"{where}.budget_per_day: must be 0 or more")
    if not workload.candidates:
        raise PlanError(f"{where}: name a candidate in a stage's shares, if with a share of 0")


def _check_paired(where: str, workload: Workload, gates: PairGates) -> None:
    """Gates for shadow pairs need pairs, or they would hold for ever."""
    if any((gates.failure, gates.score, gates.disagreement)) and workload.shadow is None:
        raise PlanError(
            f"{where}.gates.pairs: no call is mirrored; give the workload a shadow, or take these "
            "gates away with pairs: {}"
        )
    if gates.disagreement and workload.shadow and not workload.shadow.baseline_share:
        raise PlanError(
            f"{where}.shadow.baseline_share: must be more than 0 for gates.pairs.disagreement, "
            "which is judged beyond the baseline's disagreement with itself"
        )


def _names(plan: Plan) -> str:
    return ", ".join(plan.endpoints)
