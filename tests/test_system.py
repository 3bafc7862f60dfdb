"""The whole service as its users start it: `cutover demo` and `cutover up`, with nothing left when they end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from pipeline.calls import Protocol
from pipeline.demo.run import serve_simulators
from pipeline.embedded.ports import is_free
from pipeline.embedded.supervisor import http_ready
from pipeline.settings import Settings
from pipeline.store.connect import StoreError, connect, rows

ROOT = Path(__file__).parent.parent
PATIENCE = 180.0
PROVIDERS = ["anthropic", "dashscope", "deepseek", "moonshot", "volcengine", "zhipu"]
QUESTION: Any = [{"role": "user", "content": "Where is my parcel?"}]
KEY = "sk-of-the-caller-0123456789"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@dataclass
class Command:
    """A `cutover` command that runs in a folder of its own, and where it writes."""

    folder: Path
    name: str
    process: subprocess.Popen[bytes]

    @property
    def services(self) -> Path:
        """Where its services keep their data."""
        return self.folder / "data" / ("demo" if self.name == "demo" else "")

    @property
    def stdout(self) -> str:
        return (self.folder / f"{self.name}.out").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / f"{self.name}.err").read_text()

    def pids(self) -> dict[str, int]:
        file = self.services / "pids.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def settings(self) -> Settings:
        """Those in force, with the ports it chose, as its worker was given them."""
        environ = Path(f"/proc/{self.pids()['worker']}/environ").read_bytes()
        return Settings.read(dict(v.split("=", 1) for v in environ.decode().split("\0") if v))

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def ended(self, seconds: float = PATIENCE) -> int:
        return self.process.wait(seconds)

    def left(self) -> list[str]:
        """Its processes that still run, found by the data folder in their environment."""
        mark = f"CUTOVER_DATA={self.folder}".encode()
        return [
            file.with_name("cmdline").read_text().replace("\0", " ")
            for file in Path("/proc").glob("[0-9]*/environ")
            if mark in _read(file)
        ]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


@contextmanager
def cutover(folder: Path, *arguments: str, **environ: str) -> Iterator[Command]:
    """A running command; whatever is left of it is killed with the block."""
    name = arguments[0]
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *arguments],
            stdout=out, stderr=err, cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "CUTOVER_DATA": str(folder / "data"), **environ},
        )  # fmt: skip
    try:
        yield Command(folder, name, process)
    finally:
        process.kill()  # the kernel ends its children with it
        process.wait()


def until(condition: Any, command: Command) -> Any:
    """Waits for something true; fails with what the command said if it ends before."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        assert command.process.poll() is None, command.stdout + command.stderr
        time.sleep(0.2)
    raise AssertionError(f"waited in vain\n{command.stdout}{command.stderr}")


def running(command: Command) -> Settings:
    """Waits until all its services answer."""
    until(lambda: "dashboard" in command.pids(), command)
    settings = command.settings()
    health = f"http://127.0.0.1:{settings.dashboard_port}/_stcore/health"
    until(lambda: asyncio.run(http_ready(health)), command)
    return settings


def calls_stored(settings: Settings) -> int:
    try:
        with connect(settings) as client:
            return int(client.command("SELECT count() FROM calls"))
    except (StoreError, OSError):
        return 0


def ports(settings: Settings) -> set[int]:
    urls = (settings.kafka, settings.clickhouse_url)
    own = {settings.tap_port, settings.worker_port, settings.dashboard_port}
    return own | {int(url.rpartition(":")[2]) for url in urls}


def assert_ended_cleanly(command: Command, settings: Settings) -> None:
    assert command.left() == []
    assert [port for port in ports(settings) if not is_free(port)] == []
    assert "Traceback" not in command.stdout + command.stderr
    assert "never retrieved" not in command.stderr
    assert not (command.services / "pids.json").exists()


@dataclass
class Ended:
    """A demo that ran to its end: what it printed and the settings it chose."""

    command: Command
    exit_code: int
    settings: Settings


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    """Two demos that ran at the same time; the worker of the second was killed on the way."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    wanted = ("demo", "--seconds", "20", "--json", "--seed", "1")
    with (
        cutover(folders[0], *wanted) as first,
        cutover(folders[1], *wanted, "--rate", "10") as second,
    ):
        chosen = [running(first), running(second)]
        killed = second.pids()["worker"]
        until(lambda: calls_stored(chosen[1]) > 20, second)
        os.kill(killed, signal.SIGKILL)
        until(lambda: second.pids().get("worker", killed) != killed, second)
        codes = [first.ended(), second.ended()]
    return [
        Ended(command, code, settings)
        for command, code, settings in zip((first, second), codes, chosen, strict=True)
    ]


def test_a_demo_ends_with_a_balanced_account_of_all_its_providers(demos: list[Ended]) -> None:
    result = json.loads(demos[0].command.stdout)
    assert demos[0].exit_code == 0
    assert result["balanced"]
    assert result["produced"] == result["stored"] > 300
    assert (result["rejected"], result["duplicates"], result["in_flight"]) == (0, 0, 0)
    assert result["providers"] == PROVIDERS
    assert result["seconds_to_rollback"] == {}, "no incident in so short a time"
    assert 0 < result["freshness_p99_ms"] < 20_000  # the promise is 3,000 on a machine of its own


def test_the_account_balances_when_the_worker_is_killed_on_the_way(demos: list[Ended]) -> None:
    result = json.loads(demos[1].command.stdout)
    assert demos[1].exit_code == 0, demos[1].command.stdout
    assert result["balanced"]
    assert result["produced"] == result["stored"] > 50
    assert (result["rejected"], result["duplicates"], result["in_flight"]) == (0, 0, 0)


def test_two_demos_on_one_machine_share_no_port(demos: list[Ended]) -> None:
    first, second = (ports(demo.settings) for demo in demos)
    assert not first & second
    assert len(first) == len(second) == 5


def test_nothing_of_a_demo_is_left(demos: list[Ended]) -> None:
    for demo in demos:
        assert_ended_cleanly(demo.command, demo.settings)
        assert "Unable connect" not in demo.command.stderr


def test_the_next_demo_finds_what_was_stored_and_ends_at_ctrl_c(demos: list[Ended]) -> None:
    stored = json.loads(demos[0].command.stdout)["stored"]
    with cutover(demos[0].command.folder, "demo") as again:
        settings = running(again)
        until(lambda: calls_stored(settings) > stored, again)
        again.interrupt()
        assert again.ended(60) == 0
    assert_ended_cleanly(again, settings)
    assert "Cutover is running" in again.stdout
    assert again.stdout.endswith("stopped\n")


def test_ctrl_c_while_the_services_start_leaves_nothing(tmp_path: Path) -> None:
    with cutover(tmp_path, "demo", "--json") as demo:
        until(lambda: "clickhouse" in demo.pids(), demo)
        demo.interrupt()
        demo.ended(60)
    assert demo.left() == []
    assert "Traceback" not in demo.stdout + demo.stderr


PLAN = """
migration: Test
baseline: today
endpoints:
  today:
    provider: anthropic
    base_urls: {{anthropic_messages: "{url}", openai_chat: "{url}/v1", openai_responses: "{url}/v1"}}
workloads:
  support: {{name: {{en: Support}}, match: {{app: support-bot}}, stages: []}}
"""


async def ask(url: str, conversation: str) -> None:
    """One streamed call with each official SDK, and one that is not."""
    headers = {"x-cutover-conversation": conversation}
    model = "claude-sonnet-4-5-20250929"
    claude = anthropic.AsyncAnthropic(api_key=KEY, base_url=url, default_headers=headers)
    gpt = openai.AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", default_headers=headers)
    async with claude, gpt:
        await claude.messages.create(model=model, max_tokens=200, messages=QUESTION)
        async with claude.messages.stream(model=model, max_tokens=200, messages=QUESTION) as stream:
            assert (await stream.get_final_message()).usage.output_tokens
        asked = await gpt.chat.completions.create(model=model, messages=QUESTION)
        assert asked.choices[0].message.content


async def test_calls_of_the_official_sdks_through_cutover_up_appear_with_conversation_and_tokens(
    tmp_path: Path,
) -> None:
    async with serve_simulators(0, seed=1) as simulators:
        (tmp_path / "plan.yml").write_text(PLAN.format(url=f"{simulators}/anthropic"))
        with cutover(tmp_path, "up") as up:
            settings = await asyncio.to_thread(running, up)
            await ask(f"http://127.0.0.1:{settings.tap_port}/w/support", "conversation 7")
            await asyncio.to_thread(until, lambda: calls_stored(settings) >= 3, up)
            with connect(settings) as client:
                found = rows(client, "SELECT * FROM calls ORDER BY started_at")
            up.interrupt()
            assert await asyncio.to_thread(up.ended, 60) == 0
    assert_ended_cleanly(up, settings)
    assert [call["protocol"] for call in found] == [
        Protocol.ANTHROPIC_MESSAGES, Protocol.ANTHROPIC_MESSAGES, Protocol.OPENAI_CHAT,
    ]  # fmt: skip
    for call in found:
        assert call["conversation_id"] == "conversation 7"
        assert (call["workload"], call["provider"], call["failure"]) == ("support", "anthropic", "")
        assert call["input_tokens"] > 0 and call["output_tokens"] > 0
    assert [call["stream"] for call in found][1]
    written = [f for f in tmp_path.glob("data/**/*") if f.is_file()]
    assert not [f for f in written if KEY.encode() in f.read_bytes()]
