"""Two answers to one request: what is compared, and what makes no difference. From bytes to the store's views."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import STARTED, anthropic_record, message

from pipeline.calls import Arm, Call, Exchange, Pair, ScoredCall, Tool, ToolCall
from pipeline.formats.cutover import Record, encode
from pipeline.intake import Intake
from pipeline.rules import load_checks
from pipeline.scoring.pairs import compare
from pipeline.scoring.score import score_message
from pipeline.store.connect import rows
from pipeline.store.verdicts import PAIRS, read_arrivals
from pipeline.verdicts.conversations import Conversations, PairArrival
from pipeline.verdicts.units import Pair as JudgedPair

LANGUAGE = load_checks().language
SEARCH = Tool(
    "search",
    {"properties": {"limit": {"default": 10}, "where": {"properties": {"radius": {"default": 5}}}}},
)


def call(text: str = "", **changes: Any) -> Call:
    return Call(call_id="c", source="test", exchange=Exchange(text=text, **changes))


def using(*calls: tuple[str, Any], tools: tuple[Tool, ...] = (SEARCH,)) -> Call:
    made = tuple(
        ToolCall(str(n), name, given if isinstance(given, str) else json.dumps(given))
        for n, (name, given) in enumerate(calls)
    )
    return call(tool_calls=made, tools=tools)


def agreement(a: Call, b: Call) -> dict[str, float]:
    return {name: float(c.value) for name, c in compare(LANGUAGE, a, False, b, False).items()}


def evidence(a: Call, b: Call) -> dict[str, str]:
    return {name: c.evidence for name, c in compare(LANGUAGE, a, False, b, False).items()}


ARGUMENTS = {
    "key order": ({"q": "a", "n": 1}, {"n": 1, "q": "a"}, 1),
    "a number written otherwise": ({"n": 1}, {"n": 1.0}, 1),
    "white space around text": ({"q": " a\n"}, {"q": "a"}, 1),
    "an accent composed otherwise": ({"q": "caf\u00e9"}, {"q": "cafe\u0301"}, 1),
    "a default left out": ({"q": "a"}, {"q": "a", "limit": 10}, 1),
    "a default inside": ({"where": {"city": "x", "radius": 5}}, {"where": {"city": "x"}}, 1),
    "null and nothing": ({"q": "a", "r": None}, {"q": "a"}, 1),
    "no arguments at all": ("", {}, 1),
    "one of two values": ({"q": "a", "n": 1}, {"q": "a", "n": 2}, 0.5),
    "a value more": ({"q": "a"}, {"q": "a", "n": 2}, 0.5),
    "true is not one": ({"n": True}, {"n": 1}, 0),
    "text is not a number": ({"n": "1"}, {"n": 1}, 0),
    "a longer list": ({"l": [1, 2]}, {"l": [1, 2, 3, 4]}, 0.5),
    "lists have an order": ({"l": [1, 2]}, {"l": [2, 1]}, 0),
    "an object for a value": ({"o": {"a": 1, "b": 2}}, {"o": 1}, 0),
    "broken JSON alike": ('{"q":', '{"q":', 1),
    "broken JSON on one side": ('{"q":', {"q": 1}, 0),
    "deeper than can be read": ("[" * 5000, "[" * 5000, 1),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_compared_by_what_they_mean(name: str) -> None:
    one, other, expected = ARGUMENTS[name]
    for a, b in ((one, other), (other, one)):
        assert agreement(using(("search", a)), using(("search", b)))["same_arguments"] == expected


def test_arguments_differ_at_a_place_that_is_named_without_its_value() -> None:
    one, other = {"where": {"city": "Rome"}, "l": [1, 2]}, {"where": {"city": "Oslo"}, "l": [1, 2]}
    found = evidence(using(("search", one)), using(("search", other)))
    assert found["same_arguments"] == "search: /where/city"


TOOLS = {
    "the same ones in another order": (["a", "b"], ["b", "a"], 1, True),
    "one of two": (["a"], ["b"], 0, False),
    "one more": (["a"], ["a", "b"], 0.6667, True),
    "twice against once": (["a", "a"], ["a"], 0.6667, True),
    "none where one was called": (["a"], [], 0, False),
    "none of those offered, both": ([], [], 1, False),
}


@pytest.mark.parametrize("name", TOOLS)
def test_tools_agree_by_name_and_number(name: str) -> None:
    here, there, expected, compared = TOOLS[name]
    a, b = (using(*((tool, {}) for tool in names)) for names in (here, there))
    assert agreement(a, b)["same_tools"] == expected
    assert ("same_arguments" in agreement(a, b)) == compared


TEXTS = {
    "the same": ("It arrives tomorrow.", "It arrives  TOMORROW", 1, 1),
    "other words": ("It arrives tomorrow.", "Nobody knows anything here!", 0, 0),
    "Chinese, mostly the same": ("您的包裹明天送达，请注意查收。", "您的包裹明天会送达，请您查收。", 0.6, 0.9),
    "Chinese, other words": ("您的包裹明天送达。", "很抱歉无法回答", 0, 0.1),
    "half of it": ("one two three four", "one two", 0.4, 0.7),
    "signs alone": ("!!", "??", 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_similar_by_the_words_and_characters_they_share(name: str) -> None:
    a, b, least, most = TEXTS[name]
    assert least <= agreement(call(a), call(b))["similar_text"] <= most


def test_length_and_language_are_compared_where_they_can_be_told() -> None:
    english = "It will arrive tomorrow at noon, as you wished. " * 3
    chinese = "您的包裹明天送达。" * 6
    found = agreement(call(english), call(chinese))
    assert found["same_language"] == 0
    assert 0 < found["same_length"] < 1
    assert evidence(call(english), call(chinese))["same_language"] == "shadow: latin; user: zh"
    assert "same_language" not in agreement(call("Ok"), call("好"))


def json_answer(text: str) -> Call:
    return call(text, json_wanted=True)


def test_structured_output_is_compared_as_data_and_not_as_text() -> None:
    total = json_answer('{"total": 12.50, "currency": "EUR"}')
    fenced = json_answer('```json\n{"currency":"EUR","total":12.5}\n```')
    assert agreement(total, fenced) == {"same_outcome": 1, "same_structured_output": 1}
    half = agreement(total, json_answer('{"total": 99, "currency": "EUR"}'))
    assert half["same_structured_output"] == 0.5
    assert agreement(total, json_answer("Sorry"))["same_structured_output"] == 0
    assert "same_structured_output" not in agreement(json_answer("No"), json_answer("Sorry"))


def test_where_one_failed_only_that_is_compared_and_a_cancelled_call_says_nothing() -> None:
    one = compare(LANGUAGE, call("a"), True, call("a"), False)
    assert [(n, float(c.value), c.evidence) for n, c in one.items()] == [
        ("same_outcome", 0, "the shadow call alone failed")
    ]
    both = compare(LANGUAGE, call(), True, call(), True)
    assert {name: float(c.value) for name, c in both.items()} == {"same_outcome": 1}
    assert compare(LANGUAGE, call("a"), None, call("a"), False) == {}


# Whatever the answers are

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=5),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(["q", "limit", "where", "x"]), values, max_size=4)
tool_calls = st.lists(st.tuples(st.sampled_from(["search", "book", ""]), objects), max_size=3)
texts = st.text(max_size=60) | st.text(alphabet="您的包裹明天送达 ab1,。", max_size=60)


@st.composite
def answers(draw: st.DrawFn, json_wanted: bool = False) -> Call:
    made = using(*draw(tool_calls)).exchange
    said = draw(texts | values.map(json.dumps))
    return call(said, tools=made.tools, tool_calls=made.tool_calls, json_wanted=json_wanted)


pairs = st.booleans().flatmap(lambda wanted: st.tuples(answers(wanted), answers(wanted)))


@given(pairs)
def test_agreement_is_between_0_and_1_and_the_same_both_ways_round(pair: tuple[Call, Call]) -> None:
    a, b = pair
    found = compare(LANGUAGE, a, False, b, False)
    back = compare(LANGUAGE, b, False, a, False)
    assert all(0 <= check.value <= 1 and len(check.evidence) <= 200 for check in found.values())
    assert {n: c.value for n, c in found.items()} == {n: c.value for n, c in back.items()}


@given(pairs)
def test_an_answer_agrees_with_itself_in_everything(pair: tuple[Call, Call]) -> None:
    assert set(agreement(pair[0], pair[0]).values()) == {1.0}


@given(objects, st.randoms(use_true_random=False))
def test_the_order_of_keys_makes_no_difference(arguments: dict[str, Any], random: Any) -> None:
    keys = list(arguments)
    random.shuffle(keys)
    shuffled = {key: arguments[key] for key in keys}
    found = agreement(using(("search", arguments)), using(("search", shuffled)))
    assert found["same_arguments"] == 1


@given(objects, objects)
def test_one_more_difference_never_makes_arguments_more_alike(
    a: dict[str, Any], b: dict[str, Any]
) -> None:
    before = agreement(using(("search", a)), using(("search", b)))["same_arguments"]
    apart = agreement(using(("search", a | {"z": 1})), using(("search", b | {"z": 2})))
    if a or b:  # nothing on both sides counts as one equal value
        assert apart["same_arguments"] <= before


# From records to rows


def shadow(call_id: str, twin: Record, text: str, to: Arm, **changes: Any) -> Record:
    """A mirrored call of the twin's request, answered by Kimi or by Claude again."""
    response = json.loads(twin.response) | {"content": [{"type": "text", "text": text}]}
    again = to == Arm.BASELINE
    fields = {
        "arm": Arm.SHADOW,
        "shadow_of": twin.call_id,
        "mirrored_to": to,
        "twin": twin,
        "conversation_id": twin.conversation_id,
        "provider": "anthropic" if again else "moonshot",
        "host": "api.anthropic.com" if again else "api.moonshot.cn",
        "request": twin.request.replace("claude-sonnet-4-5-20250929", "kimi-k2.6"),
        "response": json.dumps(response | {"model": "kimi-k2.6"}),
        "ended_at": STARTED + 2400,
    }
    return anthropic_record(call_id, **{**fields, **changes})


def scored(record: Record, rules: Any) -> ScoredCall:
    (found,) = score_message(encode(record), STARTED, rules)
    assert isinstance(found, ScoredCall)
    return found


def test_a_shadow_call_with_its_twin_is_scored_as_a_pair(rules: Any) -> None:
    user = anthropic_record("u1")
    pair = scored(shadow("s1", user, "It arrives on Monday.", Arm.CANDIDATE), rules).pair
    assert isinstance(pair, Pair)
    assert (pair.shadow_of, pair.provider, pair.twin_provider) == ("u1", "moonshot", "anthropic")
    assert (pair.duration_ms, pair.twin_duration_ms) == (2400, 1200)
    assert (pair.failed, pair.twin_failed) == (False, False)
    assert pair.twin_cost == scored(user, rules).cost
    assert pair.twin_quality == scored(user, rules).quality == Decimal(1)
    assert set(pair.agreement) == {"same_outcome", "same_length", "similar_text"}


def test_a_twin_makes_no_pair_of_a_call_that_is_no_shadow(rules: Any) -> None:
    user = anthropic_record("u1")
    assert scored(shadow("s1", user, "Hi", Arm.CANDIDATE, arm=Arm.CANDIDATE), rules).pair is None
    assert scored(user, rules).pair is None


def test_keys_are_blanked_out_of_a_pair_too(rules: Any) -> None:
    key = "sk-ant-api03-" + "x" * 40
    user = anthropic_record("u1", conversation_id=key)
    assert key not in str(scored(shadow("s1", user, "Hi", Arm.CANDIDATE, stage=key), rules))


def test_a_failure_of_the_candidate_alone_counts_as_such(rules: Any) -> None:
    down = shadow("s1", anthropic_record("u1"), "", Arm.CANDIDATE, response="", http_status=529)
    pair = scored(down, rules).pair
    assert pair
    assert (pair.failed, pair.twin_failed) == (True, False)
    assert pair.agreement == {"same_outcome": Decimal(0)}


@pytest.fixture
def stored(store: Any, rules: Any) -> Any:
    """Two conversations, of two calls and of one, mirrored to Kimi; one call to Claude again."""
    first = anthropic_record("u1", conversation_id="talk 1")
    second = anthropic_record("u2", conversation_id="talk 1", started_at=STARTED + 500)
    third = anthropic_record("u3", conversation_id="talk 2", started_at=STARTED + 900)
    records = [
        first,
        second,
        third,
        shadow("k1", first, "It arrives tomorrow.", Arm.CANDIDATE),
        shadow("k2", second, "Nobody knows.", Arm.CANDIDATE),
        shadow("k3", third, "", Arm.CANDIDATE, response="", http_status=529),
        shadow("a1", first, "It arrives tomorrow, surely.", Arm.BASELINE),
    ]
    messages = [message(n, encode(record)) for n, record in enumerate(records)]
    again = [*messages, message(7, encode(records[3]))]
    for part in (messages, again):  # the second by a worker that starts anew
        worker = Intake(client=store, cluster="c", worker="w", batch_calls=100, remembered_ids=100)
        worker.store("llm.calls", 0, part, rules, lambda: True)
    return store


def test_every_pair_is_stored_once_whatever_comes_again(stored: Any) -> None:
    found = rows(stored, "SELECT call_id FROM pairs ORDER BY call_id")
    assert [row["call_id"] for row in found] == ["a1", "k1", "k2", "k3"]
    assert stored.command("SELECT count() FROM calls") == 7


def test_pairs_are_shown_by_comparison(stored: Any) -> None:
    (row,) = rows(stored, "SELECT * FROM v_pairs WHERE call_id = 'k3'")
    assert (row["check"], row["value"], row["shadow_of"]) == ("same_outcome", 0, "u3")
    assert row["evidence"] == "the shadow call alone failed"


def test_disagreement_is_shown_beside_the_noise_floor(stored: Any) -> None:
    (row,) = rows(stored, "SELECT * FROM v_disagreement WHERE check = 'similar_text'")
    assert (row["workload"], row["provider"], row["pairs"]) == ("support", "moonshot", 2)
    assert row["disagreement"] == pytest.approx(0.5)
    assert row["noise_pairs"] == 1
    assert 0 < row["noise"] < 0.5
    assert row["excess"] == pytest.approx(row["disagreement"] - row["noise"])
    (outcome,) = rows(stored, "SELECT * FROM v_disagreement WHERE check = 'same_outcome'")
    assert outcome["disagreement"] == pytest.approx(1 / 3)


def judged(stored: Any) -> list[JudgedPair]:
    """The pairs as the judge reads and closes them."""
    came = read_arrivals(stored, PAIRS, {("c", "llm.calls", 0): (0, 7)}).calls
    taken = Conversations[PairArrival](idle_ms=10_000)
    assert all(taken.add(each) for each in came)
    return taken.close(STARTED + 10**6, lambda c: c.pairs(lambda call: call.model)).units


def test_a_conversation_is_one_unit_of_the_paired_tests(stored: Any) -> None:
    one, two = judged(stored)
    assert [(p.conversation_id, p.provider, p.pairs) for p in (one, two)] == [
        ("talk 1", "moonshot", 2),
        ("talk 2", "moonshot", 1),
    ]
    assert [(p.score_baseline, p.score_candidate) for p in (one, two)] == [(1, 1), (1, 0)]
    assert [(p.failed_baseline, p.failed_candidate) for p in (one, two)] == [(0, 0), (0, 1)]
    assert (one.assigned_at, one.closed_at) == (STARTED, STARTED + 500 + 2400)


def test_noise_and_disagreement_are_over_the_same_calls(stored: Any) -> None:
    """Of talk 1 only the call whose first answer the candidate gave word for word has a noise pair."""
    one, two = judged(stored)
    assert one.disagreement == 0
    assert one.noise and 0 < one.noise < 0.5
    assert (two.noise, two.disagreement) == (None, 1)


def test_what_the_plan_leaves_out_is_left_out_of_the_pairs_too(rules: Any) -> None:
    user = anthropic_record("u1", app="nightly", tags={"team": "qa"})
    made = shadow("s1", user, "Hi", Arm.CANDIDATE, app="nightly", tags={"team": "qa"})
    pair = scored(made, rules).pair
    assert pair
    assert (pair.app, pair.tags) == ("nightly", {"team": "qa"})


def test_shadow_calls_are_told_apart_from_user_traffic(stored: Any) -> None:
    arms = rows(
        stored, "SELECT arm, sum(m.calls) AS n FROM v_minutes AS m GROUP BY arm ORDER BY arm"
    )
    assert arms == [{"arm": "", "n": 3}, {"arm": "shadow", "n": 4}]
