"""Server-sent events, however they are spelt and wherever the recording stops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.protocols.sse import looks_like_stream, read_stream

EVENTS = [("one", {"a": 1}), ("", {"b": "zwei\u2028三"}), ("", {"c": [1]})]
STREAM = 'event: one\ndata: {"a":1}\n\ndata: {"b":"zwei\u2028三"}\n\ndata: {"c":\ndata: [1]}\n\n'


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_of_three_ways(line_end: str) -> None:
    assert read_stream(STREAM.replace("\n", line_end).encode()).events == EVENTS


@pytest.mark.parametrize(
    "stream",
    [
        'data:{"a":1}\n\n',
        'data: {"a":1}',
        'data: {"a":1}\n',
        '\n\ndata:  {"a":1} \n\n',
        ': ping\n\nid: 7\nretry: 10\ndata: {"a":1}\n:done\n\n',
        'event: lost\n\ndata: {"a":1}\n\n',
        'nonsense\ndata: {"a":1}\n\ndata\n\n',
    ],
)
def test_an_event_is_found_whatever_stands_around_it(stream: str) -> None:
    read = read_stream(stream.encode())
    assert (read.events, read.findings, read.done) == ([("", {"a": 1})], [], False)


def test_done_is_no_event_but_is_told() -> None:
    read = read_stream(b'data: {"a":1}\n\ndata: [DONE]\n\n')
    assert (read.events, read.done) == ([("", {"a": 1})], True)


@pytest.mark.parametrize("line", [b"{broken", b"7", b'["list"]', b'{"a":\xff}', b"[" * 5000])
def test_a_data_line_that_is_no_object_is_a_finding(line: bytes) -> None:
    read = read_stream(b"data: " + line + b'\n\ndata: {"a":1}\n\n')
    assert (read.events, read.findings) == ([("", {"a": 1})], ["unreadable_event"])


def test_half_an_object_at_the_end_is_a_cut_and_no_finding() -> None:
    read = read_stream(b'data: {"a":1}\n\ndata: {"a":')
    assert (read.events, read.findings) == ([("", {"a": 1})], [])


@pytest.mark.parametrize("first", ["data: x", "event: x", ": ping", "id:1", "\n\nretry: 5"])
def test_a_stream_is_known_by_its_first_line(first: str) -> None:
    assert looks_like_stream(first.encode())


@pytest.mark.parametrize("first", ['{"a":1}', "<html>", "", "error: x", "data"])
def test_what_is_no_stream_is_known_too(first: str) -> None:
    assert not looks_like_stream(first.encode())


@given(st.integers(0, len(STREAM.encode())))
def test_a_cut_stream_has_the_first_of_the_whole_ones_events(cut: int) -> None:
    events = read_stream(STREAM.encode()[:cut]).events
    assert events == EVENTS[: len(events)]


@given(st.binary())
def test_no_bytes_raise(body: bytes) -> None:
    read_stream(body)
    looks_like_stream(body)
