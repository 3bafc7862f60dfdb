"""Which loopback port a local server gets, and whether the one it was told to take is free."""

import socket
from ipaddress import ip_address

from pipeline.settings import SettingsError

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
    try:
        _listen("127.0.0.1", port)
    except OSError:
        return False
    return True


def check_address(host: str, port: int, setting: str) -> None:
    """Raises SettingsError naming the port's setting if a server could not listen there now."""
    try:
        _listen(host, port)
    except OSError as error:
        raise SettingsError(
            f"{setting}: {host or 'any address'}, port {port}: {error.strerror}; stop what listens there, or choose another"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> None:
    family, kind, _, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind) as probe:
        # As servers do, so that a port still in TIME_WAIT after a restart counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)
