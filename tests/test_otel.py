"""OTLP's two encodings say the same, and every span of the shared samples is a call or is counted."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from samples import CASES, SAMPLES, needs_samples
from test_formats import RECEIVED as FIRST_SEEN
from test_formats import assert_storable

from pipeline.calls import Ignored, Rejected, ScoredCall
from pipeline.catalog import load_catalog
from pipeline.files import messages
from pipeline.formats import FORMATS
from pipeline.rules import load_checks
from pipeline.scoring.score import Rules, score_message

RULES = Rules(catalog=load_catalog(), checks=load_checks())
RECEIVED = 1_800_000_000_000  # after all of the records
DOCUMENTS = [c["record"] for c in CASES if c["format"] == "otlp" and "resourceSpans" in c["record"]]


def score(value: bytes) -> list[ScoredCall | Rejected | Ignored]:
    return score_message(value, RECEIVED, RULES)


def as_protobuf(document: str) -> bytes:
    """What a Collector would write for an OTLP JSON document."""
    value = json.loads(document)
    for span in spans(value):
        for name in ("traceId", "spanId", "parentSpanId"):
            if not span.get(name, "=").endswith("="):
                span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return json_format.ParseDict(value, TracesData()).SerializeToString()


def spans(value: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for r in value["resourceSpans"] for ss in r["scopeSpans"] for s in ss["spans"]]


def without_ids(rows: list[Any]) -> list[Any]:
    """Base64 ids stay as they are in JSON, while protobuf has the bytes: all else must be the same."""
    return [
        {name: v for name, v in row.__rich_repr__() if name not in ("call_id", "request_id")}
        for row in rows
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_protobuf_says_what_json_says(document: str) -> None:
    value = as_protobuf(document)
    if not value:
        return  # nothing at all is an empty message
    assert FORMATS["otlp"].detect(value)
    assert without_ids(score(value)) == without_ids(score(document.encode()))


def test_each_span_of_a_protobuf_message_can_be_sent_again_as_a_line() -> None:
    value = as_protobuf(DOCUMENTS[8])
    lines = FORMATS["otlp"].split(value)
    assert len(lines) == 4
    assert score(b"\n".join(lines)) == score(value)


def test_a_file_of_protobuf_is_one_message(tmp_path: Path) -> None:
    file = tmp_path / "traces.binpb"
    file.write_bytes(as_protobuf(DOCUMENTS[8]))
    assert list(messages(file)) == [file.read_bytes()]


def test_the_same_span_exported_twice_is_one_call() -> None:
    (first,), (second,) = score(DOCUMENTS[0].encode()), score(as_protobuf(DOCUMENTS[0]))
    assert first.call_id == second.call_id


def test_text_that_begins_with_line_feeds_is_not_taken_for_protobuf() -> None:
    text = b"\n\n\n" + DOCUMENTS[0].encode()
    assert [type(row) for row in score(text)] == [ScoredCall]


def test_other_signals_are_ignored_by_name_in_both_encodings() -> None:
    gauge = {"name": "gen_ai.client.token.usage", "gauge": {"dataPoints": [{"asInt": "5"}]}}
    metrics = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [gauge]}]}]}
    record = {"timeUnixNano": "5", "body": {"stringValue": "in a log"}}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    for document, kind in ((metrics, MetricsData()), (logs, LogsData())):
        written = json_format.ParseDict(document, kind).SerializeToString()
        for value in (json.dumps(document).encode(), written):
            (row,) = score(value)
            assert isinstance(row, Ignored)
            assert row.reason == "not_traces"
            assert "only traces tell of single calls" in row.detail


def test_protobuf_that_is_no_signal_is_rejected() -> None:
    odd = json.loads(DOCUMENTS[0])
    spans(odd)[0]["traceId"] = spans(odd)[0]["traceId"][:8]
    (row,) = score(as_protobuf(json.dumps(odd)))
    assert isinstance(row, Rejected)
    assert row.detail == "not OTLP protobuf of traces: an id of a wrong length"


def told(*scoped: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A message of one process with these spans, each with the name of its scope."""
    inside = [{"scope": {"name": scope}, "spans": [span]} for scope, span in scoped]
    return {"resourceSpans": [{"resource": {}, "scopeSpans": inside}]}


def span(own: str, around: str = "", answer: str = "", operation: str = "chat") -> dict[str, Any]:
    said = {"gen_ai.operation.name": operation, "gen_ai.provider.name": "anthropic", "gen_ai.response.id": answer}  # fmt: skip
    return {
        "traceId": "ab" * 16,
        "spanId": own * 8,
        "parentSpanId": around * 8,
        "name": f"span {own}",
        "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in said.items()],
    }


SDK, ROUND_IT = "com.anthropic.sdk.python", "opentelemetry.instrumentation.anthropic"
TWICE = [
    # spans of one process; which of them are calls
    ("one inside the other", [(SDK, span("0a", "0b", "msg")), (ROUND_IT, span("0b", "", "msg"))], "b"),
    ("both failed", [(SDK, span("0a", "0b")), (ROUND_IT, span("0b"))], "b"),
    ("side by side", [(ROUND_IT, span("0a", "0c", "msg")), (SDK, span("0b", "0c", "msg"))], "a"),
    ("two answers", [(ROUND_IT, span("0a", "0c", "msg1")), (SDK, span("0b", "0c", "msg2"))], "ab"),
    ("the library alone", [(SDK, span("0a", "", "msg")), (SDK, span("0b", "", "msg2"))], "ab"),
    ("its own parent", [(ROUND_IT, span("0a", "0a", "msg"))] * 2, "aa"),
    ("in an agent", [(ROUND_IT, span("0a", "0b", "msg")), ("app", span("0b", operation="invoke_agent"))], "a"),
]  # fmt: skip


@pytest.mark.parametrize(("says", "spans", "calls"), TWICE, ids=[case[0] for case in TWICE])
def test_a_call_that_two_spans_of_a_process_tell_of_counts_once(
    says: str, spans: list[tuple[str, dict[str, Any]]], calls: str
) -> None:
    document = json.dumps(told(*spans))
    for value in (document.encode(), as_protobuf(document)):
        rows = score(value)
        found = [row.call_id[-1] for row in rows if isinstance(row, ScoredCall)]
        assert found == list(calls)
        assert len(rows) == len(spans)
        assert all(row.reason == "other_span" for row in rows if isinstance(row, Ignored))
    assert score(b"\n".join(FORMATS["otlp"].split(document.encode()))) == score(document.encode())


ANSWER = "chatcmpl-57f1ece2bb77ed57b117a95f"


def test_spans_of_a_trace_with_one_answer_are_one_call_also_in_two_messages() -> None:
    gateway, client = (
        told((ROUND_IT, span("0a", "0b", ANSWER))),
        told((SDK, span("0b", "", ANSWER))),
    )
    (first,), (second,) = (score(json.dumps(each).encode()) for each in (gateway, client))
    assert first.call_id == second.call_id


@pytest.mark.parametrize("answer", ["", "chatcmpl-57"])
def test_spans_without_an_answers_sure_id_are_calls_of_their_own(answer: str) -> None:
    two = (told((ROUND_IT, span(own, "", answer))) for own in ("0a", "0b"))
    (first,), (second,) = (score(json.dumps(each).encode()) for each in two)
    assert (first.call_id[-16:], second.call_id[-16:]) == ("0a" * 8, "0b" * 8)


def test_the_same_answer_in_two_traces_is_two_calls() -> None:
    """A gateway's cache gives it again, with its id."""
    there = span("0b", "", ANSWER) | {"traceId": "cd" * 16}
    two = (told((ROUND_IT, each)) for each in (span("0a", "", ANSWER), there))
    (first,), (second,) = (score(json.dumps(each).encode()) for each in two)
    assert first.call_id != second.call_id


def test_spans_of_two_processes_are_two_calls() -> None:
    pair = [told((ROUND_IT, span("0a", "0b", "msg"))), told((ROUND_IT, span("0b", "", "msg")))]
    for number, each in enumerate(pair):
        process = {"key": "service.name", "value": {"stringValue": f"s-{number}"}}
        each["resourceSpans"][0]["resource"] = {"attributes": [process]}
    rows = score(json.dumps({"resourceSpans": [e["resourceSpans"][0] for e in pair]}).encode())
    assert all(isinstance(row, ScoredCall) for row in rows)


@given(st.data())
def test_no_broken_protobuf_raises(data: st.DataObject) -> None:
    value = bytearray(as_protobuf(data.draw(st.sampled_from(DOCUMENTS[:12]))))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(value[: data.draw(st.integers(1, len(value)))])
    for name in ("", "otlp"):
        assert_storable(score_message(cut, FIRST_SEEN, RULES, name))


# --- what a Collector wrote ----------------------------------------------------------------------

COLLECTED = Path(__file__).parent / "data" / "otel" / "collector-0.165.0.{}.jsonl"


def collected(encoding: str) -> list[Any]:
    file = COLLECTED.with_name(COLLECTED.name.format(encoding))
    return [row for value in messages(file) for row in score(value)]


def test_a_collectors_messages_are_calls_in_both_encodings() -> None:
    """One encoding in whole batches, where a call told twice is seen; the other one span by span."""
    batches, alone = collected("otlp_proto"), collected("otlp_json")
    assert len(batches) == len(alone) == 26
    by_id = {row.call_id: row for row in alone if isinstance(row, ScoredCall)}
    calls = [row for row in batches if isinstance(row, ScoredCall)]
    assert (len(calls), len(by_id)) == (16, 17)  # a failed call has no answer to be known by
    assert [by_id[row.call_id] for row in calls] == calls
    assert sum("told of by" in row.detail for row in batches if isinstance(row, Ignored)) == 4
    for row in calls:
        assert (row.workload, row.app, row.team) == ("herons", "heron-desk", "support")
        assert row.tags == {"team": "birds", "environment": "test"}
        assert row.provider and row.request_model and row.duration_ms and row.conversation_id
        assert row.failure or (row.input_tokens and row.output_tokens and row.finish_reason)
        assert row.failure or "complete" in row.checks
    assert [(r.failure, r.http_status) for r in calls if r.failure] == [("rate_limit", 429)] * 2
    own = [row for row in calls if row.http_status == 200]  # Anthropic's library says it
    assert [(r.stream, r.finish_reason, r.output_tokens) for r in own] == [
        (True, "end_turn", 23),
        (None, "end_turn", 23),
    ]


# --- the shared samples ---------------------------------------------------------------------------

CAPTURED = "otel-captured/{}_replayed.traces.otlp_{}.jsonl"
# How many calls there are, how many of them failed, and how many other spans.
SHARED = {
    "genai-instrumentation-1.3b0": (26, 6, 0),
    "openllmetry-0.62.4": (26, 6, 0),
    "litellm-1.106.2-otel-request-span": (18, 5, 74),
    "litellm-1.106.2-otel-semconv": (18, 5, 65),
}


def lines(name: str) -> list[bytes]:
    assert SAMPLES
    return (SAMPLES / name).read_bytes().splitlines()


@needs_samples
@pytest.mark.parametrize("name", SHARED)
def test_shared_samples_are_calls_in_both_encodings(name: str) -> None:
    json_rows = [row for line in lines(CAPTURED.format(name, "json")) for row in score(line)]
    proto_rows = [
        row
        for line in lines(CAPTURED.format(name, "proto"))
        for row in score(base64.b64decode(json.loads(line)["value_base64"]))
    ]
    assert proto_rows == json_rows
    calls = [row for row in json_rows if isinstance(row, ScoredCall)]
    others = [row for row in json_rows if isinstance(row, Ignored)]
    assert len(calls) + len(others) == len(json_rows)
    assert (len(calls), sum(bool(c.failure) for c in calls), len(others)) == SHARED[name]
    for call in calls:
        assert call.provider and call.request_model and call.duration_ms is not None
        assert call.failure or (call.finish_reason and call.input_tokens and call.output_tokens)
        assert call.failure or "delivered" in call.checks
        assert not call.findings and not call.doubts


@needs_samples
def test_what_litellm_says_a_call_cost_is_what_we_say() -> None:
    rows = [r for line in lines(CAPTURED.format("litellm-1.106.2-otel-semconv", "json")) for r in score(line)]  # fmt: skip
    priced = [r for r in rows if isinstance(r, ScoredCall) and r.cost and r.gateway_cost_usd]
    assert len(priced) >= 3
    assert all(row.cost == row.gateway_cost_usd for row in priced)


@needs_samples
def test_metrics_are_told_apart_from_traces() -> None:
    (row,) = score(lines("otel-captured/openllmetry-0.62.4_replayed.metrics.otlp_json.jsonl")[0])
    assert isinstance(row, Ignored)
    assert "metrics" in row.detail


@needs_samples
def test_spans_of_the_envoy_ai_gateway_are_calls_though_they_have_no_times() -> None:
    rows = [row for line in lines("envoy-ai-gateway/openinference_spans.jsonl") for row in score(line)]  # fmt: skip
    assert len(rows) == 13
    assert all(isinstance(row, ScoredCall) and not row.failure for row in rows)
    assert len({row.call_id for row in rows}) == 13
    assert sum(row.input_tokens is None for row in rows) == 2  # streams without counts
