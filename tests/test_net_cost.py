"""Free tokens and flat plans make the net cost, and not a cent gets lost between list and net."""

from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import anthropic_record

from pipeline.catalog import load_catalog
from pipeline.formats.cutover import encode
from pipeline.intake import Intake, Message
from pipeline.net import monthly_costs
from pipeline.plan_file import load_plan
from pipeline.scoring.net_cost import (
    DayUsage,
    NetCost,
    Purse,
    fee_of_day,
    grants_of,
    net_by_day,
    net_by_month,
    plans_of,
    tokens_left,
)
from pipeline.verdicts.plan import MonthlyPlan, PlanError, TokenGrant
from pipeline.yamlfile import BadFile

D = Decimal
FIRST = date(2026, 11, 1)
END = date(2027, 1, 1)


def used(day: int, tokens: int, cost: str | None, model: str = "m", **more) -> DayUsage:
    fields = {"provider": "p", "currency": "CNY" if cost else "", "calls": 1, **more}
    return DayUsage(
        day=date(2026, 11, day),
        model=model,
        tokens=tokens,
        cost=D(cost) if cost else None,
        **fields,
    )


def free(tokens: int, first: int = 1, last: int | None = None, *models: str) -> TokenGrant:
    expires = date(2026, 11, last) if last else None
    return TokenGrant(tokens=tokens, starts=date(2026, 11, first), expires=expires, models=models)


def monthly(price: str, first: int = 1, until: date | None = None, path: str = "") -> MonthlyPlan:
    return MonthlyPlan(
        price=D(price), currency="CNY", starts=date(2026, 11, first), until=until, path=path
    )


def net(usage: Sequence[DayUsage], *grants: TokenGrant) -> list[tuple[int, str, str]]:
    """(day, granted, net) of each day."""
    days = net_by_day(usage, {"p": grants}, {}, END)
    return [(day.begin.day, str(day.granted), str(day.net_cost)) for day in days]


def test_free_tokens_pay_at_the_days_list_price_until_they_are_used_up() -> None:
    """1,000 free: 600 on the first day, 400 of the second day's 800, none of the third."""
    usage = [used(1, 600, "6"), used(2, 800, "12"), used(3, 100, "1")]
    assert net(usage, free(1000)) == [
        (1, "6.000000000000", "0E-12"),
        (2, "6.000000000000", "6.000000000000"),
        (3, "0E-12", "1.000000000000"),
    ]


def test_the_grant_that_expires_first_goes_first_and_none_counts_outside_its_days() -> None:
    purse = Purse([free(10, 1), free(10, 2, 3), free(10, 1, 2)])
    assert [purse.take(date(2026, 11, day), "m", 8) for day in (1, 2, 3, 4)] == [8, 8, 8, 6]
    assert purse.left == (0, 0, 0)
    assert Purse([free(10, 2, 3)]).take(date(2026, 11, 4), "m", 8) == 0


def test_tokens_left_are_those_that_may_still_be_used_that_day() -> None:
    """Of 10, 20 and 40 free tokens 4 are used; the first expires, the last has not begun."""
    grants = {"p": [free(10, 1, 2), free(20), free(40, 5)], "q": []}
    usage = [used(1, 4, "1"), used(1, 9, None, flat_rate_plan="coding")]
    for day, left in ((2, 26), (3, 20), (5, 60)):
        assert tokens_left(usage, grants, {}, date(2026, 11, day)) == {"p": left}


def test_a_grant_for_some_models_pays_for_no_other() -> None:
    usage = [used(1, 100, "1", "large"), used(1, 100, "1", "small")]
    days = net_by_day(usage, {"p": [free(500, 1, None, "small")]}, {}, END)
    assert [(d.list_cost, d.granted) for d in days] == [(D(2), D(1))]


def test_free_tokens_are_used_up_by_calls_whose_price_is_unknown_too() -> None:
    """They are told apart from the known costs, under no currency."""
    unknown, known = net_by_day(
        [used(1, 900, None, "a"), used(1, 200, "2", "b")], {"p": [free(1000)]}, {}, END
    )
    assert (unknown.currency, unknown.calls, unknown.unlisted) == ("", 1, 1)
    assert (known.list_cost, known.granted, known.net_cost) == (D(2), D(1), D(1))


def test_a_plan_costs_its_fee_every_day_and_covers_what_it_pays_for() -> None:
    """30 a month are 1 a day in November, with or without calls."""
    usage = [used(1, 100, "7"), used(3, 100, "2")]
    days = net_by_day(usage, {}, {"p": [monthly("30")]}, date(2026, 11, 4))
    assert [(d.list_cost, d.covered, d.fee, d.net_cost) for d in days] == [
        (7, 7, 1, 1),
        (0, 0, 1, 1),
        (2, 2, 1, 1),
    ]


def test_a_plan_for_a_path_leaves_the_calls_beside_it_at_list_price() -> None:
    """Calls under the plan have no list price and use no free tokens."""
    usage = [used(1, 100, None, flat_rate_plan="coding"), used(1, 100, "7", "other")]
    plans = {"p": [monthly("30", path="coding")]}
    (day,) = net_by_day(usage, {"p": [free(100)]}, plans, date(2026, 11, 2))
    assert (day.calls, day.unlisted, day.list_cost, day.granted) == (2, 1, 7, 7)
    assert (day.covered, day.fee, day.net_cost) == (0, 1, 1)


def test_a_plan_that_was_not_named_pays_for_nothing() -> None:
    usage = [used(1, 100, None, flat_rate_plan="coding")]
    (day,) = net_by_day(usage, {"p": [free(100)]}, {}, END)
    assert (day.currency, day.unlisted) == ("", 1)


def test_months_are_sums_of_days() -> None:
    days = net_by_day([used(1, 10, "1"), used(30, 10, "2")], {}, {"p": [monthly("31")]}, END)
    november, december = net_by_month(days)
    assert (november.begin, november.list_cost, november.fee) == (FIRST, 3, 31)
    assert (december.begin, december.list_cost, december.fee) == (date(2026, 12, 1), 0, 31)


# ---- what holds for any usage

DAYS = st.integers(0, 45).map(lambda n: FIRST + timedelta(days=n))
MONEY = st.decimals(0, 10**6, places=12)
USAGE = st.lists(
    st.builds(
        DayUsage,
        day=DAYS,
        provider=st.sampled_from("pq"),
        model=st.sampled_from(["large", "small"]),
        flat_rate_plan=st.sampled_from(["", "coding"]),
        currency=st.sampled_from(["CNY", "USD"]),
        calls=st.integers(1, 100),
        tokens=st.integers(0, 10**9),
        cost=MONEY,
    ),
    max_size=30,
)
GRANTS = st.lists(
    st.builds(
        TokenGrant,
        tokens=st.integers(1, 10**10),
        starts=DAYS,
        expires=st.none() | DAYS,
        models=st.sampled_from([(), ("large",)]),
    ),
    max_size=4,
)
PLANS = st.lists(
    st.builds(
        MonthlyPlan,
        price=st.decimals(0, 10**6, places=6),
        currency=st.sampled_from(["CNY", "USD"]),
        starts=DAYS,
        until=st.none() | DAYS,
        path=st.sampled_from(["", "coding"]),
    ),
    max_size=3,
)


def total(days: Sequence[NetCost], field: str) -> Decimal:
    return sum((getattr(day, field) for day in days), D(0))


@given(USAGE, GRANTS, PLANS)
def test_sums_are_conserved(usage, grants, plans) -> None:
    """List cost is that of the usage; net is what grants and plans leave of it, plus the fees."""
    days = net_by_day(usage, {"p": grants}, {"q": plans}, END)
    assert total(days, "list_cost") == sum((item.cost for item in usage), D(0))
    assert sum(day.calls for day in days) == sum(item.calls for item in usage)
    fees = (fee_of_day(p, FIRST + timedelta(days=n)) for p in plans for n in range(61) if p.holds(FIRST + timedelta(days=n)))  # fmt: skip
    assert total(days, "fee") == sum(fees, D(0))
    for field in ("list_cost", "granted", "covered", "fee", "net_cost"):
        assert total(net_by_month(days), field) == total(days, field)


@given(USAGE, GRANTS, PLANS)
def test_grants_never_make_a_day_dearer_nor_cheaper_than_nothing(usage, grants, plans) -> None:
    """Without a fee 0 ≤ net ≤ list, on every day, and what a plan covers is not granted again."""
    for day in net_by_day(usage, {"p": grants, "q": grants}, {"q": plans}, END):
        assert min(day.granted, day.covered, day.net_cost) >= 0
        assert day.granted + day.covered <= day.list_cost
        assert day.net_cost - day.fee <= day.list_cost


@given(USAGE, GRANTS)
def test_what_is_left_of_a_grant_is_never_below_nothing(usage, grants) -> None:
    purse = Purse(grants)
    taken = sum(purse.take(item.day, item.model, item.tokens) for item in usage)
    assert min(purse.left, default=0) >= 0
    assert taken + sum(purse.left) == sum(grant.tokens for grant in grants)


@given(USAGE, GRANTS, PLANS, st.randoms(use_true_random=False))
def test_the_order_in_which_usage_is_given_does_not_matter(usage, grants, plans, random) -> None:
    """Rows that differ in day, model, plan or currency; the store's do."""
    rows = list({(i.day, i.provider, i.model, i.flat_rate_plan, i.currency): i for i in usage}.values())  # fmt: skip
    days = net_by_day(rows, {"p": grants}, {"p": plans}, END)
    assert days == sorted(days, key=lambda d: (d.begin, d.provider, d.currency))
    random.shuffle(rows)
    assert net_by_day(rows, {"p": grants}, {"p": plans}, END) == days


@given(st.decimals(0, 10**9, places=6), st.dates(date(2020, 1, 1), date(2040, 12, 1)))
def test_the_days_of_a_whole_month_pay_its_price_exactly(price, day) -> None:
    plan = MonthlyPlan(price=price, currency="CNY", starts=date(2020, 1, 1))
    month = [day.replace(day=n + 1) for n in range(monthrange(day.year, day.month)[1])]
    fees = [fee_of_day(plan, each) for each in month]
    assert sum(fees) == price
    assert max(fees) - min(fees) <= D("1e-12")


# ---- from the plan and the store

PLAN = """
migration: Leaving Claude
baseline: claude
endpoints:
  claude: {provider: anthropic}
  sense: {provider: sensenova, offer_taken: 2026-11-10}
  glm:
    provider: zhipu
    grants:
      - {tokens: 60, from: 2026-11-01, expires: 2026-11-30}
    plans:
      - {price: 300, currency: CNY, from: 2026-11-16, path: coding}
"""


def plan_of(folder, text: str):
    (folder / "plan.yml").write_text(text, encoding="utf-8")
    return load_plan(folder / "plan.yml")


def test_grants_come_from_the_plan_and_from_an_offer_that_was_taken(tmp_path) -> None:
    plan = plan_of(tmp_path, PLAN)
    grants = grants_of(plan, load_catalog())
    assert grants["sensenova"] == (TokenGrant(tokens=50_000_000, starts=date(2026, 11, 10)),)
    assert [grant.tokens for grant in grants["zhipu"]] == [60]
    assert grants["anthropic"] == ()
    assert [(p.price, p.currency, p.path) for p in plans_of(plan)["zhipu"]] == [
        (300, "CNY", "coding")
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("expires: 2026-11-30", "expires: 2026-10-30", r"endpoints.glm.grants\[0\].expires"),
        ("tokens: 60", "tokens: 0", "tokens"),
        ("tokens: 60", "token: 60", "unknown field `token`"),
        ("price: 300", "price: -1", r"endpoints.glm.plans\[0\].price"),
        ("price: 300", "price: cheap", "price"),
        ("path: coding", "until: 2026-11-16", r"endpoints.glm.plans\[0\].until"),
        ("currency: CNY", "currency: yuan", "currency"),
        ("from: 2026-11-16", "from: soon", "from"),
        ("offer_taken: 2026-11-10", "offer_taken: yes", "offer_taken"),
    ],
)
def test_terms_that_cannot_be_are_refused_with_the_entry_named(tmp_path, old, new, says) -> None:
    with pytest.raises((PlanError, BadFile), match=says):
        plan_of(tmp_path, PLAN.replace(old, new))


def test_list_and_net_cost_of_the_calls_in_the_store(store, rules, catalog, tmp_path) -> None:
    """Two calls of 120 tokens at list price, one under the coding plan; November has 30 days."""
    at = {"host": "api.z.ai", "path": "/api/anthropic/v1/messages", "provider": "zhipu"}
    response = '{"type":"message","role":"assistant","model":"glm-4.6","content":[{"type":"text","text":"Yes."}],"stop_reason":"end_turn","usage":{"input_tokens":100,"output_tokens":20}}'
    coding = {"host": "open.bigmodel.cn", "path": "/api/coding/paas/v4/messages"}
    records = [
        anthropic_record("a", response=response, **at),
        anthropic_record("b", response=response, **at, arm="shadow"),
        anthropic_record("c", response=response, **{**at, **coding}),
    ]
    worker = Intake(client=store, batch_calls=10, remembered_ids=10, cluster="c1", worker="w")
    value = b"\n".join(encode(record) for record in records)
    worker.store("llm.calls", 0, [Message(0, records[0].started_at, value)], rules, lambda: True)
    day = datetime.fromtimestamp(records[0].started_at / 1000, UTC).date()
    assert (day.year, day.month) == (2026, 11)

    found = monthly_costs(store, catalog, plan_of(tmp_path, PLAN), date(2026, 12, 1))
    price = (D("0.6") * 100 + D("2.2") * 20) / 1_000_000
    assert found == [
        NetCost(begin=FIRST, provider="zhipu", currency="CNY", calls=1, unlisted=1, fee=D(150)),
        NetCost(begin=FIRST, provider="zhipu", currency="USD", calls=2, list_cost=2 * price, granted=price / 2),
    ]  # fmt: skip
    unplanned = monthly_costs(store, catalog, None, date(2026, 12, 1))
    assert [(m.currency, m.unlisted, m.net_cost) for m in unplanned] == [("", 1, 0), ("USD", 0, 2 * price)]  # fmt: skip
