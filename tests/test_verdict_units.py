"""Units survive their CSV to the value; what cannot be a unit is refused with line and column."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls import Arm
from pipeline.verdicts.plan import Endpoint, Name, Plan, Stage, Workload
from pipeline.verdicts.units import (
    COLUMNS,
    Pair,
    Unit,
    UnitsError,
    of_pair,
    pairs_hash,
    read_pairs,
    read_units,
    share_against_baseline,
    units_hash,
    write_pairs,
    write_units,
)

HEADER = "workload,provider,arm,conversation_id,assigned_at,closed_at,failed,score,cost,currency,ttft_ms,duration_ms,share"
ROW = "support,moonshot,candidate,c1,1000,2000,0,0.9,0.012,USD,300,900,0.05"

in_one = st.floats(0, 1)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
units = st.builds(
    Unit,
    workload=names,
    provider=names,
    arm=st.sampled_from([Arm.BASELINE, Arm.CANDIDATE]),
    conversation_id=names,
    assigned_at=st.integers(0, 10**6),
    closed_at=st.integers(10**6, 10**7),
    failed=st.booleans(),
    score=st.none() | in_one,
    cost=st.none() | st.decimals(0, 100, places=6),
    currency=st.sampled_from(["USD", "CNY"]),
    ttft_ms=st.none() | st.integers(0, 10**6),
    duration_ms=st.none() | st.integers(0, 10**6),
    share=st.none() | in_one,
    checks=st.dictionaries(names, in_one, max_size=2),
    shares=st.dictionaries(names, in_one, max_size=2),
)


def test_the_columns_are_the_published_ones() -> None:
    assert ",".join(COLUMNS) == HEADER


@given(st.lists(units, max_size=5, unique_by=lambda u: (u.workload, u.conversation_id)))
def test_units_come_back_as_they_were_written(some) -> None:
    assert read_units(write_units(some)) == sorted(some, key=lambda unit: unit.place)


def test_the_hash_is_of_the_evidence_not_of_its_order() -> None:
    one, two = read_units(f"{HEADER}\n{ROW}\n{ROW.replace('c1', 'c2')}\n")
    assert units_hash([one, two]) == units_hash([two, one]) != units_hash([one])


def test_a_row_twice_counts_once() -> None:
    assert len(read_units(f"{HEADER}\n{ROW}\n{ROW}\n")) == 1


def test_extra_columns_hold_checks_and_shares() -> None:
    (unit,) = read_units(f"{HEADER},check:complete,share:moonshot\n{ROW},0.5,0.1\n")
    assert (unit.checks, unit.share_of("moonshot")) == ({"complete": 0.5}, 0.1)
    assert unit.share_of("zhipu") == 0.05
    assert unit.cost == Decimal("0.012")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("candidate", "shadow", "line 2, column arm: 'shadow' must be baseline or candidate"),
        ("0.9", "1.9", "line 2, column score: '1.9' must be between 0 and 1"),
        ("0.9", "good", "line 2, column score: 'good' must be a number"),
        ("1000", "", "line 2, column assigned_at: '' must be a whole number"),
        ("1000", "9000", "line 2, column closed_at: must not be before"),
        ("0.012", "nan", "line 2, column cost: 'nan' must be a decimal number"),
        ("USD", "", "line 2, column currency"),
        (",0.05", "", "line 2: 12 cells for 13 columns"),
        ("c1,", ",", "line 2, column conversation_id: '' must not be empty"),
        ("0.9", '"0.9', "not CSV"),
    ],
)
def test_a_bad_cell_is_named(old, new, says) -> None:
    with pytest.raises(UnitsError, match=says):
        read_units(f"{HEADER}\n{ROW.replace(old, new, 1)}\n")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (HEADER.replace(",share", ""), "no column share"),
        (HEADER + ",colour", "unknown column 'colour'"),
        (HEADER + ",share", "twice"),
        ("", "no column workload"),
    ],
)
def test_a_bad_header_is_named(header, says) -> None:
    with pytest.raises(UnitsError, match=says):
        read_units(f"{header}\n")


def test_one_conversation_with_two_values_is_refused() -> None:
    with pytest.raises(UnitsError, match="line 3.*'c1' stands there twice"):
        read_units(f"{HEADER}\n{ROW}\n{ROW.replace('0.9', '0.8')}\n")


def test_the_units_of_a_candidate_are_its_own_and_the_baselines() -> None:
    rows = [
        ROW,
        ROW.replace("moonshot,candidate,c1,1000", "anthropic,baseline,c2,500"),
        ROW.replace("moonshot", "zhipu").replace("c1", "c3"),
        ROW.replace("support", "game").replace("c1", "c4"),
    ]
    some = read_units("\n".join([HEADER, *rows]))
    plan = Plan(
        migration="Test",
        baseline="claude",
        endpoints={
            n: Endpoint(provider=p) for n, p in (("claude", "anthropic"), ("kimi", "moonshot"))
        },
        workloads={
            "support": Workload(
                name=Name("Support"),
                stages=(Stage(name="half", starts=datetime.now(UTC), shares={"kimi": 0.5}),),
            )
        },
    )
    mine = of_pair(some, plan, "support", "kimi")
    assert [unit.conversation_id for unit in mine] == ["c2", "c1"]


def test_a_share_against_the_baseline_leaves_the_other_candidates_out() -> None:
    assert share_against_baseline({"a": 0.1, "b": 0.1}, "a") == pytest.approx(1 / 9)
    assert share_against_baseline({"a": 0.5, "b": 0.5}, "a") == 1
    assert share_against_baseline({"a": 0.0, "b": 1.0}, "a") is None


PAIR = Pair(
    workload="support", provider="moonshot", model="kimi-k2.6", conversation_id="c1", assigned_at=5,
    closed_at=9, pairs=3, failed_baseline=0.0, failed_candidate=1 / 3, disagreement=0.1 + 0.2, noise=None,
)  # fmt: skip


def test_shadow_pairs_read_back_as_they_were_written_whatever_the_order() -> None:
    other = msgspec.structs.replace(PAIR, conversation_id="c0", noise=0.7)
    assert read_pairs(write_pairs([PAIR, other])) == [other, PAIR]
    assert pairs_hash([PAIR, other]) == pairs_hash([other, PAIR]) != pairs_hash([PAIR])
    assert read_pairs(write_pairs([])) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (",3,", ",0,", "line 2, column pairs: '0' must be a whole number, 1 or more"),
        (",5,9,", ",9,5,", "line 2, column closed_at: must not be before"),
        (",noise", ",noises", "line 1: no column noise"),
    ],
)
def test_shadow_pairs_that_cannot_be_are_refused_with_line_and_column(old, new, says) -> None:
    with pytest.raises(UnitsError, match=says):
        read_pairs(write_pairs([PAIR]).replace(old, new))
