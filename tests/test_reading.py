"""Log files in every shape people have them in, as a stream."""

import gzip
import io
import json
import sys
from base64 import b64encode
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline import reading
from pipeline.reading import UnreadableFileError, log_files, opened, read_values

OBJECTS: list[Any] = [
    {"a": 1, "text": 'a "b" \\ ] } , [ {'},
    {"b": [1, {"c": []}], "zh": "你好\n"},
    {},
]


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def read(content: bytes) -> list[bytes]:
    return list(read_values(io.BytesIO(content), "log"))


LINES = [compact(each) for each in OBJECTS]
SHAPES = {
    "lines": b"\n".join(LINES),
    "lines of Windows": b"\r\n".join(LINES) + b"\r\n",
    "blank lines between": b"\n\n".join(LINES) + b"\n \n",
    "a byte order mark": b"\xef\xbb\xbf" + b"\n".join(LINES),
    "an array": compact(OBJECTS),
    "a pretty array": json.dumps(OBJECTS, indent=2).encode(),
    "an array with an item a line": b"[\n" + b",\n".join(LINES) + b"\n]\n",
    "an array a line": compact(OBJECTS[:2]) + b"\n" + compact(OBJECTS[2:]),
    "pretty objects one after the other": "\n".join(json.dumps(o, indent=1) for o in OBJECTS).encode(),
    "pretty arrays one after the other": b"\n".join(json.dumps([o], indent=1).encode() for o in OBJECTS),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_records(shape: str) -> None:
    assert [json.loads(value) for value in read(SHAPES[shape])] == OBJECTS
    assert all(b"\n" not in value for value in read(SHAPES[shape]))


PACKED = {
    "gzip": gzip.compress,
    "two gzip members": lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:]),
    "zstd": zstandard.compress,
    "two zstd frames": lambda d: zstandard.compress(d[:20]) + zstandard.compress(d[20:]),
    "gzip in zstd": lambda data: zstandard.compress(gzip.compress(data)),
}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("shape", ["lines", "a pretty array"])
def test_packed_files_are_recognised_by_how_they_begin(packing: str, shape: str) -> None:
    assert read(PACKED[packing](SHAPES[shape])) == read(SHAPES[shape])


NOT_JSON = [
    (b"garbage\n" + LINES[0], [b"garbage", LINES[0]]),
    (LINES[0] + b'\n{"torn": \n' + LINES[1], [LINES[0], b'{"torn":', LINES[1]]),
    (b'{"torn": \n' + LINES[1], [b'{"torn":', LINES[1]]),
    (b"\xff\xfe\n[[[", [b"\xff\xfe", b"[[["]),
    (b'[\n{"a":1},\n{"b":', [b'{"a":1}', b'{"b":']),
    (b"", []),
    (b"[]", []),
    (b"\n \n", []),
]


@pytest.mark.parametrize(("content", "values"), NOT_JSON)
def test_what_is_torn_or_no_json_comes_as_it_is(content: bytes, values: list[bytes]) -> None:
    assert read(content) == values


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ).flatmap(lambda v: st.tuples(st.just(v), st.integers(1, 40)))
)  # fmt: skip
def test_where_the_stream_is_cut_into_chunks_does_not_matter(given_: tuple[Any, int]) -> None:
    value, size = given_
    documents = [{"value": value}, {"again": [value, value]}]
    text = json.dumps(documents, indent=1).encode()
    cut = reading._Cutter()
    found = [v for at in range(0, len(text), size) for v in cut.feed(text[at : at + size])]
    assert [json.loads(v) for v in [*found, *cut.rest()]] == documents


def test_a_document_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_DOCUMENT", 1000)
    monkeypatch.setattr(reading, "CHUNK", 300)
    values = read(b'{\n"a": "' + b"x\n" * 2500)
    assert len(values) > 1
    assert max(map(len, values)) < 2000


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_damaged_archive_is_named_after_what_could_be_read(packing: str) -> None:
    packed = PACKED[packing](b"\n".join(LINES * 1000))[:-30] + b"\0" * 30
    with pytest.raises(UnreadableFileError, match=r"log: damaged"):
        read(packed)


def test_rows_of_parquet_come_as_json(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {"id": 1, "at": datetime(2026, 11, 2, tzinfo=UTC), "cost": Decimal("0.10"), "tags": ["x"], "none": None},
        {"id": 2, "at": datetime(2026, 11, 3, tzinfo=UTC), "cost": Decimal("0.20"), "tags": [], "none": None},
    ]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    with opened(tmp_path / "rows.parquet") as stream:
        found = [json.loads(value) for value in read_values(stream, "rows")]
    assert [row["id"] for row in found] == [1, 2]
    assert (found[0]["cost"], found[0]["tags"], found[0]["none"]) == ("0.10", ["x"], None)
    assert found[0]["at"].startswith("2026-11-02T00:00:00")
    with pytest.raises(UnreadableFileError, match="no sound Parquet"):
        read(b"PAR1 and nothing more")


def test_parquet_without_its_reader_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnreadableFileError, match=r"pip install 'cutover\[parquet\]'"):
        read(b"PAR1....")


def test_folders_give_the_logs_below_them_in_order(tmp_path: Path) -> None:
    wanted = ["a/1.jsonl", "a/b/2.json.gz", "c.ndjson.zst", "d.log"]
    others = [".hidden.json", "notes.md", "a/picture.png", "archive.gz"]
    for name in wanted + others:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"{}")
    assert [f.relative_to(tmp_path).as_posix() for f in log_files([tmp_path])] == wanted
    assert log_files([tmp_path / "notes.md"]) == [tmp_path / "notes.md"]  # named, so wanted


# --- envelopes ------------------------------------------------------------------------------------

RECORD = b'{"cutover":1,"call_id":"a"}'
ENVELOPES = [
    {"topic": "llm.calls", "partition": 0, "offset": 7, "key": "k", "payload": RECORD.decode()},
    {"topic": "t", "key": None, "headers": {}, "value_base64": b64encode(RECORD).decode()},
    {"method": "POST", "content_type": "application/json", "body": RECORD.decode()},
]
NO_ENVELOPES = [
    b'{"ai":{"payload":{}}}',
    b'{"body":5}',
    b'{"payload":"x"}',
    b'{"topic":"t","value_base64":"?"}',
    b'{"topic":"t","payload":null}',
]


@pytest.mark.parametrize("envelope", ENVELOPES, ids=lambda e: next(reversed(e)))
def test_of_a_dumped_message_or_a_recorded_request_the_content_is_read(envelope: dict) -> None:
    line = json.dumps(envelope).encode()
    assert list(read_values(io.BytesIO(line + b"\n" + RECORD), "dump")) == [RECORD, RECORD]


@pytest.mark.parametrize("value", NO_ENVELOPES)
def test_what_only_looks_like_an_envelope_is_itself(value: bytes) -> None:
    assert list(read_values(io.BytesIO(value), "log")) == [value]
