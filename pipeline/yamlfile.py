"""Reads a YAML file into typed values; the one home of PyYAML.

Numbers with a point arrive as Decimal, exactly as written; times stay text until a type asks for
them; every key is text (so an error code needs no quotes). What does not fit the type is told
with its file and line: `facts/providers/zhipu.yml:41: models[2].prices[0].verified: Expected ...`.
"""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

T = TypeVar("T")
Step = str | int
# libyaml's parser where PyYAML comes with it: the catalog is read at every start, ten times faster.
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|(\[\.\.\.\])|`key`")
_UNKNOWN_FIELD = re.compile(r"unknown field `(.+?)`")


class BadFile(ValueError):  # noqa: N818 - it names the thing that is wrong
    """A file that cannot be used: which file and line (0: none), what is wrong and how to mend it."""

    def __init__(self, file: Path, line: int, what: str) -> None:
        super().__init__(f"{file}:{line}: {what}" if line else f"{file}: {what}")
        self.file, self.line, self.what = file, line, what


class Document(msgspec.Struct, frozen=True):
    """Plain values of a YAML file, and the line on which each of them stands."""

    file: Path
    value: Any
    lines: dict[tuple[Step, ...], int]

    def at(self, where: tuple[Step, ...]) -> Any:
        """The plain value at that place."""
        value = self.value
        for step in where:
            value = value[step]
        return value

    def bad(self, where: tuple[Step, ...], what: str) -> BadFile:
        """The error to raise about the value at `where`, on the nearest line that is known."""
        nearest = where
        while nearest not in self.lines:
            nearest = nearest[:-1]
        return BadFile(self.file, self.lines[nearest], _say(where, what))

    def convert(self, type: type[T]) -> T:
        """The values as `type`, strictly. Raises BadFile."""
        try:
            return msgspec.convert(self.value, type, str_keys=True)
        except msgspec.ValidationError as error:
            raise self._told(error, type) from None

    def _told(self, error: msgspec.ValidationError, type: Any) -> BadFile:
        what, _, path = str(error).partition(" - at ")
        where: tuple[Step, ...] = ()
        for name, index, some_key in _STEP.findall(path.strip("`")):
            where += (
                self._key_at_fault(where, str(error), type) if some_key else name or int(index),
            )
        if unknown := _UNKNOWN_FIELD.search(what):
            where += (unknown[1],)
        return self.bad(where, f"{what}; see the other entries for what may stand here")

    def _key_at_fault(self, where: tuple[Step, ...], message: str, type: Any) -> str:
        """Which key of the mapping at `where` the message is about (msgspec does not say)."""
        for key in self.at(where):
            try:
                msgspec.convert(_only(self.value, where, key), type, str_keys=True)
            except msgspec.ValidationError as error:
                if str(error) == message:
                    return str(key)
        return "?"


def load(path: Path, type: type[T]) -> T:
    """The file as `type`, strictly. Raises BadFile naming file, line, what is wrong and the mend."""
    return read(path).convert(type)


def read(path: Path) -> Document:
    """The file's plain values with their lines. Raises BadFile if it is missing or is not YAML."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except OSError as error:
        raise BadFile(path, 0, f"cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise BadFile(path, 1, "is not UTF-8 text; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadFile(path, line, f"not YAML: {error.problem}; mend the syntax") from None
    except yaml.YAMLError as error:
        raise BadFile(path, 1, f"not YAML: {error}; mend the syntax") from None
    if root is None:
        raise BadFile(path, 1, "is empty; write at least one entry")
    lines: dict[tuple[Step, ...], int] = {(): 1}
    try:
        return Document(path, _value(path, root, (), lines), lines)
    except RecursionError:
        raise BadFile(path, 1, "an entry contains itself; write it out without `*`") from None


def _value(
    file: Path, node: yaml.Node, where: tuple[Step, ...], lines: dict[tuple[Step, ...], int]
) -> Any:
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(file, node, where, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_value(file, item, (*where, i), lines) for i, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(file, node, where)


def _mapping(
    file: Path, node: yaml.MappingNode, where: tuple[Step, ...], lines: dict[tuple[Step, ...], int]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in found:
            raise BadFile(file, line, _say((*where, key), "stands here twice; keep one"))
        lines[(*where, key)] = line
        found[key] = _value(file, value_node, (*where, key), lines)
    return found


def _scalar(file: Path, node: yaml.ScalarNode, where: tuple[Step, ...]) -> Any:
    kind, text = node.tag.rpartition(":")[2], node.value
    try:
        if kind == "float":
            return Decimal(text.replace("_", ""))
        if kind == "int":
            return int(text.replace("_", ""))
    except (ValueError, ArithmeticError):
        what = f"{text!r} is not a plain decimal number; write digits, or put text in quotes"
        raise BadFile(file, node.start_mark.line + 1, _say(where, what)) from None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on")
    return None if kind == "null" else text


def _only(value: Any, where: tuple[Step, ...], key: Any) -> Any:
    """The same value with nothing but `key` in the mapping at `where`."""
    if not where:
        return {key: value[key]}
    copy = value.copy()
    copy[where[0]] = _only(value[where[0]], where[1:], key)
    return copy


def _say(where: tuple[Step, ...], what: str) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
    return f"{path.lstrip('.')}: {what}" if path else what
