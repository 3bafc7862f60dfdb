"""Writes `docs/gateways/coverage.md`: `python tests/coverage_page.py`, where ../shared/samples is."""

from collections.abc import Iterable
from pathlib import Path

from samples import CASES, shared_files

from pipeline.catalog import load_catalog
from pipeline.coverage import coverage_table, set_aside
from pipeline.files import messages
from pipeline.rules import load_checks
from pipeline.scoring.score import Rules, score_message

PAGE = Path(__file__).parents[1] / "docs" / "gateways" / "coverage.md"
RECEIVED = 1_800_000_000_000  # after all of the records
HEAD = """\
# What each format yields

Counted by `python tests/coverage_page.py`; a test keeps this page true. `cutover formats` says in words what a format can
and cannot tell, `cutover formats --coverage FILE…` counts the same for your own logs. A field that a record does not
tell is unknown, never zero, and the checks that need it do not apply. "–": none of these calls could have had it.
"""


def render() -> str:
    """The page's Markdown, from the shared and the authored records."""
    real = [value for file, _ in shared_files() for value in messages(file)]
    made = [case["record"].encode() for case in CASES]
    return "\n".join(
        [
            HEAD,
            "## Records that real programs wrote, or their projects publish\n",
            *_counted(real),
            "\n## Records written for the tests, after each project's source and documentation\n",
            "They show what a format can carry, one case each, failures and odd values among them; not what a gateway usually writes.\n",
            *_counted(made),
            "",
        ]
    )


def _counted(values: Iterable[bytes]) -> list[str]:
    rules = Rules(catalog=load_catalog(), checks=load_checks())
    scored = [record for value in values for record in score_message(value, RECEIVED, rules)]
    aside = [f"- {line}" for line in set_aside(scored)]
    return [coverage_table(scored), "\nNo calls, and why:\n", *aside]


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
