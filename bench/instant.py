"""A provider that answers at once: `python -m bench.instant PORT`. One fixed answer, whole or streamed."""

import json
import sys

from aiohttp import web

USAGE = {"prompt_tokens": 210, "completion_tokens": 20, "total_tokens": 230}
TEXT = "Your parcel was handed to the carrier this morning and arrives tomorrow. " * 4
WORDS = TEXT.split()
HEAD = {"id": "chatcmpl-1", "created": 1_795_000_000, "model": "gpt-4o-mini"}
WHOLE = json.dumps(
    {
        **HEAD,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
).encode()


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {**HEAD, "object": "chat.completion.chunk", "choices": choices}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


CHUNKS = [
    *(_chunk({"role": "assistant", "content": f"{word} "}) for word in WORDS),
    _chunk({}, "stop"),
    b"data: [DONE]\n\n",
]


async def answer(request: web.Request) -> web.StreamResponse:
    if not json.loads(await request.read()).get("stream"):
        return web.Response(body=WHOLE, content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for chunk in CHUNKS:
        await response.write(chunk)
    return response


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
