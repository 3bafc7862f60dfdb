"""Whole examples: a record goes in, one row with its failure, cost, quality and place comes out."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import STARTED, anthropic_record

from pipeline.calls import Failure, Rejected, ScoredCall
from pipeline.catalog import load_catalog
from pipeline.formats.cutover import encode
from pipeline.rules import load_checks
from pipeline.scoring.redact import MASK
from pipeline.scoring.score import (
    LONGEST_NAME,
    MOST_TOKENS_BELIEVED,
    MOST_TOOLS,
    Rules,
    believed_start,
    score_message,
)  # fmt: skip
from pipeline.verdicts.plan import Endpoint, Match, Name, Plan, Stage, Workload

D = Decimal
M = D(1_000_000)
RULES = Rules(catalog=load_catalog(), checks=load_checks())
RECEIVED = STARTED + 2000


def score(rules: Rules = RULES, call_id: str = "a", **changes) -> ScoredCall:
    (row,) = score_message(encode(anthropic_record(call_id, **changes)), RECEIVED, rules)
    assert isinstance(row, ScoredCall)
    return row


def message(text: str = "It rains.", **changes) -> str:
    """An answer of Anthropic Messages."""
    usage = {"input_tokens": 100, "output_tokens": 20}
    body = {"id": "m", "type": "message", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": text}], "usage": usage}  # fmt: skip
    return json.dumps({**body, **changes})


def completion(model: str, prompt: int, answer: int, cached: int = 0) -> str:
    """An answer of OpenAI Chat Completions."""
    usage = {"prompt_tokens": prompt, "completion_tokens": answer, "prompt_tokens_details": {"cached_tokens": cached}}  # fmt: skip
    choice = {"index": 0, "message": {"role": "assistant", "content": "It rains."}, "finish_reason": "stop"}  # fmt: skip
    return json.dumps({"id": "c", "model": model, "choices": [choice], "usage": usage})


def error(type_: str, said: str = "no") -> str:
    return json.dumps({"type": "error", "error": {"type": type_, "message": said}})


CUT_STREAM = (
    'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"claude-sonnet-4-5",'
    '"usage":{"input_tokens":100,"output_tokens":1}}}\n\n'
    'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"It ra"}}\n\n'
)
OK = None
FAILURES = [
    # class, fault, what is recorded
    (OK, "", {}),
    (Failure.AUTH, "caller", {"http_status": 401, "response": error("authentication_error")}),
    (Failure.PERMISSION, "caller", {"http_status": 403, "response": error("permission_error")}),
    (Failure.RATE_LIMIT, "provider", {"http_status": 429, "response": error("rate_limit_error")}),
    (Failure.QUOTA, "caller", {"http_status": 402, "response": error("billing_error")}),
    (Failure.OVERLOADED, "provider", {"http_status": 529, "response": error("overloaded_error")}),
    (Failure.TIMEOUT, "provider", {"http_status": None, "response": "", "transport_error": "timeout"}),
    (Failure.INVALID_REQUEST, "caller", {"http_status": 400, "response": error("invalid_request_error", "max_tokens: required")}),
    (Failure.CONTENT_FILTER, "caller", {"response": message("", stop_reason="refusal")}),
    (Failure.CONTEXT_LENGTH, "caller", {"http_status": 400, "response": error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")}),
    (Failure.SERVER_ERROR, "provider", {"http_status": 500, "response": error("api_error")}),
    (Failure.NETWORK, "network", {"http_status": None, "response": "", "transport_error": "connect"}),
    (Failure.EMPTY, "provider", {"response": message("")}),
    (Failure.TRUNCATED_STREAM, "provider", {"response": CUT_STREAM}),
    (Failure.MALFORMED, "provider", {"response": "<html>Bad gateway</html>"}),
    (Failure.CANCELLED, "client", {"cancelled": True, "response": CUT_STREAM}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("failure", "fault", "recorded"), FAILURES, ids=[f[0] or "ok" for f in FAILURES]
)
def test_each_failure_class(failure: Failure | None, fault: str, recorded: dict) -> None:
    row = score(**recorded)
    assert (row.failure, row.fault) == (failure or "", fault)
    assert row.quality == {"": 1, "provider": 0}.get(fault)


def test_all_failure_classes_are_in_the_table() -> None:
    assert {failure for failure, _, _ in FAILURES} == {OK, *Failure}


COSTS = [
    # provider, host, path, model, prompt, answer, cached, sum in millionths, currency
    ("openai", "api.openai.com", "/v1/chat/completions", "gpt-5", 1000, 100, 800, D("1.25") * 200 + D("0.125") * 800 + D(10) * 100, "USD"),
    ("deepseek", "api.deepseek.com", "/chat/completions", "deepseek-chat", 1000, 100, 400, D("0.28") * 600 + D("0.028") * 400 + D("0.42") * 100, "USD"),
    ("moonshot", "api.moonshot.cn", "/v1/chat/completions", "kimi-k2-0905-preview", 1000, 100, 500, D(4) * 500 + D(1) * 500 + D(16) * 100, "CNY"),
    ("moonshot", "api.moonshot.ai", "/v1/chat/completions", "kimi-k2-0905-preview", 1000, 100, 500, D("0.6") * 500 + D("0.15") * 500 + D("2.5") * 100, "USD"),
    ("zhipu", "api.z.ai", "/api/paas/v4/chat/completions", "glm-4.5-air", 1000, 100, 100, D("0.2") * 900 + D("0.03") * 100 + D("1.1") * 100, "USD"),
    ("dashscope", "dashscope-intl.aliyuncs.com", "/compatible-mode/v1/chat/completions", "qwen3.7-max", 1000, 100, 500, D("2.5") * 500 + D("0.5") * 500 + D("7.5") * 100, "USD"),
    ("hunyuan", "api.hunyuan.cloud.tencent.com", "/v1/chat/completions", "hunyuan-turbos-latest", 1000, 100, 0, D("0.8") * 1000 + D(2) * 100, "CNY"),
    ("qianfan", "qianfan.baidubce.com", "/v2/chat/completions", "ernie-4.5-turbo-128k", 1000, 100, 500, D("0.8") * 500 + D("0.2") * 500 + D("3.2") * 100, "CNY"),
    ("sensenova", "api.sensenova.cn", "/compatible-mode/v2/chat/completions", "SenseNova-V6-5-Pro", 1000, 100, 0, D(3) * 1000 + D(9) * 100, "CNY"),
    ("volcengine", "ark.cn-beijing.volces.com", "/api/v3/chat/completions", "doubao-seed-2-1-pro-260915", 1000, 100, 500, D(6) * 500 + D("1.2") * 500 + D(30) * 100, "CNY"),
]  # fmt: skip


@pytest.mark.parametrize("case", COSTS, ids=[f"{case[0]} {case[8]}" for case in COSTS])
def test_a_call_to_each_provider_costs_its_list_price(case: tuple) -> None:
    """The provider is told by the host, even where the gateway calls it otherwise."""
    provider, host, path, model, prompt, answer, cached, millionths, currency = case
    body = completion(model, prompt, answer, cached)
    request = json.dumps({"model": model, "messages": []})
    row = score(provider="gateway's own name", host=host, path=path, request=request, response=body)
    assert (row.provider, row.model, row.protocol) == (provider, model, "openai_chat")
    assert (row.cost, row.currency, row.cost_unknown) == (millionths / M, currency, "")
    assert (row.input_tokens, row.output_tokens) == (prompt, answer)


def test_claudes_cached_tokens_are_added_to_the_input_and_priced_apart() -> None:
    usage = {"input_tokens": 100, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 200,
             "output_tokens": 20}  # fmt: skip
    row = score(response=message(usage=usage))
    assert row.input_tokens == 1300
    assert row.cost == (D(3) * 100 + D("0.3") * 1000 + D("3.75") * 200 + D(15) * 20) / M


def test_behind_a_proxy_the_plan_tells_the_region_and_so_the_currency() -> None:
    endpoint = Endpoint(provider="zhipu", region="mainland", key_env="K")
    plan = Plan(migration="m", baseline="z", endpoints={"z": endpoint})
    answer = {"provider": "zhipu", "host": "proxy.example", "path": "/v1/chat/completions",
              "response": completion("glm-4.6", 1000, 300)}  # fmt: skip
    row = score(Rules(catalog=RULES.catalog, checks=RULES.checks, plan=plan), **answer)
    assert (row.region, row.currency, row.cost) == (
        "mainland",
        "CNY",
        (1000 * D(3) + 300 * D(14)) / M,
    )
    assert score(**answer).region == ""


def test_an_unknown_model_has_no_cost_and_says_so() -> None:
    request = json.dumps({"model": "claude-none", "messages": []})
    row = score(request=request, response=message(model="claude-none"))
    assert (row.cost, row.cost_unknown, row.model) == (None, "unknown_model", "claude-none")


MODELS = [
    # asked for, named by the answer: is it another one?
    ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", False),
    ("claude-sonnet-4-5-20250929", "claude-haiku-4-5", True),
    ("claude-sonnet-4-5", "an-alias-of-the-gateway", False),
    ("an-alias-of-the-gateway", "claude-haiku-4-5", False),
]


@pytest.mark.parametrize(("asked", "named", "other"), MODELS)
def test_an_answer_of_another_model_than_the_one_asked_for_is_a_finding(
    asked: str, named: str, other: bool
) -> None:
    request = json.dumps(
        {"model": asked, "messages": [{"role": "user", "content": "Will it rain?"}]}
    )
    row = score(request=request, response=message(model=named))
    assert ("other_response_model" in row.findings) == other
    assert row.checks["protocol_conformance"] == (D("0.75") if other else 1)


def test_a_flat_rate_plan_has_no_price_by_the_token() -> None:
    row = score(
        host="api.z.ai",
        path="/api/coding/paas/v4/chat/completions",
        response=completion("glm-4.6", 10, 10),
    )
    assert (row.provider, row.cost, row.cost_unknown) == ("zhipu", None, "flat_rate_plan")


def test_an_answer_without_counts_has_no_cost() -> None:
    row = score(response=message(usage=None))
    assert (row.input_tokens, row.cost, row.cost_unknown) == (None, None, "no_usage")


PLAN = Plan(
    migration="test",
    baseline="claude",
    endpoints={"claude": Endpoint(provider="anthropic"), "kimi": Endpoint(provider="moonshot", key_env="K")},
    workloads={
        "support": Workload(
            name=Name(en="Support"),
            match=Match(app="support-*"),
            stages=(Stage(name="all", starts=datetime(2026, 1, 1, tzinfo=UTC), shares={"kimi": 1}),),
        )
    },
)  # fmt: skip
PLACES = [
    # says, what is recorded, workload, arm
    (
        "the plan recognises workload and baseline",
        {"workload": "", "app": "support-bot"},
        "support",
        "baseline",
    ),
    (
        "the candidate is told by its provider",
        {"workload": "support", "host": "api.moonshot.cn"},
        "support",
        "candidate",
    ),
    (
        "a provider outside the plan has no arm",
        {"workload": "support", "host": "api.deepseek.com"},
        "support",
        "",
    ),
    ("a workload outside the plan has no arm", {"workload": "other"}, "other", ""),
    (
        "what the record says holds",
        {"workload": "support", "arm": "shadow", "shadow_of": "b"},
        "support",
        "shadow",
    ),
    ("no rule fits", {"workload": "", "app": "mail"}, "", ""),
]


@pytest.mark.parametrize(
    ("says", "recorded", "workload", "arm"), PLACES, ids=[p[0] for p in PLACES]
)
def test_the_plan_places_a_call(says: str, recorded: dict, workload: str, arm: str) -> None:
    row = score(msgspec.structs.replace(RULES, plan=PLAN), **recorded)
    assert (row.workload, row.arm, row.shadow_of) == (workload, arm, recorded.get("shadow_of", ""))


YEAR = 365 * 86_400_000
DOUBTS = [
    ("nothing to doubt", {}, ()),
    ("1970", {"started_at": 0, "ended_at": 1200}, ("start_too_old", "end_not_believed")),
    ("2100", {"started_at": 130 * YEAR, "ended_at": None}, ("start_in_future",)),
    ("a start that no column holds", {"started_at": 10**30, "ended_at": None}, ("start_in_future",)),
    ("no start", {"started_at": None, "ended_at": None}, ("start_missing",)),
    ("ended before it started", {"ended_at": STARTED - 1}, ("end_not_believed",)),
    ("took a week", {"ended_at": STARTED + 7 * 86_400_000}, ("end_not_believed",)),
    ("first token before the start", {"first_token_at": STARTED - 1}, ("first_token_not_believed",)),
    ("a negative count", {"response": message(usage={"input_tokens": 100, "output_tokens": -1})}, ("bad_token_count",)),
    ("more tokens than any context", {"response": message(usage={"input_tokens": MOST_TOKENS_BELIEVED + 1, "output_tokens": 1})}, ("bad_token_count",)),
    ("sums beyond any column", {"response": message(usage=dict.fromkeys(("input_tokens", "cache_read_input_tokens", "output_tokens"), 2**63 - 1))}, ("bad_token_count",)),
    ("no model", {"request": "{}", "response": message(model=None)}, ("model_missing",)),
    ("no provider", {"provider": "", "host": "", "request": '{"model":"x"}', "response": message(model="x")}, ("provider_missing",)),
]  # fmt: skip


@pytest.mark.parametrize(("says", "recorded", "doubts"), DOUBTS, ids=[d[0] for d in DOUBTS])
def test_what_cannot_be_believed_is_stored_with_its_doubt(
    says: str, recorded: dict, doubts: tuple
) -> None:
    row = score(**recorded)
    assert row.doubts == doubts
    assert abs(row.started_at - RECEIVED) <= 86_400_000
    assert row.duration_ms is None or "end_not_believed" not in doubts


@given(st.none() | st.integers(), st.integers(1_600_000_000_000, 4_000_000_000_000))
def test_a_believed_start_lies_between_2020_and_just_after_its_arrival(
    start: int | None, received: int
) -> None:
    believed, doubts = believed_start(start, received)
    assert (believed == start) is not bool(doubts) or believed == received
    assert 1_577_836_800_000 <= believed <= received + 600_000


@pytest.mark.parametrize(
    ("said", "language"),
    [
        ("Where is my parcel?", "latin"), ("我的包裹到哪里了？", "zh"), ("荷物はどこですか。", "ja"), ("", ""), ("12345 ?!", ""),
        ("请把下面这句翻译成中文：The parcel left our warehouse this morning.", ""),
    ],
)  # fmt: skip
def test_a_call_is_told_by_the_language_of_its_users_message_though_it_failed(
    said: str, language: str
) -> None:
    request = json.dumps({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": said}]})  # fmt: skip
    assert score(request=request, response=message()).language == language
    failed = score(request=request, response=error("overloaded_error"), http_status=529)
    assert (failed.language, failed.tools_called) == (language, ())


def test_the_tools_an_answer_calls_are_kept_each_once_and_without_keys() -> None:
    key = "sk-ant-api03-" + "a1B2" * 12
    names = ["read_file", "edit_file", "read_file", key, "x" * 500]
    calls = [{"type": "tool_use", "id": f"t{n}", "name": name, "input": {}} for n, name in enumerate(names)]  # fmt: skip
    assert score(response=message()).tools_called == ()
    found = score(response=message(content=calls)).tools_called
    assert found == ("read_file", "edit_file", MASK, "x" * LONGEST_NAME)
    many = [{"type": "tool_use", "id": f"t{n}", "name": f"tool {n}", "input": {}} for n in range(100)]  # fmt: skip
    assert len(score(response=message(content=many)).tools_called) == MOST_TOOLS


def test_the_same_bytes_give_the_same_rows() -> None:
    lines = b"\n".join(encode(anthropic_record("a", **recorded)) for _, _, recorded in FAILURES)
    assert score_message(lines, RECEIVED, RULES) == score_message(lines, RECEIVED, RULES)


# --- keys -----------------------------------------------------------------------------------------

ALNUM = st.text(
    "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=40, max_size=40
)
KEYS = st.one_of(
    ALNUM.map("sk-ant-api03-{}".format), ALNUM.map("AKID{}".format), ALNUM.map("ghp_{}".format)
)
NAMED = (
    "call_id", "request_id", "conversation_id", "shadow_of", "workload", "app", "team", "stage", "provider",
    "host", "path", "transport_error",
)  # fmt: skip


@given(KEYS)
def test_no_planted_key_reaches_a_row(key: str) -> None:
    """Wherever a caller, a gateway or a vendor puts one: names, tags, bodies, errors, arguments."""
    tool = {"name": "t", "input_schema": {"type": "object", "required": [key]}}
    asked = {"model": key, "messages": [{"role": "user", "content": key}], "tools": [tool]}
    used = {"type": "tool_use", "id": key, "name": f"run {key}", "input": {key: key}}
    text = {"type": "text", "text": f"I'm sorry, but I can't help with {key}"}
    bodies = [
        message(content=[used], stop_reason=key, id=key, model=key),
        message(content=[used | {"name": "t"}]),
        message(content=[text]),
        error(key, f"the key {key} is wrong"),
        CUT_STREAM.replace("claude-sonnet-4-5", key),
        key,
    ]
    names = dict.fromkeys(NAMED, f"x {key}") | {"tags": {key: key}}
    for status in (200, 401):
        for body in bodies:
            for path in ("/v1/messages", "/v1/chat/completions"):
                recorded = {
                    **names,
                    "request": json.dumps(asked),
                    "response": body,
                    "http_status": status,
                }
                row = score(**{**recorded, "path": path})
                assert key not in str(row)


@given(KEYS)
def test_no_planted_key_stays_in_a_rejection(key: str) -> None:
    for value in (f'{{"cutover":1,"arm":"{key}"}}', f"garbage {key} garbage", f'{{"x":"{key}"}}'):
        for format in ("", "cutover", key):
            (rejected,) = score_message(value.encode(), RECEIVED, RULES, format)
            assert isinstance(rejected, Rejected)
            assert key not in str(rejected)
            assert MASK in str(rejected.value)


def test_ids_that_look_like_keys_stay_distinct() -> None:
    """Else two calls would be taken for one, and the second be dropped as a repeat."""
    ids = [score(call_id=f"{n:032x}.abcdefgh12345678").call_id for n in range(3)]
    assert len(set(ids)) == 3
