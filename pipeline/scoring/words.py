"""Is any of some words in a text? Asked of every answer, so it has to be cheap."""

from ahocorasick_rs import BytesAhoCorasick, MatchKind


class AnyWord:
    """Looks for words of any script, as parts of a text, letter case as given, all in one pass."""

    def __init__(self, words: tuple[str, ...]) -> None:
        # Which word is found does not matter, but only leftmost matches are found many bytes at a time.
        found = BytesAhoCorasick([word.encode() for word in words], MatchKind.LeftmostFirst)
        self._find = found.find_matches_as_indexes

    def is_in(self, text: str) -> bool:
        """True if the text holds one of the words."""
        # Over a view the search keeps the interpreter's lock: it takes a microsecond, and to let
        # another thread go first would take many.
        return bool(self._find(memoryview(text.encode("utf-8", "replace"))))
