"""How old the numbers are and whether there are any: the same words on every page."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from markupsafe import Markup

from dashboards import queries
from dashboards.figures import Freshness
from dashboards.markup import HINT, PILL
from dashboards.words import age, t
from pipeline.store.connect import StoreError

LIVE_S = 15  # calls seen this recently: the page is live
REFUSED = "ClickHouse exception"  # the store answered, with an error of its own
UNKNOWN_DATABASE, UNKNOWN_TABLE = "code: 81,", "code: 60,"


@contextmanager
def store_needed() -> Iterator[None]:
    """Says what to do instead of failing when the store is away or has no tables yet."""
    try:
        yield
    except StoreError as error:
        _say_why(error)


def _say_why(error: StoreError) -> None:
    words = str(error)
    if UNKNOWN_DATABASE in words or UNKNOWN_TABLE in words:
        st.warning(t("state.not_migrated"), icon=":material/database_off:")
    elif REFUSED in words:
        st.error(t("state.refused"), icon=":material/report:")
        st.code(words, language=None, wrap_lines=True)
    else:
        st.error(
            t("state.away", url=queries.settings().clickhouse_url), icon=":material/cloud_off:"
        )


def state_of(freshness: Freshness) -> str:
    """live, stale or empty."""
    if freshness.age_s is None:
        return "empty"
    return "live" if freshness.age_s <= LIVE_S else "stale"


@st.fragment(run_every=2)
def data_age() -> None:
    """The pill that is always visible: live, stale, empty or away, and how old the data is."""
    st.html(f'<div class="age">{_pill()}</div>')


def _pill() -> Markup:
    try:
        freshness = queries.freshness()
    except StoreError:
        return PILL.format("away", t("state.pill.away"))
    state = state_of(freshness)
    words = t(f"state.pill.{state}", age=age(freshness.age_s))
    return HINT.format(t(f"state.help.{state}"), PILL.format(state, words))


def explain() -> bool:
    """Says what to do when there is nothing to show; True if there is something.

    The place is taken even when nothing is said, so that what follows stays where it is.
    """
    state = state_of(queries.freshness())
    with st.container():
        if state == "empty":
            st.info(
                t("state.empty", port=queries.settings().tap_port), icon=":material/rocket_launch:"
            )
        elif state == "stale":
            st.warning(t("state.stale"), icon=":material/schedule:")
    return state != "empty"
