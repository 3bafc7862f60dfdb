"""The audit agrees with what the worker stores, and names each kind of damage."""

from datetime import UTC, datetime, timedelta

import pytest
from records import STARTED, anthropic_record, message

from pipeline import audit
from pipeline.cli import main
from pipeline.formats.cutover import encode
from pipeline.intake import Intake
from pipeline.scoring.score import Rules
from pipeline.settings import Settings
from pipeline.store.connect import Client

TOPIC = "llm.calls"


@pytest.fixture
def stored(store: Client, rules: Rules, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Two partitions with calls, rejected records and duplicates, in several batches."""
    monkeypatch.setattr(audit, "SECONDS_BETWEEN_LOOKS", 0)
    for partition in (0, 1):
        intake = Intake(store, "c1", "w", batch_calls=2, remembered_ids=100)
        a, b, c = (f"{name}{partition}" for name in "abc")
        other = encode(anthropic_record(c, workload="another", started_at=STARTED + 90_000_000))
        messages = [message(0, a, b"garbage"), message(1, b, a), message(2, a), message(3, other)]
        intake.store(TOPIC, partition, messages, rules, lambda: True)
    return store


def test_what_the_worker_stored_agrees_and_is_recorded(stored):
    found = audit.audit(stored)
    assert found.ok, found.first_discrepancy
    assert (found.calls, found.rejected, found.duplicates) == (6, 2, 4)
    recorded = stored.query("SELECT ok, calls, scope FROM v_audits").result_rows
    assert [(ok, calls) for ok, calls, _ in recorded] == [(True, 6)]


NOW = "now64(3)"
COLUMNS = (
    "cluster, topic, kafka_partition, offset_from, offset_to, stored, rejected, duplicates, worker,"
    " inserted_at"
)
ROW = "'c1', 'llm.calls', 0"
DAMAGE = {
    "an offset that was never stored": (
        f"INSERT INTO ledger ({COLUMNS}) VALUES ({ROW}, 9, 9, 0, 0, 1, 'w', {NOW})",
        "llm.calls/0 of cluster c1: offset 4 to 8 is missing from the ledger",
    ),
    "an offset stored by two batches": (
        f"INSERT INTO ledger ({COLUMNS}) VALUES ({ROW}, 3, 5, 0, 0, 3, 'w', {NOW})",
        "is twice in the ledger",
    ),
    "a row that is gone": (
        "DELETE FROM calls WHERE call_id = 'a0'",
        "the ledger has 1 calls and 1 rejected records; the tables have 0 and 1",
    ),
    "a rejected record that is gone": ("TRUNCATE TABLE rejected", "the tables have 1 and 0"),
    "a row that is there twice": (
        "INSERT INTO calls SELECT * FROM calls WHERE call_id = 'c1'",
        "the tables have 3 and 0, at 2 places",
    ),
    "a call at two places": (
        "INSERT INTO calls SELECT * REPLACE (9 AS kafka_offset) FROM calls WHERE call_id = 'c1'",
        "call 'c1' is stored 2 times",
    ),
    "a sum that is too small": (
        "TRUNCATE TABLE calls_per_minute",
        "calls_per_minute differs from the raw rows: only the raw rows say",
    ),
    "a sum that is too large": (
        "INSERT INTO calls_per_minute SELECT * FROM calls_per_minute",
        "calls_per_minute differs from the raw rows: only ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named(stored, what: str):
    statement, words = DAMAGE[what]
    stored.command(statement)
    found = audit.audit(stored)
    assert not found.ok
    assert words in found.first_discrepancy
    assert stored.command("SELECT argMax(ok, at) FROM v_audits") == "false"


def test_what_passes_by_itself_is_no_discrepancy(stored, monkeypatch):
    looks = iter(["being stored just now", ""])
    assert audit._persistent(lambda *_: next(looks), stored, audit.BEGINNING) == ""


def test_only_what_was_stored_since_then_is_looked_at(stored):
    stored.command("DELETE FROM calls WHERE call_id = 'a0'")
    later = datetime.now(UTC) + timedelta(days=1)
    assert audit.audit(stored, later).ok


def test_the_command_says_what_differs_and_exits_with_1(
    stored, store_settings: Settings, monkeypatch, capsys
):
    for name, value in store_settings.environ().items():
        monkeypatch.setenv(name, value)
    assert main(["audit"]) == 0
    assert "everything agrees" in capsys.readouterr().out
    stored.command("DELETE FROM calls WHERE call_id = 'a0'")
    assert main(["audit"]) == 1
    assert "✗ llm.calls/0" in capsys.readouterr().out
