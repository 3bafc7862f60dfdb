"""Reading exchanges: the traps of each vendor, streams cut off anywhere, bytes that mean nothing."""

import json
from typing import Any

import msgspec
import pytest
import transcripts
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls import Exchange, Protocol, Usage
from pipeline.protocols import FINDINGS, protocol_of, read_exchange, read_parsed
from pipeline.protocols.tokens import estimate

CASES = transcripts.load()
RECORDINGS = transcripts.recordings()
STREAMS = [case for case in CASES if transcripts.is_stream(case)]
WHOLE_STREAMS = [case for case in STREAMS if case.get("sdk", True)]
no_recordings = pytest.mark.skipif(not RECORDINGS, reason="../shared has no recordings here")


@pytest.mark.parametrize("case", CASES, ids=transcripts.name_of)
def test_a_transcript_is_read_as_its_case_says(case: dict[str, Any]) -> None:
    found = plain(transcripts.read(case))
    expected = {"findings": [], **case["expect"]}
    if expected.get("usage"):
        expected["usage"] = plain(Usage(**expected["usage"]))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
@pytest.mark.parametrize("case", STREAMS, ids=transcripts.name_of)
def test_line_ends_and_a_byte_order_mark_change_nothing(
    case: dict[str, Any], line_end: str
) -> None:
    other = "\ufeff" + case["response"].replace("\n", line_end)
    assert transcripts.read(case, other.encode()) == transcripts.read(case)


@given(st.data())
def test_a_stream_cut_anywhere_gives_a_prefix_and_has_not_ended(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(WHOLE_STREAMS))
    body = transcripts.body(case)
    cut = transcripts.read(case, body[: data.draw(st.integers(0, len(body)))])
    whole = transcripts.read(case)
    assert whole.text.startswith(cut.text)
    assert whole.reasoning.startswith(cut.reasoning)
    for got, full in zip(cut.tool_calls, whole.tool_calls, strict=False):
        assert (got.id, got.name) == (full.id, full.name)
        assert got.arguments == "{}" or full.arguments.startswith(got.arguments)
    assert not cut.ended or cut.finish_reason == whole.finish_reason != ""
    assert set(cut.findings) - set(whole.findings) <= ENDS


ENDS = {
    "not_streamed",
    "missing_message_start",
    "missing_content_block_stop",
    "missing_message_stop",
    "missing_done",
    "missing_response_created",
    "missing_final_event",
    "missing_usage",
    "unreadable_body",
}


@given(
    st.sampled_from(Protocol),
    st.binary() | st.text(),
    st.binary() | st.text() | st.binary().map(lambda raw: b"data: " + raw),
    st.none() | st.integers(100, 599),
)
def test_no_bytes_raise(
    protocol: Protocol, request: bytes | str, response: bytes | str, status: int | None
) -> None:
    assert set(read_exchange(protocol, request, response, status).findings) <= set(FINDINGS)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
)
WORDS = st.sampled_from(
    [word for case in CASES for word in json.dumps(case["request"]).split('"')[1::2]]
    + [word for case in CASES for word in case["response"].split('"')[1::2]]
)
ODD_JSON = st.recursive(
    LEAVES | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=25,
)
ODD_OBJECTS = st.dictionaries(WORDS, ODD_JSON, max_size=8)


@given(st.sampled_from(Protocol), ODD_OBJECTS, st.lists(ODD_OBJECTS, max_size=5))
def test_fields_of_the_wrong_kind_do_not_raise(
    protocol: Protocol, request: dict[str, Any], responses: list[dict[str, Any]]
) -> None:
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in responses)
    read_exchange(protocol, json.dumps(request), stream, 200)
    for response in responses:
        read_exchange(protocol, json.dumps(request), json.dumps(response), 200)
        read_parsed(protocol, request, response)


@given(st.data())
def test_a_transcript_with_one_value_replaced_does_not_raise(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(CASES))
    words = case["response"].split('"')
    at = data.draw(st.integers(0, len(words) - 1))
    words[at] = data.draw(st.sampled_from(["", "null", ":7,", "\\ud800", "index", "delta"]))
    transcripts.read(case, '"'.join(words).encode())


def test_every_finding_has_a_transcript_that_shows_it() -> None:
    shown = {finding for case in CASES for finding in transcripts.read(case).findings}
    elsewhere = {"unreadable_request", "unasked_stream", "other_response_model"}  # by the catalog
    assert shown | elsewhere == set(FINDINGS)
    assert all(sentence.endswith(".") for sentence in FINDINGS.values())


def test_an_unreadable_request_leaves_the_answer_readable() -> None:
    case = STREAMS[0]
    exchange = read_exchange(Protocol(case["protocol"]), "{", case["response"], 200)
    assert exchange.text and exchange.stream
    assert "unreadable_request" in exchange.findings


def test_a_stream_nobody_asked_for_is_a_finding() -> None:
    case = WHOLE_STREAMS[0]
    asked = {**case["request"], "stream": False}
    assert transcripts.read({**case, "request": asked}).findings == ("unasked_stream",)


@pytest.mark.parametrize(("status", "ended"), [(None, None), (200, False), (504, False)])
def test_nothing_that_came_is_nothing_known(status: int | None, ended: bool | None) -> None:
    exchange = read_exchange(Protocol.OPENAI_CHAT, b'{"model":"m"}', b"", status)
    assert exchange == Exchange(request_model="m", stream=False, ended=ended)


@pytest.mark.parametrize(
    ("path", "protocol"),
    [
        ("/v1/messages", Protocol.ANTHROPIC_MESSAGES),
        ("/api/anthropic/v1/messages?beta=true", Protocol.ANTHROPIC_MESSAGES),
        ("/v1/messages/count_tokens", None),
        ("/v1/messages/batches", None),
        ("/v1/threads/t1/messages", None),
        ("/v1/chat/completions", Protocol.OPENAI_CHAT),
        ("/api/coding/paas/v4/chat/completions/", Protocol.OPENAI_CHAT),
        ("/openai/deployments/d/chat/completions?api-version=1", Protocol.OPENAI_CHAT),
        ("/v1/responses", Protocol.OPENAI_RESPONSES),
        ("/v1/responses/resp_1", None),
        ("/v1/embeddings", None),
        ("", None),
    ],
)
def test_the_path_tells_the_protocol(path: str, protocol: Protocol | None) -> None:
    assert protocol_of(path) is protocol


def test_a_parsed_record_has_no_findings_about_framing_and_no_guessed_counts() -> None:
    response = {
        "id": "msg_1",
        "model": "m",
        "choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 4920, "completion_tokens": 2, "cache_read_input_tokens": 4096},
    }
    exchange = read_parsed(Protocol.OPENAI_CHAT, {"stream": True}, response)
    counts = Usage(input_tokens=4920, cache_read_input_tokens=4096, output_tokens=2)
    assert (exchange.text, exchange.usage, exchange.findings) == ("Hi.", counts, ())
    assert exchange.ended and exchange.stream


@pytest.mark.parametrize("response", [None, {}, {"text": "redacted"}])
def test_a_parsed_record_without_an_answer_is_unknown(response: dict[str, Any] | None) -> None:
    exchange = read_parsed(Protocol.OPENAI_CHAT, None, response)
    assert (exchange.text, exchange.usage, exchange.ended, exchange.findings) == (
        "",
        None,
        None,
        (),
    )


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("four" * 10, 10), ("你好，世界" * 4, 11), ("안녕", 2)]
)
def test_an_estimate_counts_cjk_and_other_characters_apart(text: str, tokens: int) -> None:
    assert estimate(text) == tokens


@no_recordings
@pytest.mark.parametrize("case", RECORDINGS, ids=transcripts.name_of)
def test_a_recording_gives_text_or_tool_calls_or_an_error_and_no_findings(
    case: dict[str, Any],
) -> None:
    exchange = transcripts.read(case)
    filtered = exchange.finish_reason == "content_filter"
    assert exchange.text or exchange.tool_calls or exchange.error or filtered
    assert exchange.usage or exchange.error
    assert (exchange.ended, exchange.findings) == (True, ())


def plain(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))
