"""Who may see the pages, and who may do something: the token, OIDC sign-in, reader and operator.

Without either, everybody who reaches the pages (from this machine, by default) is an operator.
"""

import asyncio
import hmac
import json
import time
import uuid
from typing import Any

import streamlit as st

from dashboards import queries
from dashboards.words import t
from pipeline.kafka import KafkaError, send


def shut() -> bool:
    """Asks for sign-in, or else for the token, until it was given; False once the pages may be seen."""
    if signs_in():
        return not _signed_in()
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


def signs_in() -> bool:
    """True if Streamlit's secrets hold an [auth] section."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def _signed_in() -> bool:
    if st.user.is_logged_in:
        if role():
            return True
        st.error(t("access.not_invited", who=viewer()), icon=":material/lock:")
        st.button(t("access.sign_out"), on_click=st.logout)
        return False
    st.info(t("access.sign_in.help"), icon=":material/lock:")
    st.button(t("access.sign_in"), on_click=st.login, type="primary", icon=":material/login:")
    return False


def viewer() -> str:
    """The signed-in viewer's address, or "" for one who did not have to sign in."""
    return str(st.user.get("email") or st.user.get("sub") or "") if signs_in() else ""


def role() -> str:
    """operator, reader, or "" for somebody who is neither.

    The settings list both by e-mail address; `*` is everybody who may sign in, `*@example.com` a domain.
    """
    if not signs_in():
        return "operator"
    settings = queries.settings()
    return role_of(
        viewer(), st.user.get("email_verified", True) is True, settings.operators, settings.readers
    )


def role_of(who: str, verified: bool, operators: str, readers: str) -> str:
    """The role of an address; one the identity provider has not verified has none."""
    if not who or not verified:
        return ""
    if _listed(who, operators):
        return "operator"
    return "reader" if _listed(who, readers) else ""


def _listed(who: str, among: str) -> bool:
    """Compared without case; a pattern is a whole address, `*`, or `*@` and a whole domain."""
    who = who.strip().lower()
    for pattern in among.lower().replace(",", " ").split():
        if pattern in ("*", who) or (
            pattern.startswith("*@") and who.partition("@")[2] == pattern[2:]
        ):
            return True
    return False


def is_operator() -> bool:
    """True if the viewer may do something, not only look."""
    return role() == "operator"


def tell(kind: str, fields: dict[str, Any]) -> bool:
    """Puts an event on the events topic in an operator's name; False, and says so, if Kafka is away."""
    if not is_operator():
        raise PermissionError("only an operator may do this")
    settings = queries.settings()
    event = {
        "event_id": uuid.uuid4().hex,
        "at": time.time_ns() // 1_000_000,
        "kind": kind,
        **fields,
    }
    message = json.dumps(event, ensure_ascii=False).encode()
    try:
        asyncio.run(send(settings, settings.events_topic, kind, message))
    except KafkaError:
        st.error(t("access.kafka_away"), icon=":material/cloud_off:")
        return False
    return True
