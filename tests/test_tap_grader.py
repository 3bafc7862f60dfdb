"""The judge model on a real socket: blind, in both orders, within its budget, and never of the family of an arm."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from aiohttp import web
from records import STARTED, anthropic_record
from tapping import CANDIDATE_KEY, Notes, Provider, facts, plan, provider, tap
from test_tap_mirror import CALLER_KEY, ask, from_claude, from_kimi, silent

from pipeline.calls import Arm, Exchange, Grade, Pair, ScoredCall, ToolCall
from pipeline.formats.cutover import Record, encode
from pipeline.intake import Intake, Message
from pipeline.scoring.grading import better_of, families, messages, shown
from pipeline.scoring.score import score_message
from pipeline.settings import Settings, SettingsError
from pipeline.store.connect import rows
from pipeline.tap.grader import grader_of
from pipeline.verdicts.plan import Plan, Shadow

JUDGE_KEY = "judge-key-0123456789abcdef"
ENVIRON = {"CANDIDATE_KEY": CANDIDATE_KEY, "JUDGE_KEY": JUDGE_KEY}
SETTINGS = Settings(
    judge_base_url="http://127.0.0.1:1/v1", judge_model="glm-4.6", judge_key_env="JUDGE_KEY"
)
SHADOW = Shadow(share=1, budget_per_day=Decimal(10))
Opinion = Callable[[str], str]  # from what the judge is shown to its reply


def kimi_is_better(text: str) -> str:
    return '{"better": "%s"}' % ("first" if text.find("Kimi") < text.find("Claude") else "second")


def judging(opinion: Opinion) -> Any:
    async def judge(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        reply = opinion(asked["messages"][1]["content"])
        return web.json_response(
            {
                "object": "chat.completion",
                "model": "glm-4.6",
                "choices": [{"message": {"content": reply}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 300, "completion_tokens": 10},
            }
        )

    return judge


@asynccontextmanager
async def graded(
    notes: Notes, judge: Any, candidate: Any = from_kimi, **changes: Any
) -> AsyncIterator[tuple[str, Provider]]:
    """A tap that mirrors everything to Kimi and has it graded; its address and the judge."""
    async with provider(from_claude) as base, provider(candidate) as cand, provider(judge) as j:
        moving = plan(base.url, cand.url, shadow=SHADOW, model="kimi-k2.6")
        settings = replace(SETTINGS, judge_base_url=f"{j.url}/v1", **changes)
        grader = grader_of(settings, facts(), moving, ENVIRON, STARTED)
        async with tap(moving, notes, environ=ENVIRON, grader=grader) as address:
            yield address, j


async def grade_of(judge: Any, **changes: Any) -> tuple[Grade | None, Provider]:
    """What a judge made of one pair."""
    notes = Notes()
    async with graded(notes, judge, **changes) as (address, j):
        await ask(address)
        user, shadow = await notes.next(), await notes.next()
    assert (user.arm, user.grade, shadow.arm) == (Arm.BASELINE, None, Arm.SHADOW)
    return shadow.grade, j


async def test_the_judge_is_asked_in_both_orders_and_not_told_who_is_who() -> None:
    grade, judge = await grade_of(judging(kimi_is_better))
    assert grade
    assert (grade.model, grade.shadow_first, grade.shadow_second) == ("glm-4.6", "better", "better")
    assert grade.currency == "USD"
    assert 0 < grade.cost < 1
    bodies = [json.loads(seen.body) for seen in judge.seen]
    shown_texts = [body["messages"][1]["content"] for body in bodies]
    assert {text.find("Kimi") < text.find("Claude") for text in shown_texts} == {True, False}
    for text in shown_texts:
        bare = text.replace("From Kimi", "").replace("From Claude", "")
        assert not any(name in bare.lower() for name in ("kimi", "claude", "moonshot", "anthropic"))


OPINIONS: dict[str, tuple[Opinion, tuple[str, str]]] = {
    "likes whatever comes first": (lambda _: '{"better": "first"}', ("better", "worse")),
    "cannot decide": (lambda _: 'Well. {"better": "same"}', ("same", "same")),
    "thinks aloud": (lambda _: '{"better":"first"}? No: {"better": "second"}', ("worse", "better")),
    "does not do as told": (lambda _: "Both are nice.", ("", "")),
}


@pytest.mark.parametrize("name", OPINIONS)
async def test_what_the_judge_says_is_kept_order_by_order(name: str) -> None:
    opinion, expected = OPINIONS[name]
    grade, _ = await grade_of(judging(opinion))
    assert grade
    assert (grade.shadow_first, grade.shadow_second) == expected


async def test_a_judge_that_fails_leaves_the_pair_ungraded_at_no_cost() -> None:
    async def broken(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": JUDGE_KEY}}, status=500)

    grade, _ = await grade_of(broken)
    assert grade
    assert (grade.shadow_first, grade.shadow_second, grade.cost) == ("", "", 0)


async def test_the_judges_key_goes_to_the_judge_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    notes = Notes()
    async with graded(notes, judging(lambda _: JUDGE_KEY)) as (address, judge):
        await ask(address)
        records = [await notes.next(), await notes.next()]
    assert [seen.header("authorization") for seen in judge.seen] == [f"Bearer {JUDGE_KEY}"] * 2
    assert CALLER_KEY not in repr(judge.seen)
    assert CANDIDATE_KEY not in repr(judge.seen)
    assert JUDGE_KEY not in repr(records) + caplog.text
    assert JUDGE_KEY not in repr(Settings())


async def test_a_judge_that_hangs_delays_neither_the_user_nor_the_end_and_the_call_is_kept() -> (
    None
):
    notes = Notes()
    async with asyncio.timeout(15), graded(notes, silent) as (address, judge):
        assert await ask(address) == "From Claude"
        while not judge.seen:
            await asyncio.sleep(0.01)
    _, shadow = await notes.next(), await notes.next()
    assert "From Kimi" in shadow.response
    assert not shadow.cancelled
    assert shadow.grade is None


UNASKED: dict[str, dict[str, Any]] = {
    "no money": {"judge_budget_usd": 0.0},
    "not drawn": {"judge_share": 0.0},
    "nothing to compare": {"candidate": web.HTTPServiceUnavailable},
}


@pytest.mark.parametrize("name", UNASKED)
async def test_the_judge_is_not_asked_beyond_its_bounds_or_where_an_answer_is_missing(
    name: str,
) -> None:
    changes = dict(UNASKED[name])
    if failure := changes.pop("candidate", None):

        async def down(_request: web.Request) -> web.StreamResponse:
            raise failure

        changes["candidate"] = down
    grade, judge = await grade_of(judging(kimi_is_better), **changes)
    assert grade is None
    assert not judge.seen


# Who may judge


def moving(model: str = "kimi-k2.6") -> Plan:
    return plan("http://127.0.0.1:1", "http://127.0.0.1:2", shadow=SHADOW, model=model)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"judge_model": ""}, "CUTOVER_JUDGE_MODEL is not set"),
    "no price": ({"judge_model": "home-made"}, "no known price"),
    "no variable": ({"judge_key_env": ""}, "CUTOVER_JUDGE_KEY_ENV is not set"),
    "no key": ({"judge_key_env": "NOWHERE"}, "NOWHERE is not set"),
    "the baseline's family": ({"judge_model": "claude-haiku-4-5"}, "family as endpoint 'claude'"),
    "the candidate's family": ({"judge_model": "kimi-k2.6"}, "family as endpoint 'kimi'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_judge_that_cannot_or_must_not_grade_is_refused_at_the_start(name: str) -> None:
    changes, says = REFUSED[name]
    with pytest.raises(SettingsError, match=says):
        grader_of(replace(SETTINGS, **changes), facts(), moving(), ENVIRON, STARTED)


def test_a_judge_of_the_same_family_grades_only_if_told_to() -> None:
    kin = replace(SETTINGS, judge_model="kimi-k2.6", judge_same_family="allow")
    grader = grader_of(kin, facts(), moving(), ENVIRON, STARTED)
    assert grader
    assert not grader.akin("moonshot", "kimi-k2.6")
    with pytest.raises(SettingsError, match="CUTOVER_JUDGE_SAME_FAMILY"):
        Settings.read({"CUTOVER_JUDGE_SAME_FAMILY": "perhaps"})


async def test_a_plan_that_brings_in_the_judges_family_later_is_not_graded() -> None:
    notes = Notes()
    async with provider(from_claude) as base, provider(from_kimi) as cand, provider() as judge:
        settings = replace(SETTINGS, judge_base_url=judge.url)
        grader = grader_of(settings, facts(), moving(), ENVIRON, STARTED)
        later = plan(base.url, cand.url, shadow=SHADOW, model="glm-4.6")
        zhipu = msgspec.structs.replace(later.endpoints["kimi"], provider="zhipu")
        later = msgspec.structs.replace(later, endpoints=later.endpoints | {"kimi": zhipu})
        async with tap(later, notes, environ=ENVIRON, grader=grader) as address:
            await ask(address)
            shadow = [await notes.next(), await notes.next()][1]
        assert shadow.grade is None
        assert not judge.seen
    assert grader
    assert grader.counts == {"same_family": 1}


def test_without_an_address_there_is_no_judge() -> None:
    assert grader_of(Settings(), facts(), moving(), {}, STARTED) is None


def test_families_are_told_by_the_maker_and_the_name() -> None:
    def akin(one: tuple[str, str], other: tuple[str, str]) -> bool:
        return bool(families(facts(), *one) & families(facts(), *other))

    assert akin(("", "qwen3-coder-flash"), ("elsewhere", "Qwen/qwen-max"))
    assert akin(("", "claude-haiku-4-5"), ("anthropic", ""))
    assert not akin(("", "glm-4.6"), ("moonshot", "kimi-k2.6"))


# What is shown and said


def test_the_judge_sees_text_and_tool_calls_in_bounds() -> None:
    answer = Exchange(text="Let me look.", tool_calls=(ToolCall("1", "search", '{"q":1}'),))
    assert shown(answer) == 'Let me look.\n[tool call] search {"q":1}'
    task, given = messages("x" * 20_000, "one", "two")
    assert task["role"] == "system"
    assert len(given["content"]) < 9000
    assert given["content"].index("<first>\none") < given["content"].index("<second>\ntwo")
    assert better_of("") == ""


# To the store


def test_grades_are_stored_with_the_pair_and_summed(store: Any, rules: Any) -> None:
    def shadow(call_id: str, first: Any, second: Any) -> Record:
        grade = Grade(
            model="glm-4.6",
            shadow_first=first,
            shadow_second=second,
            cost=Decimal("0.0001"),
            currency="USD",
        )
        user = anthropic_record(f"user {call_id}")
        return anthropic_record(
            call_id,
            arm=Arm.SHADOW,
            mirrored_to=Arm.CANDIDATE,
            shadow_of=user.call_id,
            provider="moonshot",
            host="api.moonshot.cn",
            twin=user,
            grade=grade,
        )

    given = [shadow("a", "worse", "same"), shadow("b", "better", "better"), shadow("c", "", "same")]
    worker = Intake(client=store, cluster="c", worker="w", batch_calls=100, remembered_ids=100)
    sent = [Message(n, STARTED, encode(record)) for n, record in enumerate(given)]
    worker.store("llm.calls", 0, sent, rules, lambda: True)
    (found,) = rows(store, "SELECT * FROM v_grades")
    assert (found["pairs"], found["unclear"], found["order_changed_it"]) == (3, 1, 1)
    assert (found["better"], found["worse"], found["cost"]) == (1, 0.5, Decimal("0.0003"))
    judged = rows(
        store, "SELECT call_id, value, evidence FROM v_pairs WHERE check = 'judge' ORDER BY 1"
    )
    assert [(r["call_id"], r["value"]) for r in judged] == [("a", 0.5), ("b", 1)]
    assert judged[0]["evidence"] == "worse shown first, same shown second"


def test_a_grade_with_a_verdict_nobody_knows_is_no_record(rules: Any) -> None:
    grade = {
        "model": "m",
        "shadow_first": "great",
        "shadow_second": "",
        "cost": "0",
        "currency": "USD",
    }
    line = msgspec.json.encode(msgspec.to_builtins(anthropic_record("a")) | {"grade": grade})
    (found,) = score_message(line, STARTED, rules)
    assert not isinstance(found, ScoredCall | Pair)
