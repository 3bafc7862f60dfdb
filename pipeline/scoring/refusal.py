"""Does an answer refuse? Found by patterns in the sentences at its head, in English and Chinese.

The patterns are data in `facts/checks.yml`. A refusal is the model's own "I will not"; what it
cannot do (see a file, browse), what it quotes and what others refuse is none.
"""

import re
from functools import cached_property

import msgspec

_TYPOGRAPHIC = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "「": '"', "」": '"'})
_PART = re.compile(r"<(\w+)>")
_SENTENCE = re.compile(r"[^.!?。！？\n]+")


class RefusalRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """How refusals are recognised; every pattern is in small letters with plain quotes.

    `<name>` in a pattern stands for `parts[name]`. Every pattern contains one of the `signs`.
    """

    head_characters: int
    signs: tuple[str, ...]
    parts: dict[str, str]
    patterns: tuple[str, ...]
    not_spoken: tuple[str, ...]
    lookalikes: tuple[str, ...]

    @cached_property
    def refusal(self) -> re.Pattern[str]:
        """Matches in a sentence that refuses."""
        return self._any_of(self.patterns)

    @cached_property
    def aside(self) -> re.Pattern[str]:
        """Matches what the model does not say itself: quotations, code, comments."""
        return self._any_of(self.not_spoken)

    @cached_property
    def lookalike(self) -> re.Pattern[str]:
        """Matches in a sentence that only sounds like a refusal."""
        return self._any_of(self.lookalikes)

    def _any_of(self, patterns: tuple[str, ...]) -> re.Pattern[str]:
        text = "|".join(f"(?:{pattern})" for pattern in patterns)
        for _ in self.parts:  # a part may be made of parts
            text = _PART.sub(lambda part: self.parts[part[1]], text)
        return re.compile(text, re.MULTILINE)


def refusal_in(rules: RefusalRules, text: str) -> str:
    """The words at the head of the text that refuse, "" if none do."""
    head = text[: rules.head_characters].lower()
    if not any(sign in head for sign in rules.signs):
        return ""
    spoken = rules.aside.sub(" ", head.translate(_TYPOGRAPHIC))
    for sentence in _SENTENCE.findall(spoken):
        found = rules.refusal.search(sentence)
        if found and not rules.lookalike.search(sentence):
            return found[0].strip()
    return ""
