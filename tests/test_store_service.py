"""Events as they may come on a topic that anybody can write to."""

import functools
from typing import Any

import pytest

from pipeline.store.connect import rows
from pipeline.store.service import insert_events, insert_plan

AT = 1_795_000_000_000
STAGE = {"event_id": "e1", "at": AT, "kind": "stage_changed", "workload": "chat", "stage": "half"}
COUNTS = {
    "event_id": "e2", "at": AT, "kind": "producer_counts", "producer": "tap-1", "produced": 5, "sent": 3,
    "waiting": 2, "dropped": 0,
}  # fmt: skip
MIRRORING = {
    "event_id": "e3", "at": AT, "kind": "mirroring", "tap": "t1", "hour": AT // 3_600_000 * 3_600_000,
    "workload": "chat", "reason": "mirrored", "calls": 4,
}  # fmt: skip


def test_events_go_to_their_tables_and_later_counts_replace_earlier_ones(store: Any) -> None:
    insert_events(store, "c", [STAGE, COUNTS, MIRRORING])
    later = MIRRORING | {"at": AT + 5000, "calls": 6}
    insert_events(store, "c", [STAGE, later, MIRRORING, MIRRORING | {"tap": "t2", "calls": 1}])
    assert rows(store, "SELECT kind, workload FROM v_events") == [
        {"kind": "stage_changed", "workload": "chat"}
    ]
    assert store.command("SELECT sum(produced) FROM producers FINAL") == 5
    (told,) = rows(store, "SELECT workload, reason, calls FROM v_mirroring")
    assert told == {"workload": "chat", "reason": "mirrored", "calls": 7}


UNSOUND = [
    STAGE | {"at": "today"},
    STAGE | {"at": -1},
    STAGE | {"kind": ["x"]},
    STAGE | {"workload": 3},
    STAGE | {"at": 2**63},
    STAGE | {"nested": functools.reduce(lambda inner, _: [inner], range(5000), [])},
    MIRRORING | {"hour": 10**15},
    MIRRORING | {"calls": 10**30},
    MIRRORING | {"calls": "many"},
    {k: v for k, v in MIRRORING.items() if k != "hour"},
    {k: v for k, v in COUNTS.items() if k != "producer"},
]


@pytest.mark.parametrize("number", range(len(UNSOUND)))
def test_an_event_that_cannot_be_stored_does_not_keep_the_others_out(
    store: Any, number: int
) -> None:
    insert_events(store, "c", [UNSOUND[number], STAGE])
    assert len(rows(store, "SELECT * FROM v_events")) == 1
    assert not rows(store, "SELECT * FROM v_mirroring")


def test_a_plan_is_recorded_each_time_it_comes_into_force_and_not_at_every_start(
    store: Any,
) -> None:
    for name, by in [("a", "ann"), ("a", "ann"), ("b", "bob"), ("a", "ann"), ("a", "eve")]:
        insert_plan(store, name, f'{{"plan": "{name}"}}', by)
    found = rows(store, "SELECT * FROM v_plans ORDER BY recorded_at")
    assert [(row["plan_hash"], row["set_by"], row["document"]) for row in found] == [
        ("a", "ann", '{"plan": "a"}'),
        ("b", "bob", '{"plan": "b"}'),
        ("a", "ann", '{"plan": "a"}'),
    ]
    assert found[0]["begun"] is None
    assert store.command("SELECT plan_hash FROM v_plan") == "a"
