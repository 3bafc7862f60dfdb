"""Ports for the servers of tests: tests that run side by side never take each other's."""

import itertools
import os
from collections.abc import Iterator

from pipeline.embedded.ports import is_free

# Above the services' defaults, below what systems give to outgoing connections (Linux: 32768 on).
FIRST, OF_A_WORKER, WORKERS = 20_000, 1_500, 8


def _own() -> Iterator[int]:
    """The ports of this worker of pytest-xdist over and over, each run from another one on."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    for number in itertools.count(os.getpid() * 97):  # two runs begun at once are apart, too
        yield FIRST + worker * OF_A_WORKER + number % OF_A_WORKER


_ports = _own()


def own_port() -> int:
    """A loopback TCP port nobody listens on and no other test is given."""
    return next(filter(is_free, _ports))
