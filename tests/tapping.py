"""For the tests of the tap: a provider that keeps what it is sent, a recorder, a tap."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from pipeline.calls import Protocol
from pipeline.catalog import Catalog, load_catalog
from pipeline.formats.cutover import Record
from pipeline.tap.grader import Grader
from pipeline.tap.server import create_app, serve
from pipeline.verdicts.plan import Endpoint, Match, Name, Plan, Shadow, Stage, Workload, check

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

CANDIDATE_KEY = "candidate-key-0123456789"
ENVIRON = {"CANDIDATE_KEY": CANDIDATE_KEY}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@cache
def facts() -> Catalog:
    """The catalog, read once."""
    return load_catalog()


@dataclass
class Seen:
    """One request as a provider got it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n.lower() == name), None)


@dataclass
class Provider:
    """A provider on loopback that answers as it is told and keeps every request."""

    answer: Answer
    url: str = ""
    seen: list[Seen] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = [(n.decode(), v.decode("utf-8", "replace")) for n, v in request.raw_headers]
        self.seen.append(Seen(request.method, request.path_qs, headers, body))
        return await self.answer(request)


class Notes:
    """A recorder that keeps what it is given, in a queue a test can wait on."""

    waiting = 0
    fullness = 0.0

    def __init__(self) -> None:
        self.records: asyncio.Queue[Record] = asyncio.Queue()
        self.events: list[tuple[str, dict[str, Any]]] = []

    def put(self, record: Record) -> None:
        self.records.put_nowait(record)

    def event(self, kind: str, fields: dict[str, Any]) -> None:
        self.events.append((kind, fields))

    async def next(self) -> Record:
        return await asyncio.wait_for(self.records.get(), 10)


async def ok(_request: web.Request) -> web.StreamResponse:
    """A provider's answer when nothing about it matters."""
    return web.json_response({"id": "1"})


@asynccontextmanager
async def provider(answer: Answer = ok) -> AsyncIterator[Provider]:
    """A provider while the block runs."""
    told = Provider(answer)
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", told.handle)
    runner = web.AppRunner(
        app, handler_cancellation=True, auto_decompress=False, shutdown_timeout=0.1
    )
    async with running(runner) as told.url:
        yield told


@asynccontextmanager
async def running(runner: web.AppRunner) -> AsyncIterator[str]:
    """The address of a server while the block runs."""
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def tap(
    source: Plan | Callable[[], Plan],
    recorder: Any,
    *,
    tokens: frozenset[str] = frozenset(),
    environ: Mapping[str, str] = ENVIRON,
    timeout: aiohttp.ClientTimeout | None = None,
    spent: Path | None = None,
    grader: Grader | None = None,
) -> AsyncIterator[str]:
    """The address of a tap while the block runs."""
    app = create_app(
        source if callable(source) else lambda: source,
        lambda _endpoint, _protocol: None,
        recorder,
        tokens,
        catalog=facts(),
        spent=spent,
        grader=grader,
        environ=environ,
        timeout=timeout or aiohttp.ClientTimeout(total=None),
    )
    runner = await serve(app, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def endpoint(provider_id: str, url: str, **more: Any) -> Endpoint:
    """An endpoint whose three protocols are all served at one address."""
    base_urls = {
        Protocol.ANTHROPIC_MESSAGES: url,
        Protocol.OPENAI_CHAT: f"{url}/v1",
        Protocol.OPENAI_RESPONSES: f"{url}/v1",
    }
    return Endpoint(provider=provider_id, base_urls=base_urls, **more)


def plan(
    baseline: str,
    candidate: str = "",
    share: float = 0.0,
    shadow: Shadow | None = None,
    **more: Any,
) -> Plan:
    """One workload, "chat", of the app "chat-app"; `more` goes to the candidate's endpoint."""
    endpoints = {"claude": endpoint("anthropic", baseline)}
    if candidate:
        endpoints["kimi"] = endpoint("moonshot", candidate, key_env="CANDIDATE_KEY", **more)
    shares = {"kimi": share} if candidate else {}
    chat = Workload(
        name=Name(en="Chat"),
        match=Match(app="chat-app"),
        stages=(Stage(name="now", starts=LONG_AGO, shares=shares),),
        shadow=shadow,
    )
    return check(
        Plan(migration="Test", baseline="claude", endpoints=endpoints, workloads={"chat": chat})
    )
