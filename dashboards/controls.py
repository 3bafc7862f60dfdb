"""What a viewer sets, kept in the address so that a link shows the same: range, workload and the like."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from dashboards import queries
from dashboards.figures import Scope
from dashboards.names import short_name
from dashboards.queries import RANGES
from dashboards.words import language, named, t


def in_url(
    key: str, options: Sequence[str], default: str, draw: Callable[..., Any], **drawn: Any
) -> str:
    """A choice that the address, or the page seen before, already made; else the default.

    `draw` is the widget, e.g. st.selectbox, called with key, options and the rest.
    """
    if st.session_state.get(key) not in options:
        asked = st.query_params.get(key) or st.session_state.get(f"kept:{key}")
        st.session_state[key] = asked if asked in options else default
    chosen = draw(options=options, key=key, **drawn) or default
    remember(key, chosen, default)
    return str(chosen)


def remember(key: str, value: str, default: str = "") -> None:
    """Keeps a value in the address (unless it is the default) and for the next page."""
    st.session_state[f"kept:{key}"] = value
    if value == default:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != value:
        st.query_params[key] = value


def time_range(default: str = "1h") -> int:
    """The seconds to look back."""
    chosen = in_url(
        "range", list(RANGES), default, st.segmented_control,
        label=t("range"), format_func=lambda key: t(f"range.{key}"), label_visibility="collapsed",
    )  # fmt: skip
    return RANGES[chosen]


def workload(*, everything: bool = True) -> str:
    """The workload to look at; "" for all of them."""
    plan = queries.plan()
    names = {key: named(work.name, key) for key, work in plan.workloads.items()} if plan else {}
    options = (["*"] if everything else []) + queries.workloads()
    if not options:
        return ""
    chosen = in_url(
        "workload", options, options[0], st.selectbox,
        label=t("workload"), label_visibility="collapsed", width=260,
        format_func=lambda key: t("workload.all") if key == "*" else names.get(key, key),
    )  # fmt: skip
    return "" if chosen == "*" else chosen


def provider() -> str:
    """The provider to look at; "" for all of them."""
    return in_url(
        "provider", ["", *queries.providers()], "", st.selectbox,
        label=t("provider"), label_visibility="collapsed", width=230,
        format_func=lambda key: short_name(key, language()) if key else t("provider.all"),
    )  # fmt: skip


def model(of_provider: str) -> str:
    """The model to look at; "" for all of them."""
    return in_url(
        "model", ["", *queries.models(of_provider)], "", st.selectbox,
        label=t("model"), label_visibility="collapsed", width=230,
        format_func=lambda key: key or t("model.all"),
    )  # fmt: skip


def scope(seconds: int, of_workload: str, of_provider: str = "", of_model: str = "") -> Scope:
    """What a page looks at, with sums in the report's currency."""
    currency = queries.settings().report_currency
    return Scope(seconds, of_workload, currency, of_provider, of_model)
