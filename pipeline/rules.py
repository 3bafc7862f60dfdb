"""What scores depend on: the catalog and the checks from the facts, the plan from its file."""

import logging
from pathlib import Path

import msgspec

from pipeline.catalog import load_catalog
from pipeline.facts import FACTS
from pipeline.plan_file import PlanFile, load_plan
from pipeline.scoring.quality import Checks
from pipeline.scoring.score import Rules
from pipeline.verdicts.plan import PlanError, plan_hash
from pipeline.yamlfile import BadFile, load

log = logging.getLogger(__name__)


def load_checks() -> Checks:
    """`facts/checks.yml`. Raises BadFile."""
    return load(FACTS / "checks.yml", Checks)


def load_rules(plan: Path | None = None) -> Rules:
    """The facts as they are, with the plan of a file. Raises BadFile or PlanError."""
    in_force = load_plan(plan) if plan else None
    return Rules(catalog=load_catalog(), checks=load_checks(), plan=in_force)


class RulesFile:
    """The rules in force, and whether the plan among them has been recorded in the store.

    A plan that became bad is logged, and the last good one stays in force.
    """

    def __init__(self, plan: Path) -> None:
        self._plan_file = PlanFile(plan)
        self._rules = load_rules()
        self._recorded = ""

    def current(self) -> Rules:
        """The rules with the plan as its file has it now."""
        try:
            plan = self._plan_file()
        except (BadFile, PlanError) as error:
            log.error("the plan read before stays in force: %s", error)
            return self._rules
        if plan is not self._rules.plan:
            self._rules = msgspec.structs.replace(self._rules, plan=plan)
        return self._rules

    def unrecorded_plan(self) -> tuple[str, str] | None:
        """Hash and JSON document of the plan in force if `recorded()` was not said of it yet."""
        plan = self.current().plan
        if plan is None or plan_hash(plan) == self._recorded:
            return None
        return plan_hash(plan), msgspec.json.encode(plan).decode()

    def recorded(self) -> None:
        """The plan in force is in the store now."""
        found = self.unrecorded_plan()
        self._recorded = found[0] if found else self._recorded
