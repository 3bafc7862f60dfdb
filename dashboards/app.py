"""The dashboard: `streamlit run dashboards/app.py`. Navigation, language, and the age of the data."""

from pathlib import Path

import streamlit as st

from dashboards import access, controls, state
from dashboards.views import calls, compare, live, pipeline, rollout
from dashboards.words import LANGUAGES, browser_language, t, theme

HERE = Path(__file__).parent
ICONS = {
    "live": ":material/monitor_heart:",
    "compare": ":material/balance:",
    "rollout": ":material/trending_up:",
    "calls": ":material/manage_search:",
    "pipeline": ":material/account_tree:",
}
CARD = {"light": "#FFFFFF", "dark": "#151E1D"}
GOOD = {"light": "#1E7F55", "dark": "#68D3A0"}
BAD = {"light": "#C0392B", "dark": "#FF8A7A"}
PAGES = {
    "live": live.page,
    "compare": compare.page,
    "rollout": rollout.page,
    "calls": calls.page,
    "pipeline": pipeline.page,
}


def _live() -> None:
    live.page()


def main() -> None:
    """Draws the frame and the page that was asked for."""
    st.set_page_config(
        "Cutover", HERE / "icon.svg", layout="wide", initial_sidebar_state="collapsed"
    )
    st.logo(HERE / "logo.svg", size="large")
    st.html(HERE / "style.css")
    tones = f"--card: {CARD[theme()]}; --good: {GOOD[theme()]}; --bad: {BAD[theme()]};"
    st.html(f"<style>:root {{ {tones} }}</style>")
    pages = [
        st.Page(
            draw,
            title=t(f"{key}.title"),
            icon=ICONS[key],
            url_path="home" if key == "live" else key,
            default=key == "live",
        )
        for key, draw in PAGES.items()
    ]
    # The first page stands at "/" alone; a link to /live has to find it too.
    alias = st.Page(_live, title=t("live.title"), url_path="live", visibility="hidden")
    page = st.navigation([*pages, alias], position="top")
    with st.container(
        key="bar", horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        state.data_age()
        controls.in_url(
            "lang", list(LANGUAGES), browser_language(), st.segmented_control,
            label=t("language"), format_func=LANGUAGES.__getitem__, label_visibility="collapsed",
        )  # fmt: skip
    if access.shut():
        return
    with state.store_needed():
        page.run()


main()
