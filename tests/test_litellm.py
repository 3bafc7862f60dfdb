"""LiteLLM's own records, as its proxy emitted them, say what their client saw."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from samples import SAMPLES

from pipeline.calls import Ignored, Rejected, ScoredCall
from pipeline.catalog import load_catalog
from pipeline.formats import read_message
from pipeline.rules import load_checks
from pipeline.scoring.score import Rules, score_message

D = Decimal
RULES = Rules(catalog=load_catalog(), checks=load_checks())
RECEIVED = 1_800_000_000_000  # after all of the records
CAPTURED = {
    entry["scenario"]: entry["payload"]
    for entry in map(
        json.loads, (Path(__file__).parent / "data" / "litellm" / "captured.jsonl").open("rb")
    )
}
SHARED = SAMPLES or Path("nowhere")


def score(payload: dict) -> ScoredCall:
    (row,) = score_message(json.dumps(payload).encode(), RECEIVED, RULES)
    assert isinstance(row, ScoredCall), row
    return row


def changed(**fields) -> ScoredCall:
    return score({**CAPTURED["v1.106.2 h_a_529_then_ok 2"], **fields})


DELIVERED = {"delivered", "complete", "not_refused"}
USED_TOOLS = {"delivered", "complete", "tool_calls_valid"}
SEEN = [
    # scenario; provider, status, stream, failure, input, of it read, output, gateway's cost, attempt; checks
    ("v1.106.2 mock_success", ("openai", 200, False, "", 10, None, 20, D("0.0000135"), 1), DELIVERED),
    ("v1.106.2 bad_proxy_key", ("openai", 401, None, "auth", None, None, None, None, 1), set()),
    ("v1.106.2 anthropic_refusal", ("anthropic", 200, False, "content_filter", 30, 0, 1, D("0.000035"), 1), set()),
    ("v1.106.2 messages_stream_error_event", ("anthropic", 200, True, "empty", 9, 0, 1, D("0.000014"), 1), {"delivered"}),
    ("v1.106.2 h_stream_cached", ("openai", 200, True, "", 2318, 2176, 7, D("0.0001887"), 1), DELIVERED),
    ("v1.106.2 h_tool", ("openai", 200, False, "", 96, None, 18, D("0.0000252"), 1), USED_TOOLS),
    ("v1.106.2 h_unpriced", ("openai", 200, False, "", 48, None, 3, None, 1), DELIVERED),
    ("v1.106.2 h_a_messages_stream_tools", ("anthropic", 200, True, "", 411, 0, 58, D("0.002103"), 1), USED_TOOLS),
    ("v1.106.2 h_a_stream_cut", ("anthropic", None, True, "network", 9, 0, 1, D("0.000014"), 1), set()),
    ("v1.106.2 h_a_403", ("anthropic", 403, False, "permission", None, None, None, None, 1), set()),
    ("v1.106.2 h_a_529_then_ok 1", ("anthropic", 500, False, "overloaded", None, None, None, None, 1), {"delivered"}),
    ("v1.106.2 h_a_529_then_ok 2", ("anthropic", 200, False, "", 52, 0, 4, D("0.000072"), 2), DELIVERED),
    ("v1.106.2 h_resp_cached_reasoning", ("openai", 200, None, "", 1540, 1408, 131, D("0.00006604"), 1), DELIVERED),
    ("v1.106.2 h_ctx", ("openai", 400, False, "context_length", None, None, None, None, 1), set()),
    ("v1.106.2 h_fallback 1", ("openai", 503, False, "overloaded", None, None, None, None, 1), {"delivered"}),
    ("v1.106.2 h_fallback 2", ("anthropic", 200, False, "", 52, 0, 4, D("0.000072"), 2), DELIVERED),
    ("v1.106.2 h_redacted", ("openai", 200, False, "", 48, None, 3, D("0.000009"), 1), {"delivered", "complete"}),
    ("v1.106.2 h_cache_hit", ("openai", 200, None, "", 0, None, 0, D(0), 1), DELIVERED),
    ("v1.106.2 h_timeout", ("openai", 408, False, "timeout", None, None, None, None, 1), {"delivered"}),
    ("v1.74.9 h_a_messages", ("anthropic", 200, False, "", 31, 0, 5, None, 1), DELIVERED),
    ("v1.74.9 h_a_stream_cut", ("anthropic", 200, True, "", 9, 0, 1, None, 1), DELIVERED),
    ("v1.74.9 h_503", ("openai", 503, False, "overloaded", None, None, None, None, 1), {"delivered"}),
    ("v1.74.9 h_redacted", ("openai", 200, False, "", 48, None, 3, D("0.000009"), 1), {"delivered"}),
    ("v1.81.0 h_tool_stream_parallel", ("openai", 200, True, "", 33, None, 58, D("0.00003975"), 1), USED_TOOLS),
    ("v1.81.0 h_a_messages_max_tokens", ("anthropic", 200, False, "", 11, 0, 3, D("0.000026"), 1), {"delivered", "not_refused"}),
]  # fmt: skip


@pytest.mark.parametrize(("scenario", "facts", "checks"), SEEN, ids=[seen[0] for seen in SEEN])
def test_captured_records(scenario: str, facts: tuple, checks: set[str]) -> None:
    row = score(CAPTURED[scenario])
    assert facts == (
        row.provider, row.http_status, row.stream, row.failure, row.input_tokens,
        row.cache_read_input_tokens, row.output_tokens, row.gateway_cost_usd, row.attempt,
    )  # fmt: skip
    assert set(row.checks) == checks
    assert row.doubts == (("gateway_cache_hit",) if scenario.endswith("cache_hit") else ())
    assert row.findings == ()


def test_all_captured_records_are_in_the_table() -> None:
    assert [seen[0] for seen in SEEN] == list(CAPTURED)


def test_attempts_of_one_request_are_calls_of_their_own() -> None:
    first, second = (score(CAPTURED[f"v1.106.2 h_fallback {n}"]) for n in (1, 2))
    assert first.request_id == second.request_id
    assert first.conversation_id == second.conversation_id
    assert first.call_id != second.call_id


def test_times_host_tags_and_models() -> None:
    row = score(CAPTURED["v1.106.2 mock_success"])
    assert row.tags == {"workload": "greeter", "provider-migration": "control"}
    assert (row.host, row.request_model) == ("api.openai.com", "mock-ok")
    streamed = score(CAPTURED["v1.106.2 h_a_messages_stream_tools"])
    assert (streamed.time_to_first_token_ms, streamed.duration_ms) == (250, 375)
    assert streamed.protocol == "anthropic_messages"


def test_what_litellm_says_the_call_cost_is_what_we_say() -> None:
    """Where both price lists know the model: Claude's cached and plain tokens."""
    for scenario in ("h_a_529_then_ok 2", "h_a_messages_stream_tools", "h_fallback 2"):
        row = score(CAPTURED[f"v1.106.2 {scenario}"])
        assert row.cost == row.gateway_cost_usd


def test_the_price_map_is_never_kept() -> None:
    (call,) = read_message(json.dumps(CAPTURED["v1.106.2 h_tool"]).encode())
    assert "trimmed" not in repr(call)


def test_1_74_leaves_cache_writes_out_of_the_total_on_the_messages_route() -> None:
    usage = {"prompt_tokens_details": {"cached_tokens": 4096}, "cache_creation_input_tokens": 812}
    old = CAPTURED["v1.74.9 h_a_messages"] | {
        "prompt_tokens": 4108,
        "metadata": {"usage_object": usage},
    }
    row = score(old)
    assert (row.input_tokens, row.cache_read_input_tokens, row.cache_write_5m_input_tokens) == (
        4920,
        4096,
        812,
    )
    new = score(old | {"status_fields": {}, "prompt_tokens": 4920})
    assert new.input_tokens == 4920


def test_a_client_that_hung_up_is_cancelled_though_litellm_calls_it_a_success() -> None:
    error = {"error_code": "499", "error_class": "ClientDisconnected"}
    row = changed(error_information=error)
    assert (row.failure, row.fault, row.quality) == ("cancelled", "client", None)


ODDITIES = [
    ("a negative count", {"prompt_tokens": -1}, {"input_tokens": None, "doubts": ("bad_token_count",)}),
    ("a count that is no number", {"completion_tokens": "4"}, {"output_tokens": None, "doubts": ("bad_token_count",)}),
    ("a cost beyond reason", {"response_cost": 1e300}, {"gateway_cost_usd": None}),
    ("a negative cost", {"response_cost": -0.5}, {"gateway_cost_usd": None}),
    ("an address that is none", {"api_base": "http://["}, {"host": "", "provider": "anthropic"}),
    ("1970", {"startTime": 0.0, "endTime": 1.0}, {"started_at": RECEIVED, "doubts": ("start_too_old", "end_not_believed")}),
    ("old sinks' times", {"startTime": "2026-11-20 10:00:00.5", "endTime": "2026-11-20 10:00:02"}, {"started_at": 1_795_168_800_500, "duration_ms": 1500}),
    ("an embedding", {"call_type": "aembedding", "response": {"object": "list", "data": []}}, {"protocol": "", "failure": "", "input_tokens": 52}),
    ("digits of other scripts", {"status": "failure", "error_information": {"error_code": "٤٠٤"}}, {"http_status": None, "failure": "server_error"}),
    ("a session", {"session_id": "s", "trace_id": "t"}, {"conversation_id": "s"}),
    ("a trace", {"session_id": "", "trace_id": "t"}, {"conversation_id": "t"}),
    ("messages that are text", {"messages": "Wo ist mein Paket?"}, {"failure": "", "input_tokens": 52}),
    ("no model", {"model": None, "model_group": None}, {"doubts": ("model_missing",), "cost": None}),
    ("tags of three kinds", {"request_tags": ["User-Agent: x", "a: b", "c"]}, {"tags": {"a": "b", "c": "true"}}),
]  # fmt: skip


@pytest.mark.parametrize(("says", "fields", "expected"), ODDITIES, ids=[odd[0] for odd in ODDITIES])
def test_oddities(says: str, fields: dict, expected: dict) -> None:
    row = changed(**fields)
    assert {name: getattr(row, name) for name in expected} == expected


REJECTED = [
    ({"litellm_call_id": None, "id": None}, "litellm_call_id"),
    ({"startTime": "yesterday"}, "not a time"),
    ({"startTime": 1e300}, "not a time"),
    ({"metadata": 5}, "metadata"),
]


@pytest.mark.parametrize(("fields", "detail"), REJECTED, ids=[r[1] for r in REJECTED])
def test_what_is_no_call_is_rejected_with_the_reason(fields: dict, detail: str) -> None:
    payload = {**CAPTURED["v1.106.2 h_tool"], **fields}
    (rejected,) = score_message(json.dumps(payload).encode(), RECEIVED, RULES)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "malformed_record"
    assert detail in rejected.detail


IGNORED = [
    ({"error_information": {"error_class": "StopAsyncIteration"}}, "logged again"),
    ({"metadata": {"internal_call_origin": "shadow_eval_judge"}}, "shadow_eval_judge"),
]


@pytest.mark.parametrize(("fields", "detail"), IGNORED, ids=[r[1] for r in IGNORED])
def test_what_was_logged_beside_the_calls_is_ignored_with_the_reason(
    fields: dict, detail: str
) -> None:
    payload = {**CAPTURED["v1.106.2 h_tool"], **fields}
    (ignored,) = score_message(json.dumps(payload).encode(), RECEIVED, RULES)
    assert isinstance(ignored, Ignored)
    assert detail in ignored.detail


def test_what_is_rejected_is_kept_without_the_price_map_and_tracebacks() -> None:
    payload = {**CAPTURED["v1.106.2 h_tool"], "metadata": 5}
    payload["model_map_information"] = {"model_map_value": "a price map"}
    payload["error_information"] = {"traceback": "File x.py"}
    (rejected,) = score_message(json.dumps(payload).encode(), RECEIVED, RULES)
    assert isinstance(rejected, Rejected)
    assert b"price map" not in rejected.value and b"x.py" not in rejected.value
    assert json.loads(rejected.value)["id"] == payload["id"]


SPEND = {
    "request_id": "chatcmpl-1", "session_id": "s-1", "call_type": "acompletion", "cache_hit": "None",
    "startTime": "2026-11-20 10:00:00.500000", "endTime": "2026-11-20 10:00:02.000000",
    "completionStartTime": "2026-11-20 10:00:02.000000", "model": "gpt-4o", "team_id": "team-1",
    "metadata": json.dumps({
        "user_api_key_alias": "bot", "attempted_retries": 1, "internal_call_origin": None,
        "usage_object": {"prompt_tokens_details": {"cached_tokens": 4}},
    }),
    "spend": 0.000225, "total_tokens": 30, "prompt_tokens": 10, "completion_tokens": 20,
    "request_tags": "[\"User-Agent: x\", \"tier:gold\"]", "api_base": "https://api.openai.com/v1/",
    "model_group": "smart", "custom_llm_provider": "openai", "messages": "{}", "response": "{}",
    "status": "success",
}  # fmt: skip


def test_a_row_of_the_spend_logs_is_a_call_without_content() -> None:
    row = score(SPEND)
    assert (row.request_id, row.conversation_id, row.app, row.team) == ("chatcmpl-1", "s-1", "bot", "team-1")  # fmt: skip
    assert (row.request_model, row.response_model, row.host) == ("smart", "gpt-4o", "api.openai.com")  # fmt: skip
    assert (row.input_tokens, row.cache_read_input_tokens, row.output_tokens) == (10, 4, 20)
    assert (row.attempt, row.duration_ms, row.tags) == (2, 1500, {"tier": "gold"})
    assert (row.gateway_cost_usd, row.failure, set(row.checks)) == (D("0.000225"), "", {"delivered"})  # fmt: skip
    hit = score(SPEND | {"cache_hit": "True", "spend": 0.0})
    assert (hit.gateway_cost_usd, hit.doubts) == (0, ("gateway_cache_hit",))
    failed = {"error_information": {"error_code": "429", "error_class": "RateLimitError"}}
    row = score(SPEND | {"status": "failure", "spend": 0.0, "metadata": json.dumps(failed)})
    assert (row.failure, row.http_status, row.gateway_cost_usd) == ("rate_limit", 429, None)


def test_a_success_with_an_error_in_it_is_a_failure() -> None:
    row = changed(error_information={"error_class": "MidStreamFallbackError", "error_code": ""})
    assert (row.failure, row.http_status) == ("server_error", None)


def test_arms_and_labels_come_from_tags_and_own_headers() -> None:
    row = changed(request_tags=["arm:shadow", "shadow_of:abc"])
    assert (row.arm, row.shadow_of) == ("shadow", "abc")
    headers = {"x-cutover-workload": "faq", "x-cutover-conversation": "c-1", "x-api-key": "k"}
    row = changed(metadata={"requester_custom_headers": headers})
    assert (row.workload, row.conversation_id) == ("faq", "c-1")


def test_prefix_alias_and_dated_model_are_told_apart() -> None:
    fields = {"model": "openai/gpt-4o", "model_group": "smart", "custom_llm_provider": "openai"}
    answer = {"object": "chat.completion", "choices": []}
    for said, model in [("gpt-4o-2024-08-06", "gpt-4o-2024-08-06"), ("smart", "gpt-4o"), ("", "gpt-4o")]:  # fmt: skip
        row = changed(**fields, response={**answer, "model": said})
        assert (row.request_model, row.response_model) == ("smart", model)
    other = changed(model="groq/openai/gpt-oss-120b", custom_llm_provider="groq")
    assert other.response_model == "openai/gpt-oss-120b"


def test_an_array_lines_and_single_objects_are_read_alike() -> None:
    payloads = list(CAPTURED.values())
    one_by_one = [score(payload) for payload in payloads]
    array = score_message(json.dumps(payloads, indent=1).encode(), RECEIVED, RULES)
    lines = "\n".join(map(json.dumps, payloads)).encode()
    assert array == one_by_one
    assert score_message(lines, RECEIVED, RULES) == one_by_one


# --- all captured records, where they are at hand -------------------------------------------------

INDEXES = sorted((SHARED / "litellm-captured").glob("*.index.json"))


@pytest.mark.skipif(not INDEXES, reason="the full captures are not on this machine")
@pytest.mark.parametrize("index", INDEXES, ids=lambda path: path.name.split(".index")[0])
def test_every_captured_record_ends_as_its_client_saw_it(index: Path) -> None:
    lines = index.with_name(index.name.replace(".index.json", ".jsonl")).read_bytes().splitlines()
    for scenario in json.loads(index.read_bytes()):
        rows = [score(json.loads(lines[number - 1])) for number in scenario["lines"]]
        last, name = rows[-1], scenario["scenario"]
        seen = scenario["client_http_status"]
        if seen >= 400:
            assert last.failure, name
        elif last.http_status is None:
            assert last.failure == "network", name  # cut after its 200
        else:
            assert last.http_status == seen, name
        if "disconnect" in name:
            assert last.failure == "cancelled"
        assert all(row.failure for row in rows[:-1]), name
        assert [row.attempt for row in rows] == sorted(row.attempt for row in rows)
        assert all(row.cost == row.gateway_cost_usd for row in rows if row.cost and row.gateway_cost_usd and row.provider == "anthropic")  # fmt: skip


BODIES = SHARED / "litellm-captured" / "generic_api_http_bodies.jsonl"
FIXTURE = SHARED / "litellm-fixtures" / "mock_standard_logging_payload_2024.json"


@pytest.mark.skipif(not BODIES.is_file(), reason="the full captures are not on this machine")
def test_posted_bodies_and_the_oldest_fixture_are_read() -> None:
    for line in BODIES.read_bytes().splitlines():
        body = json.loads(line)["body"].encode()
        rows = score_message(body, RECEIVED, RULES)
        assert len(rows) == len(body.splitlines())
        assert all(isinstance(row, ScoredCall) for row in rows)
    spent = score(json.loads(FIXTURE.with_name("spend_logs_payload_2026.json").read_bytes()))
    assert (spent.input_tokens, spent.gateway_cost_usd) == (10, D("0.000225"))
    oldest = score(json.loads(FIXTURE.read_bytes()))
    assert oldest.doubts[:1] == ("start_too_old",)
    assert (oldest.input_tokens, oldest.output_tokens, oldest.gateway_cost_usd) == (
        20,
        10,
        D("0.1"),
    )
