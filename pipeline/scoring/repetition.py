"""Did an answer fall into a loop? Looks for a tail that repeats and for sentences said again and again.

Linear in the part of the text that is read, and that part has a limit.
"""

import re
from collections import Counter
from functools import cached_property

import msgspec

_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_SEGMENT = re.compile(r"[^\n.!?。！？；]+")
_MARKER = re.compile(r"^[\s\-*#>]*(?:\d+[.)、:：]?)?\s*")  # of a list's item; loops often count on
_PROBE = 16  # characters; the tail's period is the distance to where these last stood


class RepetitionRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """From where on a text counts as a loop; lengths are in characters."""

    least_characters: int
    read_characters: int
    tail_times: int
    tail_characters: int
    segment_times: int
    segment_characters: int
    segment_share: float
    asked_for: str

    @cached_property
    def wanted(self) -> re.Pattern[str]:
        """Matches in a user's message that asks for repetition."""
        return re.compile(self.asked_for, re.IGNORECASE)


def loop_in(rules: RepetitionRules, text: str) -> str:
    """The part of a text that it repeats without end, "" if there is none. Code is not looked at."""
    prose = text[-rules.read_characters :]
    if "```" in prose:
        prose = _CODE.sub("", prose)
    if len(prose) < rules.least_characters:
        return ""
    return _tail(rules, prose.rstrip()) or _segment(rules, prose)


def _tail(rules: RepetitionRules, text: str) -> str:
    """What the end of the text repeats, back to back."""
    period = len(text) - _PROBE - text.rfind(text[-_PROBE:], 0, -1)
    span = max(rules.tail_characters, rules.tail_times * period)
    if not 0 < period <= len(text) - span:
        return ""
    part = text[-period:]
    repeats = text[-span:-period] == text[-span + period :]
    return part if repeats and any(map(str.isalpha, part)) else ""


def _segment(rules: RepetitionRules, text: str) -> str:
    """The line or sentence that makes up much of the text; rows of tables are not looked at."""
    parts = (_MARKER.sub("", part).rstrip() for part in _SEGMENT.findall(text))
    counts = Counter(p for p in parts if len(p) >= rules.segment_characters and "|" not in p)
    part, times = max(counts.items(), key=lambda item: len(item[0]) * item[1], default=("", 0))
    much = len(part) * times >= rules.segment_share * len(text)
    return part if times >= rules.segment_times and much else ""
