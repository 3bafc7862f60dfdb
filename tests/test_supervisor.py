"""The supervisor, over small real processes."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ports import own_port

from pipeline.embedded.ports import free_port, is_free
from pipeline.embedded.supervisor import Child, ChildError, http_ready, supervise, tcp_ready

SERVER = "import sys; from http.server import *; " + (
    "HTTPServer(('127.0.0.1', int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()"
)


async def at_once() -> bool:
    return True


async def never() -> bool:
    return False


async def forever() -> None:
    await asyncio.Event().wait()


def python(
    name: str, code: str, *arguments: object, ready: Callable[[], Awaitable[bool]] = at_once
) -> Child:
    argv = [sys.executable, "-c", code, *map(str, arguments)]
    return Child(name=name, argv=argv, ready=ready)


def server(name: str, port: int, restart: bool = False) -> Child:
    argv = [sys.executable, "-c", SERVER, str(port)]
    return Child(name=name, argv=argv, ready=lambda: tcp_ready(port), restart=restart)


def pids(directory: Path) -> dict[str, int]:
    return dict(json.loads((directory / "pids.json").read_text()))


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has reaped does not."""
    found = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
    )
    return found.stdout.strip() not in ("", "Z", "Zs")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.02)


async def test_children_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    """Each is ready before the next starts; when the body ends all are stopped, last one first."""
    diary = tmp_path / "diary"
    code = (
        "import signal, sys; diary = open(sys.argv[1], 'ab', 0); name = sys.argv[2].encode();"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(diary.write(b'-' + name) and 0));"
        "diary.write(b'+' + name); signal.pause()"
    )

    def written(text: str) -> Callable[[], Awaitable[bool]]:
        async def ready() -> bool:
            return diary.exists() and text in diary.read_text()

        return ready

    async def body() -> None:
        assert diary.read_text() == "+a+b"
        assert pids(tmp_path).keys() == {"a", "b"}

    children = [python(n, code, diary, n, ready=written(f"+{n}")) for n in ("a", "b")]
    assert await supervise(children, tmp_path, body)
    assert diary.read_text() == "+a+b-b-a"
    assert not (tmp_path / "pids.json").exists()


async def test_a_child_that_ends_before_it_is_ready_is_named_with_its_last_lines(
    tmp_path: Path,
) -> None:
    code = "print('\\n'.join(f'line {n}' for n in range(30))); raise SystemExit(3)"
    port = own_port()
    children = [server("web", port), python("broken", code, ready=never)]
    with pytest.raises(ChildError, match="broken ended with exit code 3") as raised:
        await supervise(children, tmp_path, forever)
    assert "line 15" in str(raised.value) and "line 14" not in str(raised.value)
    assert is_free(port)


async def test_a_child_that_is_never_ready_is_given_up_on(tmp_path: Path) -> None:
    child = python("deaf", "import signal; signal.pause()", ready=never)
    with pytest.raises(ChildError, match=r"deaf was not ready within 0\.2 s"):
        await supervise([child], tmp_path, forever, ready_seconds=0.2)


async def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    child = Child(name="ghost", argv=["/no/such/program"], ready=at_once)
    with pytest.raises(ChildError, match="ghost could not be started"):
        await supervise([child], tmp_path, forever)


async def test_a_killed_child_is_restarted_if_wanted(tmp_path: Path) -> None:
    port = own_port()

    async def body() -> None:
        first = pids(tmp_path)["web"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: pids(tmp_path)["web"] != first)
        async with asyncio.timeout(15):
            while not await http_ready(f"http://127.0.0.1:{port}/"):
                await asyncio.sleep(0.02)

    assert await supervise([server("web", port, restart=True)], tmp_path, body)
    assert is_free(port)


async def test_a_child_that_dies_for_good_stops_the_service(tmp_path: Path) -> None:
    port = own_port()
    done = python("done", "pass")  # ending with 0 is no failure

    async def body() -> None:
        os.kill(pids(tmp_path)["web"], signal.SIGKILL)
        await forever()

    with pytest.raises(ChildError, match="web ended with exit code -9"):
        await supervise([done, server("web", port)], tmp_path, body)


async def test_an_error_of_the_body_is_raised_as_it_is(tmp_path: Path) -> None:
    async def body() -> None:
        raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        await supervise([server("web", own_port())], tmp_path, body)


async def test_before_stop_runs_while_its_child_and_those_before_it_run(tmp_path: Path) -> None:
    """What goes wrong in it leaves no process behind."""
    running: list[bool] = []
    first, second = own_port(), own_port()

    async def before_stop() -> None:
        running.extend([await tcp_ready(first), await tcp_ready(second)])
        raise KeyError("went wrong")

    last = replace(server("second", second), before_stop=before_stop)
    assert await supervise([server("first", first), last], tmp_path, at_once)
    assert running == [True, True]
    assert is_free(first) and is_free(second)


async def test_a_child_that_ignores_sigterm_is_killed_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.embedded.supervisor.STOP_SECONDS", 0.3)
    code = (
        "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "pid = os.fork(); print(pid, flush=True) if pid else None; signal.pause()"
    )
    log = tmp_path / "logs" / "stubborn.log"

    async def started() -> bool:
        return log.read_text().endswith("\n")

    await supervise([python("stubborn", code, ready=started)], tmp_path, at_once)
    grandchild = int(log.read_text())
    await until(lambda: not alive(grandchild))


async def test_the_log_of_the_run_before_is_kept_and_no_older_one(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "talker.log"
    for run in ("one", "two", "three"):

        async def said(run: str = run) -> bool:
            return run in log.read_text()

        code = f"import signal; print('{run}', flush=True); signal.pause()"
        await supervise([python("talker", code, ready=said)], tmp_path, at_once)
    kept = {path.name: path.read_text() for path in log.parent.iterdir()}
    assert kept == {"talker.log": "three\n", "talker.log.1": "two\n"}


SERVICE = """
import asyncio, sys
from pathlib import Path
from test_supervisor import forever, python, server
from pipeline.embedded.supervisor import supervise

async def body():
    print("up", flush=True)
    await forever()

children = [server("web", int(sys.argv[1])), python("idle", "import signal; signal.pause()")]
sys.exit(0 if asyncio.run(supervise(children, Path(sys.argv[2]), body)) else 130)
"""


def service(port: int, directory: Path) -> subprocess.Popen[str]:
    """A supervisor in a process of its own, once its children are ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(port), str(directory)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), str(Path.cwd()))),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout and process.stdout.readline() == "up\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_without_a_traceback(
    tmp_path: Path, number: signal.Signals
) -> None:
    """SIGINT goes to the whole process group, as Ctrl-C in a terminal does."""
    port = own_port()
    process = service(port, tmp_path)
    children = pids(tmp_path).values()
    os.killpg(process.pid, number)
    assert process.communicate(timeout=15) == ("", "")
    assert process.returncode == 130
    assert not any(map(alive, children))
    assert "Traceback" not in (tmp_path / "logs" / "web.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    process = service(own_port(), tmp_path)
    children = list(pids(tmp_path).values())
    assert all(map(alive, children))
    process.kill()
    process.communicate()
    await until(lambda: not any(map(alive, children)))


def test_a_taken_port_gives_the_next_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port < free_port(port) < port + 50


def test_no_free_port_is_an_error_that_names_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.embedded.ports.is_free", lambda port: False)
    with pytest.raises(OSError, match=r"no free port on 127\.0\.0\.1 from 9000 to 9049"):
        free_port(9000)
