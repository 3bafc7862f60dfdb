"""Running the tap: its web application, and who may use it."""

import hmac
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

from pipeline.catalog import Catalog
from pipeline.embedded.ports import is_loopback
from pipeline.settings import SettingsError
from pipeline.tap.budget import Purse
from pipeline.tap.grader import Grader
from pipeline.tap.mirror import Mirror
from pipeline.tap.proxy import LONGEST_HEADER, TIMEOUT, PlanSource, Tap, drop_added_headers
from pipeline.tap.recording import Recorder
from pipeline.tap.routing import BaseUrls

ACCESS_HEADER = "x-cutover-token"
SHUTDOWN_SECONDS = 5.0  # how long calls under way may take to end when the tap is stopped

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TOKENS = web.AppKey("tokens", frozenset[str])


def create_app(
    plan_source: PlanSource,
    base_urls: BaseUrls,
    recorder: Recorder,
    tokens: frozenset[str] = frozenset(),
    *,
    catalog: Catalog,
    spent: Path | None = None,
    grader: Grader | None = None,
    environ: Mapping[str, str] = os.environ,
    timeout: aiohttp.ClientTimeout = TIMEOUT,
) -> web.Application:
    """The tap as a web application. Raises SettingsError naming an API key that is not set.

    `catalog` prices shadow calls; `spent` is the file that keeps what they cost today; `grader`
    asks a judge model about them.
    """
    mirror = Mirror(catalog, base_urls, recorder, Purse(spent), grader)
    tap = Tap(plan_source, base_urls, recorder, mirror, environ, timeout)
    app = web.Application(middlewares=[guard] if tokens else [], client_max_size=0)
    app[TOKENS] = tokens
    app.cleanup_ctx.append(tap.connected)
    app.on_response_prepare.append(drop_added_headers)
    app.router.add_get("/healthz", _health(tap))
    app.router.add_get("/metrics", _metrics(tap))
    app.router.add_route("*", "/{path:.*}", tap.handle)
    return app


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Starts the tap on an address; the caller calls `cleanup()` in the end.

    Raises SettingsError if the address is open to others and no tokens are set, OSError if it
    is taken.
    """
    check_binding(host, app[TOKENS])
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,  # a caller that hangs up ends the call to the provider
        auto_decompress=False,  # request bodies pass as they are
        shutdown_timeout=SHUTDOWN_SECONDS,
        max_line_size=LONGEST_HEADER,
        max_field_size=LONGEST_HEADER,
    )
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


def tokens_of(text: str) -> frozenset[str]:
    """The tokens of a comma-separated list."""
    return frozenset(token.strip() for token in text.split(",") if token.strip())


def check_binding(host: str, tokens: frozenset[str]) -> None:
    """Raises SettingsError if others than this machine could use the tap without a token."""
    if not tokens and not is_loopback(host):
        raise SettingsError(
            f"CUTOVER_TAP_TOKENS is not set: {host or 'every address'} is open to others, who "
            "could then use the candidates' API keys; set tokens or bind to 127.0.0.1"
        )


@web.middleware
async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Lets in who has a token; /healthz is open, as what asks for it can often send no header."""
    given = request.headers.get(ACCESS_HEADER, "").encode("utf-8", "surrogateescape")
    known = [hmac.compare_digest(given, token.encode()) for token in request.app[TOKENS]]
    if any(known) or request.path == "/healthz":
        return await handler(request)
    message = f"cutover tap: send one of the tap's tokens as {ACCESS_HEADER}"
    error = {"type": "authentication_error", "message": message}
    return web.json_response({"type": "error", "error": error}, status=401)


def _health(tap: Tap) -> _Handler:
    async def health(_request: web.Request) -> web.StreamResponse:
        waiting = tap.recorder.waiting
        return web.json_response({"ok": True, "plan": tap.plan.migration, "waiting": waiting})

    return health


def _metrics(tap: Tap) -> _Handler:
    async def metrics(_request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=tap.metrics.text(tap.recorder), content_type="text/plain", charset="utf-8"
        )

    return metrics
