"""A YAML file becomes typed values, or an error that names file, line and mend."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.yamlfile import BadFile, load


class Part(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    price: Decimal = Decimal(0)
    share: float = 0.0
    until: datetime | None = None


class Whole(msgspec.Struct, forbid_unknown_fields=True):
    parts: dict[str, list[Part]]
    by_status: dict[int, str] = {}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.yml"


def told(file: Path, text: str) -> str:
    """What is said about a bad file."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadFile) as caught:
        load(file, Whole)
    return str(caught.value)


def test_prices_are_as_written_and_shares_are_floats(file: Path) -> None:
    """A number never passes through binary floating point on its way to a Decimal."""
    file.write_text(
        "parts: {a: [{name: x, price: 0.10, share: 0.05, until: 2026-11-02T01:00:00Z}]}"
    )
    part = load(file, Whole).parts["a"][0]
    assert str(part.price) == "0.10"
    assert part.share == 0.05
    assert part.until == datetime(2026, 11, 2, 1, tzinfo=UTC)


def test_keys_are_text_whatever_they_look_like(file: Path) -> None:
    """An error code needs no quotes, and keeps its leading zeros; a type may ask for a number."""
    file.write_text("0010: a\n1302: b\nyes: c\n")
    assert load(file, dict[str, str]) == {"0010": "a", "1302": "b", "yes": "c"}
    file.write_text("429: a\n")
    assert load(file, dict[int, str]) == {429: "a"}


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9))
def test_any_decimal_arrives_exactly(
    tmp_path_factory: pytest.TempPathFactory, number: Decimal
) -> None:
    """Every digit that is written is there when it is read."""
    file = tmp_path_factory.getbasetemp() / "number.yml"
    file.write_text(f"price: {number:f}\n")
    assert load(file, dict[str, Decimal]) == {"price": number}


def test_an_unknown_key_is_told_with_its_line(file: Path) -> None:
    """The line is the key's own, also inside a mapping of free keys."""
    text = "parts:\n  a:\n    - name: x\n  b:\n    - name: y\n    - name: z\n      prize: 1\n"
    assert told(file, text).startswith(f"{file}:7: parts.b[1].prize: ")


def test_a_wrong_type_is_told_with_its_line(file: Path) -> None:
    """The entry at fault is found among others that are sound."""
    text = "parts:\n  a:\n    - name: x\n  b:\n    - name: 5\n"
    assert told(file, text).startswith(f"{file}:5: parts.b[0].name: Expected `str`, got `int`")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("parts: {}\nparts: {}\n", 2, "stands here twice"),
        ("parts: {}\n  x: [\n", 2, "not YAML"),
        ("", 1, "is empty"),
        ("parts: {a: [{name: x, price: .inf}]}\n", 1, "not a plain decimal number"),
        ("parts: {a: [{name: x, price: 0x1F}]}\n", 1, "not a plain decimal number"),
        ("parts:\n  a: 5\n", 2, "Expected `array`"),
        ("{}", 1, "missing required field `parts`"),
        ("a: \x00", 1, "not YAML"),
        ("&a [*a]", 1, "contains itself"),
    ],
)
def test_other_faults_are_told_too(file: Path, text: str, line: int, what: str) -> None:
    """Doubled keys, broken syntax, odd numbers and missing parts each have their line."""
    message = told(file, text)
    assert message.startswith(f"{file}:{line}: ")
    assert what in message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(BadFile, match=r"nowhere\.yml: cannot be read"):
        load(tmp_path / "nowhere.yml", Whole)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """There is no third outcome."""
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_text(text, encoding="utf-8", newline="")
    try:
        load(file, Whole)
    except BadFile as error:
        assert error.line >= 1
