"""The facts as shipped, with some words replaced: for tests of what a changed price does."""

import shutil
from pathlib import Path

from pipeline.facts import FACTS

Edit = tuple[str, str, str]  # file, what is replaced (once), by what


def changed_facts(folder: Path, *edits: Edit) -> Path:
    """A new folder of facts, fit for `load_catalog`."""
    shutil.copytree(FACTS, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name, old, new in edits:
        file = folder / name
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder
