"""From calls to units: intention to treat, closing, order, and what is late."""

from decimal import Decimal
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.calls import Arm
from pipeline.verdicts.conversations import LONGEST, Arrival, Conversation, Conversations, excluded
from pipeline.verdicts.gates import Exclusions
from pipeline.verdicts.units import Unit, failures_of

IDLE = 10_000


def call(number: int, at: int, conversation: str = "c1", **fields: Any) -> Arrival:
    """A call that took a second and came to Kafka at its end."""
    told = {
        "cluster": "k", "topic": "t", "kafka_partition": 0, "kafka_offset": number,
        "call_id": f"call-{number}", "conversation_id": conversation, "workload": "support",
        "arm": Arm.BASELINE, "provider": "anthropic", "started_at": at, "duration_ms": 1000,
        "received_at": at + 1000,
    }  # fmt: skip
    return Arrival(**told | fields)


def unit(conversation: Conversation[Arrival]) -> list[Unit]:
    return [
        conversation.unit(
            lambda amount, a, b, at: amount * 7, "CNY", lambda w, s: {"moonshot": 0.5}
        )
    ]


def judged(*calls: Arrival) -> Unit:
    """The one unit of these calls."""
    taken = Conversations(IDLE)
    assert all(taken.add(each) for each in calls)
    (found,) = taken.close(10**12, unit).units
    return found


def test_the_first_attempts_outcome_belongs_to_its_provider_even_if_a_fallback_answered() -> None:
    found = judged(
        call(
            1,
            0,
            request_id="r",
            provider="moonshot",
            arm=Arm.CANDIDATE,
            fault="provider",
            share=0.2,
        ),
        call(2, 1500, request_id="r", attempt=2, quality=Decimal(1)),
    )
    assert (found.provider, found.arm, found.share) == ("moonshot", Arm.CANDIDATE, 0.2)
    assert found.failed
    assert found.score is None  # what the fallback answered is no merit of the candidate's


def test_the_callers_own_faults_and_hang_ups_are_no_failures_of_the_provider() -> None:
    assert not judged(call(1, 0, fault="caller"), call(2, 2000, fault="client")).failed
    assert judged(call(1, 0, fault="network")).failed


def test_a_unit_sums_costs_and_takes_means_and_maxima_over_its_calls() -> None:
    found = judged(
        call(1, 0, quality=Decimal("0.5"), checks={"delivered": Decimal(1)}, cost=Decimal(2), currency="CNY",
             time_to_first_token_ms=300),
        call(2, 3000, quality=Decimal(1), checks={"delivered": Decimal(0)}, cost=Decimal(1), currency="USD",
             time_to_first_token_ms=700, duration_ms=4000),
    )  # fmt: skip
    assert (found.score, found.checks) == (0.75, {"delivered": 0.5})
    assert (found.cost, found.currency) == (Decimal(9), "CNY")
    assert (found.ttft_ms, found.duration_ms) == (700, 4000)
    assert (found.assigned_at, found.closed_at) == (0, 7000)
    assert found.shares == {"moonshot": 0.5}


def test_one_unknown_cost_makes_the_conversations_cost_unknown() -> None:
    found = judged(call(1, 0, cost=Decimal(2), currency="CNY"), call(2, 2000))
    assert (found.cost, found.currency) == (None, "")


def test_calls_without_a_conversation_are_units_of_their_own_together_with_their_retries() -> None:
    taken = Conversations(IDLE)
    for each in (
        call(1, 0, "", request_id="r"),
        call(2, 100, "", request_id="r", attempt=2),
        call(3, 200, ""),
    ):
        taken.add(each)
    assert [u.conversation_id for u in taken.close(10**12, unit).units] == ["r", "call-3"]


def test_a_conversation_is_closed_by_the_idle_time_since_its_last_call_came() -> None:
    taken = Conversations(IDLE)
    taken.add(call(1, 0))
    taken.add(call(2, 5000))
    assert not taken.close(6000 + IDLE - 1, unit).units
    assert taken.close(6000 + IDLE, unit).units


def test_a_failure_is_told_while_its_conversation_and_those_before_it_are_open() -> None:
    taken = Conversations(IDLE)
    taken.add(call(1, 0, "long"))
    taken.add(call(2, 100, "other", fault="provider"))
    taken.add(call(3, 200, "retried", request_id="r", attempt=2, fault="provider"))
    taken.add(call(4, 150, "retried", request_id="r"))
    assert taken.told(1099, unit) == [], "calls that came earlier may still be missing"
    (told,) = taken.told(1100, unit)
    assert (told.conversation_id, told.failed, told.failed_at) == ("other", True, 1100)
    assert not taken.close(1100, unit).units
    taken.add(call(5, 3000, "long", fault="network", received_at=7000))
    taken.add(call(6, 3000, "long", fault="network", received_at=5000))
    assert [u.failed_at for u in taken.told(10_000, unit) if u.conversation_id == "long"] == [5000]
    assert taken.told(10_000, unit) == []
    assert {u.conversation_id: u.failed_at for u in taken.close(10**6, unit).units} == {
        "long": 5000, "other": 1100, "retried": None,
    }  # fmt: skip
    taken.add(call(7, 50, "too late", fault="provider", received_at=10**6))
    assert taken.told(10**7, unit) == []


def test_a_call_that_began_earlier_but_comes_later_changes_nothing_about_a_failure_told() -> None:
    taken = Conversations(IDLE)
    taken.add(call(1, 4000, "other"))
    taken.add(call(2, 5000, "failed", fault="provider", arm=Arm.CANDIDATE, share=0.2))
    (told,) = taken.told(6000, unit)
    assert [u.conversation_id for u in taken.close(5000 + IDLE, unit).units] == ["other"]
    taken.add(call(3, 3000, "failed", received_at=9000, arm=Arm.BASELINE, share=0.1))
    closed = taken.close(10**6, unit)
    assert not closed.late
    (judged,) = closed.units
    assert (judged.place, judged.arm, judged.share) == (told.place, Arm.CANDIDATE, 0.2)
    assert (judged.failure_place, judged.failed) == (told.failure_place, True)


def test_a_failure_with_an_old_time_is_told_after_those_that_were_told() -> None:
    taken = Conversations(IDLE)
    taken.add(call(1, 50_000, "open"))
    assert taken.told(50_000, unit) == []
    taken.add(call(2, 30_000, "slow clock", fault="provider"))
    assert taken.told(50_000, unit) == []
    (told,) = taken.told(50_001, unit)
    assert (told.conversation_id, told.failed_at) == ("slow clock", 50_001)


def test_an_endless_conversation_is_not_judged_before_its_failure_is_told() -> None:
    taken = Conversations(IDLE)
    for at in range(0, LONGEST * IDLE, 8000):
        taken.add(call(at, at))
    end = LONGEST * IDLE + 1000
    taken.add(call(1, end - 900, fault="provider"))
    for complete_to in (end, end + 100):
        told, closed = taken.told(complete_to, unit), taken.close(complete_to, unit)
        assert len(told) == len(closed.units) == (complete_to > end)


A = Arm.BASELINE
SOONER_FOR_A_WHILE = [  # a retry that fails comes before the first attempt, which does not
    ([(0, 0, 0, 1, "", A), (1, 0, 2, 1, "provider", A)], 0),
    ([(0, 0, 0, 1, "", A), (1, 0, 0, 2, "provider", A), (1, 0, 0, 1, "", A)], 0),
]
COMING = st.tuples(
    st.integers(0, 3),  # conversation
    st.integers(0, 60_000),  # began
    st.integers(0, 30_000),  # came, after that
    st.integers(1, 2),  # attempt
    st.sampled_from(["", "provider"]),
    st.sampled_from(Arm),
)


@example(SOONER_FOR_A_WHILE)
@given(st.lists(st.tuples(st.lists(COMING, max_size=4), st.integers(0, 9000)), max_size=25))
def test_what_was_told_of_failures_is_what_the_units_tell_whenever_calls_come(rounds) -> None:
    """Even of calls with times up to which all calls were taken for known."""
    taken, told, units, late, number, now = Conversations(IDLE), [], [], [], 0, 0
    for calls, later in [*rounds, ([], 10**6)]:
        judged = {found.conversation_id for found in (*units, *late)}
        for which, at, after, attempt, fault, arm in calls:
            number += 1
            made = call(number, at, f"c{which}", received_at=at + after, attempt=attempt, fault=fault, arm=arm)  # fmt: skip
            if made.conversation_id not in judged:
                taken.add(made)
        now += later
        told += taken.told(now, unit)
        closed = taken.close(now, unit)
        units, late = units + closed.units, late + closed.late
    assert [u.place for u in units] == sorted({u.place for u in units})
    assert [_told(u) for u in told] == [_told(u) for u in failures_of(units)]


def _told(found: Unit) -> tuple[Any, ...]:
    return found.failure_place, found.place, found.arm, found.failed


def test_an_endless_conversation_is_closed_all_the_same() -> None:
    taken = Conversations(IDLE)
    for number in range(LONGEST * 2 + 1):
        taken.add(call(number, number * 5000))
    assert not taken.close(LONGEST * IDLE, unit).units
    assert taken.close(1000 + LONGEST * IDLE, unit).units


def test_units_wait_for_all_that_was_assigned_before_them() -> None:
    taken = Conversations(IDLE)
    taken.add(call(1, 0, "long"))
    taken.add(call(2, 100, "short"))
    taken.add(call(3, 9000, "long"))
    assert not taken.close(1100 + IDLE, unit).units
    assert taken.watermark(1100 + IDLE) == 0
    assert [u.conversation_id for u in taken.close(10_000 + IDLE, unit).units] == ["long", "short"]
    assert taken.watermark(50_000) == 50_000 - IDLE


def test_what_comes_after_its_turn_is_late_and_never_merged() -> None:
    taken = Conversations(IDLE)
    taken.add(call(1, 1000, "first"))
    assert not taken.add(call(2, 2001 + IDLE, "first")), (
        "idle for too long, as a past sent again tells"
    )
    assert taken.close(10**6, unit).units
    taken.add(call(3, 500, "earlier", received_at=10**6))
    closed = taken.close(10**7, unit)
    assert (closed.units, [u.conversation_id for u in closed.late]) == ([], ["earlier"])


def test_the_order_of_arrival_changes_no_unit() -> None:
    calls = [
        call(1, 0, fault="provider"),
        call(2, 2000, quality=Decimal(1)),
        call(3, 4000, quality=Decimal("0.2")),
    ]
    assert judged(*calls) == judged(*reversed(calls))


def test_excluded_traffic_is_no_evidence() -> None:
    rules = Exclusions(apps=("load-*",), tags={"synthetic": "yes"})
    assert excluded(call(1, 0, app="load-test"), rules)
    assert excluded(call(1, 0, tags={"synthetic": "yes"}), rules)
    assert excluded(call(1, 0, doubts=("gateway_cache_hit",)), rules)
    assert not excluded(call(1, 0, app="web"), rules)
