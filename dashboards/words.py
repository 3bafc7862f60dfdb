"""The pages' words in English and Chinese: `i18n/en.json` and `i18n/zh.json` have the same keys."""

import json
from functools import cache
from pathlib import Path

import streamlit as st

from dashboards import show
from pipeline.verdicts.plan import Name
from pipeline.wording import filled

FOLDER = Path(__file__).parent / "i18n"
LANGUAGES = {"en": "English", "zh": "中文"}


@cache
def dictionary(language: str) -> dict[str, str]:
    """All words of a language by key."""
    return dict(json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8")))


def language() -> str:
    """The language in force: the one picked, else the browser's, else English."""
    chosen = st.session_state.get("lang")
    return chosen if chosen in LANGUAGES else browser_language()


def browser_language() -> str:
    """Chinese for a browser set to any Chinese, else English."""
    return "zh" if (st.context.locale or "").lower().startswith("zh") else "en"


def t(key: str, **values: object) -> str:
    """The words of that key, with values filled in."""
    return filled(dictionary(language())[key], values)


def term(group: str, name: str) -> str:
    """The word for a name out of the data (a failure class, a check); the name itself if there is none."""
    return dictionary(language()).get(f"{group}.{name}", name)


def age(seconds: float | None) -> str:
    """1.4 s, 5 min or 2 d, its unit in the language in force."""
    value, _, unit = show.seconds(seconds).partition(" ")
    return f"{value} {term('unit', unit)}" if unit else value


def named(name: Name | None, fallback: str) -> str:
    """A plan's name for something in the language in force."""
    if name is None:
        return fallback
    return (name.zh or name.en) if language() == "zh" else name.en


def theme() -> str:
    """ "light" or "dark", as the viewer sees the page."""
    return "dark" if st.context.theme.type == "dark" else "light"
