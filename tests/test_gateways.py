"""Every gateway's records become calls: what they tell is there, what they cannot tell is unknown."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from samples import CASES, SAMPLES, needs_samples, shared_files

from pipeline.calls import Call, Ignored, Rejected, ScoredCall
from pipeline.catalog import load_catalog
from pipeline.files import messages
from pipeline.formats import FORMATS, read_message
from pipeline.rules import load_checks
from pipeline.scoring.score import Rules, score_message
from pipeline.verdicts.plan import Endpoint, Match, Name, Plan, Stage, Workload

RULES = Rules(catalog=load_catalog(), checks=load_checks())
RECEIVED = 1_800_000_000_000  # after all of the records
KEYS = {"format", "name", "record", "expect", "tags", "checks", "ignored", "rejected", "others"}
SECRETS = ("sk-live-", "sk-ant-", "sk-helicone-")


def name_of(case: dict[str, Any]) -> str:
    return f"{case['format']}: {case['name']}"


def calls(value: bytes) -> list[ScoredCall]:
    return [s for s in score_message(value, RECEIVED, RULES) if isinstance(s, ScoredCall)]


def recognised(value: bytes) -> set[str]:
    return {name for name, format in FORMATS.items() if format.detect(value)}


def field(row: ScoredCall, name: str) -> Any:
    value = getattr(row, name)
    return list(value) if isinstance(value, tuple) else value


SCORED = [case for case in CASES if "expect" in case]
OTHERS = [case for case in CASES if "ignored" in case or "rejected" in case]


def test_every_case_is_read_whole_and_every_format_has_some() -> None:
    assert all(set(case) <= KEYS for case in CASES)
    assert {case["format"] for case in SCORED} == set(FORMATS) - {"cutover"}


@pytest.mark.parametrize("case", SCORED, ids=name_of)
def test_what_a_record_tells(case: dict[str, Any]) -> None:
    rows = score_message(case["record"].encode(), RECEIVED, RULES)
    (row,) = [row for row in rows if isinstance(row, ScoredCall)]
    assert len(rows) - 1 == case.get("others", 0)
    assert row.source == case["format"]
    expected = {
        name: Decimal(value) if name in ("cost", "gateway_cost_usd") and value else value
        for name, value in case["expect"].items()
    }
    assert {name: field(row, name) for name in expected} == expected
    assert set(row.checks) == set(case["checks"])
    assert case.get("tags", {}).items() <= row.tags.items()


@pytest.mark.parametrize("case", OTHERS, ids=name_of)
def test_what_is_no_call_says_so(case: dict[str, Any]) -> None:
    (row,) = score_message(case["record"].encode(), RECEIVED, RULES)
    assert isinstance(row, Ignored if "ignored" in case else Rejected)
    assert case.get("ignored", case.get("rejected")) in row.detail


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_record_is_recognised_by_its_own_format_alone(case: dict[str, Any]) -> None:
    assert recognised(case["record"].encode()) == {case["format"]}


@pytest.mark.parametrize("format", sorted({case["format"] for case in SCORED}))
def test_arrays_and_lines_are_the_same_records(format: str) -> None:
    records = [c["record"].encode() for c in SCORED if c["format"] == format]
    alone = [row for record in records for row in calls(record)]
    assert calls(b"\n".join(records)) == alone or format == "har"  # an archive is one JSON value
    each = [record for record in records for record in FORMATS[format].split(record)]
    assert calls(b"[%b]" % b",".join(each)) == alone
    assert calls(b"\n".join(each)) == alone
    pretty = json.dumps(json.loads(each[0]), indent=2).encode()
    assert [call.started_at for call in calls(pretty)] == [alone[0].started_at]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_no_key_of_a_header_goes_further(case: dict[str, Any]) -> None:
    rows = score_message(case["record"].encode(), RECEIVED, RULES)
    rejected = score_message(case["record"].encode() + b"}", RECEIVED, RULES)
    told = repr([msgspec.structs.asdict(row) for row in (*rows, *rejected)])
    assert not [secret for secret in SECRETS if secret in told]


def test_the_pages_of_the_apis_are_opened() -> None:
    row = next(c["record"] for c in SCORED if c["format"] == "one_api")
    for page in ('{"success":true,"message":"","data":[%s]}', '{"data":{"page":1,"items":[%s]}}'):
        assert [call.call_id for call in calls((page % row).encode())] == ["20261118001"]
    row = next(c["record"] for c in SCORED if c["format"] == "claude_code_router")
    assert len(calls(b'{"generatedAt":"2026","items":[%b]}' % row.encode())) == 1
    row = next(c["record"] for c in SCORED if c["format"] == "langfuse")
    assert len(calls(b'{"data":[%b],"meta":{"page":1}}' % row.encode())) == 1
    row = [c["record"] for c in SCORED if c["format"] == "helicone"][1]
    assert len(calls(b'{"data":[%b],"error":null}' % row.encode())) == 1


def test_a_generation_around_another_is_not_counted_twice() -> None:
    inner = {"id": "b", "parentObservationId": "a", "type": "GENERATION", "usageDetails": {}}
    outer = {"id": "a", "type": "GENERATION", "usageDetails": {}}
    trace = {"id": "t", "traceId": "t", "sessionId": "s", "observations": [outer, inner]}
    found = read_message(json.dumps(trace).encode())
    assert [isinstance(each, Ignored) or each.call_id for each in found] == [True, "b"]


CAPTURED = Path(__file__).parent / "data" / "captured"


def captured(name: str) -> list[ScoredCall | Ignored | Rejected]:
    return [row for v in messages(CAPTURED / name) for row in score_message(v, RECEIVED, RULES)]


def test_what_envoy_really_writes() -> None:
    *rows, other = captured("envoy-1.40.0.jsonl")
    assert isinstance(other, Ignored)
    found = [(row.http_status, row.failure, row.stream, row.output_tokens) for row in rows]
    assert found == [
        (200, "", None, 32),
        (200, "", True, 32),
        (401, "auth", None, None),
        (None, "network", None, None),
        (None, "cancelled", None, None),
        (504, "timeout", None, None),
    ]
    assert {row.provider for row in rows} == {"deepseek"}
    assert (rows[0].conversation_id, rows[0].tags["user"]) == ("s-1", "u-1")
    assert all(row.duration_ms is not None for row in rows)


def test_generations_that_langfuses_older_sdk_ends_in_a_later_batch_count_once() -> None:
    rows = captured("langfuse-2.60.10.ingestion.jsonl")
    calls = [row for row in rows if isinstance(row, ScoredCall)]
    assert [(row.input_tokens, row.output_tokens) for row in calls] == [
        (32, 40),
        (32, 40),
        (75, 25),
        (None, None),
    ]
    assert len({row.call_id for row in calls}) == 4
    assert [bool(row.failure) for row in calls] == [False, False, False, True]
    assert not any(isinstance(row, Rejected) for row in rows)


def test_spans_of_langfuses_newer_sdk_are_calls() -> None:
    rows = captured("langfuse-5.0.4.otlp_proto.jsonl")
    calls = [row for row in rows if isinstance(row, ScoredCall)]
    assert len(rows) == 6 and len(calls) == 5  # and the agent's span around them
    whole, streamed, tools, failed, refused = calls
    for row in calls:
        assert (row.app, row.conversation_id, row.request_model) == (
            "heron-desk",
            "s-1",
            "deepseek-chat",
        )
        assert row.tags.items() >= {"team": "birds", "user": "u-1"}.items()
        assert row.provider == "deepseek" and row.duration_ms is not None
    assert [(row.input_tokens, row.output_tokens) for row in calls[:3]] == [
        (32, 18),
        (32, 27),
        (75, 25),
    ]
    assert (streamed.stream, streamed.finish_reason, streamed.time_to_first_token_ms) == (
        True,
        "stop",
        263,
    )
    assert whole.stream is None and "tool_calls_valid" in tools.checks
    assert [(row.http_status, bool(row.failure)) for row in (failed, refused)] == [
        (404, True),
        (401, True),
    ]


def test_spans_of_helicones_logger_are_calls() -> None:
    whole, streamed = captured("helicone-async-1.1.1.otlp_proto.jsonl")
    assert (whole.input_tokens, whole.output_tokens, whole.finish_reason) == (20, 66, "stop")
    assert (streamed.stream, streamed.output_tokens, streamed.finish_reason) == (True, None, "stop")


def test_ids_of_any_type_do_not_stop_a_trace() -> None:
    odd: tuple[Any, ...] = ({}, [], None, True, 1.5)
    kin = [
        {"id": x, "parentObservationId": x, "type": "GENERATION", "usageDetails": x} for x in odd
    ]
    trace = {"id": "t", "traceId": "t", "observations": kin}
    assert len(score_message(json.dumps(trace).encode(), RECEIVED, RULES)) == len(odd)


def test_a_record_without_an_id_is_one_call_however_often_it_is_written() -> None:
    record = next(c["record"] for c in SCORED if "hung up" in c["name"]).encode()
    (one,), (two,), (other,) = calls(record), calls(record), calls(record.replace(b"700", b"701"))
    assert one.call_id == two.call_id != other.call_id


@needs_samples
@pytest.mark.parametrize(("file", "format"), shared_files(), ids=lambda x: getattr(x, "name", x))
def test_shared_samples_are_recognised_by_their_own_format_alone(file: Path, format: str) -> None:
    for value in messages(file):
        assert recognised(value) == {format}


# Of the shared samples: how many calls there are, and what else.
SHARED = {
    "apisix/kafka_logger_entries.jsonl": (0, 1),  # an entry of an ordinary route
    "claude-code-router/request_logs.json": (2, 0),
    "envoy-ai-gateway/access_log.jsonl": (1, 0),
    "higress/ai_log_readme.jsonl": (4, 0),
    "higress/test_access.jsonl": (4, 0),
    "kong/ai_log_objects.jsonl": (3, 0),
    "langfuse/autogen-2025-06-06.trace.json": (1, 1),  # spans, tools and a wrapping generation
    "langfuse/claude-agent-2025-12-22.trace.json": (4, 3),
    "langfuse/langgraph-python-2025-08-22.trace.json": (2, 7),
    "langfuse/llamaindex-2025-06-05.trace.json": (1, 1),
    "langfuse/pydantic-ai-2025-06-06.trace.json": (1, 2),
    "langfuse/vercel-aisdk-2025-11-17.trace.json": (1, 2),
    "provider-wire/recordings.jsonl": (59, 0),
}


@needs_samples
@pytest.mark.parametrize("name", SHARED)
def test_shared_samples_are_calls(name: str) -> None:
    assert SAMPLES
    rows = [row for v in messages(SAMPLES / name) for row in score_message(v, RECEIVED, RULES)]
    scored = [row for row in rows if isinstance(row, ScoredCall)]
    assert (len(scored), len(rows) - len(scored)) == SHARED[name]
    assert all(row.request_model or row.response_model for row in scored)
    assert all(row.input_tokens and row.output_tokens for row in scored if not row.failure)


# The traces that Langfuse priced at list price; the other two have a price of their project's own.
PRICED = ("claude-agent-2025-12-22", "llamaindex-2025-06-05", "pydantic-ai-2025-06-06", "vercel-aisdk-2025-11-17")  # fmt: skip


@needs_samples
@pytest.mark.parametrize("name", PRICED)
def test_what_langfuse_reckoned_is_what_we_reckon(name: str) -> None:
    """Our own prices and its token counts give the amounts that it stored."""
    assert SAMPLES
    file = SAMPLES / "langfuse" / f"{name}.trace.json"
    rows = [row for value in messages(file) for row in calls(value)]
    assert rows
    for row in rows:
        assert row.cost is not None and row.gateway_cost_usd is not None
        assert abs(row.cost - row.gateway_cost_usd) < Decimal("0.000001")


# The shared files that hold no records of a gateway, and why.
NO_RECORDS = {
    "apisix/access_log_line.json": "a line of text with its format beside it",
    "apisix/llm_summary_from_test.json": "a summary without its entry",
    "litellm-fixtures/langfuse_otel_generation_2026.json": "part of a span, without ids and times",
}


def every_shared_file() -> list[str]:
    found = SAMPLES.rglob("*.json*") if SAMPLES else []
    names = [file.relative_to(SAMPLES).as_posix() for file in found]  # type: ignore[arg-type]
    return sorted(name for name in names if ".index." not in name and name not in NO_RECORDS)


@needs_samples
@pytest.mark.parametrize("name", every_shared_file())
def test_nothing_in_the_shared_samples_is_rejected(name: str) -> None:
    """A call, or sound and no call: spans of other programs, metrics, ordinary traffic."""
    assert SAMPLES
    for value in messages(SAMPLES / name):
        rows = score_message(value, RECEIVED, RULES)
        assert not [row.detail for row in rows if isinstance(row, Rejected)]


def test_a_gateways_name_for_a_backend_may_be_an_endpoint_of_the_plan() -> None:
    """Candidate and region come with it; without the plan the name stays what it is."""
    row = {
        "start_time": "2026-11-20T10:00:00Z",
        "response_code": 200,
        "gen_ai.provider.name": "default/fast-lane/route/x/rule/0/ref/0",
        "gen_ai.request.model": "house-model",
        "user.id": "u",
    }
    plan = Plan(
        migration="m",
        baseline="claude",
        endpoints={
            "claude": Endpoint(provider="anthropic"),
            "fast-lane": Endpoint(provider="moonshot", region="mainland", key_env="K"),
        },
        workloads={
            "chat": Workload(
                name=Name(en="Chat"),
                match=Match(tags={"user": "u"}),
                stages=(
                    Stage(
                        name="s", starts=datetime(2026, 1, 1, tzinfo=UTC), shares={"fast-lane": 1}
                    ),
                ),
            )
        },
    )
    record = json.dumps(row).encode()
    (planned,) = score_message(record, RECEIVED, msgspec.structs.replace(RULES, plan=plan))
    (bare,) = calls(record)
    assert isinstance(planned, ScoredCall)
    assert (planned.provider, planned.region) == ("moonshot", "mainland")
    assert (planned.workload, planned.arm) == ("chat", "candidate")
    assert (bare.provider, bare.workload) == ("fast-lane", "")


# --- whose call it is -------------------------------------------------------------------------------

# By what a plan can tell a workload in each format's records; the guide's table says the same.
MATCHED_BY = {
    "apisix": {"app", "model", "path", "tags"},
    "claude_code_router": {"app", "model", "path"},
    "envoy_ai_gateway": {"model", "path", "tags"},
    "har": {"app", "model", "path"},
    "helicone": {"app", "model", "path", "tags"},
    "higress": {"app", "model", "path", "tags"},
    "kong": {"app", "team", "model", "path", "tags"},
    "langfuse": {"app", "model", "tags"},
    "litellm": {"app", "team", "model", "path", "tags"},
    "one_api": {"app", "team", "model", "path", "tags"},
    "otlp": {"app", "team", "model", "path", "tags"},
    "raw": {"app", "model", "path", "tags"},
}


def plan_for(match: Match) -> Plan:
    stage = Stage(name="s", starts=datetime(2026, 1, 1, tzinfo=UTC), shares={"b": 1})
    return Plan(
        migration="m",
        baseline="a",
        endpoints={n: Endpoint(provider=n, region="r", key_env="K") for n in ("a", "b")},
        workloads={"w": Workload(name=Name(en="W"), match=match, stages=(stage,))},
    )


@pytest.mark.parametrize("format", sorted(MATCHED_BY))
def test_a_plan_finds_the_workload_by_what_a_format_tells(format: str) -> None:
    matched: set[str] = set()
    for case in (case for case in SCORED if case["format"] == format):
        record = case["record"].encode()
        found = [each for each in read_message(record) if isinstance(each, Call)]
        for call in found:
            told: dict[str, Any] = {"app": call.app, "team": call.team, "path": call.path, "tags": call.tags,
                                    "model": call.exchange.request_model}  # fmt: skip
            for name, value in told.items():
                if not value:
                    continue
                matched.add(name)
                rules = msgspec.structs.replace(RULES, plan=plan_for(Match(**{name: value})))
                rows = score_message(record, RECEIVED, rules)
                named = {row.workload for row in rows if isinstance(row, ScoredCall)}
                assert call.workload or "w" in named, (case["name"], name)
    assert matched == MATCHED_BY[format]


def with_headers(format: str, record: dict[str, Any], headers: dict[str, str]) -> None:
    """Puts request headers where a format has them."""
    if format in ("kong", "apisix"):
        record["request"]["headers"] = headers
    elif format == "har":
        pairs = [{"name": name, "value": value} for name, value in headers.items()]
        record["log"]["entries"][0]["request"]["headers"] = pairs
    elif format == "litellm":
        record["metadata"] = {"requester_custom_headers": headers}
    else:
        name = "requestHeaders" if format == "claude_code_router" else "request_headers"
        record[name] = headers


@pytest.mark.parametrize(
    "format", ["apisix", "claude_code_router", "har", "kong", "litellm", "raw"]
)
def test_labels_come_from_headers_where_a_format_logs_them(format: str) -> None:
    record = json.loads(next(c["record"] for c in SCORED if c["format"] == format))
    record.pop("app", None)  # what a record of one's own names goes before
    headers = {
        "X-Cutover-Workload": "faq", "x-cutover-app": "desk", "x-cutover-team": "birds",
        "x-cutover-tag-tier": "gold", "x-session-id": "s-9", "x-cutover-conversation": "c-9",
    }  # fmt: skip
    with_headers(format, record, headers)
    row = calls(json.dumps(record).encode())[0]
    assert (row.workload, row.app, row.team) == ("faq", "desk", "birds")
    assert (row.conversation_id, row.tags["tier"]) == ("c-9", "gold")
