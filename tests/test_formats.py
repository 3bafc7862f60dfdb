"""Whatever bytes come in, each record ends as a scored call or as a rejection with a stable name."""

import json
import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import STARTED, anthropic_record

import pipeline
from pipeline.calls import Ignored, Rejected, ScoredCall
from pipeline.catalog import load_catalog
from pipeline.formats import FORMATS, read_message, recognise
from pipeline.formats.cutover import encode
from pipeline.rules import load_checks
from pipeline.scoring.score import Rules, score_message

RULES = Rules(catalog=load_catalog(), checks=load_checks())
RECEIVED = STARTED + 2000
CAPTURED = [
    json.loads(line)["payload"]
    for line in (Path(__file__).parent / "data" / "litellm" / "captured.jsonl").open("rb")
]
OURS = json.loads(encode(anthropic_record("a")))
LINE = encode(anthropic_record("a"))
REASONS = {"empty", "not_json", "unknown_format", "malformed_record"}
IGNORED = {"not_a_call", "other_span", "not_traces"}
DEEP = b"[" * 100_000

GARBAGE = [
    (b"", "empty"),
    (None, "empty"),
    (b" \n\t ", "empty"),
    (b"null", "unknown_format"),
    (b"12", "unknown_format"),
    (b'"text"', "unknown_format"),
    (b"{}", "unknown_format"),
    (b"[]", "unknown_format"),
    (b"NaN", "not_json"),
    (b"garbage", "not_json"),
    (b"\xff\xfe\x00", "not_json"),
    (DEEP, "not_json"),
    (b'{"cutover":' + DEEP, "malformed_record"),
    (b'{"cutover":1,"new":' + DEEP, "not_json"),
    (b'["call_type","startTime"' + b"," + DEEP, "not_json"),
    (b'{"call_type":"acompletion","startTime":1,"messages":' + DEEP, "not_json"),
    (b'[{"call_type":1,"startTime":1}]', "malformed_record"),
    (LINE.replace(b'"call_id":"a"', b'"call_id":""'), "malformed_record"),
    (LINE.replace(b'"call_id":"a",', b""), "malformed_record"),
    (LINE.replace(b'"call_id":"a"', b'"call_id":"\\ud800"'), "not_json"),
    (LINE.replace(b'"call_id":"a"', b'"call_id":"\xff"'), "not_json"),
    (LINE.replace(b'"http_status":200', b'"http_status":NaN'), "not_json"),
    (LINE.replace(b'"http_status":200', b'"http_status":70000'), "malformed_record"),
    (LINE.replace(b'"http_status":200', b'"attempt":65536'), "malformed_record"),
    (LINE.replace(b'"http_status":200', b'"share":1.5'), "malformed_record"),
    (LINE.replace(b'"http_status":200', b'"arm":"left"'), "malformed_record"),
    (LINE.replace(b'"http_status":200', b'"protocol":"gopher"'), "malformed_record"),
    (LINE.replace(b'"http_status":200', b'"ended_at":' + b"9" * 5000), "malformed_record"),
]


@pytest.mark.parametrize(("value", "reason"), GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_rejected_by_name(value: bytes | None, reason: str) -> None:
    (rejected,) = score_message(value, RECEIVED, RULES)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason
    assert rejected.detail


def test_the_detail_names_the_field() -> None:
    (rejected,) = score_message(LINE.replace(b'"a"', b"5", 1), RECEIVED, RULES)
    assert "call_id" in rejected.detail


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", [b"[]", b"{}", b"[{}]", b"5", b"x", DEEP])
def test_a_named_format_is_held_to_its_word(name: str, value: bytes) -> None:
    found = score_message(value, RECEIVED, RULES, name)
    assert found
    assert not any(isinstance(record, ScoredCall) for record in found)


def test_a_format_nobody_knows_is_named() -> None:
    (rejected,) = read_message(LINE, "csv")
    assert rejected.reason == "unknown_format"
    assert "'csv'" in rejected.detail


def test_a_record_cut_at_any_byte_is_rejected() -> None:
    for end in range(1, len(LINE)):
        (rejected,) = score_message(LINE[:end], RECEIVED, RULES)
        assert isinstance(rejected, Rejected), LINE[:end]
        assert rejected.reason in REASONS


def test_one_bad_line_does_not_spoil_its_neighbours() -> None:
    found = score_message(b"\n".join([LINE, LINE[:50], LINE]), RECEIVED, RULES)
    assert [type(record) for record in found] == [ScoredCall, Rejected, ScoredCall]


def test_a_message_is_of_the_format_of_its_first_line_that_can_be_told() -> None:
    """Whatever a later line quotes, and whether the first is a record or its beginning alone."""
    kong = b'{"request":{"uri":"/v1/responses"},"latencies":{},"tries":[],"started_at":1}'
    quoting = kong[:-1] + b',"call_type":1,"startTime":1}'
    assert recognise(kong + b"\n" + quoting) is FORMATS["kong"]
    assert recognise(b"{}\n" + kong) is FORMATS["kong"]
    assert recognise(kong.replace(b',"latencies"', b'\n,"latencies"')) is FORMATS["kong"]


def test_the_last_of_two_equal_keys_holds_and_unknown_ones_are_passed_over() -> None:
    twice = LINE.replace(
        b'"call_id":"a"', b'"call_id":"b","call_id":"c","new":{"in":["version 2"]}'
    )
    (call,) = score_message(twice, RECEIVED, RULES)
    assert call.call_id == "c"


def test_five_megabytes_are_read() -> None:
    long = json.dumps({"content": [{"type": "text", "text": "word " * 1_000_000}]})
    (call,) = score_message(encode(anthropic_record("a", response=long)), RECEIVED, RULES)
    assert call.failure == ""
    (rejected,) = score_message(b"word " * 1_000_000, RECEIVED, RULES)
    assert rejected.reason == "not_json"


# --- whatever comes -------------------------------------------------------------------------------

SQL = (Path(pipeline.__file__).parent / "store/sql/migrations/0001_calls.sql").read_text()
_COLUMN = re.compile(
    r"^    (\w+) (?:Nullable\()?(U?Int\d+|Decimal\(\d+, \d+\)|Float64)", re.MULTILINE
)
COLUMNS = dict(_COLUMN.findall(SQL.partition("ENGINE")[0]))


def fits(value: object, type_: str) -> bool:
    """True if a column of this type holds the value unchanged."""
    if value is None:
        return True
    if type_.startswith("UInt"):
        return isinstance(value, int) and 0 <= value < 2 ** int(type_[4:])
    if type_.startswith("Decimal"):
        digits, scale = map(int, re.findall(r"\d+", type_))
        return isinstance(value, Decimal) and abs(value) < 10 ** (digits - scale)
    return isinstance(value, float) and 0 <= value <= 1


def assert_storable(records: list[ScoredCall | Rejected | Ignored]) -> None:
    assert records
    for record in records:
        if isinstance(record, Rejected):
            assert record.reason in REASONS
            continue
        if isinstance(record, Ignored):
            assert record.reason in IGNORED and record.detail
            continue
        row = msgspec.structs.asdict(record)
        assert not [name for name, type_ in COLUMNS.items() if not fits(row.get(name), type_)]
        assert all(0 <= value <= 1 for value in record.checks.values())
        assert max(map(len, record.evidence.values()), default=0) <= 300
        assert 0 < record.started_at <= RECEIVED + 600_000


def test_the_numeric_columns_are_read_from_the_migration() -> None:
    assert COLUMNS["attempt"] == "UInt16"
    assert COLUMNS["cost"] == "Decimal(18, 12)"
    assert COLUMNS["share"] == "Float64"


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_raise(value: bytes) -> None:
    for head in (b"", b'{"cutover":', b'{"call_type":1,"startTime":'):
        assert_storable(score_message(head + value, RECEIVED, RULES))


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(
        [-1, 0, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 1e300, -1e300, 0.5]
    ),
    st.sampled_from(["", "http://[", "9" * 400, "٤٠٤", "0001-01-01T00:00:00+23:59", "\x00", "😀"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.lists(st.integers() | st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)


@st.composite
def mutated(draw: st.DrawFn, record: dict) -> bytes:
    """A real record in which a few values, at any depth, became something else."""
    record = json.loads(json.dumps(record))
    for _ in range(draw(st.integers(1, 3))):
        place = record
        while True:
            key = draw(
                st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
            )
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = draw(ODD)
            break
    return json.dumps(record).encode()


@given(st.sampled_from(CAPTURED).flatmap(mutated))
def test_no_odd_value_in_a_litellm_record_raises(value: bytes) -> None:
    assert_storable(score_message(value, RECEIVED, RULES, "litellm"))


@given(mutated(OURS), mutated(json.loads(OURS["request"])), mutated(json.loads(OURS["response"])))
def test_no_odd_value_in_our_record_or_its_bodies_raises(
    record: bytes, request: bytes, response: bytes
) -> None:
    assert_storable(score_message(record, RECEIVED, RULES, "cutover"))
    bodies = anthropic_record("a", request=request.decode(), response=response.decode())
    assert_storable(score_message(encode(bodies), RECEIVED, RULES))


@pytest.mark.parametrize("depth", [100, 400, 800, 950, 1_000, 100_000])
def test_no_depth_raises(depth: int) -> None:
    """Nested tool schemas, arguments and messages, up to where reading them gives up and beyond."""
    nest = '{"properties":{"a":' * depth + "{}" + "}}" * depth
    request = '{"tools":[{"name":"t","input_schema":%s}],"messages":[{"role":"user","content":%s}]}'
    answer = (
        '{"content":[{"type":"tool_use","name":"t","id":"1","input":%s}],"stop_reason":"tool_use"}'
    )
    record = anthropic_record("a", request=request % (nest, nest), response=answer % nest)
    assert_storable(score_message(encode(record), RECEIVED, RULES))
