"""Where calls go, and which headers go with them: the pure part of the tap."""

import json
import zlib
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pipeline.calls import Arm, Protocol
from pipeline.tap import headers as rules
from pipeline.tap.memory import Memory
from pipeline.tap.recording import Copy, struck_out
from pipeline.tap.routing import (
    Asked,
    Choice,
    MissingBaseUrlError,
    attempt_of,
    choose,
    conversation_id,
    draw,
    join,
    parse_body,
    pass_through_url,
    position,
    product,
    read_request,
    route,
    shares_in_force,
    split_path,
    with_model,
    without_keys,
)
from pipeline.verdicts.plan import Endpoint, Match, Name, Plan, Stage, Workload, check

ANTHROPIC, CHAT, RESPONSES = Protocol
HOUR = 3_600_000
START = 1_700_000_000_000


def stage(hour: int, **shares: float) -> Stage:
    starts = datetime.fromtimestamp(START / 1000 + hour * 3600, UTC)
    return Stage(name=f"hour {hour}", starts=starts, shares=shares)


def plan_of(*stages: Stage, **match: object) -> Plan:
    return check(
        Plan(
            migration="Test",
            baseline="claude",
            endpoints={
                "claude": Endpoint(provider="anthropic"),
                "kimi": Endpoint(provider="moonshot", key_env="K", model="kimi-k2.6"),
                "glm": Endpoint(provider="zhipu", key_env="K", models={"claude-*": "glm-4.6"}),
            },
            workloads={"w": Workload(name=Name(en="W"), match=Match(**match), stages=stages)},
        )
    )


def catalog(endpoint: Endpoint, protocol: Protocol) -> str | None:
    """Nobody but the baseline's provider serves the Responses API here."""
    if protocol == RESPONSES and endpoint.provider != "anthropic":
        return None
    return f"https://{endpoint.provider}.example/{protocol}"


def conversation(headers: dict[str, str], body: object, key: str = "k", **known: str) -> str:
    parsed = parse_body(json.dumps(body).encode()) or {}
    return conversation_id(headers, parsed, key, lambda response: known.get(response, ""))


# The conversation

TURN = {"system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}]}
OLD = "user_ab12_account__session_1e2d3c4b-0000-4000-8000-000000000001"
NEW = json.dumps({"device_id": "d", "account_uuid": "a", "session_id": "s-2"})

NAMED = [
    ({"x-cutover-conversation": "a", "x-session-id": "b"}, TURN, "a"),
    ({"x-conversation-id": "b", "x-claude-code-session-id": "c"}, TURN, "b"),
    ({"x-session-id": "c"}, TURN | {"metadata": {"user_id": NEW}}, "c"),
    ({"x-claude-code-session-id": "d"}, TURN, "d"),
    ({"session_id": "e"}, TURN, "e"),
    ({}, TURN | {"metadata": {"user_id": OLD}}, "1e2d3c4b-0000-4000-8000-000000000001"),
    ({}, TURN | {"metadata": {"user_id": NEW}}, "s-2"),
    ({}, TURN | {"metadata": {"conversation_id": "f", "session_id": "g"}}, "f"),
    ({}, TURN | {"metadata": {"session_id": "g"}}, "g"),
    ({}, {"input": "x", "conversation": "conv_1"}, "conv_1"),
    ({}, {"input": "x", "conversation": {"id": "conv_2"}}, "conv_2"),
    ({}, {"input": "x", "previous_response_id": "resp_1"}, "first"),
    ({}, {"input": "x", "previous_response_id": "resp_9"}, "resp_9"),
]


@pytest.mark.parametrize(("headers", "body", "expected"), NAMED)
def test_a_conversation_that_is_named_keeps_its_name(headers, body, expected) -> None:
    assert conversation(headers, body, resp_1="first") == expected


NOT_NAMES = [
    {"user": "someone"},
    {"prompt_cache_key": "app"},
    {"metadata": {"user_id": "someone"}},
    {"metadata": {"user_id": "[1]"}},
    {"metadata": {"user_id": 7, "session_id": 7}},
    {"metadata": None, "conversation": 3, "previous_response_id": None},
]


@pytest.mark.parametrize("more", NOT_NAMES)
def test_what_names_a_person_or_nothing_is_not_a_conversation(more) -> None:
    assert conversation({}, TURN | more) == conversation({}, TURN)


HI = {"role": "user", "content": "Hi"}
MARK = {"cache_control": {"type": "ephemeral"}}
PARTS = {"role": "user", "content": [{"type": "text", "text": "Hi"} | MARK]}
IMAGE = {"type": "image", "source": {"data": "AAAA"}}
REST = [{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "And now?"}]
SYSTEM = {"role": "system", "content": "Be brief."}

SAME = {
    "a later turn": ({"messages": [HI]}, {"messages": [HI, *REST]}),
    "text as a part": ({"messages": [HI]}, {"messages": [PARTS, *REST]}),
    "a system message": (
        {"messages": [SYSTEM, HI]},
        {"messages": [SYSTEM, HI, *REST, {"role": "system", "content": "Hurry."}]},
    ),
    "a cache mark on an image": (
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        {"messages": [{"role": "user", "content": [IMAGE | MARK]}]},
    ),
    "responses input": ({"input": "Hi"}, {"input": [HI, *REST]}),
    "other settings": ({"messages": [HI], "temperature": 1}, {"messages": [HI], "stream": True}),
}


@pytest.mark.parametrize("name", SAME)
def test_all_turns_of_a_conversation_have_one_id(name: str) -> None:
    first, later = SAME[name]
    assert conversation({}, first) == conversation({}, later)


def test_another_opening_system_prompt_or_caller_is_another_conversation() -> None:
    ids = [
        conversation({}, TURN),
        conversation({}, TURN | {"system": "Be long."}),
        conversation({}, TURN | {"messages": [{"role": "user", "content": "Hey"}]}),
        conversation({}, TURN, key="another"),
        conversation({}, {"instructions": "Be brief.", "input": "Hey ho"}),
        conversation({}, {"messages": [SYSTEM, HI]}),
        conversation({}, {"messages": [{"role": "user", "content": [IMAGE]}]}),
    ]
    assert len(set(ids)) == len(ids)
    assert all(i.startswith("opening-") for i in ids)


FIELDS = st.sampled_from(
    ["model", "metadata", "messages", "input", "system", "instructions", "conversation",
     "previous_response_id", "role", "content", "user_id", "anything"]
)  # fmt: skip
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(FIELDS, JSON, max_size=4)


@given(OBJECTS)
def test_any_json_object_has_a_conversation(body) -> None:
    assert conversation({}, body)


@given(st.binary() | OBJECTS.map(lambda b: json.dumps(b).encode()[:-1]))
def test_a_body_that_is_no_json_object_is_unreadable_and_no_error(data: bytes) -> None:
    assert parse_body(data) is None


def test_bad_utf8_inside_json_is_no_error() -> None:
    body = parse_body(b'{"messages": "\xff", "model": "\xff\xfe", "metadata": {"user_id": "\xff"}}')
    assert conversation_id({}, body or {}, "k", lambda _: "")


# What is asked


def asked_of(headers: dict[str, str], body: object = None, **more: object) -> Asked:
    given = {
        "path": "/v1/messages",
        "query": "",
        "protocol": ANTHROPIC,
        "headers": headers,
        "body": parse_body(json.dumps(body or TURN).encode()),
        "workload": "",
        "key_hash": "k",
        "plan": plan_of(app="support-*"),
        "conversation_of": lambda _: "",
    }
    return read_request(**(given | more))


@pytest.mark.parametrize(
    ("match", "headers", "body"),
    [
        ({"app": "claude-cli"}, {"user-agent": "claude-cli/2.0 (external, cli)"}, TURN),
        ({"app": "support-*"}, {"x-cutover-app": "support-bot", "user-agent": "x/1"}, TURN),
        ({"team": "sales"}, {"x-cutover-team": "sales"}, TURN),
        ({"tags": {"env": "prod"}}, {"X-Cutover-Tag-Env": "prod"}, TURN),
        ({"model": "claude-*"}, {}, TURN | {"model": "claude-sonnet-4"}),
        ({"path": "/v1/messages"}, {}, TURN),
    ],
)
def test_the_plans_rules_find_the_workload(match, headers, body) -> None:
    plan = plan_of(**match)
    assert asked_of(CIMultiDict(headers), body, plan=plan).workload == "w"
    assert asked_of({}, {"model": "gpt-5"}, plan=plan, path="/v1/x").workload == ""


def test_the_path_names_the_workload_before_the_header_and_the_header_before_the_rules() -> None:
    headers = {"x-cutover-workload": "b", "x-cutover-app": "support-bot"}
    assert asked_of(headers, workload="a").workload == "a"
    assert asked_of(headers).workload == "b"
    assert asked_of({"x-cutover-app": "support-bot"}).workload == "w"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/messages", ("", "/v1/messages")),
        ("/w/support/v1/messages", ("support", "/v1/messages")),
        ("/w/%E5%AE%A2%E6%9C%8D/v1/a%2Fb", ("客服", "/v1/a%2Fb")),
        ("/w/support", ("", "/w/support")),
        ("/w//v1", ("", "/w//v1")),
    ],
)
def test_a_workload_in_the_path_is_split_off(path, expected) -> None:
    assert split_path(path) == expected


def test_product_names_and_attempts() -> None:
    assert product("Anthropic/Python 0.7") == "Anthropic"
    assert product("curl") == product("curl something") == "curl"
    assert product("") == ""
    retries = ("", "0", "3", "-1", "x", "²", "9" * 5)
    assert [attempt_of({"x-stainless-retry-count": r}) for r in retries] == [1, 1, 4, 1, 1, 1, 1]


# The split


def test_conversations_are_spread_as_the_shares_say() -> None:
    plan = plan_of(stage(0, kimi=0.2, glm=0.3))
    drawn = Counter(choose(plan, "w", f"c-{n}", START).endpoint for n in range(20_000))
    for name, share in {"kimi": 0.2, "glm": 0.3, "claude": 0.5}.items():
        assert abs(drawn[name] / 20_000 - share) < 0.015  # over four standard errors


@given(st.text(), st.text())
def test_a_position_lies_in_the_unit_interval_and_stays(workload: str, talk: str) -> None:
    assert 0 <= position(workload, talk) < 1
    assert position(workload, talk) == position(workload, talk)


def test_positions_do_not_change_between_releases() -> None:
    assert position("support", "c-1") == 0.15458151438020384


SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=5).map(
    lambda parts: {f"e{n}": part / max(1.0, sum(parts)) for n, part in enumerate(parts)}
)


@given(SHARES, st.floats(0, 1, exclude_max=True))
def test_only_endpoints_with_a_share_are_drawn(shares: dict[str, float], at: float) -> None:
    full = shares | {"baseline": max(0.0, 1 - sum(shares.values()))}
    assert full[draw(full, at)] > 0


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_one_candidates_ramp_only_ever_moves_conversations_to_it(talk, a, b) -> None:
    low, high = sorted((a, b))
    before = choose(plan_of(stage(0, kimi=low)), "w", talk, START).endpoint
    after = choose(plan_of(stage(0, kimi=high)), "w", talk, START).endpoint
    assert (before, after) != ("kimi", "claude")


RAMPS = st.lists(
    st.tuples(st.floats(0.01, 0.49), st.floats(0.01, 0.49)), min_size=1, max_size=5
).map(lambda shares: [stage(n, kimi=k, glm=g) for n, (k, g) in enumerate(shares)])


@given(RAMPS, st.text())
def test_a_remembered_conversation_stays_over_every_ramp(stages: list[Stage], talk: str) -> None:
    plan = plan_of(*stages)
    first = choose(plan, "w", talk, START).endpoint
    for hour in range(len(stages)):
        assert choose(plan, "w", talk, START + hour * HOUR, first).endpoint == first


def test_an_endpoint_whose_share_is_gone_loses_its_conversations_at_once() -> None:
    plan = plan_of(stage(0, kimi=0.5), stage(1), stage(2, glm=1.0))
    assert choose(plan, "w", "c", START, "kimi").endpoint == "kimi"
    assert choose(plan, "w", "c", START + HOUR, "kimi").endpoint == "claude"
    assert choose(plan, "w", "c", START + 2 * HOUR, "claude").endpoint == "glm"
    assert choose(plan, "w", "c", START, "gone from the plan").endpoint in ("kimi", "claude")


def test_a_choice_says_the_stage_and_the_candidates_share_in_force() -> None:
    plan = plan_of(stage(1, kimi=0.25, glm=0.5))
    assert choose(plan, "w", "c", START) == Choice("claude", "", 0.0)
    later = choose(plan, "w", "c", START + HOUR)
    assert (later.stage, later.share) == ("hour 1", 0.75)
    assert choose(plan, "not planned", "c", START + HOUR) == Choice("claude")


def test_shares_that_add_up_to_one_leave_the_baseline_nothing() -> None:
    plan = plan_of(stage(0, kimi=0.7, glm=0.3))
    assert shares_in_force(plan, plan.workloads["w"], START)["claude"] == 0.0


# The way


def way(name: str, protocol: Protocol = ANTHROPIC, **more: object):
    plan = plan_of(stage(0, kimi=0.5, glm=0.5))
    path = {ANTHROPIC: "/v1/messages", CHAT: "/v1/chat/completions", RESPONSES: "/v1/responses"}
    asked = asked_of({}, plan=plan, workload="w", path=path[protocol], protocol=protocol, **more)
    return route(asked, Choice(name, "s", 1.0), plan, catalog)


def test_a_candidates_route_has_its_address_and_its_model() -> None:
    found = way("kimi", query="beta=true&key=x")
    assert found.url == "https://moonshot.example/anthropic_messages/v1/messages?beta=true"
    assert (found.provider, found.arm, found.model) == ("moonshot", Arm.CANDIDATE, "kimi-k2.6")
    assert way("glm").model == ""  # no rule for the empty name
    assert way("claude", query="key=x").url.endswith("?key=x")


def test_a_protocol_the_candidate_does_not_serve_stays_on_the_baseline() -> None:
    found = way("kimi", RESPONSES)
    assert (found.endpoint, found.arm, found.model) == ("claude", Arm.BASELINE, "")
    assert found.kept == "kimi has no openai_responses"


def test_a_baseline_without_an_address_is_an_error_that_names_the_entry_to_add() -> None:
    plan = plan_of(stage(0))
    with pytest.raises(
        MissingBaseUrlError, match=r"endpoints\.claude\.base_urls\.anthropic_messages"
    ):
        route(asked_of({}), Choice("claude"), plan, lambda *_: None)


@pytest.mark.parametrize(
    ("base", "protocol", "path", "expected"),
    [
        ("https://a.cn/anthropic", ANTHROPIC, "/v1/messages", "https://a.cn/anthropic/v1/messages"),
        ("https://a.cn/", ANTHROPIC, "/v1/messages", "https://a.cn/v1/messages"),
        ("https://a.cn/v1", CHAT, "/v1/chat/completions", "https://a.cn/v1/chat/completions"),
        (
            "https://a.cn/api/paas/v4",
            CHAT,
            "/v1/chat/completions",
            "https://a.cn/api/paas/v4/chat/completions",
        ),
        ("https://a.cn/v2/", RESPONSES, "/responses", "https://a.cn/v2/responses"),
    ],
)
def test_base_url_and_path_are_joined(base, protocol, path, expected) -> None:
    assert join(base, protocol, path, "") == expected
    assert join(base, protocol, path, "a=1&b") == f"{expected}?a=1&b"


def test_other_paths_go_to_the_address_their_headers_hint_at() -> None:
    plan = plan_of()
    claude = "https://anthropic.example"
    tokens = pass_through_url("/v1/messages/count_tokens", "", {}, plan, catalog)
    assert tokens == f"{claude}/anthropic_messages/v1/messages/count_tokens"
    models = pass_through_url("/v1/models", "", {"anthropic-version": "x"}, plan, catalog)
    assert models == f"{claude}/anthropic_messages/v1/models"
    assert pass_through_url("/v1/models", "", {}, plan, catalog) == f"{claude}/openai_chat/models"


def test_keys_are_taken_out_of_query_strings() -> None:
    assert without_keys("a=1&API_KEY=x&%6bey=y&key&b") == "a=1&b"


# Bodies


@given(OBJECTS, st.text())
def test_setting_the_model_keeps_everything_else(body: dict[str, object], model: str) -> None:
    parsed = parse_body(json.dumps(body).encode())
    changed = with_model(parsed or {}, model)
    assert json.loads(changed) == body | {"model": model}
    assert [k for k in json.loads(changed) if k != "model"] == [k for k in body if k != "model"]


def test_numbers_and_escapes_stay_as_they_were_written() -> None:
    body = b'{"a":1.50,"model":"x","b":123456789012345678901234567890,"c":"\\u4f60\\/","d":1E400}'
    assert with_model(parse_body(body) or {}, "y") == body.replace(b'"x"', b'"y"')


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1), st.integers(1, 100))
def test_a_copy_holds_the_plain_bytes_up_to_its_limit(chunks: list[bytes], limit: int) -> None:
    plain = b"".join(chunks)
    for encoding, window in (("gzip", 31), ("deflate", 15), ("deflate", -15)):
        zipper = zlib.compressobj(wbits=window)
        copy = Copy(encoding, limit)
        for chunk in chunks:
            copy.feed(zipper.compress(chunk) + zipper.flush(zlib.Z_SYNC_FLUSH))
        copy.feed(zipper.flush())
        assert copy.data == plain[:limit]
        assert copy.cut == (len(plain) > limit)


@given(st.binary(), st.sampled_from(["gzip", "deflate", "br", "nonsense"]))
def test_a_copy_of_anything_is_no_error(data: bytes, encoding: str) -> None:
    copy = Copy(encoding)
    copy.feed(data)
    copy.text()


def test_secrets_are_struck_out_and_short_words_are_not() -> None:
    assert struck_out("key abcdefgh here", ("abcdefgh", "key", "")) == "key [redacted] here"


# Headers

SECRET = "caller-secret-value"
KEY_NAMES = st.from_regex(r"(x-|my-|[A-Z])[A-Za-z0-9-]{0,9}(key|auth|token)", fullmatch=True)


@given(st.lists(st.sampled_from([*rules.KEY_HEADERS, "Openai-Organization"]) | KEY_NAMES))
def test_whatever_header_the_callers_key_is_in_a_candidate_does_not_see_it(names) -> None:
    sent = rules.with_own_key([(name, SECRET) for name in names], ANTHROPIC, "own")
    assert sent == [("authorization", "Bearer own"), ("x-api-key", "own")]


def test_the_baseline_gets_all_of_the_callers_headers_but_ours_and_the_connections() -> None:
    sent = [
        ("Host", "tap"),
        ("Authorization", "Bearer k"),
        ("X-Cutover-Token", "t"),
        ("Connection", "keep-alive, X-Once"),
        ("X-Once", "1"),
        ("Transfer-Encoding", "chunked"),
        ("X-Mine", "1"),
        ("X-Mine", "2"),
    ]
    kept = [("Authorization", "Bearer k"), ("X-Mine", "1"), ("X-Mine", "2")]
    assert rules.for_baseline(sent) == kept


def test_a_candidate_keeps_the_headers_that_say_how_to_read_the_request() -> None:
    sent = [("anthropic-version", "2023-06-01"), ("anthropic-beta", "b"), ("Content-Type", "j")]
    assert rules.with_own_key(sent, CHAT, "own") == [*sent, ("authorization", "Bearer own")]


# Memory


def test_memory_forgets_what_was_idle_and_what_was_longest_unused() -> None:
    memory = Memory(limit=2, idle_ms=100)
    memory.put("a", "1", at_ms=0)
    assert memory.get("a", at_ms=100) == "1"
    assert memory.get("a", at_ms=200) == "1"
    assert memory.get("a", at_ms=301) == ""
    for key in "abc":
        memory.put(key, key, at_ms=400)
        memory.get("a", at_ms=400)
    assert [memory.get(key, at_ms=400) for key in "abc"] == ["a", "", "c"]
    assert memory.get("never put", at_ms=0) == ""
