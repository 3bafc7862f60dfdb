"""The tap on real sockets: bytes, keys, records, and what happens when either side goes away."""

import asyncio
import gzip
import json
import logging
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web
from ports import own_port
from tapping import (
    CANDIDATE_KEY,
    ENVIRON,
    LONG_AGO,
    Notes,
    Seen,
    facts,
    plan,
    provider,
    tap,
)

from pipeline.calls import Arm, Protocol
from pipeline.settings import SettingsError
from pipeline.tap.server import check_binding, create_app, serve, tokens_of
from pipeline.verdicts.plan import Plan, PlanError

CALLER_KEY = "caller-key-abcdefghijkl"
MESSAGE = {"model": "claude-sonnet-4", "messages": [{"role": "user", "content": "Hi"}]}
SSE = [
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m1"}}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"Hi"}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
CHAT = {"x-cutover-app": "chat-app", "x-api-key": CALLER_KEY}


@asynccontextmanager
async def client(**options: object) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False, **options) as session:
        yield session


async def stream(request: web.Request, *, chunks: list[bytes] = SSE) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    for chunk in chunks:
        await answer.write(chunk)
    return answer


def all_text(seen: Seen) -> str:
    return " ".join([seen.path, *(f"{n}: {v}" for n, v in seen.headers), repr(seen.body)])


# Bytes


BODIES = {
    "json": (b'{"id":"1", "n": 1.50}', {"Content-Type": "application/json", "request-id": "r1"}),
    "error": (b'{"type":"error"}', {"Content-Type": "application/json", "Retry-After": "3"}),
    "gzip": (gzip.compress(b'{"id":"1"}' * 50), {"Content-Encoding": "gzip"}),
    "deflate": (zlib.compress(b'{"id":"1"}' * 50), {"Content-Encoding": "deflate"}),
    "raw deflate": (
        zlib.compress(b'{"id":"1"}' * 50, wbits=-15),
        {"Content-Encoding": "deflate"},
    ),
    "not text": (bytes(range(256)), {"Content-Type": "application/octet-stream"}),
    "empty": (b"", {"Content-Type": "text/plain"}),
}


@pytest.mark.parametrize("name", BODIES)
async def test_the_caller_gets_status_headers_and_bytes_as_the_provider_sent_them(
    name: str,
) -> None:
    body, headers = BODIES[name]
    status = 429 if name == "error" else 200

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    notes = Notes()
    async with provider(answer) as up, tap(plan(up.url), notes) as address, client() as session:
        told = []
        for base in (up.url, address):
            async with session.post(f"{base}/v1/messages", json=MESSAGE, headers=CHAT) as got:
                kept = {k: v for k, v in got.headers.items() if k != "Date"}
                told.append((got.status, got.reason, await got.read(), kept))
        record = await notes.next()
    call_id = told[1][3].pop("x-cutover-call-id")
    assert told[0] == told[1]
    assert record.call_id == call_id
    if "flate" in name or name == "gzip":
        assert record.response == '{"id":"1"}' * 50


async def test_head_and_body_of_a_whole_answer_arrive_in_one_piece() -> None:
    async with provider() as up, tap(plan(up.url), Notes()) as address:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.split(":")[2]))
        writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: tap\r\nContent-Length: 2\r\n\r\n{}")
        first = await asyncio.wait_for(reader.read(65536), 10)
        writer.close()
    assert first.endswith(b'\r\n\r\n{"id": "1"}')


async def test_a_bare_answer_stays_bare() -> None:
    """The tap adds no header of its own but the call's id."""

    async def bare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 418 Short And Stout\r\nContent-Length: 2\r\nX-Odd: 1\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(bare, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        tap(plan(f"http://127.0.0.1:{port}"), Notes()) as address,
        client() as session,
        session.get(f"{address}/v1/models") as got,
    ):
        names = {name.lower() for name in got.headers}
        assert (got.status, got.reason, await got.read()) == (418, "Short And Stout", b"{}")
    assert names == {"content-length", "x-odd", "x-cutover-call-id"}


async def test_the_request_arrives_byte_for_byte_when_no_model_is_mapped() -> None:
    odd = b'{ "model":"claude-4",  "temperature": 0.10,"big":12345678901234567890123, "x":[] }\n'
    zipped = gzip.compress(odd)
    async with provider() as up, tap(plan(up.url), Notes()) as address, client() as session:
        url = f"{address}/v1/messages?beta=true"
        await session.post(url, data=odd, headers=CHAT | {"anthropic-version": "2023-06-01"})
        await session.post(url, data=zipped, headers=CHAT | {"Content-Encoding": "gzip"})
    plain, packed = up.seen
    assert (plain.method, plain.path, plain.body) == ("POST", "/v1/messages?beta=true", odd)
    assert plain.header("anthropic-version") == "2023-06-01"
    assert plain.header("x-cutover-app") is None
    assert packed.body == zipped
    assert packed.header("content-encoding") == "gzip"


async def test_a_mapped_model_changes_the_model_and_nothing_else() -> None:
    odd = b'{"temperature":0.10,"model":"claude-4","big":12345678901234567890123,"s":"\\u4f60"}'
    packed = {"Content-Encoding": "gzip"}
    async with provider() as base, provider() as cand:
        moved = plan(base.url, cand.url, 1.0, models={"claude-*": "kimi-k2.6"})
        notes = Notes()
        async with tap(moved, notes) as address, client() as session:
            url = f"{address}/v1/messages"
            await session.post(url, data=gzip.compress(odd), headers=CHAT | packed)
            record = await notes.next()
    (got,) = cand.seen
    assert got.body == odd.replace(b"claude-4", b"kimi-k2.6")
    assert got.header("content-encoding") is None
    assert record.request == got.body.decode()
    assert not base.seen


async def test_a_large_body_passes_whole_and_its_record_is_cut_and_says_so() -> None:
    large = json.dumps(MESSAGE | {"pad": "x" * 6_000_000}).encode()

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=large, content_type="application/json")

    notes = Notes()
    async with (
        provider(answer) as up,
        tap(plan(up.url), notes) as address,
        client() as session,
        session.post(f"{address}/v1/messages", data=large, headers=CHAT) as got,
    ):
        assert await got.read() == large
        record = await notes.next()
    assert up.seen[0].body == large
    assert record.tags["recording_cut"] == "request,response"
    assert len(record.request) == len(record.response) == 4 * 1024 * 1024


async def test_only_encodings_that_can_be_recorded_are_asked_for() -> None:
    async with provider() as up, tap(plan(up.url), Notes()) as address, client() as session:
        for asked in ("br, gzip;q=0.8, zstd", "br", "*"):
            headers = CHAT | {"Accept-Encoding": asked}
            await session.post(f"{address}/v1/messages", json=MESSAGE, headers=headers)
    got = [seen.header("accept-encoding") for seen in up.seen]
    assert got == ["gzip;q=0.8", "identity", "gzip, deflate"]


# Streams


@pytest.mark.parametrize("packed", [False, True])
async def test_a_stream_arrives_event_by_event(packed: bool) -> None:
    """The provider sends the next event only once the caller has the one before."""
    go_on: asyncio.Queue[None] = asyncio.Queue()
    zipper = zlib.compressobj(wbits=31)
    wire = [zipper.compress(c) + zipper.flush(zlib.Z_SYNC_FLUSH) for c in SSE] if packed else SSE

    async def slow(request: web.Request) -> web.StreamResponse:
        encoding = {"Content-Encoding": "gzip"} if packed else {}
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"} | encoding)
        await answer.prepare(request)
        for chunk in wire:
            await answer.write(chunk)
            await go_on.get()
        return answer

    notes = Notes()
    async with (
        provider(slow) as up,
        tap(plan(up.url), notes) as address,
        client() as session,
        session.post(f"{address}/v1/messages", json=MESSAGE, headers=CHAT) as got,
    ):
        for chunk in wire:
            assert await got.content.readexactly(len(chunk)) == chunk
            go_on.put_nowait(None)
        assert await got.content.read() == b""
        record = await notes.next()
    assert record.response == b"".join(SSE).decode()
    assert record.started_at <= record.first_token_at <= record.ended_at
    assert not record.cancelled


FIRST_TOKENS = [
    ("/v1/messages", SSE[0], SSE[1]),
    (
        "/v1/chat/completions",
        b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n',
    ),
    (
        "/v1/chat/completions",
        b'data: {"choices":[{"delta":{"content":null,"tool_calls":[]}}]}\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n',
    ),
    (
        "/v1/responses",
        b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n',
        b'data: {"type":"response.output_text.delta","delta":"Hi"}\n\n',
    ),
]


@pytest.mark.parametrize(("path", "before", "first"), FIRST_TOKENS)
async def test_the_first_token_is_the_first_event_with_content(
    path: str, before: bytes, first: bytes
) -> None:
    chunks = [before]

    async def answer(request: web.Request) -> web.StreamResponse:
        return await stream(request, chunks=chunks)

    notes = Notes()
    async with provider(answer) as up, tap(plan(up.url), notes) as address, client() as session:
        await session.post(address + path, json=MESSAGE, headers=CHAT)
        assert (await notes.next()).first_token_at is None
        chunks.append(first)
        await session.post(address + path, json=MESSAGE, headers=CHAT)
        assert (await notes.next()).first_token_at is not None


async def test_a_caller_that_hangs_up_ends_the_call_to_the_provider_and_is_recorded() -> None:
    closed = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(SSE[0] + SSE[1])
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()
        return answer

    notes = Notes()
    async with provider(endless) as up, tap(plan(up.url), notes) as address:
        async with client() as session:
            got = await session.post(f"{address}/v1/messages", json=MESSAGE, headers=CHAT)
            await got.content.readexactly(len(SSE[0] + SSE[1]))
        await asyncio.wait_for(closed.wait(), 10)
        record = await notes.next()
    assert record.cancelled
    assert record.http_status == 200
    assert record.response == (SSE[0] + SSE[1]).decode()


async def test_a_caller_that_hangs_up_before_the_answer_is_recorded_as_cancelled() -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def silent(_request: web.Request) -> web.StreamResponse:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()
        return web.Response()

    notes = Notes()
    async with provider(silent) as up, tap(plan(up.url), notes) as address, client() as session:
        post = asyncio.create_task(
            session.post(f"{address}/v1/messages", json=MESSAGE, headers=CHAT)
        )
        await asyncio.wait_for(asked.wait(), 10)
        post.cancel()
        await asyncio.wait_for(closed.wait(), 10)
        record = await notes.next()
    assert record.cancelled
    assert record.http_status is None


async def test_hanging_up_after_the_last_event_is_no_cancellation() -> None:
    async def lingering(request: web.Request) -> web.StreamResponse:
        answer = await stream(request)
        await asyncio.Event().wait()
        return answer

    notes = Notes()
    async with provider(lingering) as up, tap(plan(up.url), notes) as address:
        async with client() as session:
            got = await session.post(f"{address}/v1/messages", json=MESSAGE, headers=CHAT)
            await got.content.readexactly(len(b"".join(SSE)))
        record = await notes.next()
    assert not record.cancelled


# Providers that fail


async def test_a_provider_that_is_down_gives_a_502_in_the_protocols_shape_and_a_record() -> None:
    notes = Notes()
    down = plan(f"http://127.0.0.1:{own_port()}")
    async with tap(down, notes) as address, client() as session:
        answers = []
        for path in ("/v1/messages", "/v1/responses"):
            async with session.post(address + path, json=MESSAGE, headers=CHAT) as got:
                answers.append((got.status, await got.json()))
        records = [await notes.next(), await notes.next()]
        async with session.get(f"{address}/metrics") as got:
            metrics = await got.text()
    (status, anthropic), (_, openai) = answers
    assert status == 502
    assert anthropic["type"] == "error"
    assert "cutover tap" in anthropic["error"]["message"]
    assert "cutover tap" in openai["error"]["message"]
    assert [(r.transport_error, r.http_status) for r in records] == [("connect", None)] * 2
    assert 'cutover_tap_upstream_errors_total{error="connect"} 2.0' in metrics


async def test_a_provider_that_does_not_answer_in_time_gives_a_504() -> None:
    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    notes = Notes()
    short = aiohttp.ClientTimeout(total=None, sock_read=0.05)
    async with (
        provider(silent) as up,
        client() as session,
        tap(plan(up.url), notes, timeout=short) as address,
    ):
        got = await session.post(f"{address}/v1/messages", json=MESSAGE, headers=CHAT)
        record = await notes.next()
    assert got.status == 504
    assert record.transport_error == "timeout"


async def test_half_an_answer_reaches_the_caller_as_half_an_answer() -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        answer = await stream(request, chunks=SSE[:2])
        request.transport.close()
        return answer

    notes = Notes()
    async with (
        provider(breaks) as up,
        tap(plan(up.url), notes) as address,
        client() as session,
        session.post(f"{address}/v1/messages", json=MESSAGE, headers=CHAT) as got,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await got.read()
        record = await notes.next()
    assert record.transport_error == "reset"
    assert record.response == b"".join(SSE[:2]).decode()


# Keys


CALLER_KEYS = [
    {"Authorization": f"Bearer {CALLER_KEY}"},
    {"X-Api-Key": CALLER_KEY},
    {"api-key": CALLER_KEY},
    {"Cookie": f"session={CALLER_KEY}"},
    {"X-Goog-Api-Key": CALLER_KEY},
    {"My-Own-Header": CALLER_KEY},
]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
async def test_no_candidate_sees_the_callers_key_and_no_baseline_the_candidates(path: str) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        """The worst provider: it repeats the keys it was sent."""
        return web.json_response({"error": {"message": str(dict(request.headers))}}, status=401)

    notes = Notes()
    async with (
        provider(echo) as base,
        provider(echo) as cand,
        client() as session,
        tap(plan(base.url, cand.url, 0.5), notes) as address,
    ):
        for number, keys in enumerate(CALLER_KEYS * 8):
            talk = {"x-cutover-app": "chat-app", "x-conversation-id": str(number)}
            url = f"{address}{path}?beta=true&api_key={CALLER_KEY}"
            await session.post(url, json=MESSAGE, headers=talk | keys)
        records = [await notes.next() for _ in range(48)]
    assert base.seen and cand.seen
    assert all(CALLER_KEY in all_text(seen) for seen in base.seen)
    assert not any(CANDIDATE_KEY in all_text(seen) for seen in base.seen)
    assert not any(CALLER_KEY in all_text(seen) for seen in cand.seen)
    assert all(seen.header("authorization") == f"Bearer {CANDIDATE_KEY}" for seen in cand.seen)
    own = CANDIDATE_KEY if path == "/v1/messages" else None
    assert all(seen.header("x-api-key") == own for seen in cand.seen)
    assert all("beta=true" in seen.path for seen in cand.seen)
    assert CANDIDATE_KEY not in repr(records)


async def test_keys_never_reach_a_record_even_if_bodies_repeat_them() -> None:
    async def echo(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": f"bad key {CALLER_KEY}"}}, status=401)

    notes = Notes()
    async with provider(echo) as up, tap(plan(up.url), notes) as address, client() as session:
        message = MESSAGE | {"metadata": {"key": CALLER_KEY}}
        async with session.post(f"{address}/v1/messages", json=message, headers=CHAT) as got:
            assert CALLER_KEY in await got.text()
        record = await notes.next()
    assert CALLER_KEY not in repr(record)
    assert "bad key [redacted]" in record.response


def test_a_key_that_is_not_set_is_named_at_the_start() -> None:
    moved = plan("http://127.0.0.1:1", "http://127.0.0.1:2", 0.5)
    with pytest.raises(SettingsError, match="CANDIDATE_KEY is not set"):
        create_app(lambda: moved, lambda *_: None, Notes(), catalog=facts(), environ={})


def test_a_key_with_the_line_break_of_the_file_it_came_from_is_refused_and_not_shown() -> None:
    moved = plan("http://127.0.0.1:1", "http://127.0.0.1:2", 0.5)
    environ = {"CANDIDATE_KEY": f"{CANDIDATE_KEY}\r"}
    with pytest.raises(SettingsError, match="CANDIDATE_KEY holds a line break") as refused:
        create_app(lambda: moved, lambda *_: None, Notes(), catalog=facts(), environ=environ)
    assert CANDIDATE_KEY not in str(refused.value)


# Routes and records


async def test_a_record_says_who_called_whom_and_why() -> None:
    notes = Notes()
    headers = CHAT | {
        "x-cutover-team": "support",
        "x-cutover-tag-Region": "north",
        "x-conversation-id": "c-1",
        "x-stainless-retry-count": "2",
    }
    async with (
        provider() as base,
        provider() as cand,
        client() as session,
        tap(plan(base.url, cand.url, 1.0), notes) as address,
    ):
        await session.post(f"{address}/v1/messages", json=MESSAGE, headers=headers)
        record = await notes.next()
    assert (record.workload, record.app, record.team) == ("chat", "chat-app", "support")
    assert record.tags == {"region": "north"}
    assert (record.conversation_id, record.attempt) == ("c-1", 3)
    assert (record.arm, record.stage, record.share) == (Arm.CANDIDATE, "now", 1.0)
    assert (record.provider, record.host) == ("moonshot", cand.url.removeprefix("http://"))
    assert (record.path, record.protocol) == ("/v1/messages", Protocol.ANTHROPIC_MESSAGES)
    assert json.loads(record.request) == MESSAGE
    assert (record.response, record.http_status) == ('{"id": "1"}', 200)


async def test_the_path_can_name_the_workload() -> None:
    notes = Notes()
    async with provider() as up, tap(plan(up.url), notes) as address, client() as session:
        await session.post(f"{address}/w/chat/v1/messages", json=MESSAGE)
        record = await notes.next()
        await session.get(f"{address}/w/chat/v1/models")
    assert record.workload == "chat"
    assert [seen.path for seen in up.seen] == ["/v1/messages", "/v1/models"]


async def test_any_other_path_goes_to_the_baseline_unrecorded() -> None:
    async def mirror(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        return web.Response(status=203, body=body[::-1], headers={"x-method": request.method})

    notes = Notes()
    async with (
        provider(mirror) as base,
        provider() as cand,
        client() as session,
        tap(plan(base.url, cand.url, 1.0), notes) as address,
    ):
        url = f"{address}/v1/files/a%2Fb?x=1"
        for method, body in (("PUT", b"abc" * 999_999), ("DELETE", b""), ("GET", None)):
            async with session.request(method, url, data=body, headers=CHAT) as got:
                assert (got.status, got.headers["x-method"]) == (203, method)
                assert await got.read() == (body or b"")[::-1]
        async with session.head(url) as got:
            assert got.status == 203
    assert {seen.path for seen in base.seen} == {"/v1/files/a%2Fb?x=1"}
    assert base.seen[0].header("x-api-key") == CALLER_KEY
    assert notes.records.empty() and not cand.seen


async def test_what_the_candidate_cannot_take_stays_on_the_baseline_and_the_record_says_so() -> (
    None
):
    notes = Notes()
    async with provider() as base, provider() as cand, client() as session:
        moved = plan(base.url, cand.url, 1.0)
        del moved.endpoints["kimi"].base_urls[Protocol.OPENAI_RESPONSES]
        async with tap(moved, notes) as address:
            await session.post(f"{address}/v1/responses", json=MESSAGE, headers=CHAT)
            await session.post(f"{address}/v1/messages", data=b"{not json", headers=CHAT)
            records = [await notes.next(), await notes.next()]
    assert [record.arm for record in records] == [Arm.BASELINE] * 2
    assert [record.tags["kept_on_baseline"] for record in records] == [
        "kimi has no openai_responses",
        "the request is not JSON",
    ]
    assert base.seen[1].body == b"{not json" and not cand.seen


async def test_a_chain_of_responses_is_one_conversation() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": f"resp_{len(up.seen)}", "object": "response"})

    notes = Notes()
    async with provider(answer) as up, tap(plan(up.url), notes) as address, client() as session:
        previous: dict[str, str] = {}
        for turn in range(3):
            body = {"model": "gpt-5", "input": f"turn {turn}"} | previous
            async with session.post(f"{address}/v1/responses", json=body, headers=CHAT) as got:
                previous = {"previous_response_id": (await got.json())["id"]}
        records = [await notes.next() for _ in range(3)]
    assert len({record.conversation_id for record in records}) == 1


async def test_conversations_stay_where_they_are_over_a_ramp_and_move_at_once_on_a_rollback() -> (
    None
):
    async with provider() as base, provider() as cand, client() as session:
        plans = {share: plan(base.url, cand.url, share) for share in (0.3, 0.8, 0.0)}
        current = [plans[0.3]]
        notes = Notes()
        async with tap(lambda: current[0], notes) as address:

            async def where(conversations: range) -> dict[int, Arm]:
                for number in conversations:
                    headers = CHAT | {"x-conversation-id": str(number)}
                    await session.post(f"{address}/v1/messages", json=MESSAGE, headers=headers)
                return {number: (await notes.next()).arm for number in conversations}

            canary = await where(range(60))
            current[0] = plans[0.8]
            ramped = await where(range(60))
            fresh = await where(range(60, 120))
            current[0] = plans[0.0]
            rolled_back = await where(range(120))
    assert canary == ramped
    assert set(canary.values()) == {Arm.BASELINE, Arm.CANDIDATE}
    assert list(fresh.values()).count(Arm.CANDIDATE) > list(canary.values()).count(Arm.CANDIDATE)
    assert set(rolled_back.values()) == {Arm.BASELINE}
    kinds = [(kind, fields["stage"], fields["shares"]) for kind, fields in notes.events]
    assert kinds == [("stage_changed", "now", {"kimi": share}) for share in (0.3, 0.8, 0.0)]
    assert notes.events[0][1]["at"] == round(LONG_AGO.timestamp() * 1000)
    assert notes.events[1][1]["at"] > notes.events[0][1]["at"]


async def test_headers_that_are_no_utf8_break_nothing() -> None:
    notes = Notes()
    async with provider() as up, tap(plan(up.url), notes) as address:
        reader, writer = await asyncio.open_connection(*address.removeprefix("http://").split(":"))
        writer.write(
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n"
            b"x-conversation-id: \xff\xfe\r\nx-cutover-app: \xe4\r\nAuthorization: \xff\r\n\r\n{}"
        )
        answer = await reader.read()
        record = await notes.next()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert record.conversation_id == "??"
    assert len(up.seen) == 1


async def test_a_recorder_that_raises_breaks_no_call_and_its_error_is_logged_without_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        waiting = 0
        fullness = 0.0

        def put(self, record: object) -> None:
            raise RuntimeError(f"cannot keep {record}")

        def event(self, kind: str, fields: object) -> None:
            raise RuntimeError("cannot")

    async with provider() as up, tap(plan(up.url), Broken()) as address, client() as session:
        with caplog.at_level(logging.DEBUG):
            async with session.post(f"{address}/v1/messages", json=MESSAGE, headers=CHAT) as got:
                assert got.status == 200
        async with session.get(f"{address}/metrics") as got:
            metrics = await got.text()
    assert "cutover_tap_recording_errors_total 2.0" in metrics
    assert "was not recorded: RuntimeError" in caplog.text
    assert "Hi" not in caplog.text and CALLER_KEY not in caplog.text


# Running it


async def test_health_and_metrics_tell_what_is_going_on() -> None:
    notes = Notes()
    notes.waiting, notes.fullness = 7, 0.25
    async with provider() as up, tap(plan(up.url), notes) as address, client() as session:
        for workload in ("chat", 'made"up'):
            headers = {"x-cutover-workload": workload}
            await session.post(f"{address}/v1/messages", json=MESSAGE, headers=headers)
        async with session.get(f"{address}/healthz") as got:
            assert await got.json() == {"ok": True, "plan": "Test", "waiting": 7}
        async with session.get(f"{address}/metrics") as got:
            lines = (await got.text()).splitlines()
    calls = 'cutover_tap_calls_total{arm="%s",provider="anthropic",status="200",workload="%s"} 1.0'
    assert calls % ("baseline", "chat") in lines
    assert calls % ("", "") in lines  # callers cannot make up labels
    assert "cutover_tap_recorded_total 2.0" in lines
    assert "cutover_tap_in_flight 0.0" in lines
    assert "cutover_tap_recorder_waiting 7.0" in lines
    assert "cutover_tap_recorder_fullness 0.25" in lines


async def test_with_tokens_set_nothing_passes_without_one_and_the_provider_never_sees_it() -> None:
    tokens = tokens_of("first-token, second-token,")
    async with (
        provider() as up,
        tap(plan(up.url), Notes(), tokens=tokens) as address,
        client() as session,
    ):
        statuses = []
        for token in ("", "wrong", "first-token", "second-token"):
            headers = CHAT | {"x-cutover-token": token}
            url = f"{address}/v1/messages"
            async with session.post(url, json=MESSAGE, headers=headers) as got:
                statuses.append(got.status)
        health = await session.get(f"{address}/healthz")
        metrics = await session.get(f"{address}/metrics")
    assert statuses == [401, 401, 200, 200]
    assert (health.status, metrics.status) == (200, 401)
    assert len(up.seen) == 2
    assert not any("-token" in all_text(seen) for seen in up.seen)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.5", "example.com"])
def test_an_address_open_to_others_is_refused_without_tokens(host: str) -> None:
    with pytest.raises(SettingsError, match="CUTOVER_TAP_TOKENS"):
        check_binding(host, frozenset())
    check_binding(host, frozenset({"t"}))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_tokens(host: str) -> None:
    check_binding(host, frozenset())


async def test_the_server_itself_refuses_an_open_address() -> None:
    good = plan("http://127.0.0.1:1")
    app = create_app(lambda: good, lambda *_: None, Notes(), catalog=facts(), environ=ENVIRON)
    with pytest.raises(SettingsError):
        await serve(app, "0.0.0.0", 0)


async def test_a_new_plan_is_followed_and_one_that_cannot_be_used_is_not() -> None:
    async with provider() as up, client() as session:
        good = plan(up.url)
        keyless = plan(up.url, up.url, 1.0)
        newest: list[Plan | PlanError] = [good]

        def source() -> Plan:
            if isinstance(newest[0], PlanError):
                raise newest[0]
            return newest[0]

        async with tap(source, Notes(), environ={}) as address:
            names = []
            renamed = msgspec.structs.replace(good, migration="B")
            for change in (good, keyless, PlanError("bad"), renamed):
                newest[0] = change
                async with session.get(f"{address}/healthz") as got:
                    names.append((await got.json())["plan"])
            async with session.get(f"{address}/metrics") as got:
                metrics = await got.text()
    assert names == ["Test", "Test", "Test", "B"]
    assert "cutover_tap_plan_errors_total 2.0" in metrics
