"""The font of the PDF: Noto Sans CJK for Latin and Chinese, from the package manimgx-fonts-cjk (SIL OFL 1.1)."""

from importlib.util import find_spec
from pathlib import Path

FAMILY = "Noto Sans CJK SC"
PACKAGE = "manimgx_fonts_cjk"


class MissingError(RuntimeError):
    """A part of the report extra is not installed; the message says how to get it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is missing: pip install 'cutover[report]'")


def folder() -> Path:
    """Where the font's file is. Raises MissingError."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise MissingError("the report's font")
    return Path(found.origin).parent
