"""Sentences with gaps: "{n} {n:call|calls} of {name}". Pure."""

from collections.abc import Mapping
from string import Formatter


class _Gaps(Formatter):
    def format_field(self, value: object, format_spec: str) -> str:
        one, bar, other = format_spec.partition("|")
        if not bar:
            return format(value, format_spec)
        return one if str(value) == "1" else other


_GAPS = _Gaps()


def filled(sentence: str, values: Mapping[str, object]) -> str:
    """The sentence with its gaps filled; a gap with two words takes the first where the value is one.

    A language whose words do not change with the number has gaps without words.
    """
    return _GAPS.vformat(sentence, (), values) if values else sentence
