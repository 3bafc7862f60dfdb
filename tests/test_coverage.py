"""The coverage page is what the code counts."""

import pytest
from coverage_page import PAGE, RECEIVED, render
from samples import CASES, needs_samples

from pipeline.catalog import load_catalog
from pipeline.cli import main
from pipeline.coverage import FIELDS, coverage_table, set_aside
from pipeline.formats import FORMATS, described
from pipeline.rules import load_checks
from pipeline.scoring.score import Rules, score_message

RULES = Rules(catalog=load_catalog(), checks=load_checks())


@needs_samples
def test_the_page_is_true() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python tests/coverage_page.py"


def test_a_field_is_counted_over_the_calls_that_can_have_it() -> None:
    """Two calls of APISIX's: a stream that answered and a stream that timed out."""
    records = [c["record"] for c in CASES if c["format"] == "apisix"]
    scored = [r for v in (records[0], records[2], records[5]) for r in score_message(v.encode(), RECEIVED, RULES)]  # fmt: skip
    rows = [line.strip("| ").split(" | ") for line in coverage_table(scored).splitlines()]
    told = {row[0]: row[1] for row in rows}
    assert told["of the calls, known"] == "apisix"
    assert told["calls"] == "2"
    assert told["duration"] == "100 %"
    assert told["conversation"] == "50 %"
    assert told["time to first token, of streams"] == "100 %"
    assert told["cost by the gateway"] == "0 %"
    assert told["the provider's error, of failures"] == "0 %"
    assert len(rows) == len(FIELDS) + 3
    assert [line[:3] for line in set_aside(scored)] == ["1 ×"]


def test_every_format_says_what_it_can_tell() -> None:
    assert set(described()) == set(FORMATS)
    assert all(len(text) > 100 for text in described().values())


def test_the_command_lists_and_counts(
    tmp_path: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["formats"]) == 0
    assert "Does not know" in capsys.readouterr().out
    log = tmp_path / "kong.jsonl"
    log.write_text(next(c["record"] for c in CASES if c["format"] == "kong"), encoding="utf-8")
    assert main(["formats", "--coverage", str(log)]) == 0
    assert "| calls | 1 |" in capsys.readouterr().out
    assert main(["formats", "--coverage", str(tmp_path / "nothing")]) == 2
