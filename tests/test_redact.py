"""No key survives, and what is not a key stays."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scoring.redact import MASK, redact, redact_bytes

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def some(alphabet: str, size: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=size, max_size=size)


KEYS = st.one_of(
    some(ALNUM, 95).map("sk-ant-api03-{}".format),
    some(ALNUM, 48).map("sk-{}".format),
    some(ALNUM, 48).map("sk-proj-{}".format),
    st.tuples(some(HEX, 32), some(ALNUM, 16)).map(".".join),
    st.tuples(some(ALNUM, 20), some(HEX, 40)).map(lambda t: f"bce-v3/ALTAK-{t[0]}/{t[1]}"),
    some(ALNUM, 32).map("AKID{}".format),
    some(ALNUM, 20).map("AKLT{}".format),
    some(ALNUM, 20).map("LTAI5t{}".format),
    st.tuples(some(ALNUM, 20), some(ALNUM, 40)).map(lambda t: f"eyJ{t[0]}.eyJ{t[1]}.{t[1]}"),
    some(ALNUM, 36).map("ghp_{}".format),
)
ARK_KEYS = st.uuids().map(str)  # told from other UUIDs only by the word before them
AROUND = st.text(max_size=30).filter(lambda text: not text[-1:].isalnum())


@given(before=AROUND, key=KEYS, after=AROUND)
def test_no_planted_key_survives(before: str, key: str, after: str) -> None:
    """A key of any vendor's shape is gone from text and bytes, wherever it stands."""
    text = f"{before} {key} {after}"
    assert key not in redact(text)
    assert key.encode() not in redact_bytes(text.encode())


@pytest.mark.parametrize(
    "words",
    [
        "Authorization: Bearer {}",
        "authorization: {}",
        '{{"Authorization": "Bearer {}"}}',
        '{{\\"x-api-key\\": \\"{}\\"}}',
        "x-api-key: {}",
        "api_key={}&model=glm-4.6",
        "{{'apiKey': '{}'}}",
        "Incorrect API key provided: {}.",
        "bearer   {}",
        "secret_key = {}",
    ],
)
@given(key=st.one_of(KEYS, ARK_KEYS))
def test_what_follows_a_telling_word_goes(words: str, key: str) -> None:
    """A key without a shape of its own is known by the word before it; the word stays."""
    text = words.format(key)
    assert key not in redact(text)
    assert key.encode() not in redact_bytes(text.encode())
    assert redact(text)[:3] == text[:3]


@pytest.mark.parametrize(
    "text",
    [
        "write to chen.wei@example.cn",
        "request 123e4567-e89b-12d3-a456-426614174000 failed",
        "a risk-assessment of the task-force, ask-me-anything",
        "the token limit is 4096 tokens",
        "d41d8cd98f00b204e9800998ecf8427e",
        "模型访问量过大，请稍后再试",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Mail addresses, request ids, hashes and ordinary words are left alone."""
    assert redact(text) == text


@given(st.text(max_size=200))
def test_text_and_bytes_agree(text: str) -> None:
    """Both functions find the same secrets."""
    assert redact_bytes(text.encode()) == redact(text).encode()


def test_the_mask_says_what_happened() -> None:
    """The words around a secret stay readable."""
    assert redact("Bearer sk-abcdefghijkl is bad") == f"Bearer {MASK} is bad"
