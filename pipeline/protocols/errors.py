"""Error objects of all vendors: where they stand in a body, and what they call their parts."""

from typing import Any

from pipeline.calls import VendorError
from pipeline.protocols.values import as_dict, as_text

_PLACES = (
    ("error",),  # OpenAI, Anthropic and nearly everyone
    ("Response", "Error"),  # Tencent Cloud, native API
    ("ResponseMetadata", "Error"),  # Volcano Engine, management API
)
_CODES = ("code", "Code", "error_code")
_MESSAGES = ("message", "Message", "msg", "error_msg", "detail")
_FINE = frozenset({"0", "200", "success", "Success"})  # codes of bodies that are no errors
ANSWER_KEYS = frozenset({"choices", "content", "output"})


def vendor_error(body: dict[str, Any], in_band: bool) -> VendorError | None:
    """The error `body` tells of, or None. `in_band`: the HTTP status said success.

    A few put code and message at the top: DashScope's native API, Baidu's legacy one (`error_code`,
    `error_msg`), the `error` event of OpenAI Responses, and proxies in front of the vendor.
    """
    error = body.get("error")
    if not error and not ANSWER_KEYS.isdisjoint(body):
        return None
    if isinstance(error, str) and error:
        return VendorError(message=error, in_band=in_band)
    for place in _PLACES:
        if found := _at(body, place):
            return _read(found, as_text(found.get("type")), in_band)
    flat = _read(body, "", in_band)
    return flat if (flat.code or flat.message) and flat.code not in _FINE else None


def _at(body: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    for key in place:
        body = as_dict(body.get(key))
    return body


def _read(found: dict[str, Any], type_: str, in_band: bool) -> VendorError:
    code, message = _first(found, _CODES), _first(found, _MESSAGES)
    return VendorError(code=code, type=type_, message=message, in_band=in_band)


def _first(found: dict[str, Any], names: tuple[str, ...]) -> str:
    """The first of these fields that says something; some vendors send a code as a number."""
    for name in names:
        value = found.get(name)
        if type(value) is int and value:
            return str(value)
        if isinstance(value, str) and value:
            return value
    return ""
