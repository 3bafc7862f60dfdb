"""In which language is a text written, and which one was asked for? Told by script and words alone.

Scripts tell Chinese, Japanese, Korean, Russian and Arabic apart from one another and from `latin`:
English, French and all others in that alphabet are one, because short texts do not tell them apart.
"""

import re
from functools import cached_property

import msgspec

LATIN = "latin"
_SAMPLE = 1500  # characters: enough to tell a script, and few enough to stay cheap
_CLEAR = 0.8  # the share of a text that its main script must have
_JAPANESE = 0.1  # the share of kana from which Chinese characters count as Japanese
# A word of letters weighs about as much as one and a half Chinese characters.
_UNITS = {
    "zh": (re.compile("[\u3400-\u9fff]"), 1.0),
    "ja": (re.compile("[\u3040-\u30ff]"), 1.0),
    "ko": (re.compile("[\uac00-\ud7af]+"), 1.5),
    "ru": (re.compile("[\u0400-\u04ff]+"), 1.5),
    "ar": (re.compile("[\u0600-\u06ff]+"), 1.5),
    LATIN: (re.compile("[A-Za-z\u00c0-\u024f]+"), 1.5),
}
_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.DOTALL)
_LINE_OF_CODE = re.compile(r"^.*(?:[{};]|\)\s*:|=>|</?\w+>)\s*$", re.MULTILINE)


class LanguageRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """When an answer's language is judged, and how a message names the one it wants.

    In `asks_for` a pattern in small letters stands under the language it asks for; a message that
    `leaves_open` matches (a translation, a lesson) says nothing about the answer's language.
    """

    least_units: int
    asks_for: dict[str, str]
    leaves_open: str

    @cached_property
    def requests(self) -> dict[str, re.Pattern[str]]:
        """The compiled `asks_for`."""
        return {language: re.compile(pattern) for language, pattern in self.asks_for.items()}

    @cached_property
    def open(self) -> re.Pattern[str]:
        """The compiled `leaves_open`."""
        return re.compile(self.leaves_open)


def language_asked_for(rules: LanguageRules, message: str) -> str:
    """The language a user's message wants its answer in, "" if it does not say.

    A message that mixes languages, like an instruction above a text in another, does not say.
    """
    if len(message) > _SAMPLE:
        return ""
    small = message.lower()
    named = [language for language, request in rules.requests.items() if request.search(small)]
    if len(named) == 1:
        return named[0]
    if named or rules.open.search(small):
        return ""
    units = _units(message)
    return _main(units) if _only_one(units) else ""


def language_of(rules: LanguageRules, text: str) -> str:
    """The language most of a text is in, "" if it is too short, mixed or mostly code."""
    prose = _LINE_OF_CODE.sub(" ", _NOT_PROSE.sub(" ", text[: _SAMPLE * 2]))[:_SAMPLE]
    units = _units(prose)
    return _main(units) if sum(units.values()) >= rules.least_units else ""


def _units(text: str) -> dict[str, float]:
    """How much of each script a text holds; scripts it has nothing of are left out."""
    if text.isascii():
        words, weight = _UNITS[LATIN]
        return {LATIN: len(words.findall(text)) * weight}
    found = {name: len(part.findall(text)) * weight for name, (part, weight) in _UNITS.items()}
    if found["ja"] > _JAPANESE * found["zh"]:
        found["ja"] += found["zh"]
        found["zh"] = 0
    return {name: units for name, units in found.items() if units}


def _main(units: dict[str, float]) -> str:
    """The script with most of the units, "" if none is clearly ahead."""
    if not units:
        return ""
    name = max(units, key=units.__getitem__)
    return name if units[name] >= _CLEAR * sum(units.values()) else ""


def _only_one(units: dict[str, float]) -> bool:
    """True unless a second script has more than a few words of its own."""
    return sum(sorted(units.values())[:-1]) <= 6
