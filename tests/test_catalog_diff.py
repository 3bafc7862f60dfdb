"""What changed between two states of the facts is told line by line, and nothing else is."""

import pytest
from changed_facts import changed_facts

from pipeline import cli
from pipeline.catalog import load_catalog
from pipeline.catalog_diff import diff

CATALOG = load_catalog()
ZHIPU = "providers/zhipu.yml"
SONNET = "{max_input_tokens: 200000, input: 3, output: 15, cache_read: 0.3, cache_write_5m: 3.75, cache_write_1h: 6}"
SONNET_WORDS = "currency USD, tiers (input 3, output 15, cache_read 0.3, cache_write_5m 3.75, cache_write_1h 6, max_input_tokens 200000, verified True) + (input 6, output 22.5, cache_read 0.6, cache_write_5m 7.5, max_input_tokens 1000000, verified False), dates_verified True, verified True"
NEW_PRICE = """  - id: glm-4.6
    prices:
      - {region: international, currency: USD, per_million: {input: 0.5, output: 2}, effective_from: 2027-01-01, verified: true}
"""
NEW_MODEL = """  - id: glm-9
    aliases: [glm-nine]
    prices:
      - {region: mainland, currency: CNY, per_million: {input: 0.5, output: 2}, verified: false}

  - id: glm-4.6
"""

CASES = [
    # what is edited, and the lines of the difference
    (
        [(ZHIPU, "effective_from: 2025-09-30", "effective_from: 2025-09-30\n        effective_to: 2027-01-01"), (ZHIPU, "  - id: glm-4.6\n    prices:\n", NEW_PRICE)],
        [
            "added price zhipu/glm-4.6/international/2027-01-01: currency USD, per_million input 0.5, output 2, dates_verified True, verified True",
            "added end of price zhipu/glm-4.6/international/2025-09-30: 2027-01-01",
        ],
    ),
    (
        [("providers/anthropic.yml", SONNET, SONNET.replace("input: 3,", "input: 2.5,"))],
        [f"changed price anthropic/claude-sonnet-4-20250514/international/undated: {SONNET_WORDS} → {SONNET_WORDS.replace('input 3,', 'input 2.5,')}"],
    ),
    (
        [(ZHIPU, "  - id: glm-4.6\n", NEW_MODEL)],
        [
            "added model zhipu/glm-9: in use",
            "added alias zhipu/glm-nine: glm-9",
            "added price zhipu/glm-9/mainland/undated: currency CNY, per_million input 0.5, output 2, dates_verified True, verified False",
        ],
    ),
    ([(ZHIPU, '"1302": rate_limit', '"1302": quota')], ["changed error zhipu code 1302: rate_limit → quota"]),
    ([(ZHIPU, '"1302": rate_limit', '"1399": rate_limit')], ["removed error zhipu code 1302: rate_limit", "added error zhipu code 1399: rate_limit"]),
    (
        [("providers/deepseek.yml", "aliases: [deepseek-v4-flash]", "aliases: [deepseek-v5-flash]")],
        ["removed alias deepseek/deepseek-v4-flash: deepseek-flash", "added alias deepseek/deepseek-v5-flash: deepseek-flash"],
    ),
    ([("providers/deepseek.yml", "retired: 2026-07-24", "retired: 2026-07-25")], ["changed model deepseek/deepseek-chat: retired 2026-07-24 → retired 2026-07-25"]),
    ([("fx.yml", "rate: 7.14", "rate: 7.15")], ["changed exchange rate USD/CNY 2026-08-21: 7.14 → 7.15"]),
    ([(ZHIPU, "observed: 2025-09-30", "observed: 2026-09-30")], []),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "lines"), CASES)
def test_each_change_is_a_line(tmp_path, edits, lines) -> None:
    """Prices added, changed and ended, models, other names, error codes, rates; no notes and sources."""
    found = diff(CATALOG, load_catalog(changed_facts(tmp_path / "facts", *edits)))
    assert found == lines


def test_the_facts_do_not_differ_from_themselves() -> None:
    assert diff(CATALOG, load_catalog()) == []


def test_turned_round_what_was_added_is_removed(tmp_path) -> None:
    new = load_catalog(changed_facts(tmp_path / "facts", (ZHIPU, "  - id: glm-4.6\n", NEW_MODEL)))
    added = [line.replace("added", "removed", 1) for line in diff(CATALOG, new)]
    assert diff(new, CATALOG) == added


def test_the_command_compares_the_older_folder_with_the_facts_in_use(tmp_path, capsys) -> None:
    old = changed_facts(tmp_path / "facts", (ZHIPU, '"1302": rate_limit', '"1302": quota'))
    assert cli.main(["catalog", "diff", str(old)]) == 0
    assert capsys.readouterr().out == "changed error zhipu code 1302: quota → rate_limit\n"
    assert cli.main(["catalog", "check", str(old)]) == 0
    assert capsys.readouterr().out == "the facts are sound\n"


def test_the_command_says_which_folder_it_needs(tmp_path, capsys) -> None:
    assert cli.main(["catalog", "diff"]) == 2
    assert "name the folder" in capsys.readouterr().err
    assert cli.main(["catalog", "diff", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err
