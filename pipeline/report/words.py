"""The report's words: `words/en.json` and `words/zh.json` have the same keys."""

import json
from datetime import timedelta
from functools import cache
from pathlib import Path

from pipeline.report.numbers import Numbers
from pipeline.report.snapshot import Snapshot
from pipeline.verdicts.plan import Name
from pipeline.wording import filled

FOLDER = Path(__file__).parent / "words"
LANGUAGES = ("en", "zh")


@cache
def dictionary(language: str) -> dict[str, str]:
    """All words of a language by key."""
    return dict(json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8")))


class Words:
    """Everything that depends on the language, for one snapshot."""

    def __init__(self, language: str, snapshot: Snapshot) -> None:
        self.language, self.show = language, Numbers(language)
        self._words, self._snapshot = dictionary(language), snapshot

    def __call__(self, key: str, **values: object) -> str:
        """The words of that key, with values filled in."""
        return filled(self._words[key], values)

    def term(self, group: str, name: str) -> str:
        """The word for a name out of the data; the name itself if there is none."""
        return self._words.get(f"{group}.{name}", name)

    def gate(self, name: str) -> str:
        """A gate's name; "check:x" is that check's."""
        kind, _, check = name.partition(":")
        return self.term("check", check) if kind == "check" else self.term("gate", name)

    def provider(self, name: str) -> str:
        """What a provider is called."""
        found = self._snapshot.providers.get(name)
        return getattr(found, self.language) if found else name

    def color(self, name: str) -> str:
        """A provider's colour."""
        found = self._snapshot.providers.get(name)
        return found.color if found else "#8A8F98"

    def workload(self, key: str) -> str:
        """What the plan calls a workload."""
        plan = self._snapshot.plan
        return self.named(plan.workloads[key].name, key) if plan and key in plan.workloads else key

    def named(self, name: Name, fallback: str) -> str:
        """A plan's name for something in this language."""
        return (name.zh or name.en if self.language == "zh" else name.en) or fallback

    def reason(self, en: str, zh: str) -> str:
        """The judge's sentence in this language."""
        return zh or en if self.language == "zh" else en

    def age(self, age: timedelta) -> str:
        """42 minutes, 3 hours, 2 days"""
        for size, unit in ((86_400, "d"), (3600, "h")):
            if age.total_seconds() >= 2 * size:
                return self(f"age.{unit}", n=self.show.count(age.total_seconds() / size))
        return self("age.min", n=self.show.count(max(1, age.total_seconds() / 60)))

    def join(self, names: list[str]) -> str:
        """a, b, c"""
        return ("、" if self.language == "zh" else ", ").join(names)
