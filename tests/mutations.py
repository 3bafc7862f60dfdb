"""Ways in which a gateway's record can be broken on its way: each a function of chance and the bytes.

All chance comes from one seeded generator, so a finding is found again by its number.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[Random, bytes], bytes]

ODD_VALUES: tuple[bytes, ...] = (
    b"null", b"true", b"[]", b"{}", b'""', b"0", b"-1", b"-0.0", b"1e400", b"-1e308", b"9" * 400,
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"0.1", b"1.5e9",
    b'"-"', b'"NaN"', b'"9999999999999999999"', b'"1e999"', b'"0001-01-01T00:00:00+23:59"',
    b'"9999-12-31T23:59:59.999-23:59"', b'"http://[::1"', b'"\\ud83d"', b'"\\ude00\\ud83d"',
    b'"\\u0000"', '"٤٠٤"'.encode(), b'"data: {\\"choices\\":5}\\n\\n"', b'["a",1,null,{}]',
    b'{"role":"user"}', b'[[[[[[1]]]]]]', b'{"a":{"b":{"c":{"d":[]}}}}', b'"{\\"a\\":1}"',
)  # fmt: skip
NOT_UTF8 = (b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf", b"\x80")


def bit_flips(chance: Random, record: bytes) -> bytes:
    broken = bytearray(record)
    for _ in range(chance.choice((1, 1, 2, 8))):
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
    return bytes(broken)


def truncation(chance: Random, record: bytes) -> bytes:
    return record[: chance.randrange(1, len(record))]


def hole(chance: Random, record: bytes) -> bytes:
    """A stretch is missing, as where two writers shared a file."""
    start = chance.randrange(len(record))
    return record[:start] + record[start + chance.randrange(1, 200) :] or b"{"


def not_utf8(chance: Random, record: bytes) -> bytes:
    at = chance.randrange(len(record))
    return record[:at] + chance.choice(NOT_UTF8) + record[at:]


def lone_surrogate(chance: Random, record: bytes) -> bytes:
    """Half a character, inside a string."""
    at = chance.choice(_places(record, b'"'))
    half = b"\\u%s" % chance.choice((b"d83d", b"de00", b"DBFF"))
    return record[: at + 1] + half + record[at + 1 :]


def deep_nesting(chance: Random, record: bytes) -> bytes:
    """A value becomes a thousand levels of arrays or objects, closed or not."""
    depth = chance.choice((60, 400, 990, 5000))
    open_, close = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    at = chance.choice(_places(record, b":"))
    nest = open_ * depth + b"1" + close * chance.choice((0, depth))
    return record[: at + 1] + nest + b"," + record[at + 1 :].partition(b",")[2]


def duplicate_keys(chance: Random, record: bytes) -> bytes:
    """The record's first key again, or another of its keys at the top, with an odd value."""
    keys = (list(json.loads(record)) if record[:1] == b"{" else []) or ["a"]
    key = json.dumps(chance.choice(keys)).encode()
    return record.replace(b"{", b"{%b:%b," % (key, chance.choice(ODD_VALUES)), 1)


def type_swap(chance: Random, record: bytes) -> bytes:
    """A few values, at any depth and inside JSON strings too, become something else."""
    mark = f"@{chance.random()}@"
    value = json.loads(record)
    for _ in range(chance.choice((1, 1, 2, 4))):
        value = _swapped(chance, value, mark)
    swapped, quoted = json.dumps(value).encode(), json.dumps(mark).encode()
    while quoted in swapped:
        swapped = swapped.replace(quoted, chance.choice(ODD_VALUES), 1)
    return swapped.replace(mark.encode(), b"0")


def missing_key(chance: Random, record: bytes) -> bytes:
    value = json.loads(record)
    place = value
    while isinstance(place, dict) and place:
        key = chance.choice(list(place))
        if isinstance(place[key], dict) and place[key] and chance.random() < 0.5:
            place = place[key]
            continue
        del place[key]
        break
    return json.dumps(value).encode()


MUTATIONS: tuple[Mutation, ...] = (
    bit_flips, truncation, hole, not_utf8, lone_surrogate, deep_nesting, duplicate_keys, type_swap,
    type_swap, type_swap, missing_key,
)  # fmt: skip


def _places(record: bytes, byte: bytes) -> list[int]:
    return [n for n, each in enumerate(record) if each == byte[0]] or [0]


def _swapped(chance: Random, value: Any, mark: str) -> Any:
    """The value with one of its inner values replaced by the mark."""
    if isinstance(value, str) and value[:1] in ("{", "[") and chance.random() < 0.7:
        try:
            return json.dumps(_swapped(chance, json.loads(value), mark))
        except ValueError:
            return mark
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return mark
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = chance.choice(keys)
    value[key] = _swapped(chance, value[key], mark)
    return value
