"""The report as a download: PDF, PPTX or HTML, in the page's language."""

from functools import partial

import streamlit as st

from dashboards import queries
from dashboards.words import language, t
from pipeline.report.command import make_report
from pipeline.settings import Settings

TYPES = {
    ".pdf": "application/pdf",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".html": "text/html",
}


def report_button() -> None:
    """Offers each form. A report is made at the click, and its snapshot kept."""
    with st.popover(t("rollout.report"), icon=":material/description:"):
        st.caption(t("rollout.report.help"))
        for suffix, kind in TYPES.items():
            st.download_button(
                suffix[1:].upper(),
                partial(_made, queries.settings(), language(), suffix),
                f"cutover-report-{language()}{suffix}",
                kind,
                key=f"report{suffix}",
                icon=":material/download:",
                on_click="ignore",
                width="stretch",
            )


def _made(settings: Settings, chosen: str, suffix: str) -> bytes:
    return make_report(settings, chosen, suffix)[1]
