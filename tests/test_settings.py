"""Settings come from CUTOVER_* variables, and the README lists exactly those."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.settings import Settings, SettingsError, markdown_table, variable

README = Path(__file__).parent.parent / "README.md"


def test_the_readme_has_the_table_made_from_the_code() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", README.read_text(), re.DOTALL)
    assert found, "the README has no settings table"
    assert found[1] == markdown_table()


def test_a_value_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="CUTOVER_TAP_PORT='http'"):
        Settings.read({"CUTOVER_TAP_PORT": "http"})
    with pytest.raises(SettingsError, match="CUTOVER_REPORT_CURRENCY"):
        Settings.read({"CUTOVER_REPORT_CURRENCY": "EUR"})


def test_settings_survive_the_way_through_the_environment() -> None:
    changed = Settings(tap_port=1, data=Path("/x"), clickhouse_password="p", batch_ms=7)
    assert Settings.read(changed.environ()) == changed


def test_secrets_are_not_printed() -> None:
    assert "hunter2" not in repr(Settings(clickhouse_password="hunter2", tap_tokens="hunter2"))


def test_every_setting_says_what_it_means() -> None:
    assert all(f.metadata["doc"] and variable(f.name) for f in fields(Settings))
