"""The dashboard: `streamlit run dashboards/app.py`. Navigation, language, and the age of the data."""

from pathlib import Path

import streamlit as st

from dashboards import controls, state
from dashboards.access import token_needed
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
PAGES = {
    "live": live.page,
    "compare": compare.page,
    "rollout": rollout.page,
    "calls": calls.page,
    "pipeline": pipeline.page,
}


def main() -> None:
    """Draws the frame and the page that was asked for."""
    st.set_page_config(
        "Cutover", HERE / "icon.svg", layout="wide", initial_sidebar_state="collapsed"
    )
    st.logo(HERE / "logo.svg", size="large")
    st.html(HERE / "style.css")
    st.html(f"<style>:root {{ --card: {CARD[theme()]}; }}</style>")
    page = st.navigation(
        [
            st.Page(
                draw, title=t(f"{key}.title"), icon=ICONS[key], url_path=key, default=key == "live"
            )
            for key, draw in PAGES.items()
        ],
        position="top",
    )
    with st.container(
        key="bar", horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        state.data_age()
        controls.in_url(
            "lang", list(LANGUAGES), browser_language(), st.segmented_control,
            label=t("language"), format_func=LANGUAGES.__getitem__, label_visibility="collapsed",
        )  # fmt: skip
    if token_needed():
        return
    with state.store_needed():
        page.run()


main()
