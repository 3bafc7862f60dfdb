"""`cutover score` reads log files as people have them, without any server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from records import STARTED, anthropic_record

from pipeline.cli import main
from pipeline.files import messages
from pipeline.formats.cutover import encode

LINES = [encode(anthropic_record(name)) for name in ("a", "b")]
OBJECTS = [json.loads(line) for line in LINES]
PLAN = """
migration: Leaving Claude
baseline: claude
endpoints:
  claude: {provider: anthropic}
  kimi: {provider: moonshot, key_env: MOONSHOT_API_KEY}
workloads:
  support:
    name: {en: Support}
    stages: [{name: all, from: 2026-11-02T01:00:00Z, shares: {kimi: 1}}]
"""


def written(folder: Path, content: bytes | str, name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (STARTED / 1000 + 60, STARTED / 1000 + 60))
    return path


def scored(capfdbinary: pytest.CaptureFixture[bytes], *arguments: object) -> list[dict]:
    assert main(["score", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]


SHAPES = [
    ("one object", LINES[0], ["a"]),
    ("one a line", b"\n".join(LINES), ["a", "b"]),
    ("lines of Windows, the last one ended", b"\r\n".join(LINES) + b"\r\n", ["a", "b"]),
    ("an array", json.dumps(OBJECTS).encode(), ["a", "b"]),
    ("a pretty-printed object", json.dumps(OBJECTS[0], indent=2).encode(), ["a"]),
    ("a pretty-printed array", json.dumps(OBJECTS, indent=2).encode(), ["a", "b"]),
    ("a byte order mark", b"\xef\xbb\xbf" + b"\n".join(LINES), ["a", "b"]),
    ("blank lines", b"\n\n" + LINES[0] + b"\n \n", ["a"]),
    ("garbage among lines", b"\n".join([LINES[0], b"garbage", LINES[1][:60]]), ["a", "not_json", "not_json"]),
    ("no JSON", b"\xff\xfe\x00\n[[[", ["not_json", "not_json"]),
    ("JSON of nobody's", b'{"x": 1}', ["unknown_format"]),
    ("too deep", b"[" * 100_000, ["not_json"]),
]  # fmt: skip


@pytest.mark.parametrize(("says", "content", "found"), SHAPES, ids=[shape[0] for shape in SHAPES])
def test_shapes(tmp_path, capfdbinary, says: str, content: bytes, found: list[str]) -> None:
    rows = scored(capfdbinary, written(tmp_path, content))
    assert [row.get("call_id") or row["rejected"] for row in rows] == found


def test_a_row_has_every_field_and_money_as_text(tmp_path, capfdbinary) -> None:
    (row,) = scored(capfdbinary, written(tmp_path, LINES[0]))
    assert (row["cost"], row["currency"]) == (
        "0.000600000000",
        "USD",
    )  # 100 × 3 + 20 × 15 millionths
    assert (row["quality"], row["checks"]["delivered"]) == ("1.0000", "1")
    assert (row["failure"], row["doubts"]) == ("", [])


def test_a_rejection_shows_its_bytes_and_why(tmp_path, capfdbinary) -> None:
    (row,) = scored(capfdbinary, written(tmp_path, b"garbage\xff"))
    assert set(row) == {"rejected", "detail", "value"}
    assert row["value"] == "garbage\N{REPLACEMENT CHARACTER}"


def test_several_files_follow_each_other(tmp_path, capfdbinary) -> None:
    files = [written(tmp_path, line, f"{number}.json") for number, line in enumerate(LINES)]
    assert [row["call_id"] for row in scored(capfdbinary, *files)] == ["a", "b"]


def test_a_plan_tells_the_arm(tmp_path, capfdbinary) -> None:
    log, plan = written(tmp_path, LINES[0]), written(tmp_path, PLAN, "plan.yml")
    (row,) = scored(capfdbinary, "--plan", plan, log)
    assert (row["workload"], row["arm"]) == ("support", "baseline")


def test_a_record_without_a_start_counts_from_the_files_time(tmp_path, capfdbinary) -> None:
    log = written(tmp_path, encode(anthropic_record("a", started_at=None, ended_at=None)))
    (row,) = scored(capfdbinary, log)
    assert (row["started_at"], row["doubts"]) == (STARTED + 60_000, ["start_missing"])


def test_records_of_a_pretty_array_go_to_kafka_as_single_messages(tmp_path) -> None:
    assert list(messages(written(tmp_path, json.dumps(OBJECTS, indent=2)))) == LINES


WRONG = [
    ("a missing file", ["none.jsonl"], "none.jsonl"),
    ("a missing plan", ["--plan", "none.yml", "log.jsonl"], "none.yml"),
    ("a plan that is no YAML", ["--plan", "torn.yml", "log.jsonl"], "torn.yml"),
    ("a plan that contradicts itself", ["--plan", "wrong.yml", "log.jsonl"], "baseline"),
    ("no file at all", [], "FILE"),
    ("a format nobody knows", ["--format", "csv", "log.jsonl"], "csv"),
]


@pytest.mark.parametrize(("says", "arguments", "named"), WRONG, ids=[wrong[0] for wrong in WRONG])
def test_wrong_use_is_one_line_and_exit_2(
    tmp_path, says: str, arguments: list[str], named: str
) -> None:
    written(tmp_path, LINES[0])
    written(tmp_path, "migration: [", "torn.yml")
    written(tmp_path, PLAN.replace("baseline: claude", "baseline: gpt"), "wrong.yml")
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "score", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert (
        len(
            [line for line in done.stderr.splitlines() if "cutover" in line and "usage" not in line]
        )
        == 1
    )
