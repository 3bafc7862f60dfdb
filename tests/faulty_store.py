"""A proxy before the store's HTTP endpoint that fails inserts on request, as networks and servers do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from ports import own_port

_OF_THE_HOP = {"host", "content-length", "transfer-encoding", "connection"}

Fault = Callable[["FaultyStore", web.Request, bytes], Awaitable[web.StreamResponse]]


class FaultyStore:
    """Passes requests on to `url`; the next inserts meet the faults given to `strike`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = own_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.struck = 0
        self._next: Fault | None = None
        self._late: set[asyncio.Task[web.StreamResponse]] = set()
        self._session: aiohttp.ClientSession

    def strike(self, fault: Fault) -> None:
        """The next insert meets this fault."""
        self._next = fault

    @property
    def armed(self) -> bool:
        """True until the fault has met an insert."""
        return self._next is not None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FaultyStore"]:
        """Serves while the block runs."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=1)
        self._session = aiohttp.ClientSession(auto_decompress=False)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            yield self
        finally:
            await runner.cleanup()
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault, self._next = (
            (self._next, None) if _stores_calls(request, body) else (None, self._next)
        )
        if fault is None:
            return await self.forward(request, body)
        self.struck += 1
        # Goes on when the worker that asked is gone: what it sent may still arrive.
        task = asyncio.create_task(fault(self, request, body))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return await asyncio.shield(task)

    async def forward(self, request: web.Request, body: bytes) -> web.Response:
        """The store's own answer, or 502 without one."""
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _OF_THE_HOP}
        try:
            async with self._session.request(
                request.method, f"{self.url}{request.rel_url}", headers=headers, data=body
            ) as answer:
                kept = {
                    k: v
                    for k, v in answer.headers.items()
                    if k.lower().startswith(("x-", "content-e", "content-ty"))
                }
                return web.Response(body=await answer.read(), status=answer.status, headers=kept)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=str(error))


def _stores_calls(request: web.Request, body: bytes) -> bool:
    """True for the inserts a batch consists of."""
    sql = request.query.get("query", "").encode() + body[:200]
    return any(
        b"INSERT INTO " + quote + table in sql
        for quote in (b"", b"`")
        for table in (b"claims", b"calls", b"rejected", b"ledger")
    )


async def refused(store: FaultyStore, request: web.Request, body: bytes) -> web.StreamResponse:
    """Not stored, and said so."""
    return web.Response(status=500, text="Code: 999. DB::Exception: on purpose. (NETWORK_ERROR)")


async def stored_but_refused(
    store: FaultyStore, request: web.Request, body: bytes
) -> web.StreamResponse:
    """Stored, but the answer says that it is not."""
    await store.forward(request, body)
    return await refused(store, request, body)


async def stored_but_cut(
    store: FaultyStore, request: web.Request, body: bytes
) -> web.StreamResponse:
    """Stored, but the connection breaks before the answer."""
    await store.forward(request, body)
    return _cut(request)


async def half_sent(store: FaultyStore, request: web.Request, body: bytes) -> web.StreamResponse:
    """The connection breaks in the middle of the insert: the store sees half of it."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(store.url.rpartition(":")[2]))
    head = f"POST {request.rel_url} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    for name in ("Content-Encoding", "Content-Type"):
        if name in request.headers:
            head += f"{name}: {request.headers[name]}\r\n"
    writer.write(head.encode() + b"\r\n" + body[: len(body) // 2])
    await writer.drain()
    writer.close()
    return _cut(request)


def late(seconds: float) -> Fault:
    """Arrives at the store only after so long, whatever has happened meanwhile."""

    async def fault(store: FaultyStore, request: web.Request, body: bytes) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await store.forward(request, body)

    return fault


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport:
        request.transport.abort()
    return web.Response(status=500)
