"""Messages of a partition become rows exactly once, whatever is repeated or breaks in between."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from records import anthropic_record, message

from pipeline.calls import Call, ScoredCall
from pipeline.files import messages
from pipeline.formats.cutover import encode
from pipeline.intake import AssignmentLostError, Intake, Message
from pipeline.scoring import score
from pipeline.scoring.score import Rules
from pipeline.store import insert
from pipeline.store.connect import Client, StoreError, connect
from pipeline.store.migrate import migrate

TOPIC = "llm.calls"


def always() -> bool:
    return True


def intake(store: Client, **changes: Any) -> Intake:
    fields = {"batch_calls": 1000, "remembered_ids": 1000, "cluster": "c1", "worker": "w"}
    return Intake(client=store, **{**fields, **changes})


def take(worker: Intake, rules: Rules, *messages: Message) -> int:
    return worker.store(TOPIC, 0, messages, rules, always)[0]


def ids(store: Client) -> list[str]:
    return [row[0] for row in store.query("SELECT call_id FROM calls ORDER BY call_id").result_rows]


def ledger(store: Client) -> list[tuple[int, ...]]:
    columns = "offset_from, offset_to, stored, rejected, duplicates"
    return [tuple(r) for r in store.query(f"SELECT {columns} FROM ledger ORDER BY 1").result_rows]


def minutes(store: Client) -> int:
    return int(store.command("SELECT sum(calls) FROM calls_per_minute"))


def test_every_record_of_every_message_is_one_row_and_the_ledger_says_so(store, rules):
    assert take(intake(store), rules, message(0, "a", "b"), message(1, "c")) == 2
    assert ids(store) == ["a", "b", "c"]
    assert ledger(store) == [(0, 1, 3, 0, 0)]
    assert minutes(store) == 3


def test_messages_below_the_ledger_are_skipped_by_a_worker_that_starts_anew(store, rules):
    take(intake(store), rules, message(0, "a"), message(1, "b"))
    again = [message(0, "a"), message(1, "b"), message(2, "c")]
    assert take(intake(store), rules, *again) == 3
    assert ids(store) == ["a", "b", "c"]
    assert ledger(store) == [(0, 1, 2, 0, 0), (2, 2, 1, 0, 0)]


def test_a_call_that_comes_again_counts_once_also_after_a_restart(store, rules):
    take(intake(store), rules, message(0, "a", "a"), message(1, "a"))
    take(intake(store), rules, message(2, "a", "b"))
    assert ids(store) == ["a", "b"]
    assert ledger(store) == [(0, 1, 1, 0, 2), (2, 2, 1, 0, 1)]


@pytest.mark.parametrize("turned", [False, True])
def test_a_call_that_two_spans_tell_of_in_two_messages_counts_once(store, rules, turned):
    """As Anthropic's library and an instrumentation do, whichever comes first."""
    file = Path(__file__).parent / "data" / "otel" / "collector-0.165.0.otlp_json.jsonl"
    trace = b"19f4446da6ba3584c9b490f8d8639558"
    told = [value for value in messages(file) if trace in value]
    twice = [value for value in told if b"msg_c03744bbe2a52717653bc537" in value]
    for offset, value in enumerate(reversed(twice) if turned else twice):
        take(intake(store), rules, message(offset, value))
    assert ids(store) == ["19f4446da6ba3584c9b490f8d8639558/msg_c03744bbe2a52717653bc537"]
    assert ledger(store) == [(0, 0, 1, 0, 0), (1, 1, 0, 0, 1)]


def test_only_the_last_ids_are_remembered(store, rules):
    worker = intake(store, remembered_ids=2)
    take(worker, rules, message(0, "a", "b", "c"))
    take(worker, rules, message(1, "c", "a"))
    assert ids(store) == ["a", "a", "b", "c"]


def test_a_batch_ends_at_the_message_that_reaches_the_limit_of_calls(store, rules):
    worker = intake(store, batch_calls=2)
    take(worker, rules, message(0, "a"), message(1, "b", "c"), message(2, "d"))
    assert ledger(store) == [(0, 1, 3, 0, 0), (2, 2, 1, 0, 0)]


def test_what_cannot_be_used_is_kept_with_its_reason_and_the_rest_goes_on(store, rules):
    key = b"sk-ant-api03-" + b"x" * 40
    take(
        intake(store), rules, message(0, b"garbage " + key), message(1, "a", b'{"cutover":1,"call')
    )
    rows = store.query("SELECT kafka_offset, position, reason, value FROM rejected ORDER BY 1")
    assert [row[:3] for row in rows.result_rows] == [(0, 0, "not_json"), (1, 1, "not_json")]
    assert all("sk-ant" not in row[3] for row in rows.result_rows)
    assert ledger(store) == [(0, 1, 1, 2, 0)]


def test_what_tells_of_no_call_is_counted_and_its_message_is_done_with(store, rules):
    no_call = (
        b'{"call_type":"","startTime":1,"error_information":{"error_class":"StopAsyncIteration"}}'
    )
    assert take(intake(store), rules, message(0, no_call), message(1, "a")) == 2
    assert ids(store) == ["a"]
    assert ledger(store) == [(0, 1, 1, 0, 0)]
    assert store.command("SELECT sum(ignored) FROM ledger") == 1
    assert store.command("SELECT count() FROM rejected") == 0


def test_a_message_that_meets_a_fault_of_ours_is_rejected_whole_and_the_rest_goes_on(
    store, rules, monkeypatch
):
    def faulty(call: Call, *rest: object) -> ScoredCall:
        if call.call_id == "b":
            raise KeyError("an entry nobody thought of")
        return score_whole(call, *rest)

    score_whole = score.score_whole
    monkeypatch.setattr(score, "score_whole", faulty)
    take(intake(store), rules, message(0, "a"), message(1, "b", "c"), message(2, "d"))
    assert ids(store) == ["a", "d"]
    rows = store.query("SELECT kafka_offset, reason, value FROM rejected").result_rows
    assert [(offset, reason) for offset, reason, _ in rows] == [(1, "internal_error")]
    assert '"call_id":"c"' in rows[0][2]
    assert [row[:4] for row in ledger(store)] == [(0, 2, 2, 1)]


class BreaksAt:
    """A client that fails when a table is written, before or after the rows got there."""

    def __init__(self, client: Client, table: str, *, after: bool) -> None:
        self.client, self.table, self.after = client, table, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def insert(self, table: str, *arguments: Any, **named: Any) -> None:
        if table == self.table and not self.after:
            raise StoreError("broken on purpose")
        self.client.insert(table, *arguments, **named)
        if table == self.table:
            raise StoreError("broken on purpose")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("table", ["claims", "rejected", "calls", "ledger"])
def test_a_worker_that_dies_in_the_middle_of_a_batch_is_continued_exactly(
    store, rules, table: str, after: bool, monkeypatch
):
    messages = [message(0, "a", b"garbage"), message(1, "b"), message(2, "a", "c")]

    def die(*_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr("pipeline.intake.time.sleep", die)
    dying = intake(BreaksAt(store, table, after=after))  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        take(dying, rules, *messages)
    more: Sequence[Message] = [*messages, message(3, "d", "b")]
    assert take(intake(store), rules, *more) == 4
    assert ids(store) == ["a", "b", "c", "d"]
    assert store.command("SELECT count() FROM rejected") == 1
    assert minutes(store) == 4
    assert [sum(column) for column in list(zip(*ledger(store), strict=True))[2:]] == [4, 1, 2]


def test_a_claimed_batch_waits_until_all_its_messages_are_there_again(store, rules):
    messages = [message(0, "a"), message(1, "b")]
    insert.claim_batch(store, _batch(store, rules, messages), "died")
    worker = intake(store)
    assert take(worker, rules, messages[0]) == 0
    assert take(worker, rules, *messages, message(2, "c")) == 3
    assert ids(store) == ["a", "b", "c"]
    assert ledger(store) == [(0, 1, 2, 0, 0), (2, 2, 1, 0, 0)]


def test_a_claim_whose_messages_kafka_no_longer_has_is_passed_over(store, rules):
    insert.claim_batch(store, _batch(store, rules, [message(0, "a"), message(1, "b")]), "died")
    assert take(intake(store), rules, message(5, "c")) == 6
    assert ledger(store) == [(5, 5, 1, 0, 0)]


class MeetsAnother:
    """A client whose worker is overtaken: another one works at the moment it is about to do `table`."""

    def __init__(self, client: Client, table: str, others: Callable[[], object]) -> None:
        self.client, self.table, self.others = client, table, others

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def insert(self, table: str, *arguments: Any, **named: Any) -> None:
        if table == self.table:
            self.table = ""
            self.others()
        self.client.insert(table, *arguments, **named)


@pytest.mark.parametrize("table", ["claims", "rejected", "calls", "ledger"])
def test_a_worker_that_froze_in_the_middle_of_a_batch_and_wakes_up_later_stores_nothing_twice(
    store, rules, table: str
):
    longer = [
        message(0, "a", b"garbage"), message(1, "b"), message(2, "a", "c"), message(3, "d", "b"),
    ]  # fmt: skip
    other = intake(store, worker="other")
    frozen = intake(
        MeetsAnother(store, table, lambda: take(other, rules, *longer)),  # type: ignore[arg-type]
        worker="frozen",
    )
    take(frozen, rules, *longer[:2])
    assert take(frozen, rules, *longer[2:], message(4, "e")) == 5
    assert take(other, rules, message(4, "e"), message(5, "f")) == 6
    assert ids(store) == ["a", "b", "c", "d", "e", "f"]
    assert store.command("SELECT count() FROM rejected") == 1
    assert minutes(store) == 6
    ranges = [row[:2] for row in ledger(store)]
    assert [first for first, _ in ranges] == [0, *(last + 1 for _, last in ranges[:-1])]
    assert [sum(column) for column in list(zip(*ledger(store), strict=True))[2:]] == [6, 1, 2]


def test_what_a_worker_with_other_rules_stored_of_a_batch_counts_as_it_is_stored(store, rules):
    messages = [message(0, "a", "b"), message(1, "c")]
    batch = _batch(store, rules, messages)
    insert.claim_batch(store, batch, "older")
    fewer = msgspec.structs.replace(batch, records=batch.records[:2])
    with pytest.raises(StoreError):
        insert.insert_batch(BreaksAt(store, "ledger", after=False), fewer, "older")  # type: ignore[arg-type]
    assert take(intake(store), rules, *messages) == 2
    assert ids(store) == ["a", "b"]
    assert ledger(store) == [(0, 1, 2, 0, 1)]


def _batch(store: Client, rules: Rules, messages: Sequence[Message]) -> insert.Batch:
    worker = intake(store)
    return worker._cut(TOPIC, 0, messages, worker._state(TOPIC, 0, always), rules)[0]


def test_nothing_is_inserted_for_a_partition_that_went_to_another_worker(store, rules):
    with pytest.raises(AssignmentLostError):
        intake(store).store(TOPIC, 0, [message(0, "a")], rules, lambda: False)
    assert ids(store) == []


def test_what_is_known_may_be_forgotten_while_a_batch_is_stored(store, rules):
    """As it happens when a worker that was frozen wakes up and the partitions are shared out anew."""
    worker = intake(store)
    take(worker, rules, message(0, "a"))
    take(intake(store), rules, message(1, "b"))

    def mine() -> bool:
        worker.forget()
        return True

    messages = [message(1, "b"), message(2, "c")]
    assert worker.store(TOPIC, 0, messages, rules, mine) == (3, [])
    assert ids(store) == ["a", "b", "c"]
    assert ledger(store) == [(0, 0, 1, 0, 0), (1, 1, 1, 0, 0), (2, 2, 1, 0, 0)]


def test_a_broker_that_was_wiped_starts_a_ledger_of_its_own(store, rules):
    take(intake(store), rules, message(0, "a"))
    take(intake(store, cluster="c2"), rules, message(0, "b"))
    assert ids(store) == ["a", "b"]
    assert ledger(store) == [(0, 0, 1, 0, 0), (0, 0, 1, 0, 0)]


def test_a_call_counts_once_also_if_it_is_sent_again_to_a_broker_that_was_wiped(store, rules):
    take(intake(store), rules, message(0, "a", "b"))
    take(intake(store, cluster="c2"), rules, message(0, "b", "c"))
    assert ids(store) == ["a", "b", "c"]


def test_reading_the_topic_again_into_an_empty_store_gives_the_same_rows_and_sums(
    store, rules, store_settings, catalog
):
    messages = [
        message(0, "a", "b", b"garbage"),
        message(1, encode(anthropic_record("c", provider="zhipu"))),
        message(2, "a"),
        *(message(offset, *(f"{offset}-{n}" for n in range(20))) for offset in range(3, 9)),
    ]
    take(intake(store), rules, *messages)
    empty = replace(store_settings, clickhouse_database=f"{store_settings.clickhouse_database}_2")
    migrate(empty, catalog)
    with connect(empty) as again:
        take(intake(again, batch_calls=1), rules, *messages)
        for table, but, order in (
            ("calls", "inserted_at", "call_id"),
            ("rejected", "inserted_at", "kafka_offset"),
            ("calls_per_minute FINAL", "last_inserted_at", "minute, provider"),
        ):
            select = f"SELECT * EXCEPT ({but}) FROM {table} ORDER BY {order}"
            assert store.query(select).result_rows == again.query(select).result_rows != []
        again.command(f"DROP DATABASE `{empty.clickhouse_database}`")
