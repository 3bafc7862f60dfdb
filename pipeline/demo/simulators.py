"""The simulated providers: one HTTP server, a path prefix for each, three protocols.

`/<provider>/v1/messages`, `/<provider>/v1/chat/completions` and `/<provider>/v1/responses` answer
as `providers.yml` says. Any key is accepted; without one the vendor's own 401 comes back.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b

import msgspec
from aiohttp import web

from pipeline.calls import Protocol
from pipeline.demo import wire
from pipeline.demo.behaviour import Behaviour, ErrorReply
from pipeline.demo.prompt import Prompt, read_prompt
from pipeline.demo.reply import Reply, reply_to

PATHS = {
    "/{provider}/v1/messages": Protocol.ANTHROPIC_MESSAGES,
    "/{provider}/v1/chat/completions": Protocol.OPENAI_CHAT,
    "/{provider}/v1/responses": Protocol.OPENAI_RESPONSES,
}
REMEMBERED_REQUESTS = 50_000
LARGEST_REQUEST = 32 * 1024 * 1024  # bytes, as at Anthropic


class Simulators:
    """Answers for all providers. `minute` tells how long the demo has been live."""

    def __init__(
        self, behaviours: Mapping[str, Behaviour], seed: int, minute: Callable[[], float]
    ) -> None:
        self._behaviours = behaviours
        self._seed = seed
        self._minute = minute
        self._asked: Counter[tuple[str, bool, bytes]] = Counter()

    def app(self) -> web.Application:
        """The web application, to be run on a loopback address."""
        app = web.Application(client_max_size=LARGEST_REQUEST)
        for path, protocol in PATHS.items():
            app.router.add_post(path, partial(self._answer, protocol))
        return app

    async def _answer(self, protocol: Protocol, request: web.Request) -> web.StreamResponse:
        provider = request.match_info["provider"]
        if provider not in self._behaviours:
            raise web.HTTPNotFound(text=f"no simulated provider {provider!r}")
        usual = self._behaviours[provider]
        behaviour = usual.during(usual.incident(self._minute()))
        if not _has_key(request):
            return _refuse(protocol, behaviour, behaviour.errors["unauthorized"])
        prompt = read_prompt(protocol, _decoded(await request.read()))
        if prompt is None:
            return _refuse(protocol, behaviour, behaviour.errors["invalid"])
        reply = reply_to(
            prompt, provider, behaviour, self._seed + self._times_asked(provider, prompt)
        )
        if reply.error and not reply.in_stream:
            await asyncio.sleep(reply.duration_ms / 1000)
            return _refuse(protocol, behaviour, reply.error)
        if prompt.stream:
            return await _stream(request, prompt, reply, behaviour)
        await asyncio.sleep(reply.duration_ms / 1000)
        body = wire.whole(prompt, reply, behaviour, int(time.time()))
        return web.Response(body=body, content_type="application/json")

    def _times_asked(self, provider: str, prompt: Prompt) -> int:
        """How often the very same request came before: a model that is asked again answers anew."""
        if len(self._asked) >= REMEMBERED_REQUESTS:
            self._asked.clear()
        key = provider, prompt.stream, blake2b(prompt.identity, digest_size=12).digest()
        self._asked[key] += 1
        return self._asked[key] - 1


async def _stream(
    request: web.Request, prompt: Prompt, reply: Reply, behaviour: Behaviour
) -> web.StreamResponse:
    chunks = wire.stream(prompt, reply, behaviour, int(time.time()))
    pause = (reply.duration_ms - reply.first_token_ms) / 1000 / max(1, len(chunks) - 1)
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    )
    await asyncio.sleep(reply.first_token_ms / 1000)
    try:
        await response.prepare(request)
        for number, chunk in enumerate(chunks):
            if number:
                await asyncio.sleep(pause)
            await response.write(chunk)
    except ConnectionResetError:  # the client hung up
        pass
    return response


def _has_key(request: web.Request) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return bool(request.headers.get("x-api-key") or (scheme == "Bearer" and token))


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


def _refuse(protocol: Protocol, behaviour: Behaviour, error: ErrorReply) -> web.Response:
    body = wire.error_body(protocol, behaviour, error)
    return web.Response(body=body, status=error.status, content_type="application/json")
