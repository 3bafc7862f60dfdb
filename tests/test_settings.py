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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUTOVER_TAP_PORT", "65536"), ("CUTOVER_WORKER_PORT", "-1"), ("CUTOVER_PARTITIONS", "0"),
        ("CUTOVER_JUDGE_SHARE", "nan"), ("CUTOVER_JUDGE_SHARE", "1.5"), ("CUTOVER_JUDGE_BUDGET_USD", "nan"),
        ("CUTOVER_BATCH_CALLS", "0"), ("CUTOVER_CLICKHOUSE_URL", "ftp://x"), ("CUTOVER_CLICKHOUSE_URL", "http://x:y"),
        ("CUTOVER_CLICKHOUSE_URL", "nonsense"),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.read({name: value})


@pytest.mark.parametrize(
    "url",
    ["http://clickhouse:8123", "https://user:secret@a.example.com", "http://[::1]:8123/", "http://10.0.0.1"],
)  # fmt: skip
def test_addresses_of_a_store(url: str) -> None:
    assert Settings.read({"CUTOVER_CLICKHOUSE_URL": url}).clickhouse_url == url


def test_settings_survive_the_way_through_the_environment() -> None:
    changed = Settings(tap_port=1, data=Path("/x"), clickhouse_password="p", batch_ms=7)
    assert Settings.read(changed.environ()) == changed


def test_secrets_are_not_printed() -> None:
    assert "hunter2" not in repr(Settings(clickhouse_password="hunter2", tap_tokens="hunter2"))


def test_every_setting_says_what_it_means() -> None:
    assert all(f.metadata["doc"] and variable(f.name) for f in fields(Settings))
