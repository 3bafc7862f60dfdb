"""In which language is a text written, and which one was asked for? Told by script and words alone.

Scripts tell Chinese, Japanese, Korean, Russian and Arabic apart from one another and from `latin`:
English, French and all others in that alphabet are one, because short texts do not tell them apart.
"""

import re
from functools import cached_property, lru_cache

import msgspec

from pipeline.scoring.words import AnyWord

_SAMPLE = 800  # characters: enough to tell a script, and few enough to stay cheap
_CLEAR = 0.8  # the share of a text that its main script must have
_A_FEW = 6.0  # units
_JAPANESE = 0.1  # the share of kana from which Chinese characters count as Japanese
_CHINESE = re.compile("[\u3400-\u9fff]+")
_SCRIPTS = {  # the others: a run of each
    "latin": re.compile("[A-Za-z\u00c0-\u024f]+"),
    "ja": re.compile("[\u3040-\u30ff]+"),
    "ko": re.compile("[\uac00-\ud7af]+"),
    "ru": re.compile("[\u0400-\u04ff]+"),
    "ar": re.compile("[\u0600-\u06ff]+"),
}
_RARE = re.compile("[\u3040-\u30ff\uac00-\ud7af\u0400-\u04ff\u0600-\u06ff]")  # any but latin
_LETTER = re.compile("[A-Za-z]")
_WORD = 1.5  # a word weighs about as much as one and a half Chinese characters
_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.DOTALL)
_LINE_OF_CODE = re.compile(r"^.*(?:[{};]|\)\s*:|=>|</?\w+>)\s*$", re.MULTILINE)


class LanguageRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """When an answer's language is judged, and how a message asks for one.

    All in small letters. In `asks_for` a pattern stands under the language it asks for. A message
    with one of the `names` that asks for none (a translation, a lesson) leaves it open.
    """

    least_units: int
    names: tuple[str, ...]
    asks_for: dict[str, str]

    @cached_property
    def named(self) -> AnyWord:
        """The `names`."""
        return AnyWord(self.names)

    @cached_property
    def requests(self) -> dict[str, re.Pattern[str]]:
        """The compiled `asks_for`."""
        return {language: re.compile(pattern) for language, pattern in self.asks_for.items()}


def language_asked_for(rules: LanguageRules, message: str) -> str:
    """The language a user's message wants its answer in, "" if it does not say.

    A message that mixes languages, like an instruction above a text in another, does not say.
    """
    if len(message) > _SAMPLE:
        return ""
    small = message.lower()
    if rules.named.is_in(small):
        asked = [language for language, request in rules.requests.items() if request.search(small)]
        return asked[0] if len(asked) == 1 else ""
    told = _told(message)
    return told.main if told.only_one else ""


def language_of_message(message: str) -> str:
    """The language of a user's message, however short; "" if it has no words or mixes languages."""
    return _told(message[:_SAMPLE]).main


def language_of(rules: LanguageRules, text: str) -> str:
    """The language most of a text is in, "" if it is too short, mixed or mostly code."""
    told = _told(_prose(text[: _SAMPLE * 2])[:_SAMPLE])
    return told.main if told.units >= rules.least_units else ""


def _prose(text: str) -> str:
    """The text without code and addresses."""
    if "`" in text or "://" in text:
        text = _NOT_PROSE.sub(" ", text)
    return _LINE_OF_CODE.sub(" ", text) if "{" in text or ";" in text else text


class _Told(msgspec.Struct, frozen=True, gc=False):
    """What a text's scripts tell."""

    main: str  # the script with most of the units, "" if none is clearly ahead
    units: float  # of all scripts
    only_one: bool  # no second script has more than a few words of its own


@lru_cache(maxsize=16)  # a call's texts are asked about more than once
def _told(text: str) -> _Told:
    found = _units(text)
    units = sum(found.values())
    if len(found) < 2:
        return _Told(next(iter(found), ""), units, True)
    main = max(found, key=found.__getitem__)
    clear = found[main] >= _CLEAR * units
    return _Told(main if clear else "", units, units - found[main] <= _A_FEW)


def _units(text: str) -> dict[str, float]:
    """How much of each script a text holds; scripts it has nothing of are left out.

    Chinese and Japanese have no spaces: their units are characters, those of all others words.
    """
    if text.isascii():
        return {"latin": len(text.split()) * _WORD} if _LETTER.search(text) else {}
    found: dict[str, float] = {}
    rest, runs = _CHINESE.subn(" ", text)
    if runs:
        found["zh"] = len(text) - len(rest) + runs
    for name in _SCRIPTS if _RARE.search(rest) else ("latin",):
        if words := _SCRIPTS[name].findall(rest):
            found[name] = len("".join(words)) if name == "ja" else len(words) * _WORD
    if found.get("ja", 0) > _JAPANESE * found.get("zh", 0):
        found["ja"] += found.pop("zh", 0)
    return found
