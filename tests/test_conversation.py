"""The turns of a conversation are found to belong together, whatever the gateway calls them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls import Call, Exchange, Protocol
from pipeline.protocols import read_exchange
from pipeline.protocols.conversation import HEAD
from pipeline.scoring.conversation import conversation_of

MORNING = 1_795_075_200_000
ANTHROPIC, CHAT, RESPONSES = Protocol


def turn(request: dict, protocol: Protocol = CHAT, **fields) -> str:
    exchange = read_exchange(protocol, json.dumps(request), "", 200)
    given = {"call_id": "x", "source": "raw", "started_at": MORNING, **fields}
    return conversation_of(Call(**given, exchange=exchange))


def said(*texts: str) -> list[dict]:
    """Messages of user and assistant in turn."""
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


words = st.text(max_size=30)
openings = st.text(min_size=1, max_size=30)


@given(openings, st.lists(words, max_size=6), words)
def test_every_turn_of_a_conversation_has_the_same_id(first: str, more: list, system: str) -> None:
    ids = {turn({"system": system, "messages": said(first, *more[:n])}) for n in range(7)}
    assert len(ids) == 1
    assert ids != {""}


@given(openings, openings, words, words)
def test_other_openings_are_other_conversations(a: str, b: str, s1: str, s2: str) -> None:
    same = (a, s1) == (b, s2)
    one, two = ({"system": s, "messages": said(first)} for first, s in ((a, s1), (b, s2)))
    assert (turn(one) == turn(two)) is same


def test_the_protocol_and_the_shape_of_the_content_do_not_matter() -> None:
    parts = [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]
    user, typed = {"role": "user", "content": "hi"}, {"role": "user", "content": parts}
    assert {
        turn({"system": "Help.", "messages": [typed]}, ANTHROPIC),
        turn({"system": [{"type": "text", "text": "Help."}], "messages": [user]}, ANTHROPIC),
        turn({"messages": [{"role": "system", "content": "Help."}, user]}),
        turn({"messages": [{"role": "developer", "content": "Help."}, typed]}),
        turn({"instructions": "Help.", "input": "hi"}, RESPONSES),
        turn({"instructions": "Help.", "input": [user]}, RESPONSES),
    } == {turn({"system": "Help.", "messages": [user]})}


@pytest.mark.parametrize(
    "fields",
    [{"app": "b"}, {"team": "b"}, {"tags": {"user": "b"}}, {"started_at": MORNING + 86_400_000}],
    ids=str,
)
def test_who_sent_it_and_the_day_tell_the_same_words_apart(fields: dict) -> None:
    request = {"messages": said("hi")}
    assert turn(request, **fields) != turn(request)


def test_a_name_in_the_body_comes_first_and_the_gateways_own_before_it() -> None:
    opening = {"messages": said("hi")}
    session = json.dumps({"device_id": "d", "account_uuid": "", "session_id": "0f5e"})
    old = "user_ab_account__session_0f5e"
    for named in (
        {"metadata": {"user_id": session}},
        {"metadata": {"user_id": old}},
        {"metadata": {"session_id": "0f5e"}},
        {"metadata": {"conversation_id": "0f5e"}},
        {"conversation": "0f5e"},
        {"conversation": {"id": "0f5e"}},
    ):
        assert turn({**opening, **named}) == "0f5e"
        assert turn({**opening, **named}, conversation_id="s") == "s"


@pytest.mark.parametrize(
    "named", [{"user": "u"}, {"metadata": {"user_id": "u"}}, {"prompt_cache_key": "k"}], ids=str
)
def test_a_person_is_no_conversation(named: dict) -> None:
    opening = {"messages": said("hi")}
    assert turn({**opening, **named}) == turn(opening)


@pytest.mark.parametrize(
    "request_", [{}, {"messages": []}, {"messages": [{"role": "assistant", "content": "hi"}]},
                 {"messages": [{"role": "user", "content": []}]}, {"input": {}}, {"messages": 5}],
    ids=str,
)  # fmt: skip
def test_without_a_first_word_it_is_unknown(request_: dict) -> None:
    assert turn(request_) == ""
    assert conversation_of(Call(call_id="x", source="kong", exchange=Exchange())) == ""


def test_the_text_is_not_in_the_id_and_only_the_heads_count() -> None:
    secret = "parcel " * 1_000_000
    assert turn({"messages": said(secret)}) == turn({"messages": said(secret[:HEAD] + "other")})
    assert len(turn({"messages": said(secret)})) == 40
