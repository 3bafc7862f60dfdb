"""The token that visitors give once when the pages are open to other machines."""

import hmac

import streamlit as st

from dashboards import queries
from dashboards.words import t


def token_needed() -> bool:
    """Asks for the token until it was given; True while it was not, or if none is needed False."""
    wanted = queries.settings().dashboard_token
    if not wanted or st.session_state.get("token_given"):
        return False
    given = st.text_input(t("access.token"), type="password", help=t("access.help"))
    if hmac.compare_digest(given.encode(), wanted.encode()):
        st.session_state["token_given"] = True
        st.rerun()
    if given:
        st.error(t("access.wrong"), icon=":material/lock:")
    return True
