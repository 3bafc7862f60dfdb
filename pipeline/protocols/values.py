"""Reading values that came from outside: JSON that may be broken, fields that may be of any type."""

import re
from typing import Any

import msgspec

# JSON may spell a character outside the basic plane as two escapes. A vendor that cuts its text into
# deltas between the two sends halves that are no character at all.
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB]\w\w(?!\\u[dD][c-fC-F]\w\w)|(?<!\\u[dD][89abAB]\w\w)\\u[dD][c-fC-F]\w\w"
)


_decode = msgspec.json.Decoder().decode


def decode(data: bytes | str) -> Any:
    """The JSON value of `data`; halves of a split character become U+FFFD.

    Raises ValueError if it is not JSON, or is nested deeper than anything a vendor sends.
    """
    try:
        return _decode(data)
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error
    except ValueError:
        raw = data.encode(errors="replace") if isinstance(data, str) else data
        mended = _LONE_SURROGATE.sub(rb"\\ufffd", raw)
        if mended == data:
            raise
        return _decode(mended)


def encode(value: object) -> str:
    """`value`, which came out of `decode`, as JSON text."""
    return msgspec.json.encode(value).decode()


def as_dict(value: object) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def dicts(value: object) -> list[dict[str, Any]]:
    """The objects in `value` if it is a list; everything else is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_text(value: object) -> str:
    """`value` if it is text, else ""."""
    return value if isinstance(value, str) else ""


def parts_text(content: object, separator: str = "") -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in dicts(content)]
    return separator.join(text for text in texts if isinstance(text, str) and text)
