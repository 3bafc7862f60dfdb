"""The plan as its file has it: read when asked for, read again when the file changes.

Beside it lies the record of the autopilot, where a workload has one: the judging worker writes it
and every tap reads it, so both need the same folder.
"""

import pwd
from pathlib import Path

import msgspec

from pipeline.verdicts.autopilot import Course, steered
from pipeline.verdicts.plan import Plan, PlanError, check, gates_of, plan_hash
from pipeline.yamlfile import load

STARTER = Path(__file__).parent / "starter_plan.yml"


def load_plan(path: Path) -> Plan:
    """A sound plan. Raises BadFile or PlanError, which name the entry and the mend."""
    try:
        return check(load(path, Plan))
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None


def plan_schema() -> str:
    """The plan's JSON Schema, for editors (docs/plan.schema.json)."""
    schema = msgspec.json.schema(Plan) | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    encoded = msgspec.json.encode(schema, order="deterministic")
    return msgspec.json.format(encoded, indent=1).decode() + "\n"


def render_plan(plan: Plan) -> str:
    """The plan in words: who moves where, in which steps, and what must be shown."""
    baseline = plan.endpoints[plan.baseline].provider
    lines = [f"{plan.migration}: from {plan.baseline} ({baseline}), plan {plan_hash(plan)[:12]}"]
    for key, workload in plan.workloads.items():
        owner = f", owner {workload.owner}" if workload.owner else ""
        pilot = ", autopilot" if workload.autopilot else ""
        lines.append(f"\n{key}: {workload.name.en}{owner}{pilot}")
        for stage in workload.stages:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in stage.shares.items())
            lines.append(
                f"  {stage.starts:%Y-%m-%d %H:%M %Z}  {stage.name}: {shares or 'baseline only'}"
            )
        gates = msgspec.to_builtins(gates_of(plan, key))
        given = {name: gate for name, gate in gates.items() if gate and name != "exclude"}
        lines += [f"  {name}: {_told(gate)}" for name, gate in given.items()]
    return "\n".join(lines)


def _told(value: object) -> str:
    """A gate's fields in a row, those that are not set left out."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{k} {_told(v)}" for k, v in value.items() if v not in (None, {}, ()))


def owner(path: Path) -> str:
    """Who wrote the plan: the owner of its file, as the system names him."""
    try:
        number = path.stat().st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def start_plan(path: Path) -> bool:
    """Writes a plan to start from if there is no file; True if it did."""
    if path.exists():
        return False
    path.write_text(STARTER.read_text(encoding="utf-8"), encoding="utf-8")
    return True


class PlanFile:
    """A plan file that may change, come and go while we run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: int | None = None
        self._plan: Plan | None = None

    def __call__(self) -> Plan | None:
        """The plan in force; None as long as there was no file.

        Raises BadFile or PlanError once for each bad change and then gives the last good plan.
        """
        changed_at = self._path.stat().st_mtime_ns if self._path.is_file() else None
        if changed_at is not None and changed_at != self._seen:
            self._seen = changed_at
            self._plan = load_plan(self._path)
        return self._plan


class SteeredPlanFile(PlanFile):
    """The same, with the workloads on autopilot at the stage their record says."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._record = course_file(path)
        self._before: tuple[Plan | None, int] = (None, 0)
        self._steered: Plan | None = None

    def __call__(self) -> Plan | None:
        """The plan in force. Raises as PlanFile does."""
        plan = super().__call__()
        changed_at = self._record.stat().st_mtime_ns if self._record.is_file() else 0
        if (plan, changed_at) != self._before or self._steered is None:
            self._before = plan, changed_at
            self._steered = plan and steered(plan, read_courses(self._path))
        return self._steered


def course_file(plan: Path) -> Path:
    """Where the autopilot's record of a plan lies."""
    return plan.with_name(f"{plan.stem}.autopilot.json")


def read_courses(plan: Path) -> dict[str, Course]:
    """Workload → its course by the autopilot's record; none if there is no readable one."""
    try:
        return msgspec.json.decode(course_file(plan).read_bytes(), type=dict[str, Course])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def write_courses(plan: Path, courses: dict[str, Course]) -> None:
    """Replaces the autopilot's record as a whole. Raises OSError."""
    file = course_file(plan)
    fresh = file.with_name(f"{file.name}.new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(courses)))
    fresh.replace(file)
