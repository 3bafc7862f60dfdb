"""When the migration will be where, gates on their own scale, and why costs differ: all from values alone."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from dashboards import ahead, costs, names, verdicts, words
from dashboards.access import role_of
from dashboards.markup import link, plain
from dashboards.sides import Apart, Side, told_apart
from dashboards.views.money import folded
from pipeline.catalog import Catalog, load_catalog
from pipeline.progress import PlanVersion, frozen
from pipeline.report import words as report_words
from pipeline.savings import Saving
from pipeline.scoring.net_cost import NetCost
from pipeline.verdicts.plan import Endpoint, Name, Plan, Stage, Workload
from pipeline.wording import filled

DAY = ahead.DAY_MS
START = round(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000)
WORK = msgspec.convert(
    {
        "name": {"en": "w"},
        "match": {"app": "a"},
        "stages": [
            {"name": "one", "from": "2026-11-01T00:00:00Z", "shares": {"kimi": 0.1}},
            {"name": "two", "from": "2026-11-11T00:00:00Z", "shares": {"kimi": 0.5}},
            {"name": "all", "from": "2026-11-21T00:00:00Z", "shares": {"kimi": 1.0}},
        ],
    },
    Workload,
    strict=False,
)
NOW = START + 5 * DAY


def verdict(said: str, **forecast: int | None) -> verdicts.Verdict:
    gates = [{"gate": "failure", "state": "open", "margin": 0.01, "forecast": forecast}] if forecast else []  # fmt: skip
    at = datetime(2026, 11, 6, tzinfo=UTC)
    return verdicts.read({
        "at": at, "workload": "w", "candidate": "kimi", "provider": "moonshot", "model": "m", "epoch": 1,
        "verdict": said, "since": at, "reason_en": "why", "reason_zh": "", "stage": "one", "share": 0.1,
        "units_baseline": 1, "units_candidate": 1, "late_calls": 0, "drift": "", "gates": msgspec.json.encode(gates).decode(),
    })  # fmt: skip


@pytest.mark.parametrize(
    ("said", "delay_days"),
    [
        ([], 0),
        ([verdict("PROMOTE")], 0),
        ([verdict("HOLD", conversations=9, ready_at=NOW)], 0),
        ([verdict("HOLD", conversations=9, ready_at=START + 13 * DAY)], 3),
        ([verdict("HOLD", conversations=9, ready_at=NOW), verdict("HOLD", conversations=9, ready_at=START + 12 * DAY)], 2),
    ],
)  # fmt: skip
def test_a_stage_begins_at_its_day_or_once_the_evidence_is_there(said, delay_days) -> None:
    coming = ahead.steps(WORK, said, NOW, "middle")
    assert coming == [
        ahead.Step(START + (10 + delay_days) * DAY, 0.5),
        ahead.Step(START + (20 + delay_days) * DAY, 1.0),
    ]


@pytest.mark.parametrize("said", [verdict("ROLLBACK"), verdict("BLOCKED"), verdict("HOLD", conversations=None)])  # fmt: skip
def test_a_workload_that_may_not_go_on_stays_where_it_is(said) -> None:
    assert ahead.steps(WORK, [said], NOW, "middle") == []
    assert ahead.done_at(WORK, [said], NOW, "middle") is None
    fan = ahead.fan({"w": WORK}, [said], {"w": 0.1}, {"w": 10}, NOW, START + 30 * DAY)
    assert {point["middle"] for point in fan} == {0.1}


def test_a_promoted_candidate_waits_for_the_one_that_must_go_back() -> None:
    """Which is why its workload's end is not in sight, its last stage's day or not."""
    said = [verdict("PROMOTE"), verdict("ROLLBACK"), verdict("HOLD", conversations=9, ready_at=NOW)]
    assert ahead.done_at(WORK, said, NOW, "middle") is None
    assert ahead.holding(WORK, said, NOW) == [said[1]]
    assert ahead.holding(WORK, said, START + 21 * DAY) == [said[1]]


@pytest.mark.parametrize(
    ("said", "reached"), [("ROLLBACK", False), ("HOLD", True), ("PROMOTE", True)]
)
def test_the_last_stage_is_not_reached_while_its_candidate_must_go_back(said, reached) -> None:
    late = START + 30 * DAY
    end = ahead.done_at(WORK, [verdict(said)], late, "middle")
    assert end == (START + 20 * DAY if reached else None)
    assert bool(ahead.holding(WORK, [verdict(said)], late)) is not reached
    given_up = msgspec.structs.replace(verdict("ROLLBACK"), candidate="no-longer-there")
    assert ahead.done_at(WORK, [given_up], late, "middle") == START + 20 * DAY


def test_the_fan_opens_with_the_forecast_and_weighs_workloads_by_their_calls() -> None:
    said = verdict("HOLD", conversations=9, least=1, most=20, ready_at=START + 12 * DAY,
                   ready_at_least=START + 11 * DAY, ready_at_most=START + 15 * DAY)  # fmt: skip
    still = msgspec.convert({"name": {"en": "x"}, "match": {"app": "b"}}, Workload)
    fan = ahead.fan({"w": WORK, "x": still}, [said], {"w": 0.1, "x": 0.0}, {"w": 30, "x": 10}, NOW, START + 30 * DAY)  # fmt: skip
    assert fan[0] == {"at": NOW, "least": pytest.approx(0.075), "middle": pytest.approx(0.075), "most": pytest.approx(0.075)}  # fmt: skip
    assert fan[-1]["most"] == pytest.approx(0.75)
    assert all(point["least"] >= point["middle"] >= point["most"] for point in fan)
    assert any(point["least"] > point["most"] for point in fan)


@pytest.mark.parametrize(
    ("unit", "margin", "loss", "place"),
    [
        ("points", 0.01, 0.01, 1), ("points", 0.01, 0.0, 0), ("points", 0.02, -0.02, -1), ("points", 0.0, 0.0, 1),
        ("ratio", 1.3, 1.3, 1), ("ratio", 1.3, 1.0, 0), ("ratio", 1.0, 1.0, 1), ("USD", 0.5, 0.25, 0.5),
    ],
)  # fmt: skip
def test_one_is_the_margin_and_zero_no_difference(unit, margin, loss, place) -> None:
    gate = verdicts.Gate(gate="g", unit=unit, margin=margin)
    assert gate.place(loss) == pytest.approx(place)
    assert gate.place(None) is None


def bills(tokens: dict[str, int], prices: dict[str, str], calls: int = 10) -> costs.Bills:
    counts = {kind: tokens.get(kind, 0) for kind in costs.KINDS}
    amounts = {kind: counts[kind] * Decimal(prices.get(kind, "0")) for kind in costs.KINDS}
    return costs.Bills(calls, 0, counts, amounts)


def test_price_and_tokens_explain_the_whole_difference() -> None:
    a = bills(
        {"input": 1000, "cache_read": 500, "output": 100},
        {"input": "3", "cache_read": "0.3", "output": "15"},
    )
    b = bills({"input": 1400, "output": 150}, {"input": "1", "output": "4"})
    found = costs.effects(a, b)
    assert sum(e.price + e.tokens for e in found) == b.cost_per_call - a.cost_per_call
    by_kind = {e.kind: e for e in found}
    assert by_kind["input"].price == (1 - 3) * (Decimal(100) + 140) / 2
    assert by_kind["cache_read"].price == 0
    assert by_kind["cache_read"].tokens == Decimal("-15")


def test_a_cold_cache_is_told_apart_from_a_dear_price() -> None:
    warm = bills({"input": 200, "cache_read": 800}, {"input": "3", "cache_read": "0.3"})
    cold = bills(
        {"input": 900, "cache_read": 100, "output": 10},
        {"input": "1", "cache_read": "0.1", "output": "2"},
    )
    ways = costs.three_ways(warm, cold)
    assert ways["billed"] == Decimal("93")
    assert ways["uncached"] == Decimal("102")
    assert ways["projected"] == 2 + 100 * (Decimal("0.8") * Decimal("0.1") + Decimal("0.2"))
    never_read = bills({"input": 10}, {"input": "1"})
    assert costs.three_ways(warm, never_read)["projected"] is None
    writing = bills(
        {"input": 200, "cache_read": 500, "cache_write": 300},
        {"input": "3", "cache_read": "0.3", "cache_write": "3.75"},
    )
    assert costs.three_ways(writing, writing)["projected"] == writing.cost_per_call
    ways = costs.three_ways(writing, cold)  # which has no price for writes
    assert ways["projected"] == 2 + 100 * (Decimal("0.5") * Decimal("0.1") + Decimal("0.5"))


def test_the_saving_with_a_warm_cache_reckons_the_candidates_bill_anew() -> None:
    """Cold, its calls cost 93; at the baseline's 80 % of cache reads 30 (see above): so does what was paid."""
    warm = bills({"input": 200, "cache_read": 800, "output": 20}, {"input": "3", "cache_read": "0.3", "output": "15"})  # fmt: skip
    cold = bills({"input": 900, "cache_read": 100, "output": 10}, {"input": "1", "cache_read": "0.1", "output": "2"})  # fmt: skip
    saving = Saving(paid=Decimal(930), baseline_would_be=Decimal(2000), calls=10, left_out=0, variance=100.0)  # fmt: skip
    found = costs.warmed(saving, {"c": Decimal(930)}, warm, {"c": cold})
    assert found is not None
    assert found.paid == 300
    assert found.saved == 1700
    assert found.interval is not None and saving.interval is not None
    assert found.interval[1] - found.interval[0] == saving.interval[1] - saving.interval[0]
    assert costs.token_ratios(warm, cold) == (1.0, 0.5)
    never_read = bills({"input": 10}, {"input": "1"})
    assert costs.warmed(saving, {"c": Decimal(930)}, warm, {"c": never_read}) is None
    assert costs.warmed(saving, {"c": Decimal(1), "d": Decimal(1)}, warm, {"c": cold}) is None
    assert costs.warmed(saving, {}, warm, {}) is None


def test_a_bill_is_shown_only_if_it_adds_up_to_the_stored_cost(catalog: Catalog) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    call = {
        "provider": "anthropic", "region": "", "flat_rate_plan": "", "model": "claude-sonnet-4-5", "started_at": at,
        "currency": "USD", "input_tokens": 1000, "cache_read_input_tokens": 0, "cache_write_5m_input_tokens": 0,
        "cache_write_1h_input_tokens": 0, "output_tokens": 100, "reasoning_output_tokens": None,
        "cost": Decimal("0.0045"),
    }  # fmt: skip
    assert sum(line.amount for line in costs.lines_of(catalog, call)) == call["cost"]
    assert costs.lines_of(catalog, call | {"cost": Decimal("0.0046")}) == ()
    assert costs.lines_of(catalog, call | {"cost": None}) == ()
    found = costs.bills(catalog, [call, call | {"cost": Decimal(1)}], "USD")
    assert (found.calls, found.left_out, found.cost_per_call) == (1, 1, call["cost"])


@pytest.mark.parametrize(
    ("who", "verified", "role"),
    [
        ("boss@example.com", True, "operator"), ("Ann@Example.com", True, "reader"),
        ("ann@example.com", False, ""), ("eve@evil-example.com", True, ""), ("eve@example.com.evil.org", True, ""),
        ("ann@example.com@evil.org", True, ""), ("", True, ""),
    ],
)  # fmt: skip
def test_a_role_is_by_whole_address_or_whole_domain(who, verified, role) -> None:
    assert role_of(who, verified, "boss@example.com", "*@example.com") == role


def test_nobody_has_a_role_unless_listed() -> None:
    assert role_of("ann@example.com", True, "", "") == ""
    assert role_of("ann@example.com", True, "", "*") == "reader"


def test_links_and_labels_escape_what_comes_from_the_data() -> None:
    hostile = '"><img src=x onerror=alert(1)>&a=b'
    html = link(hostile, "calls", workload=hostile, provider="")
    assert "<img" not in html
    assert "provider" not in html
    assert html.count('"') == 4
    assert (
        plain("[x](javascript:1) **b** `c` $y$") == r"\[x\]\(javascript\:1\) \*\*b\*\* \`c\` \$y\$"
    )


def test_calls_of_unknown_cost_are_counted_with_their_providers_row() -> None:
    november = datetime(2026, 11, 1, tzinfo=UTC).date()
    priced = NetCost(begin=november, provider="p", currency="CNY", calls=5, unlisted=1)
    unknown = NetCost(begin=november, provider="p", currency="", calls=2, unlisted=2)
    alone = NetCost(begin=november, provider="q", currency="", calls=3, unlisted=3)
    assert folded([priced, unknown, alone]) == [(priced, 7, 3), (alone, 3, 3)]


VERSIONS = [("b", 2), ("a", 1), ("b", 3), ("a", 5)]  # hash, when


@pytest.mark.parametrize(
    ("begun", "kept", "changes"),
    [(None, "a", ""), (0, "a", "ba"), (1, "a", "ba"), (2.5, "b", "a"), (4, "b", "a"), (9, "a", "")],
)
def test_the_plan_is_frozen_when_the_first_calls_come(begun, kept, changes) -> None:
    """Before any call nothing is frozen; a plan that came after the first calls is frozen as it came."""

    def at(hours: float) -> datetime:
        return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hours)

    plan = Plan(migration="m", baseline="x", endpoints={}, workloads={})
    versions = [PlanVersion(at(hours), name, "ann", plan) for name, hours in VERSIONS]
    frozen_, since = frozen(versions, None if begun is None else at(begun))
    assert frozen_ is not None
    assert (frozen_.plan_hash, "".join(v.plan_hash for v in since)) == (kept, changes)
    assert frozen([], None) == (None, [])


def test_a_stored_forecast_counts_its_days_from_the_verdict_on() -> None:
    """As `pipeline.verdicts.shown` writes it: conversations and days at 10, 50 and 90 %."""
    told = {"conversations_p10": 4, "conversations_p50": 9, "conversations_p90": None, "reachable": True,
            "days_p10": 0.5, "days_p50": 2.0, "days_p90": None}  # fmt: skip
    gate = {"gate": "failure", "state": "open", "margin": 0.01, "needed_promote": 3.0, "needed_rollback": 4.6, "forecast": told}  # fmt: skip
    at = datetime(2026, 11, 6, tzinfo=UTC)
    row = {
        "at": at, "workload": "w", "candidate": "kimi", "provider": "moonshot", "model": "m", "epoch": 1,
        "verdict": "HOLD", "since": at, "reason_en": "", "reason_zh": "", "stage": "one", "share": 0.1,
        "units_baseline": 1, "units_candidate": 1, "late_calls": 0, "drift": "", "gates": msgspec.json.encode([gate]).decode(),
    }  # fmt: skip
    (read,) = verdicts.read(row).gates
    assert (read.promote_threshold, read.rollback_threshold) == (3.0, 4.6)
    assert read.forecast == verdicts.Forecast(
        conversations=9, least=4, most=None, in_time=True,
        ready_at=START + 7 * DAY, ready_at_least=round(START + 5.5 * DAY), ready_at_most=None,
    )  # fmt: skip
    never = told | {"conversations_p50": None, "days_p50": None}
    gates = msgspec.json.encode([gate | {"forecast": never}]).decode()
    said = verdicts.read(row | {"gates": gates})
    assert said.slowest is not None
    assert said.slowest.forecast.conversations is None


def shared(**endpoints: Endpoint) -> Apart:
    """The sides of a workload that goes from Claude to all the others."""
    shares = dict.fromkeys([name for name in endpoints if name != "claude"], 0.1)
    stage = Stage(name="canary", starts=datetime(2026, 11, 1, tzinfo=UTC), shares=shares)
    work = Workload(name=Name(en="Support"), stages=(stage,))
    plan = Plan(migration="m", baseline="claude", endpoints=endpoints, workloads={"support": work})
    return told_apart(plan, "support", load_catalog())


CLAUDE = Endpoint(provider="anthropic", model="claude-sonnet-4-5")
KIMI = Endpoint(provider="moonshot", model="kimi-k2.6")


def test_a_provider_alone_tells_a_side_unless_it_is_shared() -> None:
    of = shared(claude=CLAUDE, kimi=KIMI, qwen=Endpoint(provider="dashscope"))
    assert set(of.sides.values()) == {Side("anthropic"), Side("moonshot"), Side("dashscope")}
    assert not of.models
    assert of.side("moonshot", "") == Side("moonshot")


def test_models_of_a_shared_provider_are_sides_of_their_own() -> None:
    """The baseline's provider too; an endpoint without a model takes what no other names."""
    haiku = Endpoint(provider="anthropic", model="claude-haiku-4-5")
    of = shared(claude=CLAUDE, haiku=haiku, kimi=KIMI, other=Endpoint(provider="moonshot"))
    assert [side.key for side in of.sides.values()] == [
        "anthropic/claude-sonnet-4-5", "anthropic/claude-haiku-4-5", "moonshot/kimi-k2.6", "moonshot/other",
    ]  # fmt: skip
    assert of.side("anthropic", "haiku") == of.sides["haiku"]
    assert of.side("moonshot", "") == of.sides["other"]
    assert of.side("anthropic", "") == Side("anthropic")  # neither of the two
    assert of.model_of(of.sides["kimi"]) == "kimi-k2.6"
    assert of.model_of(of.sides["other"]) == ""
    one = verdict("HOLD")
    assert of.judged(msgspec.structs.replace(one, candidate="kimi")) == of.sides["kimi"]
    assert of.judged(msgspec.structs.replace(one, candidate="gone")) == Side(one.provider)


def test_a_model_is_known_by_the_name_the_catalog_has_for_it() -> None:
    haiku = Endpoint(provider="anthropic", model="claude-haiku-4-5")
    known = load_catalog().model("anthropic", "claude-sonnet-4-5")
    assert known and known.id != "claude-sonnet-4-5"
    assert shared(claude=CLAUDE, haiku=haiku).models[f"anthropic/{known.id}"] == "claude"


def test_sides_of_one_provider_have_shades_of_one_colour() -> None:
    colors = [names.side_color(Side("moonshot", "m", nth), "light") for nth in range(3)]
    assert colors[0] == names.provider_color("moonshot", "light")
    assert len(set(colors)) == 3


@pytest.mark.parametrize(
    ("n", "told"), [("1", "1 call is late"), ("0", "0 calls are late"), ("1,001", "1,001 calls are late"), (1, "1 call is late")],
)  # fmt: skip
def test_words_go_by_their_number_where_the_language_has_it(n, told) -> None:
    assert filled("{n} {n:call is|calls are} late", {"n": n}) == told
    assert filled("{n} 次调用", {"n": n}) == f"{n} 次调用"


@pytest.mark.parametrize(
    "file", [*words.FOLDER.glob("*.json"), *report_words.FOLDER.glob("*.json")]
)
def test_no_sentence_counts_one_of_many(file: Path) -> None:
    """Every gap before a plural noun is followed by one that knows the singular."""
    many = r"\{(n|a|b|days|calls|records|rows|hold|produced|rejected)\} (calls|days|hours|minutes|conversations|messages|records|brokers|partitions|tokens|pairs|changes)\b"
    assert re.findall(many, file.read_text()) == []
