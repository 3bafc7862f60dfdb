"""A request on its way to a provider, and why no answer came."""

import aiohttp
import msgspec
from multidict import CIMultiDict


class Outgoing(msgspec.Struct, frozen=True):
    """A request as it goes to a provider."""

    url: str
    headers: CIMultiDict[str]
    data: bytes | aiohttp.StreamReader


def transport_error(error: Exception) -> str:
    """A short stable name for why no answer came, or half of one."""
    match error:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorError():
            return "connect"
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError():
            return "reset"
        case _:
            return "bad_response"
