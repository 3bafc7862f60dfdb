"""Each check applies where it can tell something, and says why it says no."""

import json
import socket
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls import Call, Exchange, Failure, Fault, Tool, ToolCall
from pipeline.protocols import FINDINGS
from pipeline.rules import load_checks
from pipeline.scoring.failures import FailureFinding
from pipeline.scoring.quality import check_call, marks
from pipeline.scoring.refusal import ByLanguage, refusal_in
from pipeline.yamlfile import load

CHECKS = load_checks()
DATA = Path(__file__).parent / "data"
D = Decimal
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("weather", CITY)


class Labelled(msgspec.Struct, forbid_unknown_fields=True):
    """One half of `tests/data/refusals.yml`."""

    refused: list[str]
    answered: list[str]


class Languages(msgspec.Struct, forbid_unknown_fields=True):
    """`tests/data/quality_language.yml`: named texts, and message, answer, whether it is as asked."""

    texts: dict[str, str]
    cases: list[tuple[str, str, str]]


class Loop(msgspec.Struct, forbid_unknown_fields=True):
    """A case of `tests/data/quality_repetition.yml`; `loops` is None where it is not judged."""

    says: str
    text: str
    part: str
    times: int
    loops: bool | None
    after: str = ""
    prompt: str = ""


def checked(
    failure: FailureFinding | None = None, finish: str = "stop", source: str = "test", **exchange
) -> dict:
    call = Call(call_id="a", source=source, exchange=Exchange(**{"text": "It rains.", **exchange}))
    return check_call(CHECKS, call, failure, finish)


def failed(failure: Failure, fault: Fault = Fault.PROVIDER) -> FailureFinding:
    return FailureFinding(failure, "529", "no capacity", fault)


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def calls(*arguments: str, name: str = "weather") -> tuple[ToolCall, ...]:
    return tuple(ToolCall(str(number), name, text) for number, text in enumerate(arguments))


CASES = [
    # what is true, arguments of `checked`, value of each check that applies, quality
    ("a plain answer is good", {}, {"delivered": 1, "complete": 1, "not_refused": 1}, "1"),
    ("an unknown end is not judged", {"finish": ""}, {"delivered": 1, "not_refused": 1}, "1"),
    ("the provider's failure is no answer", {"failure": failed(Failure.OVERLOADED)}, {"delivered": 0}, "0"),
    ("a broken stream is incomplete too", {"failure": failed(Failure.TRUNCATED_STREAM)}, {"delivered": 0, "complete": 0}, "0"),
    ("the caller's failure says nothing", {"failure": failed(Failure.AUTH, Fault.CALLER)}, {}, None),
    ("a cut answer is incomplete", {"finish": "length", "max_output_tokens": 4096}, {"delivered": 1, "complete": 0, "not_refused": 1}, "0.75"),
    ("a limit that was meant so is not judged", {"finish": "length", "max_output_tokens": 16}, {"delivered": 1, "not_refused": 1}, "1"),
    ("a cut without a known limit is incomplete", {"finish": "length"}, {"delivered": 1, "complete": 0, "not_refused": 1}, "0.75"),
    ("a refusal of the protocol counts", {"text": "", "refusal": "No."}, {"delivered": 1, "complete": 1, "not_refused": 0}, "0.75"),
    ("an empty text is not judged", {"text": ""}, {"delivered": 1, "complete": 1}, "1"),
    ("an optional tool need not be called", {"tools": (WEATHER,)}, {"delivered": 1, "complete": 1, "not_refused": 1}, "1"),
    ("a required tool must be called", {"tools": (WEATHER,), "tool_required": True}, {"delivered": 1, "complete": 1, "not_refused": 1, "tool_calls_valid": 0}, "0.7273"),
    ("good arguments", {"tools": (WEATHER,), "tool_calls": calls('{"city":"Bonn"}')}, {"delivered": 1, "complete": 1, "tool_calls_valid": 1}, "1"),
    ("one of three is wrong", {"tools": (WEATHER,), "tool_calls": calls('{"city":"Bonn"}', '{"city":1}', '{"city":"Ulm","days":2}')}, {"delivered": 1, "complete": 1, "tool_calls_valid": "0.6667"}, "0.8889"),
    ("no arguments are an empty object", {"tools": (Tool("now", {"type": "object"}),), "tool_calls": calls("", name="now")}, {"delivered": 1, "complete": 1, "tool_calls_valid": 1}, "1"),
    ("a tool without a schema takes anything", {"tools": (Tool("weather"),), "tool_calls": calls('{"x":1}')}, {"delivered": 1, "complete": 1, "tool_calls_valid": 1}, "1"),
    ("a schema that is none is not held against the call", {"tools": (Tool("weather", {"type": "wrong"}),), "tool_calls": calls("{}")}, {"delivered": 1, "complete": 1, "tool_calls_valid": 1}, "1"),
]  # fmt: skip


@pytest.mark.parametrize(("says", "given", "values", "mean"), CASES, ids=[c[0] for c in CASES])
def test_checks(says: str, given: dict, values: dict, mean: str | None) -> None:
    found = checked(**given)
    assert {name: check.value for name, check in found.items()} == {
        n: D(v) for n, v in values.items()
    }
    assert marks(CHECKS, found).quality == (D(mean) if mean is not None else None)
    assert all(check.evidence for check in found.values() if check.value == 0)


FAULTS = [
    ("weather", '{"city":', "weather: arguments are not JSON"),
    ("weather", "[" * 100_000, "weather: arguments are not JSON"),
    ("weather", "[]", "weather: arguments are not an object"),
    ("weather", '{"city":"x","days":0}', "weather: days breaks rule properties/days/minimum"),
    (
        "weather",
        '{"city":"secret place","x":1}',
        "weather: the value breaks rule additionalProperties",
    ),
    ("weather", "{}", "weather: the value breaks rule required"),
    ("whether", "{}", "whether was not offered"),
    ("", "{}", "(no name) was not offered"),
]


@pytest.mark.parametrize(("name", "arguments", "evidence"), FAULTS, ids=range(len(FAULTS)))
def test_a_bad_tool_call_is_told_without_its_values(
    name: str, arguments: str, evidence: str
) -> None:
    found = checked(tools=(WEATHER,), tool_calls=calls(arguments, name=name))["tool_calls_valid"]
    assert (found.value, found.evidence) == (0, evidence)


def test_evidence_is_short() -> None:
    many = calls(*["{}"] * 100, name="n" * 1000)
    assert len(checked(tools=(WEATHER,), tool_calls=many)["tool_calls_valid"].evidence) <= 200


def test_a_schema_that_points_elsewhere_is_never_fetched() -> None:
    """The request's author must not be able to make the worker call an address or read a file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        for address in (f"http://127.0.0.1:{server.getsockname()[1]}/s", "file:///etc/hostname"):
            tool = Tool("weather", {"$ref": address})
            found = checked(tools=(tool,), tool_calls=calls("{}"))
            assert found["tool_calls_valid"].value == 1
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}]
)
def test_a_schema_that_refers_to_itself_ends(schema: dict) -> None:
    assert "tool_calls_valid" in checked(tools=(Tool("weather", schema),), tool_calls=calls("{}"))


JSON_CASES = [
    # text, JSON Schema, evidence: "" is good, None is not judged
    ('{"city": "Bonn"}', None, ""),
    ('\n {"city": "Bonn"}\n', None, ""),
    ('{"city": "Bonn", "days": 2}', CITY, ""),
    ("[1, 2]", {"type": "array"}, ""),
    ("{}", {"type": "wrong"}, ""),
    ("{}", {"$ref": "http://127.0.0.1:1/schema"}, ""),
    ("[1, 2]", None, "the answer is JSON, but not an object"),
    ('```json\n{"city": "Bonn"}\n```', None, "a Markdown fence stands around the JSON"),
    ('Sure! {"city": "Bonn"}', None, "the answer is not JSON"),
    ('{"city": "Bonn"', None, "the answer is not JSON"),
    ('{"city": 4711}', CITY, "city breaks rule properties/city/type"),
    ("{}", CITY, "the value breaks rule required"),
    ("", None, None),
]


@pytest.mark.parametrize(("text", "schema", "evidence"), JSON_CASES, ids=range(len(JSON_CASES)))
def test_structured_output_is_json_and_nothing_else(
    text: str, schema: dict | None, evidence: str | None
) -> None:
    found = checked(text=text, json_wanted=True, json_schema=schema).get("structured_output_valid")
    assert (found.evidence if found else None) == evidence
    assert found is None or found.value == (0 if evidence else 1)


def test_a_value_nested_deeper_than_can_be_checked_stops_nothing() -> None:
    deep = '{"a":' * 900 + "{}" + "}" * 900
    found = checked(tools=(Tool("weather", CITY),), tool_calls=calls(deep))["tool_calls_valid"]
    assert found.value == 0
    assert "nested too deeply" in found.evidence


def test_structured_output_is_judged_only_where_it_was_asked_for_and_not_cut() -> None:
    assert "structured_output_valid" not in checked(text="{")
    assert "structured_output_valid" not in checked(text="{", json_wanted=True, finish="length")
    called = checked(text="Wait", json_wanted=True, tools=(WEATHER,), tool_calls=calls("{}"))
    assert "structured_output_valid" not in called


LANGUAGES = load(DATA / "quality_language.yml", Languages)


@pytest.mark.parametrize(("prompt", "answer", "as_asked"), LANGUAGES.cases)
def test_the_answer_comes_in_the_language_asked_for(
    prompt: str, answer: str, as_asked: str
) -> None:
    text = LANGUAGES.texts.get(answer.strip("{}"), answer)
    found = checked(prompt=prompt, text=text).get("language_as_asked")
    assert {None: "not judged", 1: "yes", 0: "no"}[found and int(found.value)] == as_asked


def test_the_language_of_json_and_of_what_comes_with_a_tool_call_is_not_judged() -> None:
    asked = {"prompt": "我的包裹到哪里了？", "text": LANGUAGES.texts["en"]}
    assert "language_as_asked" not in checked(**asked, json_wanted=True)
    called = checked(**asked, tools=(WEATHER,), tool_calls=calls('{"city":"Bonn"}'))
    assert "language_as_asked" not in called


LOOPS = load(DATA / "quality_repetition.yml", list[Loop])


@pytest.mark.parametrize("case", LOOPS, ids=[case.says for case in LOOPS])
def test_loops_are_found_and_what_only_looks_like_one_is_not(case: Loop) -> None:
    text = case.text + "".join(case.part.replace("{n}", str(n)) for n in range(case.times))
    found = checked(prompt=case.prompt, text=text + case.after).get("no_repetition")
    assert (None if found is None else found.value == 0) == case.loops
    assert found is None or len(found.evidence) <= 90


@given(st.text(max_size=40), st.text(min_size=1, max_size=12), st.integers(0, 2000))
def test_the_checks_of_text_take_any_text(head: str, part: str, times: int) -> None:
    text = head + part * times
    assert set(checked(prompt=head, text=text)) <= set(CHECKS.checks)


@pytest.mark.parametrize("part", ["a", "i ", "我", "我不能", "i can't ", "ab", '"', "it is not "])
def test_long_texts_do_not_take_the_checks_longer(part: str) -> None:
    """They read a part of bounded length; a pattern that went wild would not come back from here."""
    assert checked(prompt=part * 100_000, text=part * 1_000_000)


CONFORMANCE = [
    # findings, source, value: None is not judged
    ((), "cutover", 1),
    (("missing_done",), "cutover", D("0.75")),
    (("missing_done", "missing_response_id"), "cutover", D("0.5")),
    (tuple(FINDINGS), "cutover", 0),
    (("unreadable_request", "arguments_not_json", "in_band_error"), "cutover", 1),
    (("bad_token_count",), "litellm", None),
]


@pytest.mark.parametrize(("findings", "source", "value"), CONFORMANCE, ids=range(len(CONFORMANCE)))
def test_deviations_from_the_protocol_count_where_the_bytes_were_seen(
    findings: tuple[str, ...], source: str, value: Decimal | None
) -> None:
    found = checked(source=source, ended=True, findings=findings).get("protocol_conformance")
    assert (found.value if found else None) == value
    assert found is None or (found.evidence == "") == (value == 1)


def test_a_stream_that_broke_off_is_not_blamed_for_its_missing_end_as_well() -> None:
    broken = failed(Failure.TRUNCATED_STREAM)
    found = checked(broken, source="cutover", ended=False, findings=("missing_message_stop",))
    assert set(found) == {"delivered", "complete"}


def test_findings_that_do_not_count_are_known_ones() -> None:
    assert CHECKS.conformance.left_out <= set(FINDINGS)


def test_every_check_has_a_weight_and_a_question_in_both_languages() -> None:
    found = [
        checked(tools=(WEATHER,), tool_required=True, source="cutover", ended=True),
        checked(prompt="Where is my parcel?", text=LANGUAGES.texts["en"] * 3),
        checked(text="{}", json_wanted=True),
    ]
    assert {name for checks in found for name in checks} == set(CHECKS.checks)
    assert all(
        set(rule.asks) == {"en", "zh"} and rule.weight > 0 for rule in CHECKS.checks.values()
    )


def test_the_page_about_quality_names_every_check_with_its_weight() -> None:
    page = (Path(__file__).parents[1] / "docs" / "quality.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in row.split("|")[1:-1]] for row in page.splitlines()]
    told = {row[0]: row[-1] for row in rows if len(row) == 5 and row[-1].isdigit()}
    assert told == {name: str(rule.weight) for name, rule in CHECKS.checks.items()}


HALVES = load(DATA / "refusals.yml", dict[str, Labelled])


def says_no(text: str) -> bool:
    return checked(text=text)["not_refused"].value == 0


def test_all_refusals_the_patterns_were_made_for_are_found_and_nothing_else() -> None:
    half = HALVES["tuning"]
    assert not [text for text in half.refused if not says_no(text)]
    assert not [text for text in half.answered if says_no(text)]


def test_what_the_patterns_find_bears_one_of_the_signs() -> None:
    """The signs only spare time; they decide nothing."""
    every = tuple(
        {
            character
            for half in HALVES.values()
            for text in half.refused + half.answered
            for character in text.lower()
        }
    )
    without = msgspec.structs.replace(CHECKS.refusal, signs=ByLanguage(en=every, zh=every))
    for half in HALVES.values():
        for text in half.refused + half.answered:
            assert refusal_in(without, text) == refusal_in(CHECKS.refusal, text)


@pytest.mark.parametrize("chinese", [False, True])
def test_refusals_nobody_tuned_for_are_mostly_found_and_seldom_invented(chinese: bool) -> None:
    """The numbers of docs/quality.md are measured here."""
    half = HALVES["held_out"]
    refused = [text for text in half.refused if is_chinese(text) == chinese]
    found = sum(map(says_no, refused))
    invented = sum(says_no(text) for text in half.answered if is_chinese(text) == chinese)
    assert 2 * found / (found + invented + len(refused)) >= 0.93


def test_an_answer_after_an_apology_far_from_the_head_is_no_refusal() -> None:
    assert not says_no("Here is the plan. " * 20 + "I'm sorry, but I can't help with that.")


def test_evidence_of_a_refusal_is_the_phrase_alone() -> None:
    text = "I'm sorry, but I can't help with the tumour of my patient."
    assert checked(text=text)["not_refused"].evidence == "i can't help"


def test_a_long_answer_is_judged_by_its_head_in_any_case() -> None:
    assert says_no(json.loads('"I CAN\\u2019T HELP with that." ') + " x" * 100_000)
