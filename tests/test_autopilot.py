"""Autopilot: stages moved by verdicts, and a tap that follows."""

import aiohttp
import msgspec
from tapping import Notes, endpoint, provider, tap

from pipeline.plan_file import SteeredPlanFile, read_courses, write_courses
from pipeline.verdicts.autopilot import Course, Said, leads_to_all, sail, stage_named, steered
from pipeline.verdicts.plan import Plan, check
from pipeline.verdicts.verdict import Outcome

DAY = 86_400_000
NOW = 1_795_000_000_000


def plan(autopilot: bool = True, url: str = "http://127.0.0.1:1") -> Plan:
    """Three stages: the first two have begun, the third begins tomorrow."""
    document = {
        "migration": "Test",
        "baseline": "claude",
        "endpoints": {
            "claude": msgspec.to_builtins(endpoint("anthropic", url)),
            "kimi": msgspec.to_builtins(endpoint("moonshot", url, key_env="CANDIDATE_KEY")),
            "glm": msgspec.to_builtins(endpoint("zhipu", url, key_env="CANDIDATE_KEY")),
        },
        "workloads": {
            "chat": {
                "name": {"en": "Chat"},
                "match": {"app": "chat-app"},
                "autopilot": autopilot,
                "stages": [
                    {"name": "pilot", "from": "2026-01-01T00:00:00Z", "shares": {"kimi": 0.1, "glm": 0.1}},
                    {"name": "half", "from": "2026-01-02T00:00:00Z", "shares": {"kimi": 1.0}},
                    {"name": "all", "from": "2099-01-01T00:00:00Z", "shares": {"kimi": 1.0}},
                ],
            }
        },
    }  # fmt: skip
    return check(msgspec.convert(document, Plan))


PILOT = Course(stage="pilot", since=NOW - DAY)


def said(kimi: Outcome, glm: Outcome, stage: str = "pilot", epoch: int = 1) -> dict:
    return {("chat", "kimi"): Said(kimi, epoch, stage), ("chat", "glm"): Said(glm, epoch, stage)}


def test_without_a_course_the_stage_in_force_by_date_is_where_it_begins() -> None:
    courses, moves = sail(plan(), {}, {}, NOW)
    assert (courses["chat"].stage, moves) == ("half", [])
    assert sail(plan(autopilot=False), {"chat": PILOT}, {}, NOW) == ({}, [])


def test_all_candidates_must_be_promoted_in_this_very_stage() -> None:
    for verdicts in (
        said(Outcome.PROMOTE, Outcome.HOLD),
        said(Outcome.PROMOTE, Outcome.PROMOTE, stage="earlier"),
    ):
        assert sail(plan(), {"chat": PILOT}, verdicts, NOW) == ({"chat": PILOT}, [])
    courses, (move,) = sail(plan(), {"chat": PILOT}, said(Outcome.PROMOTE, Outcome.PROMOTE), NOW)
    assert courses["chat"] == Course(stage="half", since=NOW)
    assert (move.action, move.stage_from, move.stage) == ("promote", "pilot", "half")


def test_a_stage_is_not_entered_before_its_date() -> None:
    course = {"chat": Course(stage="half", since=NOW)}
    assert sail(plan(), course, said(Outcome.PROMOTE, Outcome.PROMOTE, "half"), NOW) == (course, [])


def test_rollback_takes_the_candidates_share_at_once_and_leaves_the_other_alone() -> None:
    courses, (move,) = sail(plan(), {"chat": PILOT}, said(Outcome.ROLLBACK, Outcome.HOLD), NOW)
    stage = steered(plan(), courses).workloads["chat"].stage_at(NOW)
    assert stage
    assert (stage.name, stage.shares) == ("pilot without kimi", {"kimi": 0.0, "glm": 0.1})
    assert (move.action, move.candidates) == ("rollback", ("kimi",))
    again, moves = sail(plan(), courses, said(Outcome.ROLLBACK, Outcome.HOLD), NOW + 1)
    assert (again, moves) == (courses, []), "told once"


def test_a_candidate_comes_back_in_a_new_epoch_only() -> None:
    courses, _ = sail(plan(), {"chat": PILOT}, said(Outcome.ROLLBACK, Outcome.HOLD), NOW)
    back, _ = sail(plan(), courses, said(Outcome.HOLD, Outcome.HOLD, epoch=2), NOW)
    assert back["chat"].rolled_back == {}


def test_with_nobody_left_to_promote_it_stays_where_it_is() -> None:
    courses, moves = sail(plan(), {"chat": PILOT}, said(Outcome.ROLLBACK, Outcome.ROLLBACK), NOW)
    assert [move.action for move in moves] == ["rollback"]
    assert courses["chat"].stage == "pilot"


def test_a_stage_is_known_by_its_name_whoever_was_sent_back() -> None:
    chat = plan().workloads["chat"]
    found = stage_named(chat, "pilot without kimi")
    assert found
    assert found.shares == {"kimi": 0.0, "glm": 0.1}
    assert stage_named(chat, "unheard of") is None
    assert leads_to_all(chat, "pilot without kimi")
    assert not leads_to_all(chat, "all")


async def test_the_tap_follows_the_record_beside_the_plan(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CANDIDATE_KEY", "k")
    async with provider() as upstream:
        path = tmp_path / "plan.yml"
        path.write_bytes(msgspec.json.encode(plan(url=upstream.url)))
        write_courses(path, {"chat": Course(stage="half", since=NOW - DAY)})
        notes = Notes()
        async with tap(SteeredPlanFile(path), notes) as url:
            assert (await ask(url, notes)).provider == "moonshot"
            write_courses(path, {"chat": Course(stage="half", since=NOW, rolled_back={"kimi": 1})})
            record = await ask(url, notes)
            assert (record.provider, record.stage, record.share) == (
                "anthropic",
                "half without kimi",
                0.0,
            )
    assert [fields["stage"] for kind, fields in notes.events if kind == "stage_changed"] == [
        "half", "half without kimi",
    ]  # fmt: skip


async def ask(url: str, notes: Notes):
    """One call of one conversation, and its record."""
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"x-cutover-app": "chat-app", "x-cutover-conversation": "one"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/messages", json=body, headers=headers) as answer,
    ):
        await answer.read()
    return await notes.next()


def test_a_broken_record_is_as_none(tmp_path) -> None:
    (tmp_path / "plan.autopilot.json").write_text("{")
    assert read_courses(tmp_path / "plan.yml") == {}
