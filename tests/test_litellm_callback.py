"""The callback inside the real LiteLLM proxy: every request that was sent is stored exactly once."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kafka_brokers import Broker, apache
from litellm_proxy import Proxy, ask, executable, providers
from test_producer import up, values
from workers import caught_up, worker

from pipeline.settings import Settings
from pipeline.store.connect import Client, rows

_ID = re.compile(r'"litellm_call_id":"([^"]+)"')
TIMES = 4  # each kind of request, in each of the proxy's two lives
PATIENCE = 120.0
OPENED = Path(__file__).parents[1] / "dashboards" / "sql" / "call.sql"


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
    found = store.query("SELECT request_id, failure, call_id FROM calls").result_rows
    assert store.command("SELECT count() FROM rejected") == 0
    stored = Counter((request, bool(failure)) for request, failure, _ in found)
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
    seen = {
        sent[request]: rows(store, OPENED.read_text(), {"call": call_id})[0]["final"]
        for request, failure, call_id in found
        if failure and sent[request] in ("fallback", "failure")
    }
    assert seen == {"fallback": False, "failure": None}


async def one(
    session: aiohttp.ClientSession, proxy: Proxy, kind: str, number: int, sent: dict[str, str]
) -> None:
    path, body, _, answering, more = KINDS[kind]
    call_id, status, answer = await ask(session, proxy.url + path, body(number), **more)
    assert (status < 400) == bool(answering or more), (kind, status, answer)
    assert call_id, kind
    sent[call_id] = kind


# --- Kafka away, the proxy killed -----------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that is not running yet, and keeps what it has over a restart."""
    made = apache(tmp_path / "kafka")
    yield made
    made.kill()


async def test_while_kafka_is_away_calls_wait_on_disk_also_through_a_kill(
    litellm: Path, broker: Broker, tmp_path: Path
) -> None:
    """Away from the start, while the proxy is killed, and once more later: each call arrives once.

    What a kill may cost are the calls LiteLLM had not logged yet: those under way just then.
    """
    settings = replace(Settings(), kafka=broker.address, data=tmp_path / "data")
    async with providers(zhipu={"overloaded": 1.0}) as url, aiohttp.ClientSession() as session:
        proxy = Proxy(settings, config(url), tmp_path)
        try:
            await proxy.start()
            spooled = await chats(session, proxy, 1)
            await until(lambda: spooled <= on_disk(settings), proxy)
            under_way = asyncio.gather(
                *(chats(session, proxy, n) for n in (2, 3)), return_exceptions=True
            )
            await asyncio.sleep(0.05)
            proxy.kill()
            await under_way

            await proxy.start()
            after_kill = await chats(session, proxy, 4)
            await until(lambda: after_kill <= on_disk(settings), proxy)
            await up(broker, settings)
            first = await arrived(settings, spooled | after_kill)

            await asyncio.to_thread(broker.kill)
            away_again = await chats(session, proxy, 5)
            await until(lambda: away_again <= on_disk(settings), proxy)
            await asyncio.to_thread(broker.start)
            await arrived(settings, away_again)
            last = await chats(session, proxy, 6)
            await proxy.stop()
            found = await arrived(settings, last)
        finally:
            proxy.kill()
    counted = Counter(found)
    assert first.items() <= counted.items()
    assert set(counted.values()) == {1}, counted.most_common(5)
    assert spooled | after_kill | away_again | last <= counted.keys()


async def chats(session: aiohttp.ClientSession, proxy: Proxy, number: int) -> set[str]:
    """The ids of some calls that were answered, streamed and failed."""
    kinds = ("chat", "chat stream", "messages", "failure")
    sent: dict[str, str] = {}
    await asyncio.gather(
        *(one(session, proxy, kind, 100 * number + n, sent) for kind in kinds for n in range(TIMES))
    )
    return set(sent)


def on_disk(settings: Settings) -> set[str]:
    """The ids of the calls that wait in the spool."""
    found = (segment.read_bytes() for segment in (settings.data / "spool").rglob("*.log"))
    return {id for segment in found for id in _ID.findall(segment.decode(errors="replace"))}


async def until(condition: Callable[[], bool], proxy: Proxy) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            assert proxy.process.poll() is None, proxy.log[-3000:]
            await asyncio.sleep(0.1)


async def arrived(settings: Settings, wanted: set[str]) -> Counter[str]:
    """How often each call is in Kafka, once all that are wanted are there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            lines = [line for lines in await values(settings) for line in lines]
            found = Counter(line["litellm_call_id"] for line in lines)
            if wanted <= found.keys():
                return found
            await asyncio.sleep(0.5)
