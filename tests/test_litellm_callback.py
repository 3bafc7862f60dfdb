"""The callback inside the real LiteLLM proxy: every request that was sent is stored exactly once."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from litellm_proxy import Proxy, ask, executable, providers
from workers import caught_up, worker

from pipeline.settings import Settings
from pipeline.store.connect import Client

TIMES = 4  # each kind of request, in each of the proxy's two lives


def config(url: str) -> dict[str, Any]:
    """Models with a good provider, one that is always overloaded, and a fallback from it."""

    def model(name: str, to: str, provider: str) -> dict[str, Any]:
        base = f"{url}/{provider}" + ("" if to.startswith("anthropic/") else "/v1")
        return {"model_name": name, "litellm_params": {"model": to, "api_base": base, "api_key": "k-1"}}  # fmt: skip

    return {
        "model_list": [
            model("claude", "anthropic/claude-sonnet-4-5", "anthropic"),
            model("deepseek", "openai/deepseek-chat", "deepseek"),
            model("broken", "openai/glm-4.6", "zhipu"),
            model("falls-back", "openai/glm-4.6", "zhipu"),
            model("responds", "openai/kimi-k2.6", "moonshot"),
        ],
        "litellm_settings": {
            "callbacks": ["pipeline.litellm_callback.cutover"],
            "cache": True,
            "cache_params": {"type": "local", "supported_call_types": ["acompletion"]},
            "num_retries": 0,
        },
        "router_settings": {"fallbacks": [{"falls-back": ["deepseek"]}], "num_retries": 0},
    }


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def chat(model: str, number: int, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Question {number}: what is a heron?"}]
    return {"model": model, "messages": messages, "max_tokens": 200, **more}


# kind → path, body of the n-th, how many calls it makes that fail, how many that answer, what else
KINDS: dict[str, tuple[str, Any, int, int, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", lambda n: chat("deepseek", n), 0, 1, {}),
    "chat stream": ("/v1/chat/completions", lambda n: chat("deepseek", n, stream=True), 0, 1, {}),
    "tools": ("/v1/chat/completions", lambda n: chat("deepseek", n, tools=[TOOL]), 0, 1, {}),
    "translated": ("/v1/chat/completions", lambda n: chat("claude", n), 0, 1, {}),
    "messages": ("/v1/messages", lambda n: chat("claude", n), 0, 1, {}),
    "messages stream": ("/v1/messages", lambda n: chat("claude", n, stream=True), 0, 1, {}),
    "responses": ("/v1/responses", lambda n: {"model": "responds", "input": f"Say {n}"}, 0, 1, {}),
    "failure": ("/v1/chat/completions", lambda n: chat("broken", n), 1, 0, {}),
    "fallback": ("/v1/chat/completions", lambda n: chat("falls-back", n), 1, 1, {}),
    "cached": ("/v1/chat/completions", lambda _: chat("deepseek", -1), 0, 1, {}),
    "retried": ("/v1/chat/completions", lambda n: chat("broken", n, num_retries=2), 1, 0, {}),
    "client gone": ("/v1/chat/completions", lambda n: chat("deepseek", n, stream=True, max_tokens=4000), 1, 0, {"hang_up": True}),
}  # fmt: skip


@pytest.fixture
def litellm() -> Path:
    return executable()


@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_every_request_is_stored_once(
    litellm: Path, kafka_settings: Settings, store: Client, tmp_path: Path
) -> None:
    sent: dict[str, str] = {}  # call id → kind
    async with providers(zhipu={"overloaded": 1.0}) as url, aiohttp.ClientSession() as session:
        proxy = Proxy(kafka_settings, config(url), tmp_path)
        try:
            for life in range(2):
                await proxy.start()
                await asyncio.gather(
                    *(one(session, proxy, kind, life * TIMES + n, sent) for kind in KINDS for n in range(TIMES))
                )  # fmt: skip
                await proxy.stop()
        finally:
            proxy.kill()
    assert len(sent) == 2 * TIMES * len(KINDS)
    with worker(kafka_settings) as running:
        await running.ready()
        await caught_up(kafka_settings, store, running)
    rows = store.query("SELECT request_id, failure, call_id FROM calls").result_rows
    assert store.command("SELECT count() FROM rejected") == 0
    stored = Counter((request, bool(failure)) for request, failure, _ in rows)
    wanted = Counter[tuple[str, bool]]()
    for call_id, kind in sent.items():
        _, _, failing, answering, _ = KINDS[kind]
        wanted += Counter({(call_id, True): failing, (call_id, False): answering})
    differing = {
        (sent.get(key[0], "?"), *key): (wanted[key], stored[key])
        for key in wanted | stored
        if wanted[key] != stored[key]
    }
    assert not differing, (differing, proxy.log[-3000:])


async def one(
    session: aiohttp.ClientSession, proxy: Proxy, kind: str, number: int, sent: dict[str, str]
) -> None:
    path, body, _, answering, more = KINDS[kind]
    call_id, status, answer = await ask(session, proxy.url + path, body(number), **more)
    assert (status < 400) == bool(answering or more), (kind, status, answer)
    assert call_id, kind
    sent[call_id] = kind
