"""The worker between Apache Kafka and ClickHouse in containers, wherever a Docker engine answers."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ports import own_port
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.kafka import KafkaContainer
from workers import KILL, assert_all_is_accounted_for, traffic, worker, writes

from pipeline.catalog import Catalog
from pipeline.embedded.supervisor import http_ready
from pipeline.kafka import ensure_topics
from pipeline.settings import Settings
from pipeline.store.connect import connect
from pipeline.store.migrate import migrate

CLICKHOUSE = "clickhouse/clickhouse-server:26.3"
PASSWORD = "of-the-test"


def wait_until(ready: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "ClickHouse does not answer"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def servers() -> Iterator[Settings]:
    """Settings that point at both containers."""
    try:
        DockerClient().client.ping()
    except Exception as error:  # whatever the Docker library makes of it
        pytest.skip(f"no Docker engine answers here: {error}")
    clickhouse = (
        DockerContainer(CLICKHOUSE)
        .with_exposed_ports(8123)
        .with_env("CLICKHOUSE_PASSWORD", PASSWORD)
    )
    with KafkaContainer().with_kraft() as kafka, clickhouse:
        address = f"{clickhouse.get_container_host_ip()}:{clickhouse.get_exposed_port(8123)}"
        wait_until(lambda: asyncio.run(http_ready(f"http://{address}/ping")))
        yield replace(
            Settings(),
            kafka=kafka.get_bootstrap_server(),
            clickhouse_url=f"http://{address}",
            clickhouse_password=PASSWORD,
            clickhouse_database=f"test_{uuid.uuid4().hex[:12]}",
            worker_port=own_port(),
        )


async def test_nothing_is_lost_or_repeated_when_a_worker_is_killed(
    servers: Settings, catalog: Catalog, tmp_path: Path
) -> None:
    settings = replace(servers, data=tmp_path, plan=tmp_path / "plan.yml")
    migrate(settings, catalog)
    await ensure_topics(settings)
    with connect(settings) as store, worker(settings, "killed") as killed:
        async with traffic(settings) as producer:
            await writes(store, killed)
            killed.signal(KILL)
        with worker(settings, "successor") as successor:
            await assert_all_is_accounted_for(settings, store, producer, successor)
