"""Is any of some words in a text? Asked of every answer, so it has to be cheap."""

import re


class AnyWord:
    """Looks for words of any script, as parts of a text, letter case as given.

    Plain searches are fastest for ASCII words, whatever the text; one pattern for the others is fastest
    in Chinese, where their first characters are rare, and is not needed in ASCII texts at all.
    """

    def __init__(self, words: tuple[str, ...]) -> None:
        self._ascii = tuple(word for word in words if word.isascii())
        others = [re.escape(word) for word in words if not word.isascii()]
        self._others = re.compile("|".join(others)) if others else None

    def is_in(self, text: str) -> bool:
        """True if the text holds one of the words."""
        for word in self._ascii:
            if word in text:
                return True
        if self._others is None or text.isascii():
            return False
        return self._others.search(text) is not None
