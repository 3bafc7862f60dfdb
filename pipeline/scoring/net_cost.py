"""What is really paid: list cost less free tokens, with flat monthly plans in place of list prices.

    net = list cost − granted − covered by a plan + the plan's fee

Free tokens pay for the tokens of a day at that day's average list price, the grant that expires
first going first; calls under a plan use none. A plan costs its fee on each of its days, used or
not: the monthly price spread evenly over the days of the calendar month. All per provider, in
native currency, to the last 10^-12.
"""

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_DOWN, Decimal

import msgspec

from pipeline.catalog import Catalog
from pipeline.verdicts.plan import MonthlyPlan, Plan, TokenGrant

_UNIT = Decimal("1e-12")
_NOTHING = Decimal("0E-12")

Grants = Mapping[str, Sequence[TokenGrant]]  # by provider
Plans = Mapping[str, Sequence[MonthlyPlan]]


class DayUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one day to a provider's model, alike in plan ("": none) and currency.

    `cost` is their list cost: None, with currency "", where it is unknown.
    """

    day: date
    provider: str
    model: str
    flat_rate_plan: str = ""
    currency: str
    calls: int
    tokens: int
    cost: Decimal | None


class NetCost(msgspec.Struct, frozen=True, kw_only=True):
    """List and net cost of a provider in one currency over a day, or a month by its first day.

    `unlisted` of the `calls` have no list cost. With currency "" nothing is known of what the calls
    cost: all amounts are 0 and mean nothing.
    """

    begin: date
    provider: str
    currency: str
    calls: int = 0
    unlisted: int = 0
    list_cost: Decimal = _NOTHING
    granted: Decimal = _NOTHING
    covered: Decimal = _NOTHING
    fee: Decimal = _NOTHING

    @property
    def net_cost(self) -> Decimal:
        return self.list_cost - self.granted - self.covered + self.fee


class Purse:
    """A provider's free tokens, and what is left of them."""

    def __init__(self, grants: Sequence[TokenGrant]) -> None:
        self._grants = sorted(grants, key=lambda grant: grant.expires or date.max)
        self._left = [grant.tokens for grant in self._grants]

    @property
    def left(self) -> tuple[int, ...]:
        """Tokens left of each grant, in order of expiry."""
        return tuple(self._left)

    def left_on(self, day: date) -> int:
        """Tokens left that calls of that day may use, to whatever model."""
        grants = zip(self._grants, self._left, strict=True)
        return sum(left for grant, left in grants if grant.in_time(day))

    def take(self, day: date, model: str, tokens: int) -> int:
        """Uses up to so many tokens; returns how many of them were free."""
        wanted = tokens
        for i, grant in enumerate(self._grants):
            if grant.holds(day, model):
                used = min(wanted, self._left[i])
                self._left[i] -= used
                wanted -= used
        return tokens - wanted


def net_by_day(
    usage: Iterable[DayUsage], grants: Grants, plans: Plans, until: date
) -> list[NetCost]:
    """Net cost per day, provider and currency, in that order; fees run to the day before `until`.

    The usage must reach back to the first day of every grant, or too much of it would be left. Of
    one day it is taken in order of model, flat-rate plan and currency.
    """
    purses = {provider: Purse(given) for provider, given in grants.items()}
    return _sums([*_parts(usage, purses, plans), *_fees(plans, until)])


def tokens_left(
    usage: Iterable[DayUsage], grants: Grants, plans: Plans, day: date
) -> dict[str, int]:
    """Free tokens each provider with grants still has on that day, after the usage, as in `net_by_day`."""
    purses = {provider: Purse(given) for provider, given in grants.items() if given}
    _parts(usage, purses, plans)
    return {provider: purse.left_on(day) for provider, purse in purses.items()}


def net_by_month(days: Iterable[NetCost]) -> list[NetCost]:
    """The same per calendar month."""
    return _sums(msgspec.structs.replace(day, begin=day.begin.replace(day=1)) for day in days)


def fee_of_day(plan: MonthlyPlan, day: date) -> Decimal:
    """The day's part of the monthly price; the parts of a whole month add up to it exactly."""
    days = monthrange(day.year, day.month)[1]
    until, before = (plan.price * n / days for n in (day.day, day.day - 1))
    return until.quantize(_UNIT) - before.quantize(_UNIT)


def grants_of(plan: Plan, catalog: Catalog) -> dict[str, tuple[TokenGrant, ...]]:
    """The free tokens of each provider: the plan's, and those of an offer that was taken."""
    found: dict[str, tuple[TokenGrant, ...]] = {}
    taken: dict[str, date] = {}
    for endpoint in plan.endpoints.values():
        provider = endpoint.provider
        found[provider] = found.get(provider, ()) + endpoint.grants
        if endpoint.offer_taken:
            taken[provider] = min(endpoint.offer_taken, taken.get(provider, date.max))
    for provider, day in taken.items():
        found[provider] += _offered(catalog, provider, day)
    return found


def plans_of(plan: Plan) -> dict[str, tuple[MonthlyPlan, ...]]:
    """The flat monthly plans of each provider."""
    found: dict[str, tuple[MonthlyPlan, ...]] = {}
    for endpoint in plan.endpoints.values():
        found[endpoint.provider] = found.get(endpoint.provider, ()) + endpoint.plans
    return found


def _offered(catalog: Catalog, provider_id: str, taken: date) -> tuple[TokenGrant, ...]:
    provider = catalog.providers.get(provider_id)
    return tuple(
        TokenGrant(
            tokens=int(grant.amount), starts=taken, expires=grant.expires, models=grant.models
        )
        for grant in (provider.file.offer.grants if provider else ())
        if grant.kind == "tokens"
    )


def _order(item: DayUsage) -> tuple[date, str, str, str, str]:
    return item.day, item.provider, item.model, item.flat_rate_plan, item.currency


def _net(item: DayUsage, plans: Sequence[MonthlyPlan], purse: Purse | None) -> NetCost:
    cost = _NOTHING if item.cost is None else item.cost
    payer = next((plan for plan in plans if plan.pays(item.day, item.flat_rate_plan)), None)
    free = purse.take(item.day, item.model, item.tokens) if purse and _by_token(item, payer) else 0
    return NetCost(
        begin=item.day,
        provider=item.provider,
        currency=item.currency or (payer.currency if payer else ""),
        calls=item.calls,
        unlisted=item.calls if item.cost is None else 0,
        list_cost=cost,
        granted=(cost * free / item.tokens).quantize(_UNIT, ROUND_DOWN) if free else _NOTHING,
        covered=cost if payer else _NOTHING,
    )


def _parts(usage: Iterable[DayUsage], purses: Mapping[str, Purse], plans: Plans) -> list[NetCost]:
    """The net cost of each, using the purses up."""
    return [
        _net(item, plans.get(item.provider, ()), purses.get(item.provider))
        for item in sorted(usage, key=_order)
    ]


def _by_token(item: DayUsage, payer: MonthlyPlan | None) -> bool:
    return payer is None and not item.flat_rate_plan


def _fees(plans: Plans, until: date) -> Iterable[NetCost]:
    for provider, agreed in plans.items():
        for plan in agreed:
            for number in range((min(plan.until or until, until) - plan.starts).days):
                day = plan.starts + timedelta(days=number)
                fee = fee_of_day(plan, day)
                yield NetCost(begin=day, provider=provider, currency=plan.currency, fee=fee)


def _sums(parts: Iterable[NetCost]) -> list[NetCost]:
    sums: dict[tuple[date, str, str], NetCost] = {}
    for part in parts:
        key = part.begin, part.provider, part.currency
        sums[key] = _sum(sums[key], part) if key in sums else part
    return [sums[key] for key in sorted(sums)]


def _sum(one: NetCost, other: NetCost) -> NetCost:
    return msgspec.structs.replace(
        one,
        calls=one.calls + other.calls,
        unlisted=one.unlisted + other.unlisted,
        list_cost=one.list_cost + other.list_cost,
        granted=one.granted + other.granted,
        covered=one.covered + other.covered,
        fee=one.fee + other.fee,
    )
