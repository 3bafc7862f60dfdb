"""The command line: exit codes 0 done, 1 the answer is no, 2 wrong use or settings; one clear line, no traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ports import own_port

from pipeline.service import alone_in
from pipeline.settings import Settings
from pipeline.store.connect import connect

ROOT = Path(__file__).parent.parent
AWAY = {"CUTOVER_KAFKA": "127.0.0.1:9", "CUTOVER_CLICKHOUSE_URL": "http://127.0.0.1:9"}
PLAN = """
migration: Test
baseline: today
endpoints: {today: {provider: anthropic}}
workloads: {support: {name: {en: Support}, match: {app: support-bot}, stages: []}}
"""


def cutover(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("CUTOVER_")}
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments], cwd=folder,
        env={**own, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def last_line(ran: subprocess.CompletedProcess[str]) -> str:
    """What it says for itself at the end; log lines may stand before, a traceback may not."""
    assert "Traceback" not in ran.stderr + ran.stdout, ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("cutover: ")]
    assert len(lines) == 1, ran.stderr
    return lines[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan.yml").write_text(PLAN)
    (tmp_path / "calls.jsonl").write_text('{"hello": 1}\n')
    return tmp_path


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("migrate", "127.0.0.1"),
        ("worker", "CUTOVER_KAFKA"),
        ("replay calls.jsonl", "CUTOVER_KAFKA"),
    ],
)
def test_without_kafka_and_clickhouse_the_answer_is_no(
    folder: Path, command: str, named: str
) -> None:
    ran = cutover(folder, *command.split(), **AWAY)
    assert ran.returncode == 1
    assert named in last_line(ran)


def test_check_names_everything_that_is_wrong(folder: Path) -> None:
    ran = cutover(folder, "check", **AWAY)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stdout + ran.stderr
    wrong = [line for line in ran.stdout.splitlines() if line.startswith("✗")]
    assert [line.split(":")[0] for line in wrong] == [
        "✗ Kafka at 127.0.0.1",
        "✗ ClickHouse at 127.0.0.1",
    ]


def test_check_is_content_when_everything_is_there(folder: Path, kafka_settings: Settings) -> None:
    environ = {**kafka_settings.environ(), "CUTOVER_PLAN": "plan.yml"}
    ran = cutover(folder, "check", **environ)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "✗" not in ran.stdout


@pytest.mark.parametrize("command", ["check", "migrate", "worker", "tap", "demo", "up"])
def test_a_malformed_setting_is_wrong_use(folder: Path, command: str) -> None:
    ran = cutover(folder, command, CUTOVER_TAP_PORT="eighty")
    assert ran.returncode == 2
    assert "CUTOVER_TAP_PORT='eighty'" in last_line(ran)


@pytest.mark.parametrize("command", ["tap", "up"])
def test_a_bad_plan_is_wrong_use(folder: Path, command: str) -> None:
    (folder / "plan.yml").write_text(PLAN.replace("baseline: today", "baseline: yesterday"))
    ran = cutover(folder, command, **AWAY)
    assert ran.returncode == 2
    assert "yesterday" in last_line(ran)


def test_a_tap_without_a_plan_says_how_to_get_one(tmp_path: Path) -> None:
    ran = cutover(tmp_path, "tap", **AWAY)
    assert ran.returncode == 2
    assert "there is no plan.yml" in last_line(ran)


def test_a_tap_for_strangers_needs_tokens(folder: Path) -> None:
    ran = cutover(folder, "tap", CUTOVER_HOST="0.0.0.0", **AWAY)
    assert ran.returncode == 2
    assert "CUTOVER_TAP_TOKENS" in last_line(ran)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["demo", "--seconds", "soon"]])
def test_wrong_use_is_told_with_the_usage(tmp_path: Path, arguments: list[str]) -> None:
    ran = cutover(tmp_path, *arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: cutover")


@pytest.mark.parametrize("command", ["score", "replay"])
def test_a_file_that_is_not_there_is_wrong_use(tmp_path: Path, command: str) -> None:
    ran = cutover(tmp_path, command, "no.jsonl", **AWAY)
    assert ran.returncode == 2
    assert "no such file: no.jsonl" in last_line(ran)


def test_a_database_of_a_newer_version_is_named(folder: Path, store_settings: Settings) -> None:
    with connect(store_settings) as store:
        store.command("INSERT INTO migrations (name) VALUES ('9999_from_the_future')")
    ran = cutover(folder, "migrate", **store_settings.environ())
    assert ran.returncode == 1
    assert "9999_from_the_future" in last_line(ran)
    ran = cutover(folder, "check", **store_settings.environ())
    assert ran.returncode == 1
    assert "9999_from_the_future" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("demo --rate 0", "--rate: '0'"),
        ("demo --rate -3", "--rate: '-3'"),
        ("demo --seconds nan", "--seconds: 'nan'"),
        ("demo --history -4", "--history: '-4'"),
        ("replay --rate 0 calls.jsonl", "--rate: '0'"),
        ("audit --since yesterday", "--since: 'yesterday': a day or time such as"),
        ("rejected list --since 2026-13-01", "--since: '2026-13-01': a day or time such as"),
        ("reprice --since soon", "--since: 'soon': a day such as"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_with_what_would(
    folder: Path, arguments: str, named: str
) -> None:
    ran = cutover(folder, *arguments.split(), **AWAY)
    assert ran.returncode == 2
    assert named in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ("verdict --plan plan.yml binary", 2, "binary is no CSV text"),
        ("verdict --plan binary units.csv", 2, "binary:1: is not UTF-8 text"),
        ("evidence verify binary", 2, "binary is no evidence bundle"),
        ("plan check nowhere.yml", 2, "nowhere.yml: cannot be read"),
        ("score empty", 1, "no record in empty"),
        ("feedback  --rating up", 2, "CALL_ID"),
        ("report --out nowhere/a.pdf", 2, "there is no folder nowhere"),
    ],
)
def test_a_bad_file_is_named(folder: Path, arguments: str, code: int, named: str) -> None:
    (folder / "binary").write_bytes(b"\xff\xfe\x00\x01" * 9)
    (folder / "empty").touch()
    ran = cutover(folder, *arguments.split(" "), **AWAY)
    assert ran.returncode == code
    assert named in last_line(ran)


@pytest.mark.parametrize(
    "command",
    ["audit", "migrate", "units --workload support", "rejected list", "report --out a.pdf"],
)
def test_a_store_that_is_away_is_told_in_one_line_without_its_password(
    folder: Path, command: str
) -> None:
    ran = cutover(folder, *command.split(), CUTOVER_CLICKHOUSE_URL="http://me:hunter2@127.0.0.1:9")
    assert ran.returncode == 1
    assert last_line(ran) == (
        "cutover: ClickHouse at 127.0.0.1:9 does not answer; start it or set CUTOVER_CLICKHOUSE_URL"
    )
    assert len(ran.stderr.splitlines()) == 1
    assert "hunter2" not in ran.stderr


def test_a_database_that_is_not_there_is_told_with_the_mend(
    folder: Path, store_settings: Settings
) -> None:
    environ = {**store_settings.environ(), "CUTOVER_CLICKHOUSE_DATABASE": "nowhere"}
    ran = cutover(folder, "audit", **environ)
    assert ran.returncode == 1
    assert "has no database nowhere; run `cutover migrate`" in last_line(ran)


@pytest.mark.parametrize(
    ("command", "setting"),
    [("tap", "CUTOVER_TAP_PORT"), ("tap", "CUTOVER_ADMIN_PORT"), ("dashboard", "CUTOVER_DASHBOARD_PORT")],
)  # fmt: skip
def test_a_port_that_is_taken_is_named(folder: Path, command: str, setting: str) -> None:
    free = {"CUTOVER_TAP_PORT": str(own_port()), "CUTOVER_ADMIN_PORT": str(own_port())}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = cutover(folder, command, **{**AWAY, **free, setting: port})
    assert ran.returncode == 2
    assert last_line(ran).startswith(f"cutover: {setting}: 127.0.0.1, port {port}: ")


@pytest.mark.parametrize(("command", "below"), [("up", "."), ("demo", "demo")])
def test_a_folder_in_which_another_one_runs_is_left_alone(
    folder: Path, command: str, below: str
) -> None:
    with alone_in(folder / below):
        ran = cutover(folder, command, CUTOVER_DATA=".")
    assert ran.returncode == 2
    assert "another Cutover runs there" in last_line(ran)
    assert not (folder / below / "logs").exists()


def test_whoever_reads_no_further_is_no_fault(folder: Path) -> None:
    """As in `cutover catalog show | head`."""
    command = [sys.executable, "-m", "pipeline.cli", "catalog", "show"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ran:
        assert ran.stdout and ran.stderr
        ran.stdout.close()
        assert ran.stderr.read() == b""
    assert ran.returncode == 0
