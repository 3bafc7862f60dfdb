"""Servers the tests share: the embedded ClickHouse endpoint and the embedded broker, once a session.

`HYPOTHESIS_PROFILE=nightly` tries 10,000 examples of every property instead of 100.
"""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from copies import copy_database
from kafka_brokers import apache_broker, embedded_broker
from ports import own_port

from pipeline.catalog import Catalog, load_catalog
from pipeline.embedded.supervisor import http_ready
from pipeline.kafka import ensure_topics
from pipeline.rules import load_checks
from pipeline.scoring.score import Rules
from pipeline.settings import Settings
from pipeline.store.connect import Client, connect
from pipeline.store.migrate import migrate

# Without deadlines: machines are shared, and time proves nothing.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=10_000,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Files whose tests take long, the longest first: begun early, they do not keep the others waiting.
LONG = (
    "test_worker", "test_chaos", "test_litellm_callback", "test_system", "test_dashboard_browser",
    "test_rolling_update", "test_rejected", "test_judge_takeover", "test_producer", "test_replay",
    "test_tap_logs", "test_embedded_broker", "test_dashboard_pages", "test_report",
    "test_verdict_error_rates", "test_intake", "test_kafka", "test_migrate",
)  # fmt: skip


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: tests with servers wait half of the time."""
    return min((os.cpu_count() or 1) + 1, 6)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Beside others, long files come first; alone, tests stay in their order, the quick ones among them."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        rank = {name: place for place, name in enumerate(LONG)}
        items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


@contextmanager
def process(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that does not outlive the block."""
    with subprocess.Popen([sys.executable, "-m", *argv]) as child:
        try:
            yield child
        finally:
            child.terminate()


async def until(ready, child: subprocess.Popen[bytes]) -> None:
    """Waits until a server answers; fails if it ends before."""
    async with asyncio.timeout(60):
        while not await ready():
            assert child.poll() is None, "the server ended before it was ready"
            await asyncio.sleep(0.05)


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an embedded ClickHouse endpoint."""
    port, data = own_port(), tmp_path_factory.mktemp("clickhouse")
    with process("pipeline.embedded.clickhouse", "--port", str(port), "--data", str(data)) as child:
        url = f"http://127.0.0.1:{port}"
        asyncio.run(until(lambda: http_ready(f"{url}/ping"), child))
        yield url


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def rules(catalog: Catalog) -> Rules:
    """The facts as shipped, and no plan."""
    return Rules(catalog=catalog, checks=load_checks())


@pytest.fixture(scope="session")
def migrated(clickhouse_url: str, catalog: Catalog) -> Settings:
    """Settings with a database that was migrated and is only read."""
    settings = replace(
        Settings(),
        clickhouse_url=clickhouse_url,
        clickhouse_database=f"migrated_{uuid.uuid4().hex[:12]}",
    )
    migrate(settings, catalog)
    return settings


@pytest.fixture
def store_settings(migrated: Settings, tmp_path: Path) -> Settings:
    """Settings with a migrated database of the test's own."""
    settings = replace(
        migrated,
        data=tmp_path,
        plan=tmp_path / "plan.yml",
        clickhouse_database=f"test_{uuid.uuid4().hex[:12]}",
    )
    copy_database(migrated, settings.clickhouse_database)
    return settings


@pytest.fixture
def store(store_settings: Settings) -> Iterator[Client]:
    """A client of the test's own database."""
    with connect(store_settings) as client:
        yield client
        client.command(f"DROP DATABASE `{store_settings.clickhouse_database}`")


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[str]:
    with embedded_broker() as address:
        yield address


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with apache_broker(tmp_path_factory.mktemp("kafka")) as address:
        yield address


@pytest.fixture(params=["embedded", "apache"])
def kafka(request: pytest.FixtureRequest) -> str:
    """Bootstrap address of a broker; tests that use it run on the embedded one and on Apache Kafka.

    Not of the session itself: its tests would be run broker by broker, torn from their files.
    """
    return str(request.getfixturevalue(f"{request.param}_kafka"))


@pytest.fixture
def kafka_settings(store_settings: Settings, kafka: str) -> Settings:
    """Settings with topics and a consumer group of the test's own."""
    name = uuid.uuid4().hex[:8]
    settings = replace(
        store_settings,
        kafka=kafka,
        calls_topic=f"calls-{name}",
        rejected_topic=f"rejected-{name}",
        feedback_topic=f"feedback-{name}",
        events_topic=f"events-{name}",
        consumer_group=f"worker-{name}",
        worker_port=own_port(),
    )
    asyncio.run(ensure_topics(settings))
    return settings
