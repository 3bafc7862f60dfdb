"""What the tap adds to a call: the same requests straight to a provider, through the tap, and through its peers.

The provider is a server that answers at once, so that what is measured is the way. Open loop: requests leave at
their time whether the ones before are answered or not. All ways are taken in turn, in every round.
"""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from kafka_brokers import embedded, running
from litellm_proxy import KEY, Proxy

from pipeline.embedded.ports import free_port
from pipeline.embedded.supervisor import tcp_ready
from pipeline.kafka import ensure_topics
from pipeline.settings import Settings

ROUNDS = 5
SECONDS = 6  # a way, a rate and a round
RATES = (50, 300)  # requests a second
KINDS = {"whole": False, "streamed": True}
TIMEOUT = aiohttp.ClientTimeout(total=30)  # after which a request has failed
REQUEST = {
    "model": "gpt-4o-mini", "max_tokens": 100,
    "messages": [{"role": "user", "content": "Where is my parcel? " * 40}],
}  # fmt: skip
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream provider {{ server 127.0.0.1:{provider}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
PLAN = """
migration: Benchmark
baseline: claude
endpoints:
  claude: {{provider: openai, base_urls: {{openai_chat: "http://127.0.0.1:{provider}/v1"}}}}
workloads: {{}}
"""


def run() -> dict[str, float]:
    """Median over rounds of each way's p50 and p99 above the direct way's, in ms."""
    with TemporaryDirectory() as folder, _ways(Path(folder)) as ways:
        found: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for rate in RATES:
                for kind, streamed in KINDS.items():
                    asyncio.run(_round(ways, rate, kind, streamed, found))
    return {name: round(statistics.median(values), 2) for name, values in sorted(found.items())}


async def _round(
    ways: dict[str, str], rate: int, kind: str, streamed: bool, found: dict[str, list[float]]
) -> None:
    taken = {way: await _times(url, rate, streamed) for way, url in ways.items()}
    direct = taken.pop("direct")
    for way, times in taken.items():
        for q, name in ((0.5, "p50"), (0.99, "p99")):
            added = _quantile(times, q) - _quantile(direct, q)
            found.setdefault(f"{way} adds at {rate}/s, {kind}, {name} ms", []).append(added)
        failed = sum(t == float("inf") for t in times)
        found.setdefault(f"{way} failed at {rate}/s, {kind}", []).append(failed)


def _quantile(times: list[float], q: float) -> float:
    return sorted(times)[int(q * (len(times) - 1))]


async def _times(url: str, rate: int, streamed: bool) -> list[float]:
    """Milliseconds to the whole answer (of a stream to its first byte) of each request; inf if it failed."""
    body = json.dumps({**REQUEST, "stream": streamed})
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:

        async def ask() -> float:
            started = time.perf_counter()
            try:
                async with session.post(url, data=body, headers=HEADERS) as answer:
                    if streamed:
                        await answer.content.readany()
                        first = time.perf_counter()
                        await answer.read()
                    else:
                        await answer.read()
                        first = time.perf_counter()
                    return (first - started) * 1000 if answer.status == 200 else float("inf")
            except (aiohttp.ClientError, TimeoutError):
                return float("inf")

        await asyncio.gather(*(ask() for _ in range(5)))  # connections are made
        begin = time.perf_counter()
        asked = []
        for number in range(rate * SECONDS):
            await asyncio.sleep(begin + number / rate - time.perf_counter())
            asked.append(asyncio.create_task(ask()))
        return list(await asyncio.gather(*asked))


@contextmanager
def _ways(folder: Path) -> Iterator[dict[str, str]]:
    """URLs of the direct way, the tap and the peers that are installed."""
    with ExitStack() as up:
        provider = free_port(28600)
        _start(up, [sys.executable, "-m", "bench.instant", str(provider)], provider)
        ways = {"direct": provider, "tap": _tap(up, folder, provider)}
        if nginx := shutil.which("nginx"):
            ways["nginx"] = port = free_port(28700)
            config = folder / "nginx.conf"
            config.write_text(NGINX.format(folder=folder, port=port, provider=provider))
            _start(up, [nginx, "-c", str(config)], port)
        urls = {way: f"http://127.0.0.1:{port}/v1/chat/completions" for way, port in ways.items()}
        urls["litellm"] = f"{_litellm(up, folder, provider)}/v1/chat/completions"
        yield urls


def _litellm(up: ExitStack, folder: Path, provider: int) -> str:
    """The LiteLLM proxy as its documentation sets it up, without a callback; gives its address."""
    parameters = {
        "model": f"openai/{REQUEST['model']}", "api_key": "made-up",
        "api_base": f"http://127.0.0.1:{provider}/v1",
    }  # fmt: skip
    config = {"model_list": [{"model_name": REQUEST["model"], "litellm_params": parameters}]}
    proxy = Proxy(Settings(), config, folder)
    up.callback(proxy.kill)
    asyncio.run(proxy.start())
    return proxy.url


def _tap(up: ExitStack, folder: Path, provider: int) -> int:
    """A tap that records into a broker of its own."""
    kafka = up.enter_context(running(embedded()))
    plan = folder / "plan.yml"
    plan.write_text(PLAN.format(provider=provider))
    port = free_port(28400)
    settings = replace(
        Settings(), data=folder / "tap", plan=plan, kafka=kafka.address, tap_port=port, admin_port=0
    )
    asyncio.run(ensure_topics(settings))
    _start(up, [sys.executable, "-m", "pipeline.cli", "tap"], port, settings.environ())
    return port


def _start(up: ExitStack, argv: list[str], port: int, env: dict[str, str] | None = None) -> None:
    """Starts a server and waits until it listens."""
    process = subprocess.Popen(argv, env={**os.environ, **(env or {})}, stderr=subprocess.DEVNULL)
    up.callback(process.wait)
    up.callback(process.terminate)
    asyncio.run(_until(lambda: tcp_ready(port)))


async def _until(ready: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await ready():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
