"""A plan that contradicts itself is refused with the entry and the mend; a sound one says who goes where."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.calls import Arm, Call, Exchange
from pipeline.catalog import Catalog
from pipeline.plan_file import PlanFile, load_plan, start_plan
from pipeline.verdicts.plan import Endpoint, Match, Name, Plan, PlanError, Stage, Workload
from pipeline.yamlfile import BadFile

GOOD = """
migration: Leaving Claude
baseline: claude
endpoints:
  claude: {provider: anthropic}
  kimi: {provider: moonshot, model: kimi-k2.6, key_env: MOONSHOT_API_KEY}
workloads:
  support:
    name: {en: Support bot, zh: 客服机器人}
    match: {app: support-*}
    stages:
      - {name: canary, from: 2026-11-02T01:00:00Z, shares: {kimi: 0.05}}
      - {name: half, from: 2026-11-09T01:00:00Z, shares: {kimi: 0.5}}
    shadow: {share: 0.1, baseline_share: 0.02, budget_per_day: 5}
"""


def write(folder, text: str):
    path = folder / "plan.yml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def plan(tmp_path) -> Plan:
    return load_plan(write(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("baseline: claude", "baseline: cloud", "'cloud' is not one of endpoints claude, kimi"),
        (", key_env: MOONSHOT_API_KEY", "", "endpoints.kimi.key_env"),
        ("kimi: 0.5}", "kimi: 1.5}", "shares are between 0 and 1"),
        ("kimi: 0.5}", "gpt: 0.5}", "'gpt'"),
        ("kimi: 0.5}", "claude: 0.5}", "leave out the baseline"),
        ("2026-11-09T01:00:00Z", "2026-11-01T01:00:00Z", "one after the other"),
        ("2026-11-09T01:00:00Z", "2026-11-09T01:00:00", "time zone"),
        ("match:", "matches:", "matches"),
        ("baseline_share: 0.02", "baseline_share: 0.2", "shadow.baseline_share: must not be more"),
        ("budget_per_day: 5", "budget_per_day: -5", "shadow.budget_per_day: must be 0 or more"),
        ("share: 0.1", "share: 0", "share"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_with_the_entry_named(tmp_path, old, new, says) -> None:
    with pytest.raises((PlanError, BadFile), match=says) as refused:
        load_plan(write(tmp_path, GOOD.replace(old, new)))
    assert "plan.yml" in str(refused.value)


def test_the_stage_in_force_is_the_last_one_that_began(plan) -> None:
    def at(day: int) -> str:
        stage = plan.workloads["support"].stage_at(
            round(datetime(2026, 11, day, tzinfo=UTC).timestamp() * 1000)
        )
        return stage.name if stage else ""

    assert [at(1), at(3), at(30)] == ["", "canary", "half"]


def test_a_candidate_that_was_given_up_is_not_mirrored_any_more() -> None:
    def stage(day: int, *names: str) -> Stage:
        starts = datetime(2026, 11, day, tzinfo=UTC)
        return Stage(name=str(day), starts=starts, shares=dict.fromkeys(names, 0.1))

    stages = (stage(2, "kimi", "glm"), stage(9, "kimi"), stage(16, "qwen"))
    workload = Workload(name=Name(en="Chat"), stages=stages)

    def at(day: int) -> tuple[str, ...]:
        return workload.candidates_at(round(datetime(2026, 11, day, tzinfo=UTC).timestamp() * 1000))

    assert [at(1), at(3), at(10), at(17)] == [
        ("kimi", "glm", "qwen"),
        ("kimi", "glm", "qwen"),
        ("kimi", "qwen"),
        ("qwen",),
    ]


def test_a_call_belongs_to_the_workload_it_names_else_to_the_first_rule_that_fits(plan) -> None:
    def call(**fields) -> Call:
        return Call(call_id="1", source="test", **fields)

    assert plan.workload_of(call(workload="other", app="support-bot")) == "other"
    assert plan.workload_of(call(app="support-bot")) == "support"
    assert plan.workload_of(call(app="game")) == ""


def test_a_rule_without_conditions_fits_nothing_and_all_conditions_must_hold() -> None:
    call = Call(
        call_id="1", source="t", app="a", tags={"k": "v"}, exchange=Exchange(request_model="m-1")
    )
    assert not Match().fits(call)
    assert Match(app="a", model="m-*", tags={"k": "v"}).fits(call)
    assert not Match(app="a", tags={"k": "w"}).fits(call)
    assert not Match(tags={"missing": "*"}, app="b").fits(call)


def test_the_arm_is_told_by_the_provider(plan) -> None:
    assert plan.arm_of("support", "anthropic") is Arm.BASELINE
    assert plan.arm_of("support", "moonshot") is Arm.CANDIDATE
    assert plan.arm_of("support", "zhipu") is Arm.NONE
    assert plan.arm_of("elsewhere", "anthropic") is Arm.NONE


def test_two_endpoints_of_one_provider_are_told_by_the_model(tmp_path) -> None:
    text = GOOD.replace("provider: moonshot,", "provider: anthropic,").replace(
        "model: kimi-k2.6", "model: claude-haiku"
    )
    plan = load_plan(write(tmp_path, text))
    assert plan.endpoint_of("support", "anthropic", ("claude-haiku", "x")) == "kimi"
    assert plan.endpoint_of("support", "anthropic", ("anything else",)) == "claude"
    assert plan.arm_of("support", "anthropic", ("claude-haiku",)) is Arm.CANDIDATE
    assert plan.arm_key("kimi") == "anthropic/claude-haiku"
    with pytest.raises(PlanError, match="claude and kimi are both anthropic with any model"):
        load_plan(write(tmp_path, text.replace(", model: claude-haiku", "")))


def test_the_region_is_the_one_the_plan_calls_the_provider_in(tmp_path) -> None:
    text = GOOD.replace("provider: moonshot,", "provider: moonshot, region: mainland,")
    plan = load_plan(write(tmp_path, text))
    assert plan.region_of("moonshot") == "mainland"
    assert plan.region_of("anthropic") == plan.region_of("zhipu") == ""


def test_a_single_name_is_mapped_before_the_model_for_all() -> None:
    endpoint = Endpoint(provider="zhipu", model="glm-4.6", models={"claude-haiku-*": "glm-4.5-air"})
    assert endpoint.model_for("claude-haiku-4-5") == "glm-4.5-air"
    assert endpoint.model_for("claude-opus-4-5") == "glm-4.6"
    assert Endpoint(provider="zhipu").model_for("glm-5") == "glm-5"


def test_a_plan_that_becomes_bad_is_told_once_and_the_good_one_stays(tmp_path) -> None:
    path = write(tmp_path, GOOD)
    plan_file = PlanFile(path)
    good = plan_file()
    write(tmp_path, GOOD + "nonsense: 1\n")
    with pytest.raises(BadFile):
        plan_file()
    assert plan_file() is good
    path.unlink()
    assert plan_file() is good


def test_without_a_file_there_is_no_plan(tmp_path) -> None:
    assert PlanFile(tmp_path / "plan.yml")() is None


def test_a_plan_to_start_from_is_written_once_and_is_sound(tmp_path) -> None:
    path = tmp_path / "plan.yml"
    assert start_plan(path)
    assert load_plan(path).workloads
    path.write_text("mine")
    assert not start_plan(path)
    assert path.read_text() == "mine"


def test_the_readmes_plan_is_sound_and_its_candidate_has_a_price(
    tmp_path: Path, catalog: Catalog
) -> None:
    """Without a price its cost would be unknown, and its shadow calls would have no budget."""
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    found = re.search(r"```yaml\n(migration: .*?)```", readme, re.DOTALL)
    assert found
    (tmp_path / "plan.yml").write_text(found[1])
    kimi = load_plan(tmp_path / "plan.yml").endpoints["kimi"]
    model = catalog.model(kimi.provider, kimi.model)
    assert model and kimi.region in {price.region for price in model.prices}
