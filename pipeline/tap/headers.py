"""Which headers go where. Keys are the point: the caller's own go to the baseline alone.

A candidate gets its own key and only those of the caller's headers that are listed here, so that
a key in a header nobody thought of does not reach it either.
"""

import re
from collections.abc import Iterable, Mapping

from pipeline.calls import Protocol

Pairs = Iterable[tuple[str, str]]

KEY_HEADERS = ("authorization", "x-api-key", "api-key", "cookie", "proxy-authorization")

_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_SET_ANEW = {"host", "content-length", "expect", "accept-encoding"}
_OURS = "x-cutover-"
_SAFE_FOR_CANDIDATES = re.compile(
    "accept|accept-language|content-type|content-encoding|user-agent|traceparent|tracestate"
    "|anthropic-version|anthropic-beta|openai-beta|x-stainless-[a-z-]+"
)
_READABLE_ENCODINGS = {"gzip", "deflate", "identity"}


def for_baseline(headers: Pairs) -> list[tuple[str, str]]:
    """The caller's headers as they go to the baseline: all that are not hop-by-hop or ours."""
    pairs = list(headers)
    dropped = _SET_ANEW | hop_by_hop(pairs)
    return [
        (name, value)
        for name, value in pairs
        if name.lower() not in dropped and not name.lower().startswith(_OURS)
    ]


def with_own_key(headers: Pairs, protocol: Protocol, key: str) -> list[tuple[str, str]]:
    """The headers for an endpoint that has a key of its own: it, and what is safe of the caller's.

    Vendors of the Anthropic protocol take the key in one of two headers, so it is sent in both.
    """
    safe = [(n, v) for n, v in for_baseline(headers) if _SAFE_FOR_CANDIDATES.fullmatch(n.lower())]
    own = [("authorization", f"Bearer {key}")]
    if protocol == Protocol.ANTHROPIC_MESSAGES:
        own.append(("x-api-key", key))
    return safe + own


def for_client(headers: Pairs) -> list[tuple[str, str]]:
    """The provider's headers as they go back to the caller: all that are not hop-by-hop."""
    pairs = list(headers)
    dropped = hop_by_hop(pairs)
    return [(name, value) for name, value in pairs if name.lower() not in dropped]


def hop_by_hop(headers: Pairs) -> set[str]:
    """The names that concern one connection only: the standard's, and those `Connection` lists."""
    listed = (value for name, value in headers if name.lower() == "connection")
    return _HOP_BY_HOP | {name.strip().lower() for value in listed for name in value.split(",")}


def accept_encoding(asked: str) -> str:
    """The encodings to ask the provider for: what the caller takes and the recorder can undo."""
    codings = [c.strip() for c in asked.split(",")]
    if "*" in codings:
        return "gzip, deflate"
    kept = [c for c in codings if c.partition(";")[0].strip().lower() in _READABLE_ENCODINGS]
    return ", ".join(kept) or "identity"


def secrets_in(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The caller's keys as they stand in its headers, to be struck out of what is recorded."""
    values = [headers[name] for name in KEY_HEADERS if name in headers]
    return tuple(value.partition(" ")[2] or value for value in values)
