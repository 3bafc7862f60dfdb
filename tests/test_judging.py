"""The judge over a real store: what it reads and writes, that replays and takeovers give the same bits."""

import json
import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import cli
from pipeline.evidence import EvidenceError, export, verify
from pipeline.judging import Judge
from pipeline.plan_file import load_plan, plan_schema, read_courses, write_courses
from pipeline.store import service
from pipeline.store import verdicts as stored
from pipeline.store.connect import rows
from pipeline.verdict_commands import verdicts_of
from pipeline.verdicts.autopilot import Course
from pipeline.verdicts.judge import fold, start
from pipeline.verdicts.plan import gates_of, plan_hash
from pipeline.verdicts.units import failures_of, of_pair, write_units
from pipeline.verdicts.verdict import FORMULAS

T0 = 1_795_000_000_000
IDLE = 6_000
PLAN = """
migration: Test
baseline: claude
endpoints:
  claude: {provider: anthropic}
  kimi: {provider: moonshot, model: kimi-k2.6, key_env: KEY}
workloads:
  chat:
    name: {en: Chat}
    autopilot: true
    stages:
      - {name: half, from: 2026-01-01T00:00:00Z, shares: {kimi: 0.5}}
      - {name: most, from: 2026-01-02T00:00:00Z, shares: {kimi: 0.8}}
gates:
  idle_minutes: 0.1
  horizon: {conversations: 50}
  failure: {margin: 0.1}
  score: {margin: 0.05}
"""
CALLS = (
    "cluster", "topic", "kafka_partition", "kafka_offset", "position", "received_at",
    "received_on", "call_id", "attempt", "final", "conversation_id", "workload", "arm", "stage", "share",
    "provider", "request_model", "model", "started_at", "duration_ms", "fault", "quality", "checks",
)  # fmt: skip


class World:
    """A store into which calls come, a message each, and judges over it."""

    def __init__(self, settings, client, catalog) -> None:
        self.settings, self.client, self.catalog = settings, client, catalog
        settings.plan.write_text(PLAN)
        self.plan = load_plan(settings.plan)
        service.insert_plan(client, plan_hash(self.plan), msgspec.json.encode(self.plan).decode())
        self.offset = 0
        self.now = T0

    def judge(self, name: str = "one") -> Judge:
        topic = self.settings.calls_topic
        return Judge(self.client, "k", topic, name, self.catalog, self.settings.plan)

    def come(self, calls: Sequence[dict[str, Any]]) -> None:
        """Calls come, a second after they began; the ledger has them, and a worker has looked."""
        topic, begin = self.settings.calls_topic, self.offset
        values = []
        for told in calls:
            at = told["started_at"]
            row = {
                "cluster": "k", "topic": topic, "kafka_partition": 0, "kafka_offset": self.offset,
                "position": 0, "received_at": at + 1000, "received_on": 20_000,
                "call_id": f"call-{self.offset}", "attempt": 1, "final": True, "workload": "chat",
                "request_model": "", "model": "",
                "stage": "half", "share": 0.5, "duration_ms": 900, "fault": "", "quality": Decimal("0.9"),
                "checks": {}, **told,
            }  # fmt: skip
            values.append([row[name] for name in CALLS])
            self.offset += 1
            self.now = max(self.now, at + 1000)
        self.client.insert("calls", values, column_names=CALLS)
        ledger = ["k", topic, 0, begin, self.offset - 1, len(calls), 0, 0, "w"]
        names = ["cluster", "topic", "kafka_partition", "offset_from", "offset_to", "stored", "rejected",
                 "duplicates", "worker"]  # fmt: skip
        self.client.insert("ledger", [ledger], column_names=names)

    def tick(self, judge: Judge, later: int = 60_000, unread: int = 0) -> list[dict[str, Any]]:
        """A worker looks at the partition, in which so many messages wait for him, then the judge does his round."""
        self.now += later
        ends = {(self.settings.calls_topic, 0): (0, self.offset + unread)}
        service.insert_partition_ends(self.client, "k", ends, self.now)
        events = judge.tick(self.plan, self.now)
        judge.write_out(self.now)
        judge.settle()
        return events

    def shown(self) -> dict[str, Any]:
        (found,) = rows(self.client, "SELECT * FROM v_verdicts")
        return found


def conversations(count: int, first: int = 0, failing: float = 0.0) -> list[dict[str, Any]]:
    """One call each, a second apart, every other one at the candidate, which fails that often."""
    rng = random.Random(first)
    return [
        {
            "conversation_id": f"c{n:05}",
            "started_at": T0 + n * 1000,
            "arm": "candidate" if n % 2 else "baseline",
            "provider": "moonshot" if n % 2 else "anthropic",
            "fault": "provider" if n % 2 and rng.random() < failing else "",
        }
        for n in range(first, first + count)
    ]


@pytest.fixture
def world(store_settings, store, catalog) -> World:
    return World(store_settings, store, catalog)


def test_a_good_candidate_is_promoted_and_a_bad_one_sent_back(world) -> None:
    judge = world.judge()
    write_courses(world.settings.plan, {"chat": Course(stage="half", since=T0)})
    world.come(conversations(400))
    events = world.tick(judge)
    assert [e["kind"] for e in events] == ["epoch_started", "verdict_changed", "autopilot"]
    found = world.shown()
    assert (found["verdict"], found["candidate"], found["provider"]) == (
        "PROMOTE",
        "kimi",
        "moonshot",
    )
    assert (found["units_baseline"], found["units_candidate"]) == (200, 200)
    assert (found["stage"], found["share"], found["proven"]) == ("half", 0.5, True)
    (failure, _) = json.loads(found["gates"])
    assert failure["log_e_promote"] >= failure["needed_promote"]
    assert read_courses(world.settings.plan)["chat"].stage == "most"

    world.come(conversations(200, first=400, failing=0.6))
    events = world.tick(judge)
    assert world.shown()["verdict"] == "ROLLBACK"
    assert [e["action"] for e in events if e["kind"] == "autopilot"] == ["rollback"]
    assert read_courses(world.settings.plan)["chat"].rolled_back == {"kimi": 1}
    history = rows(world.client, "SELECT verdict, reason_en, reason_zh FROM v_verdict_history")
    assert [row["verdict"] for row in history] == ["PROMOTE", "ROLLBACK"]
    assert all(row["reason_en"] and row["reason_zh"] for row in history)


def test_replaying_the_stored_units_gives_the_same_bits_and_the_command_the_same_e_values(
    world,
) -> None:
    judge = world.judge()
    for part in range(4):
        world.come(conversations(75, first=75 * part, failing=0.05))
        world.tick(judge)
    (pair,) = judge._pairs.values()
    units = of_pair(stored.read_units(world.client, "chat"), world.plan, "chat", "kimi")
    assert len(units) == 300
    state = start(gates_of(world.plan, "chat"), workload="chat", candidate="moonshot/kimi-k2.6")
    for unit in units:
        state = fold(state, [unit])
    failures = failures_of(units)
    assert len(failures) == sum(unit.failed for unit in units) > 5
    for unit in failures:
        state = fold(state, [], failures=[unit])
    assert msgspec.json.encode(state) == msgspec.json.encode(pair.state)

    (again,) = verdicts_of(world.plan, write_units(units))["verdicts"]
    shown = {gate["gate"]: gate for gate in json.loads(world.shown()["gates"])}
    for gate in again["gates"]:
        for name in ("log_e_promote", "log_e_rollback", "estimate", "lower", "upper"):
            assert gate[name] == shown[gate["gate"]][name], (gate["gate"], name)


@pytest.mark.parametrize("written_apart", [False, True])
def test_another_judge_goes_on_where_the_first_one_died(world, written_apart: bool) -> None:
    """By the positions in its last batch, or by those that earlier versions wrote apart."""
    first, whole = world.judge("one"), conversations(300)
    two_turns = [dict(call, started_at=call["started_at"] + 3000) for call in whole[148:152]]
    world.come(whole[:150])
    world.tick(first, later=0)  # the last ones are still open
    half = world.client.command("SELECT count() FROM units")
    assert 100 < half < 150
    if written_apart:
        world.client.command(
            "INSERT INTO judge_positions (batch, writer, kept, positions)"
            " SELECT batch, writer, 'units', positions FROM units WHERE positions != ''"
        )
        world.client.command(
            "ALTER TABLE units UPDATE positions = '' WHERE 1 SETTINGS mutations_sync = 1"
        )
    second = world.judge("two")
    world.come([*two_turns, *whole[150:]])
    world.tick(second)
    units = stored.read_units(world.client, "chat")
    assert [unit.conversation_id for unit in units] == [call["conversation_id"] for call in whole]
    assert {u.duration_ms for u in units[148:152]} == {900}
    assert [u.closed_at - u.assigned_at for u in units[148:150]] == [3900, 3900]
    assert world.client.command("SELECT count() FROM late_calls") == 0

    world.come(conversations(20, first=300))
    assert world.tick(first) == [], (
        "the first one wakes up: its batch is not taken, and it begins anew"
    )
    world.tick(first)
    assert world.client.command("SELECT count() - uniqExact(conversation_id) FROM units") == 0
    assert len(stored.read_units(world.client, "chat")) == 320


@pytest.mark.parametrize("source", [stored.USERS, stored.PAIRS], ids=["users", "pairs"])
def test_judged_conversations_are_looked_up_without_reading_all_units(world, source) -> None:
    by_hash = f"SELECT conversation FROM {source.judged} WHERE conversation IN (1, 2)"
    world.client.query(f"{by_hash} SETTINGS force_optimize_projection = 1")


def test_a_judge_overtaken_in_the_midst_of_a_round_tells_nothing(world) -> None:
    """The other one stores the batch after the first has looked, and before he stores his own."""
    first, second = world.judge("one"), world.judge("two")
    world.come(conversations(100))
    world.tick(first)
    before = [row["verdict"] for row in rows(world.client, "SELECT verdict FROM v_verdict_history")]
    world.come(conversations(100, first=100, failing=0.9))
    gatherer, told = first._gatherer, []
    own = gatherer.units_of

    def in_the_midst(plan, conversation):
        gatherer.units_of = own
        told.extend(second.tick(plan, world.now))
        return own(plan, conversation)

    gatherer.units_of = in_the_midst
    assert world.tick(first) == []
    assert [e["verdict"] for e in told if e["kind"] == "verdict_changed"] == ["ROLLBACK"]
    after = [row["verdict"] for row in rows(world.client, "SELECT verdict FROM v_verdict_history")]
    assert after == [*before, "ROLLBACK"]
    units = stored.read_units(world.client, "chat")
    assert len(units) == len({unit.conversation_id for unit in units}) == 200
    assert {row["writer"] for row in rows(world.client, "SELECT writer FROM units")} == {"one/0", "two/0"}  # fmt: skip


def test_harm_is_seen_while_conversations_are_still_open(world) -> None:
    """None is closed yet, and one that never ends holds up the rest: the failures alone tell."""
    judge = world.judge()
    endless = {**conversations(1)[0], "conversation_id": "endless"}
    world.come([endless, *conversations(44, first=1, failing=1.0)])
    for second in range(5, 45, 5):
        world.come([dict(endless, started_at=T0 + second * 1000, received_at=T0 + 45_500)])
    world.tick(judge, later=3000)
    found = world.shown()
    assert (found["verdict"], found["units_candidate"]) == ("ROLLBACK", 0)
    assert "of the last 20 were the candidate's at a share of 50.00 %" in found["reason_en"]
    assert "最近 20 次失败中 20 次来自候选" in found["reason_zh"]


def test_failures_count_once_and_in_the_same_order_whoever_judges(world) -> None:
    """Some are known from closed conversations, some from open ones, when the judge changes."""
    calls, judges = conversations(200, failing=0.3), [world.judge(f"j{n}") for n in range(4)]
    for number, judge in enumerate(judges):
        world.come(calls[50 * number : 50 * (number + 1)])
        world.tick(judge, later=3000)
        assert not judges[0]._pairs[("chat", "kimi")].units
    last = judges[-1]
    world.tick(last)
    (pair,) = last._pairs.values()
    units = of_pair(stored.read_units(world.client, "chat"), world.plan, "chat", "kimi")
    assert len(units) == 200 and any(unit.failed_at for unit in units)
    whole = start(gates_of(world.plan, "chat"), workload="chat", candidate="moonshot/kimi-k2.6")
    whole = fold(whole, units, failures=failures_of(units))
    assert msgspec.json.encode(pair.state) == msgspec.json.encode(whole)


def test_two_candidates_of_one_provider_are_judged_apart(world) -> None:
    two = PLAN.replace(
        "workloads:", "  turbo: {provider: moonshot, model: kimi-turbo, key_env: KEY}\nworkloads:"
    )
    two = two.replace("shares: {kimi: 0.5}", "shares: {kimi: 0.25, turbo: 0.25}")
    world.settings.plan.write_text(
        two.replace("shares: {kimi: 0.8}", "shares: {kimi: 0.4, turbo: 0.4}")
    )
    world.plan = load_plan(world.settings.plan)
    judge, calls = world.judge(), conversations(800)
    for number, call in enumerate(calls):
        if call["provider"] == "moonshot":
            bad = number % 4 == 1
            call |= {"request_model": "kimi-turbo" if bad else "kimi-k2.6", "model": "kimi"}
            call["fault"] = "provider" if bad and number % 8 == 1 else ""
    world.come(calls)
    world.tick(judge)
    found = {row["candidate"]: row for row in rows(world.client, "SELECT * FROM v_verdicts")}
    assert {name: row["verdict"] for name, row in found.items()} == {
        "kimi": "PROMOTE", "turbo": "ROLLBACK",
    }  # fmt: skip
    assert [found[n]["units_candidate"] for n in ("kimi", "turbo")] == [200, 200]
    assert found["turbo"]["model"] == "kimi-turbo"
    assert read_courses(world.settings.plan)["chat"].rolled_back == {"turbo": 1}
    assert stored.read_units(world.client, "chat")[-1].shares == {
        "moonshot/kimi-k2.6": pytest.approx(1 / 3), "moonshot/kimi-turbo": pytest.approx(1 / 3),
    }  # fmt: skip
    again = world.judge("another")  # reads what is stored
    world.come(conversations(2, first=800))
    world.tick(again)
    assert [pair.state.tested.units for pair in again._pairs.values()] == [200, 200]
    told = verdicts_of(world.plan, write_units(stored.read_units(world.client, "chat")))
    assert [(v["candidate"], v["model"], v["verdict"]) for v in told["verdicts"]] == [
        ("kimi", "kimi-k2.6", "PROMOTE"), ("turbo", "kimi-turbo", "ROLLBACK"),
    ]  # fmt: skip


def test_a_drift_alarm_after_the_cutover_is_an_event_of_its_own_told_once(world) -> None:
    judge, before = world.judge(), conversations(600)
    alone = [
        {**call, "arm": "candidate", "provider": "moonshot", "share": 1.0, "stage": "all",
         "fault": "provider" if n >= 100 and n % 2 else ""}
        for n, call in enumerate(conversations(300, first=600))
    ]  # fmt: skip
    world.come(before)
    world.tick(judge)
    world.come(alone[:100])
    assert [e["kind"] for e in world.tick(judge) if e["kind"] == "drift_alarm"] == []
    world.come(alone[100:])
    (event,) = [e for e in world.tick(judge) if e["kind"] == "drift_alarm"]
    assert (event["gate"], event["candidate"], event["provider"]) == ("failure", "kimi", "moonshot")
    assert "Drift alarm, not a comparison" in event["message_en"]
    assert "漂移告警" in event["message_zh"]
    world.tick(judge)
    (drift,) = [d for d in json.loads(world.shown()["drift"]) if d["since"]]
    assert drift["since"] == event["since"]
    another = world.judge("another")
    assert [e for e in world.tick(another) if e["kind"] == "drift_alarm"] == []
    units = of_pair(stored.read_units(world.client, "chat"), world.plan, "chat", "kimi")
    state = start(gates_of(world.plan, "chat"), workload="chat", candidate="moonshot/kimi-k2.6")
    state = fold(state, units, failures=failures_of(units))
    assert msgspec.json.encode(state) == msgspec.json.encode(another._pairs["chat", "kimi"].state)


def test_late_calls_are_counted_and_change_nothing(world) -> None:
    judge = world.judge()
    world.come(conversations(40))
    world.tick(judge)
    before = stored.read_units(world.client, "chat")
    late = {**conversations(1, first=1)[0], "fault": "provider", "started_at": T0 + 50_000}
    world.come([late])
    world.tick(judge)
    assert stored.read_units(world.client, "chat") == before
    assert world.shown()["late_calls"] == 1


def test_a_changed_margin_begins_an_epoch_that_says_data_had_come_before(world) -> None:
    judge = world.judge()
    world.come(conversations(100))
    world.tick(judge)
    world.settings.plan.write_text(PLAN.replace("margin: 0.1}", "margin: 0.2}"))
    world.plan = load_plan(world.settings.plan)
    (event, *_) = world.tick(judge)
    assert (event["kind"], event["epoch"], event["after_data"]) == ("epoch_started", 2, True)
    epochs = rows(world.client, "SELECT epoch, after_data, set_by FROM v_epochs")
    assert [(row["epoch"], row["after_data"]) for row in epochs] == [(1, True), (2, True)]
    assert all(row["set_by"] for row in epochs)
    world.come(conversations(10, first=int((world.now - T0) / 1000) + 5))
    world.tick(judge)
    assert world.shown()["units_baseline"] == 5


def test_unbalanced_accounts_block_once_they_last(world) -> None:
    judge = world.judge()
    world.come(conversations(400))
    world.offset += 7  # messages that nobody accounts for
    world.come(conversations(2, first=400))
    world.tick(judge)
    assert world.shown()["verdict"] == "PROMOTE"
    for _ in range(3):
        world.tick(judge, later=30_000)
    assert world.shown()["verdict"] == "BLOCKED"


def test_a_past_that_is_read_in_is_waited_for_and_one_that_stands_still_blocks(world) -> None:
    judge = world.judge()
    world.now = T0 + 7 * 86_400_000
    for n in range(12):
        world.come(conversations(100, first=100 * n))
        world.tick(judge, later=2000, unread=1000)
        shown = world.shown()
        assert shown["verdict"] == "HOLD"
    assert shown["reason_en"] == "The past is still being read in: so far up to 7.0 days ago."
    for _ in range(4):
        world.tick(judge, later=15_000, unread=1000)
    shown = world.shown()
    assert shown["verdict"] == "BLOCKED"
    assert shown["reason_en"].startswith("Data is complete only up to 7.0 days ago")


def test_an_evidence_bundle_is_verified_and_a_forged_one_is_not(world, tmp_path) -> None:
    judge = world.judge()
    with pytest.raises(EvidenceError, match="no verdict"):
        export(world.client, "chat", "kimi")
    world.come(conversations(120, failing=0.1))
    world.tick(judge)
    file = tmp_path / "evidence.zip"
    file.write_bytes(export(world.client, "chat", "kimi"))
    said, wrong = verify(file)
    assert (said["formulas"], wrong) == (FORMULAS, [])
    assert said["path"][-1]["units"] == 120
    assert cli.main(["evidence", "verify", str(file)]) == 0
    forged = export(world.client, "chat", "kimi")
    file.write_bytes(forged.replace(b"units.csv", b"units.cs_"))
    assert cli.main(["evidence", "verify", str(file)]) == 2


def test_the_command_answers_no_unless_all_are_promoted(world, tmp_path, capsys) -> None:
    judge = world.judge()
    world.come(conversations(60))
    world.tick(judge)
    units = tmp_path / "units.csv"
    units.write_text(write_units(stored.read_units(world.client, "chat")))
    assert cli.main(["verdict", "--plan", str(world.settings.plan), str(units)]) == 1
    (told,) = json.loads(capsys.readouterr().out)["verdicts"]
    assert told["verdict"] == "HOLD"
    units.write_text("nonsense")
    assert cli.main(["verdict", "--plan", str(world.settings.plan), str(units)]) == 2


def test_units_of_the_epoch_in_force_give_its_verdict_again(world, capsys, monkeypatch) -> None:
    judge = world.judge()
    world.come(conversations(100, failing=0.5))
    world.tick(judge)
    world.settings.plan.write_text(PLAN.replace("margin: 0.1}", "margin: 0.2}"))
    world.plan = load_plan(world.settings.plan)
    service.insert_plan(
        world.client, plan_hash(world.plan), msgspec.json.encode(world.plan).decode()
    )
    world.tick(judge)
    world.come(conversations(60, first=int((world.now - T0) / 1000) + 5))
    world.tick(judge)
    for name, value in world.settings.environ().items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    assert cli.main(["units", "--workload", "chat", "--candidate", "kimi"]) == 0
    out, err = capsys.readouterr()
    assert "--epoch 2" in err
    (again,) = verdicts_of(world.plan, out, epoch=2)["verdicts"]
    assert (again["units_baseline"], again["units_candidate"]) == (30, 30)
    shown = {gate["gate"]: gate for gate in json.loads(world.shown()["gates"])}
    assert {g["gate"]: g["log_e_promote"] for g in again["gates"]} == {
        name: gate["log_e_promote"] for name, gate in shown.items()
    }


def test_the_stage_in_force_is_told_by_the_last_share_not_by_the_date(world) -> None:
    """On autopilot a workload may be far behind the plan's dates: a week is due before the step to all."""
    text = PLAN.replace("shares: {kimi: 0.8}", "shares: {kimi: 1}")
    world.settings.plan.write_text(text)
    plan = load_plan(world.settings.plan)
    world.come(conversations(400))
    world.tick(world.judge())
    csv = write_units(stored.read_units(world.client, "chat"))
    (told,) = verdicts_of(plan, csv)["verdicts"]
    assert [reason["code"] for reason in told["reasons"]] == ["days"]
    world.settings.plan.write_text(text.replace("chat:", "chat:\n    epoch: 3"))
    assert verdicts_of(load_plan(world.settings.plan), csv)["verdicts"][0]["epoch"] == 3


def test_the_published_schema_is_that_of_the_code() -> None:
    published = Path(__file__).parents[1] / "docs" / "plan.schema.json"
    assert published.read_text(encoding="utf-8") == plan_schema()
