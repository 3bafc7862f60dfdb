"""Does a JSON value fit a JSON Schema? The one home of jsonschema_rs; nothing is ever fetched."""

from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from pipeline.protocols.values import decode


def misfit(schema: dict[str, Any], value: object) -> str:
    """Where `value` breaks which rule of the schema, "" if nowhere; the value itself is not told.

    A schema that is none, or refers to anything outside itself, is not held against the value.
    """
    validator = _validator(msgspec.json.encode(schema)) if schema else None
    try:
        error = next(validator.iter_errors(value), None) if validator else None
    except ValueError:  # it does not fit, but at more than 255 levels the library cannot say where
        return "the value is nested too deeply"
    return _told(error) if error else ""


def _told(error: jsonschema_rs.ValidationError) -> str:
    """Without the value, because it may be the user's text."""
    where = "/".join(str(part) for part in error.instance_path) or "the value"
    return f"{where} breaks rule {'/'.join(str(part) for part in error.schema_path)}"


@lru_cache(maxsize=1024)
def _validator(schema: bytes) -> Any:
    """The compiled schema, None if it cannot be one."""
    try:
        return jsonschema_rs.validator_for(decode(schema), offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        return None
