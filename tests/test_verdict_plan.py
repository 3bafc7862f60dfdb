"""Gates: a plan without them has the defaults, a workload's replace the plan's, contradictions are refused."""

import pytest

from pipeline.plan_file import load_plan
from pipeline.verdicts.gates import FailureGate, PointsGate
from pipeline.verdicts.plan import PlanError, epoch_hash, gates_of
from pipeline.yamlfile import BadFile

PLAN = """
migration: Leaving Claude
baseline: claude
endpoints:
  claude: {provider: anthropic}
  kimi: {provider: moonshot, model: kimi-k2.6, key_env: MOONSHOT_API_KEY}
workloads:
  support:
    name: {en: Support bot}
    stages: [{name: canary, from: 2026-11-02T01:00:00Z, shares: {kimi: 0.05}}]
"""
GATES = "gates: {failure: {margin: 0.02}, score: {margin: 0.05}}\n"


def load(folder, text: str):
    path = folder / "plan.yml"
    path.write_text(text, encoding="utf-8")
    return load_plan(path)


def test_without_gates_failures_and_the_score_are_judged(tmp_path) -> None:
    gates = gates_of(load(tmp_path, PLAN), "support")
    assert gates.failure == FailureGate(margin=0.01, harm_ratio=2.0)
    assert gates.score == PointsGate(margin=0.02)
    assert gates.cost is None and gates.ttft_ms is None and not gates.checks


def test_a_workloads_gates_replace_the_plans_entry_by_entry(tmp_path) -> None:
    own = "    gates: {score: null, ttft_ms: {slo: 3000}}\n"
    gates = gates_of(load(tmp_path, PLAN + own + GATES), "support")
    assert gates.failure and gates.failure.margin == 0.02
    assert gates.score is None
    assert gates.ttft_ms and gates.ttft_ms.slo == 3000


@pytest.mark.parametrize(
    ("gates", "says"),
    [
        ("{failure: {margin: 0.02, harm: 0.01}}", r"support.gates.failure.harm: must be at least"),
        ("{pairs: {score: {margin: 0.2, harm: 0}}}", r"gates.pairs.score.harm: must be at least"),
        ("{ttft_ms: {margin: 0.1}}", "gates.ttft_ms: give slo"),
        ("{cost: {ratio: 1, amount: 1}}", "gates.cost: give either ratio or amount"),
        ("{cost: {}}", "gates.cost: give either ratio or amount"),
        ("{cost: {ratio: 1, bound: 0}}", "gates.cost.bound: must be more than 0"),
        ("{failure: null, score: null}", "keep at least one"),
        ("{failure: {margin: 2}}", "gates.failure.margin"),
        ("{alpha: {promote: 0.7}}", "gates.alpha.promote"),
        ("{failures: {margin: 0.1}}", "failures"),
    ],
)
def test_gates_that_cannot_be_are_refused_with_the_entry_named(tmp_path, gates, says) -> None:
    with pytest.raises((PlanError, BadFile), match=says):
        load(tmp_path, f"{PLAN}gates: {gates}\n")


@pytest.mark.parametrize(
    ("shadow", "says"),
    [
        ("", r"workloads.support.gates.pairs: no call is mirrored; give the workload a shadow"),
        ("    shadow: {share: 0.1, budget_per_day: 5}\n", r"support.shadow.baseline_share: must be more"),
    ],
)  # fmt: skip
def test_gates_of_pairs_need_pairs_and_disagreement_its_noise_floor(tmp_path, shadow, says) -> None:
    gates = "gates: {pairs: {disagreement: {margin: 0.1}}}\n"
    with pytest.raises(PlanError, match=says):
        load(tmp_path, PLAN + shadow + gates)
    enough = "    shadow: {share: 0.1, baseline_share: 0.1, budget_per_day: 5}\n"
    assert load(tmp_path, PLAN + enough + gates)
    load(tmp_path, PLAN + "    gates: {pairs: {}}\n" + gates)


def test_a_budget_of_nothing_is_refused(tmp_path) -> None:
    with pytest.raises(PlanError, match=r"endpoints.kimi.budget.amount: must be more than 0"):
        load(tmp_path, PLAN.replace("model:", "budget: {amount: 0}, model:"))


@pytest.mark.parametrize(
    ("old", "new", "starts_anew"),
    [
        ("margin: 0.02", "margin: 0.03", True),
        ("gates: {", "gates: {alpha: {promote: 0.01}, ", True),
        ("kimi-k2.6", "kimi-k3", True),
        ("name: {en: Support bot}", "name: {en: Support bot}\n    epoch: 2", True),
        ("gates: {", "gates: {horizon: {conversations: 500}, ", False),
        ("kimi: 0.05", "kimi: 0.15", False),
        ("Support bot", "Support", False),
        ("MOONSHOT_API_KEY", "MOONSHOT_KEY", False),
    ],
)
def test_evidence_starts_anew_when_what_it_is_about_changes(
    tmp_path, old, new, starts_anew
) -> None:
    before = epoch_hash(load(tmp_path, PLAN + GATES), "support", "kimi")
    text = (PLAN + GATES).replace(old, new)
    assert (epoch_hash(load(tmp_path, text), "support", "kimi") != before) is starts_anew
