"""docker-compose.yml fits the compose specification and the promises of the README."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())["services"]


def test_it_fits_the_schema_of_the_compose_specification() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", FILE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_docker_itself_reads_it() -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], check=False).returncode:
        pytest.skip("docker compose is not on this machine")
    secrets = {"CUTOVER_TAP_TOKENS": "t", "CUTOVER_CLICKHOUSE_PASSWORD": "p", "CUTOVER_DASHBOARD_TOKEN": "d",
               "CUTOVER_DASHBOARD_CLICKHOUSE_PASSWORD": "r"}  # fmt: skip
    read = subprocess.run(
        [docker, "compose", "-f", FILE, "--profile", "demo", "config", "--format", "json"],
        capture_output=True, text=True, env={**os.environ, **secrets}, check=False,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    assert {"kafka", "clickhouse", "worker", "tap"} <= json.loads(read.stdout)["services"].keys()


def test_everything_that_serves_has_a_health_check(services: dict[str, Any]) -> None:
    once = {"migrate"}
    assert {name for name, s in services.items() if "healthcheck" not in s} == once


def test_everything_starts_after_what_it_needs(services: dict[str, Any]) -> None:
    for name in ("worker", "tap", "dashboard"):
        conditions = services[name]["depends_on"]
        assert conditions["migrate"]["condition"] == "service_completed_successfully"
    needed = services["migrate"]["depends_on"]
    assert {n: c["condition"] for n, c in needed.items()} == {
        "kafka": "service_healthy",
        "clickhouse": "service_healthy",
    }


def test_no_port_is_published_beyond_this_machine(services: dict[str, Any]) -> None:
    ports = [port for s in services.values() for port in s.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_worker_can_be_scaled(services: dict[str, Any]) -> None:
    assert not {"ports", "container_name"} & services["worker"].keys()


def test_the_demo_only_starts_when_asked_for(services: dict[str, Any]) -> None:
    assert {n for n, s in services.items() if s.get("profiles") == ["demo"]} == {"demo"}


def test_nothing_runs_as_root() -> None:
    assert "USER cutover" in (ROOT / "Dockerfile").read_text()
    assert yaml.safe_load(FILE.read_text())["services"]["clickhouse"]["user"] == "101:101"


def test_the_pages_user_is_the_one_of_reader_sql_and_can_write_nothing(
    services: dict[str, Any],
) -> None:
    config = yaml.safe_load(FILE.read_text())["configs"]["reader"]["content"]
    made = ElementTree.fromstring(config)
    (user,) = made.findall("users/")
    assert user.tag == services["dashboard"]["environment"]["CUTOVER_DASHBOARD_CLICKHOUSE_USER"]
    profile = user.findtext("profile")
    assert made.findtext(f"profiles/{profile}/readonly") == "2"
    granted = [query.text for query in user.findall("grants/query")]
    sql = (ROOT / "pipeline" / "store" / "sql" / "reader.sql").read_text()
    assert [f"{query} TO {user.tag};" for query in granted] == re.findall(r"^GRANT .*$", sql, re.M)
    assert f"CREATE USER IF NOT EXISTS {user.tag} " in sql
    password = user.find("password")
    assert password is not None
    assert password.get("from_env") in services["clickhouse"]["environment"]


def test_every_secret_of_the_compose_file_is_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"\$\{(CUTOVER_\w+)", FILE.read_text()))
    assert named <= set(re.findall(r"^#? ?(CUTOVER_\w+)=", example, re.M))


def test_every_new_kafka_has_an_id_of_its_own_and_keeps_it(
    services: dict[str, Any], tmp_path: Path
) -> None:
    """Run with stand-ins for what the image has: the ledger tells a wiped Kafka by its id."""
    bash, flag, script = services["kafka"]["command"]
    (tmp_path / "run").write_text('echo "$CLUSTER_ID"\n')
    (tmp_path / "kafka-storage.sh").write_text("echo new-id\n")
    for name in ("run", "kafka-storage.sh"):
        (tmp_path / name).chmod(0o755)
    script = script.replace("$$", "$").replace("/etc/kafka/docker/run", f"bash {tmp_path}/run")
    script = script.replace("/opt/kafka/bin", f"bash {tmp_path}")
    script = script.replace("/var/lib/kafka/data", str(tmp_path))

    def started() -> str:
        return subprocess.run([bash, flag, script], check=True, capture_output=True, text=True).stdout  # fmt: skip

    assert started() == "new-id\n"
    (tmp_path / "meta.properties").write_text("version=1\ncluster.id=5L6g3nShT-eMCtK--X86sw\n")
    assert started() == "5L6g3nShT-eMCtK--X86sw\n"
