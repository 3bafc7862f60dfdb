"""Made-up users and the plan they move by; the traffic goes straight to the simulators here."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pipeline import yamlfile
from pipeline.calls import Protocol, ToolCall
from pipeline.demo.run import serve_simulators
from pipeline.demo.scenario import WORKLOADS, Conversation, calls_per_conversation, demo_plan
from pipeline.demo.traffic import drive
from pipeline.verdicts.plan import Plan, check

START_MS = 1_795_000_000_000
DAY_MS = 86_400_000


def load_plan(folder: Path, history_days: float = 0) -> Plan:
    """The demo's plan, written out and read again as the service does it."""
    file = folder / "plan.yml"
    file.write_text(demo_plan(START_MS, "http://127.0.0.1:8600", history_days), encoding="utf-8")
    return check(yamlfile.load(file, Plan))


@pytest.mark.parametrize("days", [0, 0.5, 14])
def test_the_plan_is_sound_with_and_without_a_past(tmp_path: Path, days: float) -> None:
    plan = load_plan(tmp_path, days)
    stages = [stage for workload in plan.workloads.values() for stage in workload.stages]
    assert min(stage.starts_ms for stage in stages) >= START_MS - days * DAY_MS
    past = [stage for stage in stages if stage.starts_ms < START_MS]
    assert bool(past) == bool(days)
    assert max(stage.starts_ms for stage in stages) <= START_MS + 12 * 60_000


def test_every_workload_has_both_sides_from_the_first_minute(tmp_path: Path) -> None:
    for workload in load_plan(tmp_path).workloads.values():
        stage = workload.stage_at(START_MS)
        assert stage is not None and 0 < stage.migrated < 1
        assert workload.name.zh and workload.owner


def test_the_plan_knows_the_apps_of_the_traffic_and_only_grows(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, 14)
    assert {w.match.app for w in plan.workloads.values()} == {w.app for w in WORKLOADS.values()}
    assert list(plan.workloads) == list(WORKLOADS)
    for workload in plan.workloads.values():
        migrated = [stage.migrated for stage in workload.stages]
        assert migrated == sorted(migrated)


def test_an_openai_base_url_ends_in_v1_and_an_anthropic_one_does_not(tmp_path: Path) -> None:
    urls = load_plan(tmp_path).endpoints["kimi"].base_urls
    assert urls[Protocol.ANTHROPIC_MESSAGES] == "http://127.0.0.1:8600/moonshot"
    assert urls[Protocol.OPENAI_CHAT] == "http://127.0.0.1:8600/moonshot/v1"


@pytest.mark.parametrize("workload", WORKLOADS)
def test_openers_are_many_and_the_same_for_the_same_seed(workload: str) -> None:
    asked = [json.dumps(Conversation(workload, n, 1).request(), default=str) for n in range(60)]
    assert asked == [
        json.dumps(Conversation(workload, n, 1).request(), default=str) for n in range(60)
    ]
    openers = {str(Conversation(workload, n, 1).request()["messages"]) for n in range(120)}
    assert len(openers) > 30


def test_a_tool_call_is_answered_with_its_result_and_a_text_with_a_question() -> None:
    talked = 0
    for number in range(30):
        conversation = Conversation("code", number, 1)
        conversation.hear("I look.", [ToolCall("toolu_1", "read_file", '{"path": "a/b.py"}')])
        if not conversation.over:
            conversation.hear("Done.", [])
        if not conversation.over:
            _, said, result, _, question = conversation.request()["messages"]
            assert said["content"][1]["input"] == {"path": "a/b.py"}
            assert result["content"][0]["tool_use_id"] == "toolu_1"
            assert isinstance(question["content"], str)
            talked += 1
    assert talked


def test_an_empty_answer_ends_a_conversation() -> None:
    conversation = Conversation("support", 1, 1)
    conversation.hear("", [])
    assert conversation.over


def test_a_conversation_wants_between_one_and_six_calls() -> None:
    assert 1 < calls_per_conversation() < 6


async def test_traffic_gets_answers_and_the_tally_adds_up() -> None:
    async with serve_simulators(0, 1) as url:
        tally = await drive(f"{url}/anthropic", 60, 2, 1, asyncio.Event())
    assert tally.sent == tally.outcomes.total() + tally.cancelled
    assert tally.outcomes["answered"] > tally.sent / 2 > 10


async def test_a_stop_ends_the_traffic_before_its_time() -> None:
    stop = asyncio.Event()
    async with serve_simulators(0, 1) as url:
        driving = asyncio.create_task(drive(f"{url}/zhipu", 50, None, 1, stop))
        async with aiohttp.ClientSession() as session:  # any request: the server is up
            await session.get(url)
        stop.set()
        tally = await driving
    assert tally.sent == tally.outcomes.total() + tally.cancelled


async def test_the_headers_name_app_and_conversation_and_hold_a_key() -> None:
    seen: list[web.Request] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(status=503)

    app = web.Application()
    app.router.add_post("/{path:.*}", note)
    async with TestServer(app) as server:
        await drive(str(server.make_url("")).rstrip("/"), 60, 1, 1, asyncio.Event())
    for request in seen:
        assert request.headers["x-cutover-app"] in {w.app for w in WORKLOADS.values()}
        assert request.headers["x-cutover-conversation"]
        assert request.headers.get("x-api-key") or request.headers.get("Authorization")
    assert {request.path for request in seen} == {"/v1/messages", "/v1/chat/completions"}


async def test_nobody_there_is_an_outcome_and_not_an_error() -> None:
    tally = await drive("http://127.0.0.1:9", 50, 1, 1, asyncio.Event())
    assert tally.outcomes["connection_lost"] == tally.sent > 0


async def test_the_command_ends_at_sigterm_and_prints_one_json_line(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def healthy(request: web.Request) -> web.Response:
        asked.set()
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/healthz", healthy)
    tap = TestServer(app)
    await tap.start_server()
    command = [sys.executable, "-m", "pipeline.demo.run"]
    command += ["--tap", str(tap.make_url("")).rstrip("/"), "--rate", "30"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "CUTOVER_PLAN": str(tmp_path / "plan.yml")},
    )
    await asyncio.wait_for(asked.wait(), 60)
    process.send_signal(signal.SIGTERM)
    printed, complaints = await process.communicate()
    await tap.close()
    assert (process.returncode, complaints) == (0, b"")
    told = json.loads(printed)
    assert "moonshot" in (tmp_path / "plan.yml").read_text()
    assert told["sent"] == sum(told["outcomes"].values()) + told["cancelled"]


def test_the_demo_does_not_write_over_a_plan_that_somebody_wrote(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yml"
    plan.write_text("migration: Ours\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.demo.run", "--tap", "http://127.0.0.1:9"],
        env={**os.environ, "CUTOVER_PLAN": str(plan)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.startswith("demo: CUTOVER_PLAN: ")
    assert len(ran.stderr.splitlines()) == 1
    assert plan.read_text() == "migration: Ours\n"
