"""Which loopback port a local server gets."""

import socket

SEARCHED = 50


def free_port(preferred: int) -> int:
    """The preferred loopback TCP port if nothing listens there, or else the next free one.

    Raises OSError when the next 50 ports are taken as well.
    """
    candidates = range(preferred, min(preferred + SEARCHED, 65536))
    for port in candidates:
        if is_free(port):
            return port
    raise OSError(
        f"no free port on 127.0.0.1 from {preferred} to {candidates[-1]}: "
        "stop what listens there or choose another port"
    )


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do, so that a port still in TIME_WAIT after a restart counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True
