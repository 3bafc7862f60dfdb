"""Does an answer refuse? Found by patterns in the sentences at its head, in English and Chinese.

The patterns are data in `facts/checks.yml`. A refusal is the model's own "I will not"; what it
cannot do (see a file, browse), what it quotes and what others refuse is none.
"""

import re
from functools import cached_property

import msgspec

from pipeline.scoring.words import AnyWord

_QUOTES = "“”「」"
_PART = re.compile(r"<(\w+)>")
_SENTENCE = re.compile(r"[^.!?。！？\n]+")


class ByLanguage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words or patterns of English and of Chinese."""

    en: tuple[str, ...]
    zh: tuple[str, ...]


class RefusalRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """How refusals are recognised; every pattern is in small letters with plain quotes.

    `<name>` in a pattern stands for `parts[name]`. A sentence without any of the `signs` of its
    language is passed over: they only spare time.
    """

    head_characters: int
    signs: ByLanguage
    parts: dict[str, str]
    patterns: ByLanguage
    not_spoken: tuple[str, ...]
    lookalikes: tuple[str, ...]

    @cached_property
    def sign(self) -> AnyWord:
        """What every refusal holds one of."""
        return AnyWord(self.signs.en + self.signs.zh)

    @cached_property
    def english_sign(self) -> AnyWord:
        """What an English refusal always holds one of."""
        return AnyWord(self.signs.en)

    @cached_property
    def chinese_sign(self) -> AnyWord:
        """What a Chinese refusal always holds one of."""
        return AnyWord(self.signs.zh)

    @cached_property
    def english(self) -> re.Pattern[str]:
        """Matches in an English sentence that refuses."""
        return self._any_of(self.patterns.en, r"\b")

    @cached_property
    def chinese(self) -> re.Pattern[str]:
        """Matches in a Chinese sentence that refuses."""
        return self._any_of(self.patterns.zh)

    @cached_property
    def aside(self) -> re.Pattern[str]:
        """Matches what the model does not say itself: quotations, code, comments."""
        return self._any_of(self.not_spoken)

    @cached_property
    def lookalike(self) -> re.Pattern[str]:
        """Matches in a sentence that only sounds like a refusal."""
        return self._any_of(self.lookalikes)

    def _any_of(self, patterns: tuple[str, ...], begin: str = "") -> re.Pattern[str]:
        text = f"{begin}(?:{'|'.join(patterns)})"
        for _ in self.parts:  # a part may be made of parts
            text = _PART.sub(lambda part: self.parts[part[1]], text)
        return re.compile(text, re.MULTILINE)


def refusal_in(rules: RefusalRules, text: str) -> str:
    """The words at the head of the text that refuse, "" if none do."""
    head = text[: rules.head_characters].lower().replace("’", "'")
    if not rules.sign.is_in(head):
        return ""
    for quote in _QUOTES:
        head = head.replace(quote, '"')
    for sentence in _SENTENCE.findall(rules.aside.sub(" ", head)):
        found = _search(rules, sentence)
        if found and not rules.lookalike.search(sentence):
            return found[0].strip()
    return ""


def _search(rules: RefusalRules, sentence: str) -> re.Match[str] | None:
    found = rules.chinese.search(sentence) if rules.chinese_sign.is_in(sentence) else None
    if not found and rules.english_sign.is_in(sentence):
        found = rules.english.search(sentence)
    return found
