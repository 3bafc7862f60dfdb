"""A rating is read, or refused with the reason; a key in a comment goes nowhere."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls import Rejected
from pipeline.cli import main
from pipeline.feedback import LONGEST_COMMENT, Rated, rating_of, read_feedback
from pipeline.store.connect import rows
from pipeline.store.service import insert_feedback

NOW = 1_795_000_000_000
GOOD = {"event_id": "e1", "call_id": "c1", "rating": 0.75, "comment": "fine", "at": NOW - 5}


def read(**changes: Any) -> Rated | Rejected:
    return read_feedback(json.dumps(GOOD | changes).encode(), NOW)


def test_a_rating_is_read_as_it_was_given() -> None:
    assert read() == Rated(
        event_id="e1", call_id="c1", at=NOW - 5, rating=Decimal("0.75"), comment="fine", source=""
    )


REFUSED = {
    "nothing": (None, "not_json", ""),
    "no JSON": (b"up!", "not_json", ""),
    "no call": (b'{"event_id":"e","rating":1}', "malformed_feedback", "call_id"),
    "an empty call": (b'{"event_id":"e","call_id":"","rating":1}', "malformed_feedback", "call_id"),
    "five stars": (b'{"event_id":"e","call_id":"c","rating":5}', "malformed_feedback", "rating"),
    "words": (b'{"event_id":"e","call_id":"c","rating":"up"}', "malformed_feedback", "rating"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_with_the_field_named(name: str) -> None:
    value, reason, field = REFUSED[name]
    refused = read_feedback(value, NOW)
    assert isinstance(refused, Rejected)
    assert refused.reason == reason
    assert field in refused.detail


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(value: bytes) -> None:
    read_feedback(value, NOW)


def test_keys_are_blanked_out_and_long_comments_cut() -> None:
    key = "sk-ant-api03-" + "x" * 40
    found = read(comment=f"my key is {key}", source=key)
    assert isinstance(found, Rated)
    assert key not in str(found)
    long = read(comment="x" * 5000)
    assert isinstance(long, Rated)
    assert len(long.comment) == LONGEST_COMMENT
    refused = read(comment=key, rating=7)
    assert key not in str(refused)


@pytest.mark.parametrize("at", [None, 12, NOW * 2])
def test_a_time_nobody_can_believe_is_replaced_by_kafkas(at: int | None) -> None:
    found = read(at=at)
    assert isinstance(found, Rated)
    assert found.at == NOW


def test_people_give_thumbs_or_numbers() -> None:
    assert [rating_of(text) for text in ("up", "DOWN", "0.25", "1")] == [1, 0, 0.25, 1]
    for text in ("good", "5", "-1", "nan"):
        with pytest.raises(ValueError, match=text):
            rating_of(text)


def test_the_command_refuses_a_rating_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feedback", "c1", "--rating", "7"]) == 2
    assert "--rating: up, down, or a number from 0 to 1" in capsys.readouterr().err


def test_each_rating_is_stored_once_and_shown_with_its_call(store: Any) -> None:
    store.insert(
        "calls",
        [["c1", "support", "moonshot", "kimi-k2.6", "candidate"]],
        column_names=["call_id", "workload", "provider", "model", "arm"],
    )
    first, other = read(), read(event_id="e2", call_id="unknown", rating=0)
    assert isinstance(first, Rated)
    assert isinstance(other, Rated)
    insert_feedback(store, [first, other])
    insert_feedback(store, [first])
    insert_feedback(store, [])
    found = rows(
        store, "SELECT call_id, rating, comment, workload, provider FROM v_feedback ORDER BY 1"
    )
    assert [tuple(row.values()) for row in found] == [
        ("c1", 0.75, "fine", "support", "moonshot"),
        ("unknown", 0, "fine", "", ""),
    ]
