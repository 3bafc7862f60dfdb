"""Kafka brokers for tests: the embedded one, and Apache Kafka from Maven's jars where a JVM and Maven are."""

import asyncio
import base64
import fcntl
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
from ports import own_port

from pipeline.embedded.supervisor import tcp_ready

POM = Path(__file__).parent / "apache_kafka" / "pom.xml"
SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # half the processor time of a start
PROPERTIES = """
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:{controller}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.dirs={logs}
"""


def missing_or_fail(what: str) -> None:
    """Skips a test for want of a tool; in CI that is a failure, since CI installs it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing on this machine")


class Broker:
    """A broker that can be killed and started again on the same port."""

    def __init__(self, command: list[str], port: int, *, keeps_its_log: bool) -> None:
        self.address = f"127.0.0.1:{port}"
        self.keeps_its_log = keeps_its_log
        self._command, self._port = command, port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet)
        asyncio.run(_until_up(self._process, self._port))

    def signal(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


@contextmanager
def embedded_broker() -> Iterator[str]:
    """The broker of the one-machine service; gives its bootstrap address."""
    with running(embedded()) as broker:
        yield broker.address


@contextmanager
def apache_broker(folder: Path) -> Iterator[str]:
    """Apache Kafka in KRaft mode with its log in `folder`; gives its bootstrap address."""
    with running(apache(folder)) as broker:
        yield broker.address


@contextmanager
def running(broker: Broker) -> Iterator[Broker]:
    """A broker that is up, and does not outlive the block."""
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


def embedded() -> Broker:
    """The broker of the one-machine service, not started yet; it forgets everything when it ends."""
    port = own_port()
    command = [sys.executable, "-m", "pipeline.embedded.broker", "--port", str(port)]
    return Broker(command, port, keeps_its_log=False)


def apache(folder: Path, options: tuple[str, ...] = SHORT_LIVED) -> Broker:
    """Apache Kafka, not started yet; `options` are the Java machine's."""
    classpath = _classpath()
    folder.mkdir(exist_ok=True)
    port, controller = own_port(), own_port()
    properties = folder / "server.properties"
    properties.write_text(PROPERTIES.format(port=port, controller=controller, logs=folder / "logs"))
    java = ["java", "-Xmx512m", *options, "-cp", classpath]
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
    subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return Broker([*java, "kafka.Kafka", str(properties)], port, keeps_its_log=True)


@cache
def _classpath() -> str:
    """Apache Kafka's jars. Maven is asked once for each environment, and by one process at a time."""
    for tool in ("java", "mvn"):
        if not shutil.which(tool):
            missing_or_fail(tool)
    known = Path(sys.prefix) / f"apache-kafka-{sha256(POM.read_bytes()).hexdigest()[:12]}"
    with known.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not known.exists() or not all(map(os.path.exists, known.read_text().split(os.pathsep))):
            resolved = subprocess.run(
                ["mvn", "-q", "-B", "-f", str(POM), "dependency:build-classpath",
                 f"-Dmdep.outputFile={known}"],
                check=False, capture_output=True, text=True,
            )  # fmt: skip
            if resolved.returncode:
                missing_or_fail(
                    f"Apache Kafka (Maven could not fetch it: {resolved.stdout[-300:]})"
                )
    return known.read_text().strip()


async def _until_up(broker: subprocess.Popen[bytes], port: int) -> None:
    async with asyncio.timeout(120):
        while not await tcp_ready(port):
            assert broker.poll() is None, "the broker ended before it was ready"
            await asyncio.sleep(0.05)
