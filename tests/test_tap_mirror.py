"""Shadow calls on real sockets: who is asked again, with whose key, who waits for whom, and what is counted."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tapping import CANDIDATE_KEY, Notes, Provider, facts, plan, provider, tap

from pipeline.calls import Arm, Protocol
from pipeline.formats.cutover import Record
from pipeline.kafka import LARGEST_MESSAGE
from pipeline.protocols import protocol_of
from pipeline.tap import mirror
from pipeline.tap.budget import DAY_MS, Purse
from pipeline.tap.routing import parse_body, position
from pipeline.tap.sampling import LARGEST, is_drawn, not_replayable
from pipeline.verdicts.plan import Shadow

CALLER_KEY = "caller-key-abcdefghijkl"
CHAT = {"x-cutover-app": "chat-app", "x-api-key": CALLER_KEY}
MODEL = "claude-sonnet-4-5-20250929"
QUESTION = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
ALL = Shadow(share=1, budget_per_day=Decimal(10))
TWICE = msgspec.structs.replace(ALL, baseline_share=1)


def answer(text: str, tokens: int = 20) -> web.Response:
    return web.json_response(
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 100, "output_tokens": tokens},
        }
    )


async def from_claude(_request: web.Request) -> web.StreamResponse:
    return answer("From Claude")


async def from_kimi(_request: web.Request) -> web.StreamResponse:
    return answer("From Kimi")


async def silent(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


@asynccontextmanager
async def mirrored(
    notes: Notes,
    shadow: Shadow,
    baseline: Any = from_claude,
    candidate: Any = from_kimi,
    spent: Path | None = None,
    **more: Any,
) -> AsyncIterator[tuple[str, Provider, Provider]]:
    """A tap that mirrors the baseline's calls to Kimi; its address and both providers."""
    model = {"model": "kimi-k2.6"} | more
    async with provider(baseline) as base, provider(candidate) as cand:
        moving = plan(base.url, cand.url, shadow=shadow, **model)
        async with tap(moving, notes, spent=spent) as address:
            yield address, base, cand


async def ask(address: str, path: str = "/v1/messages", **changes: Any) -> str:
    """The text of an answer to a question, "" for an error."""
    headers = CHAT | changes.pop("headers", {})
    async with (
        aiohttp.ClientSession() as session,
        session.post(address + path, json=QUESTION | changes, headers=headers) as got,
    ):
        body = await got.text()
        return str(json.loads(body)["content"][0]["text"]) if got.status == 200 else ""


async def counted(address: str, reason: str, calls: int = 1) -> None:
    """Waits until that many calls are counted under a reason."""
    sample = f'cutover_tap_mirroring_total{{reason="{reason}",workload="chat"}} {calls}.0\n'
    async with asyncio.timeout(10), aiohttp.ClientSession() as session:
        text = ""
        while sample not in text:
            async with session.get(f"{address}/metrics") as got:
                text = await got.text()
            await asyncio.sleep(0.01)


async def test_what_the_baseline_answered_is_asked_of_the_candidate_and_kept_beside_it() -> None:
    notes = Notes()
    async with mirrored(notes, ALL) as (address, base, cand):
        assert await ask(address, temperature=0.5) == "From Claude"
        user, shadow = await notes.next(), await notes.next()
    assert len(base.seen) == len(cand.seen) == 1
    assert json.loads(cand.seen[0].body) == QUESTION | {"temperature": 0.5, "model": "kimi-k2.6"}
    assert (user.arm, user.shadow_of, user.twin) == (Arm.BASELINE, "", None)
    assert (shadow.arm, shadow.mirrored_to) == (Arm.SHADOW, Arm.CANDIDATE)
    assert (shadow.shadow_of, shadow.twin) == (user.call_id, user)
    assert (shadow.provider, shadow.workload, shadow.stage) == ("moonshot", "chat", "now")
    assert shadow.conversation_id == user.conversation_id
    assert "From Kimi" in shadow.response


async def test_a_part_goes_to_the_baseline_a_second_time_for_the_noise_floor() -> None:
    notes = Notes()
    async with mirrored(notes, TWICE) as (address, base, _cand):
        await ask(address, headers={"idempotency-key": "once", "x-request-id": "r1"})
        records = [await notes.next() for _ in range(3)]
    again = {record.mirrored_to: record for record in records if record.arm == Arm.SHADOW}
    assert set(again) == {Arm.CANDIDATE, Arm.BASELINE}
    assert again[Arm.BASELINE].provider == "anthropic"
    first, second = base.seen
    assert json.loads(first.body) == json.loads(second.body)
    assert first.header("idempotency-key") == "once"
    assert second.header("idempotency-key") is None  # else the first answer would come again
    assert again[Arm.BASELINE].request_id == ""


async def test_keys_go_where_they_belong_and_into_no_record() -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return answer(str(dict(request.headers)))

    notes = Notes()
    async with mirrored(notes, TWICE, echo, echo) as (address, base, cand):
        await ask(address)
        records = [await notes.next() for _ in range(3)]
    assert [seen.header("x-api-key") for seen in base.seen] == [CALLER_KEY] * 2
    assert cand.seen[0].header("x-api-key") == CANDIDATE_KEY
    assert CALLER_KEY not in repr(cand.seen)
    assert CANDIDATE_KEY not in repr(base.seen)
    assert CALLER_KEY not in repr(records)
    assert CANDIDATE_KEY not in repr(records)


async def test_the_candidate_is_asked_only_once_the_user_has_the_answer() -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        begun = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await begun.prepare(request)
        await begun.write(b'event: message_start\ndata: {"type":"message_start"}\n\n')
        await go_on.wait()
        await begun.write(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        return begun

    notes = Notes()
    async with (
        mirrored(notes, ALL, slow) as (address, _, cand),
        aiohttp.ClientSession() as session,
        session.post(f"{address}/v1/messages", json=QUESTION, headers=CHAT) as got,
    ):
        await got.content.readuntil(b"\n\n")
        await asyncio.sleep(0.05)
        assert not cand.seen
        go_on.set()
        await got.read()
        await notes.next()
        await notes.next()
        assert len(cand.seen) == 1


async def test_a_candidate_that_hangs_delays_neither_the_user_nor_the_end_and_is_recorded() -> None:
    notes = Notes()
    async with asyncio.timeout(15), mirrored(notes, ALL, candidate=silent) as (address, _, cand):
        for _ in range(2):
            assert await ask(address) == "From Claude"
        while len(cand.seen) < 2:
            await asyncio.sleep(0.01)
    records = [notes.records.get_nowait() for _ in range(4)]
    assert [r.cancelled for r in records if r.arm == Arm.SHADOW] == [True, True]
    assert not any(r.cancelled for r in records if r.arm == Arm.BASELINE)


async def test_a_candidate_that_takes_too_long_is_recorded_as_timed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror, "TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    notes = Notes()
    async with mirrored(notes, ALL, candidate=silent) as (address, _, _):
        await ask(address)
        _, shadow = await notes.next(), await notes.next()
    assert shadow.transport_error == "timeout"


async def test_a_call_that_failed_at_the_provider_is_mirrored_like_any_other() -> None:
    """Pairs of good answers of the baseline's alone would flatter it."""

    async def overloaded(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"type": "error"}, status=529)

    notes = Notes()
    async with mirrored(notes, ALL, overloaded, overloaded) as (address, _, _):
        await ask(address)
        user, shadow = await notes.next(), await notes.next()
    assert (user.http_status, shadow.http_status) == (529, 529)


# What is not mirrored

SEARCH = {"type": "web_search_20250305", "name": "web_search"}
NOT_MIRRORED: dict[str, tuple[str, Shadow, dict[str, Any]]] = {
    "not drawn": ("not_sampled", msgspec.structs.replace(ALL, share=1e-12), {}),
    "a tool the vendor runs": ("side_effecting_tools", ALL, {"tools": [SEARCH]}),
    "stored state": ("stored_state", ALL, {"store": True}),
    "a retry": ("retry", ALL, {"headers": {"x-stainless-retry-count": "1"}}),
    "no money": ("over_budget", msgspec.structs.replace(ALL, budget_per_day=Decimal(0)), {}),
    "a body that is too large": ("too_large", ALL, {"pad": "x" * 1_100_000}),
}


@pytest.mark.parametrize("name", NOT_MIRRORED)
async def test_what_is_not_mirrored_is_counted_with_its_reason(name: str) -> None:
    reason, shadow, changes = NOT_MIRRORED[name]
    notes = Notes()
    async with mirrored(notes, shadow) as (address, _, cand):
        assert await ask(address, **changes) == "From Claude"
        await counted(address, reason)
        assert not cand.seen
    ((_kind, told),) = [e for e in notes.events if e[0] == "mirroring"]
    assert (told["workload"], told["reason"], told["calls"]) == ("chat", reason, 1)
    assert told["hour"] % 3_600_000 == 0


async def test_a_candidate_without_a_known_price_is_not_asked() -> None:
    async with mirrored(Notes(), ALL, model="kimi-of-tomorrow") as (address, _, cand):
        await ask(address)
        await counted(address, "no_price")
        assert not cand.seen


async def test_a_call_its_caller_got_wrong_is_not_mirrored() -> None:
    """Else who has no key of the baseline's could use the candidate's."""

    async def refuses(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"type": "error"}, status=401)

    async with mirrored(Notes(), ALL, refuses) as (address, _, cand):
        await ask(address)
        await counted(address, "caller_error")
        assert not cand.seen


async def test_what_a_candidate_answered_is_not_mirrored() -> None:
    async with provider(from_claude) as base, provider(from_kimi) as cand:
        moved = plan(base.url, cand.url, 1.0, shadow=ALL, model="kimi-k2.6")
        async with tap(moved, Notes()) as address:
            assert await ask(address) == "From Kimi"
            await counted(address, "answered_by_candidate")
        assert not base.seen


async def test_a_candidate_that_does_not_speak_the_protocol_is_not_asked() -> None:
    async with provider(from_claude) as base, provider(from_kimi) as cand:
        moving = plan(base.url, cand.url, shadow=ALL, model="kimi-k2.6")
        urls = {Protocol.OPENAI_CHAT: cand.url}
        kimi = msgspec.structs.replace(moving.endpoints["kimi"], base_urls=urls)
        moving = msgspec.structs.replace(moving, endpoints=moving.endpoints | {"kimi": kimi})
        async with tap(moving, Notes()) as address:
            await ask(address)
            await counted(address, "no_candidate")
        assert not cand.seen


async def test_under_load_calls_are_shed_and_the_next_are_mirrored_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror, "AT_ONCE", 2)
    free = asyncio.Event()

    async def waits(_request: web.Request) -> web.StreamResponse:
        await free.wait()
        return answer("At last")

    notes = Notes()
    async with mirrored(notes, ALL, candidate=waits) as (address, _, cand):
        for _ in range(5):
            await ask(address)
        await counted(address, "shed_under_load", 3)
        assert len(cand.seen) <= 2
        free.set()
        arms = [(await notes.next()).arm for _ in range(7)]
        assert arms.count(Arm.SHADOW) == 2
        await ask(address)
        await counted(address, "mirrored", 3)


async def test_a_workload_without_a_shadow_is_not_counted() -> None:
    notes = Notes()
    async with provider(from_claude) as base, tap(plan(base.url), notes) as address:
        await ask(address)
    assert notes.events == [] or {kind for kind, _ in notes.events} == {"stage_changed"}


# The budget


async def test_the_budget_of_a_day_holds_and_outlives_a_restart(tmp_path: Path) -> None:
    """100 tokens in and 20 out of kimi-k2.6 cost less than 0.001 USD, and 1,000 out more."""
    spent = tmp_path / "spent.json"

    async def costly(_request: web.Request) -> web.StreamResponse:
        return answer("Much", tokens=1000)

    budget = msgspec.structs.replace(ALL, budget_per_day=Decimal("0.003"))
    async with mirrored(Notes(), budget, candidate=costly, spent=spent) as (address, _, _):
        await ask(address)
        await counted(address, "mirrored")
        async with asyncio.timeout(10):  # until the true cost is known
            while True:
                await ask(address)
                await asyncio.sleep(0.02)
                async with aiohttp.ClientSession() as s, s.get(f"{address}/metrics") as got:
                    if 'reason="over_budget"' in await got.text():
                        break
    async with mirrored(Notes(), budget, spent=spent) as (address, _, cand):
        await ask(address)
        await counted(address, "over_budget")
        assert not cand.seen


amounts = st.decimals(min_value=0, max_value=5, places=2)


@given(st.lists(st.tuples(amounts, st.integers(0, 2)), max_size=20), amounts)
def test_never_more_than_a_days_limit_is_set_aside(
    wanted: list[tuple[Decimal, int]], limit: Decimal
) -> None:
    purse, granted = Purse(), dict.fromkeys(range(3), Decimal(0))
    for amount, day in sorted(wanted, key=lambda entry: entry[1]):
        if purse.set_aside("chat", amount, limit, day * DAY_MS + 5):
            granted[day] += amount
        else:
            assert granted[day] + amount > limit
        assert purse.spent("chat", day * DAY_MS) == granted[day] <= limit


def test_what_was_spent_is_corrected_saved_and_of_that_day_only(tmp_path: Path) -> None:
    file = tmp_path / "data" / "spent.json"
    purse = Purse(file)
    assert purse.set_aside("chat", Decimal("2.5"), Decimal(3), DAY_MS)
    purse.correct("chat", Decimal("-1.25"), DAY_MS)
    purse.save()
    again = Purse(file)
    assert again.spent("chat", DAY_MS) == Decimal("1.25")
    assert again.spent("chat", 2 * DAY_MS) == 0
    file.write_bytes(b"broken")
    assert Purse(file).spent("chat", DAY_MS) == 0


def test_a_budget_that_cannot_be_saved_still_holds(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    purse = Purse(tmp_path / "file" / "spent.json")
    assert purse.set_aside("chat", Decimal(1), Decimal(1), DAY_MS)
    purse.save()
    assert not purse.set_aside("chat", Decimal(1), Decimal(1), DAY_MS)


# Who is drawn, and what can be asked twice


def test_the_share_drawn_is_the_share_asked_for_and_smaller_shares_lie_within() -> None:
    names = [f"talk {n}" for n in range(4000)]
    drawn = {share: {n for n in names if is_drawn("chat", n, share)} for share in (0.05, 0.3, 1)}
    assert drawn[0.05] < drawn[0.3] < drawn[1] == set(names)
    assert 0.03 < len(drawn[0.05]) / 4000 < 0.07
    assert 0.27 < len(drawn[0.3]) / 4000 < 0.33


def test_who_is_mirrored_does_not_depend_on_who_is_routed_where() -> None:
    drawn = [n for n in map(str, range(4000)) if is_drawn("chat", n, 0.3)]
    routed = [n for n in drawn if position("chat", n) < 0.3]
    assert 0.25 < len(routed) / len(drawn) < 0.35


REPLAYABLE = [
    ("/v1/messages", {"tools": [{"name": "book", "input_schema": {}}]}, (), ""),
    ("/v1/messages", {"tools": [{"type": "bash_20250124", "name": "bash"}]}, (), ""),
    ("/v1/messages", {"tools": [SEARCH]}, ("web_search_*",), ""),
    ("/v1/messages", {"tools": [SEARCH]}, ("web_fetch_*",), "side_effecting_tools"),
    ("/v1/messages", {"mcp_servers": [{"url": "x"}]}, (), "side_effecting_tools"),
    ("/v1/messages", {"mcp_servers": [{"url": "x"}]}, ("mcp",), ""),
    ("/v1/messages", {"container": "c1"}, (), "stored_state"),
    ("/v1/chat/completions", {"tools": [{"type": "function", "function": {}}]}, (), ""),
    ("/v1/chat/completions", {"web_search_options": {"a": 1}}, (), "side_effecting_tools"),
    ("/v1/chat/completions", {"enable_search": True}, (), "side_effecting_tools"),
    ("/v1/chat/completions", {"enable_search": False}, (), ""),
    ("/v1/chat/completions", {"store": True}, (), "stored_state"),
    ("/v1/responses", {}, (), "stored_state"),  # the Responses API stores unless told not to
    ("/v1/responses", {"store": None}, (), "stored_state"),
    ("/v1/responses", {"store": False}, (), ""),
    ("/v1/responses", {"store": False, "tools": [{"type": "code_interpreter"}]}, (), "side_effecting_tools"),
    ("/v1/responses", {"store": False, "previous_response_id": "r1"}, (), "stored_state"),
    ("/v1/responses", {"store": False, "background": True}, (), "stored_state"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "fields", "allowed", "reason"), REPLAYABLE)
def test_what_would_do_something_twice_is_not_asked_twice(
    path: str, fields: dict[str, Any], allowed: tuple[str, ...], reason: str
) -> None:
    body, protocol = parse_body(json.dumps(fields).encode()), protocol_of(path)
    assert body is not None and protocol
    assert not_replayable(body, protocol, allowed) == reason


def test_a_record_of_both_calls_fits_into_a_message() -> None:
    json_text = '{"role": "user", "content": "' + "x" * 60 + '\\n"}, '  # about as JSON looks
    body = (json_text * (LARGEST // len(json_text) + 1))[:LARGEST]
    twin = Record(cutover=1, call_id="u", request=body, response=body)
    shadow = msgspec.structs.replace(twin, twin=twin, response=body * 2)
    assert len(msgspec.json.encode(shadow)) < LARGEST_MESSAGE
    assert mirror.LONGEST_ANSWER == 2 * LARGEST


def test_the_facts_price_the_models_of_these_tests() -> None:
    assert facts().model("moonshot", "kimi-k2.6")
    assert not facts().model("moonshot", "kimi-of-tomorrow")
