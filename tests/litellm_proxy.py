"""The real LiteLLM proxy, in a virtual environment of its own, offline, with our simulators as providers."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from kafka_brokers import missing_or_fail
from ports import own_port
from tapping import running

from pipeline.demo.behaviour import load_behaviours
from pipeline.demo.simulators import Simulators
from pipeline.embedded.supervisor import http_ready
from pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
VENV = ROOT / ".venv-litellm"
WANTED = ["litellm[proxy]>=1.106,<1.120", "aiokafka", "cramjam", "msgspec"]
KEY = "sk-" + "f0e1d2c3" * 6
START_SECONDS = 180


def executable() -> Path:
    """LiteLLM's command; its environment is made when it is first asked for. Skips where that cannot be."""
    ready = VENV / "complete"
    uv = Path(sys.executable).parent / "uv"
    if not ready.exists():
        if not uv.exists():
            missing_or_fail("uv")
        try:
            for command in (["venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)],
                            ["pip", "install", "--quiet", "--python", str(VENV / "bin/python"), *WANTED]):  # fmt: skip
                subprocess.run([uv, *command], check=True, timeout=300, capture_output=True)
        except (subprocess.SubprocessError, OSError) as error:
            missing_or_fail(f"LiteLLM ({error})")
        ready.touch()
    return VENV / "bin" / "litellm"


@asynccontextmanager
async def providers(**changes: Mapping[str, float]) -> AsyncIterator[str]:
    """Address of simulators that answer fast and well, but for the outcomes of those named."""
    behaviours = {
        name: msgspec.structs.replace(
            behaviour, outcomes=dict(changes.get(name, {})), incidents=(), tool_faults=0,
            broken_json=0, tokens_per_second=2000.0,
        )
        for name, behaviour in load_behaviours().items()
    }  # fmt: skip
    app = Simulators(behaviours, 7, lambda: 0.0).app()
    async with running(web.AppRunner(app, shutdown_timeout=0.1)) as url:
        yield url


class Proxy:
    """A proxy process; what its clients asked for is counted here, by LiteLLM's call id."""

    def __init__(self, settings: Settings, config: Mapping[str, Any], folder: Path) -> None:
        self.port = own_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = settings
        self._log = folder / "litellm.log"
        self._config = folder / "config.yaml"
        self._config.write_bytes(msgspec.json.encode(config))  # JSON is YAML

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    async def start(self) -> None:
        environ = {
            **os.environ, **self._settings.environ(), "PYTHONPATH": str(ROOT),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY,
            "LITELLM_TELEMETRY": "False", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        command = [executable(), "--config", self._config, "--host", "127.0.0.1", "--port", str(self.port)]  # fmt: skip
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=self._config.parent)  # fmt: skip
        async with asyncio.timeout(START_SECONDS):
            while not await http_ready(f"{self.url}/health/liveliness"):
                assert self.process.poll() is None, self.log[-5000:]
                await asyncio.sleep(0.2)

    async def stop(self) -> None:
        """As a supervisor does."""
        self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, 60)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


async def ask(
    session: aiohttp.ClientSession,
    url: str,
    body: Mapping[str, Any],
    *,
    key: str = KEY,
    hang_up: bool = False,
) -> tuple[str, int, bytes]:
    """LiteLLM's call id, the status and the answer; `hang_up` leaves after the first bytes."""  # fmt: skip
    headers = {"Authorization": f"Bearer {key}", "x-api-key": key}
    async with session.post(url, json=body, headers=headers) as response:
        call_id = response.headers.get("x-litellm-call-id", "")
        if hang_up:
            await response.content.readany()
            response.close()
            return call_id, response.status, b""
        return call_id, response.status, await response.read()
