"""The compressions that ClickHouse clients use in HTTP bodies, by their `Content-Encoding` name."""

from collections.abc import Callable
from typing import NamedTuple

import cramjam


class Encoding(NamedTuple):
    """One compression, there and back."""

    encode: Callable[[bytes], cramjam.Buffer]
    decode: Callable[[bytes], cramjam.Buffer]


ENCODINGS = {
    "lz4": Encoding(cramjam.lz4.compress, cramjam.lz4.decompress),
    "zstd": Encoding(cramjam.zstd.compress, cramjam.zstd.decompress),
    "gzip": Encoding(cramjam.gzip.compress, cramjam.gzip.decompress),
    "deflate": Encoding(cramjam.zlib.compress, cramjam.zlib.decompress),
}


def accepted_encoding(accept: str) -> str:
    """The first encoding of an `Accept-Encoding` header that we have, or "" for none."""
    names = (item.split(";")[0].strip() for item in accept.split(","))
    return next((name for name in names if name in ENCODINGS), "")


def encoded(data: bytes, encoding: str) -> bytes:
    """The body in this encoding."""
    return bytes(ENCODINGS[encoding].encode(data))


def decoded(data: bytes, encoding: str) -> bytes:
    """The body before it was encoded; raises ValueError if the encoding cannot be undone."""
    if encoding in ("", "identity"):
        return data
    if encoding not in ENCODINGS:
        raise ValueError(f"Content-Encoding {encoding!r} is not one of {', '.join(ENCODINGS)}")
    try:
        return bytes(ENCODINGS[encoding].decode(data))
    except cramjam.DecompressionError as error:
        raise ValueError(f"the body is not valid {encoding}: {error}") from None
