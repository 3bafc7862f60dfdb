"""The records that are measured: the demo's own, as the tap writes them."""

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.catalog import load_catalog
from pipeline.demo.history import history
from pipeline.demo.scenario import demo_plan
from pipeline.formats.cutover import encode
from pipeline.plan_file import load_plan
from pipeline.rules import load_checks
from pipeline.scoring.score import Rules

NOW_MS = 1_795_000_000_000
DAYS = 14


def demo_rules() -> Rules:
    """The facts as shipped and the demo's plan."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yml"
        path.write_text(demo_plan(NOW_MS, "http://127.0.0.1:1", DAYS), encoding="utf-8")
        plan = load_plan(path)
    return Rules(catalog=load_catalog(), checks=load_checks(), plan=plan)


def demo_lines(rules: Rules, count: int) -> list[bytes]:
    """So many encoded records of the made-up past, all four workloads mixed."""
    assert rules.plan
    return [encode(r) for r in islice(history(rules.plan, DAYS, 20_000, 1, NOW_MS), count)]
