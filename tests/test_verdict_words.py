"""Reasons in words: what people call things, in both languages."""

import pytest

from pipeline.rules import load_checks
from pipeline.verdicts import words


def test_every_check_has_a_name_in_both_languages() -> None:
    for check in load_checks().checks:
        en, zh = words.gate_name(f"check:{check}")
        assert "_" not in en, "a name, not an identifier"
        assert check not in zh


@pytest.mark.parametrize(
    ("conversations", "told"),
    [(1, " About 1 conversation more."), (1200, " About 1,200 conversations more.")],
)
def test_what_is_needed_is_told_in_the_right_number(conversations: int, told: str) -> None:
    assert words.needed(conversations)[0] == told
