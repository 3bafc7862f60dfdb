"""The made-up past: how many records, in which order, and that they tell the plan's story."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from pipeline import yamlfile
from pipeline.calls import Arm
from pipeline.demo.behaviour import load_behaviours
from pipeline.demo.history import history
from pipeline.demo.scenario import demo_plan
from pipeline.formats.cutover import Record, detect, encode
from pipeline.verdicts.plan import Plan, check

END_MS = 1_795_000_000_000
DAYS = 10
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    file: Path = tmp_path_factory.mktemp("demo") / "plan.yml"
    file.write_text(demo_plan(END_MS, "http://127.0.0.1:8600", DAYS), encoding="utf-8")
    return check(yamlfile.load(file, Plan))


@pytest.fixture(scope="module")
def records(plan: Plan) -> list[Record]:
    return list(history(plan, DAYS, 2_000, 1, END_MS))


def test_there_are_exactly_as_many_records_as_wanted(records: list[Record]) -> None:
    assert len(records) == DAYS * 2_000
    assert len({record.call_id for record in records}) == len(records)


def test_they_come_in_order_of_time_and_end_before_the_live_run(records: list[Record]) -> None:
    times = [record.started_at or 0 for record in records]
    assert times == sorted(times)
    assert times[0] >= END_MS - DAYS * DAY_MS
    assert max(record.ended_at or 0 for record in records) <= END_MS
    assert times[-1] > END_MS - DAY_MS / 24


def test_a_call_begins_before_its_first_token_and_that_before_its_end(
    records: list[Record],
) -> None:
    for record in records:
        moments = (record.started_at, record.first_token_at, record.ended_at)
        known = [moment for moment in moments if moment is not None]
        assert known == sorted(known)


def test_stage_and_share_are_those_of_the_plan(plan: Plan, records: list[Record]) -> None:
    first = {record.conversation_id: record for record in reversed(records)}
    for record in first.values():
        stage = plan.workloads[record.workload].stage_at(record.started_at or 0)
        assert record.stage == (stage.name if stage else "")
        assert record.share == (stage.migrated if stage else 0.0)


def test_a_conversation_stays_with_one_provider_and_one_workload(records: list[Record]) -> None:
    sides = {(r.conversation_id, r.workload, r.provider, r.arm) for r in records}
    assert len(sides) == len({r.conversation_id for r in records})


def test_the_migrated_share_grows_over_the_days(records: list[Record]) -> None:
    days: Counter[tuple[int, Arm]] = Counter(
        (((r.started_at or 0) - END_MS) // DAY_MS, r.arm) for r in records
    )
    shares = [
        days[day, Arm.CANDIDATE] / (days[day, Arm.CANDIDATE] + days[day, Arm.BASELINE])
        for day in range(-DAYS, 0)
    ]
    assert shares[0] < 0.05 < shares[DAYS // 2] < shares[-1]


def test_every_provider_appears_and_failures_are_few_but_there(records: list[Record]) -> None:
    assert {record.provider for record in records} == set(load_behaviours())
    failed = [r for r in records if r.http_status != 200]
    assert 0.002 < len(failed) / len(records) < 0.05
    assert {429, 529, 500, None} <= {r.http_status for r in failed}
    assert any(record.cancelled for record in records)


def test_moonshot_had_a_bad_hour_and_a_half_three_days_before(plan: Plan) -> None:
    by_incident: Counter[tuple[bool, bool]] = Counter()
    for record in history(plan, DAYS, 10_000, 2, END_MS):
        if record.provider == "moonshot":
            minute = ((record.started_at or 0) - END_MS) / 60_000
            by_incident[-4310 <= minute < -4220, record.http_status == 429] += 1
    assert by_incident[True, True] / (by_incident[True, True] + by_incident[True, False]) > 0.1
    assert by_incident[False, True] / by_incident[False, False] < 0.03


def test_a_record_is_one_line_of_our_own_format_with_its_conversation_inside(
    records: list[Record],
) -> None:
    for record in records[:500]:
        line = encode(record)
        assert detect(line) and b"\n" not in line
        asked = msgspec.json.decode(record.request)
        named = asked.get("user") or asked["metadata"]["user_id"]
        assert named == record.conversation_id


def test_the_same_seed_makes_the_same_past(plan: Plan) -> None:
    def some(seed: int) -> list[Record]:
        return list(history(plan, 0.2, 2_000, seed, END_MS))

    assert some(3) == some(3) != some(4)
