"""The plan as its file has it: read when asked for, read again when the file changes."""

from pathlib import Path

from pipeline.verdicts.plan import Plan, PlanError, check
from pipeline.yamlfile import load

STARTER = Path(__file__).parent / "starter_plan.yml"


def load_plan(path: Path) -> Plan:
    """A sound plan. Raises BadFile or PlanError, which name the entry and the mend."""
    try:
        return check(load(path, Plan))
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None


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
