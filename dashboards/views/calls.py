"""Calls: find one, and see everything that is known about it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st
from markupsafe import Markup

from dashboards import controls, costs, markup, queries, show, state
from dashboards.markup import HINT, PILL, joined
from dashboards.names import catalog, check_asks, provider_color, short_name
from dashboards.queries import Search
from dashboards.views.parts import card, csv_button, hinted, viewer_offset, workload_name
from dashboards.words import language, t, term, theme
from pipeline.calls import Failure

ROWS = 200
WIDTHS = {  # pixels: all columns of the list show at a width of 1280
    "at": 76, "provider": 202, "model": 186, "workload": 120, "arm": 78, "outcome": 120,
    "first_token": 82, "duration": 76, "tokens": 98, "cost": 78, "quality": 66,
}  # fmt: skip
DATED = {"at": 108, "model": 154}  # the same where the day has to be told
DAY_S = 86_400  # a time of day tells a call of the last day


def page() -> None:
    """Filters and a table; a call that is opened stands in the address as ?call=…"""
    opened = st.query_params.get("call", "")
    if opened:
        _opened(opened)
    else:
        _find()


def _find() -> None:
    wanted = _filters()
    if not state.explain():
        return
    found = queries.search(wanted, ROWS)
    if not found:
        st.info(t("calls.nothing"), icon=":material/search_off:")
        return
    st.caption(t("calls.found", n=len(found), most=ROWS))
    dated = wanted.seconds > DAY_S
    picked = st.dataframe(
        _frame(found, dated), hide_index=True, height=620, on_select="rerun", selection_mode="single-row",
        key="calls_table", column_config=_columns(WIDTHS | DATED if dated else WIDTHS), placeholder=show.UNKNOWN,
    )  # fmt: skip
    csv_button(found, "calls.csv", "calls_csv")
    if picked.selection.rows:
        _open(found[picked.selection.rows[0]]["call_id"])


def _open(call_id: str) -> None:
    st.query_params["call"] = call_id
    st.rerun()


def _filters() -> Search:
    with st.container(horizontal=True, vertical_alignment="center", key="filters"):
        seconds = controls.time_range("1h")
        workload = controls.workload()
        provider = controls.provider()
        model = controls.model(provider)
        failure = controls.in_url(
            "failure", ["", "*", *Failure], "", st.selectbox,
            label=t("failure"), label_visibility="collapsed", width=220,
            format_func=lambda key: {"": t("failure.all"), "*": t("failure.any")}.get(key) or term("failure", key),
        )  # fmt: skip
        check = _more("check", queries.checks(), "calls.check.all")
        finding = _more("finding", queries.findings(), "calls.finding.all")
        text = st.text_input(
            t("calls.search"), st.query_params.get("q", ""), placeholder=t("calls.search"), key="q",
            label_visibility="collapsed", icon=":material/search:", width=320,
        )  # fmt: skip
        controls.remember("q", text)
    return Search(seconds, workload, provider, model, failure, finding, check, text.strip())


def _more(key: str, names: list[str], everything: str) -> str:
    """A filter by names out of the data; one that a link asks for is kept though nothing fits it."""
    asked = st.query_params.get(key, "")
    return controls.in_url(
        key, list(dict.fromkeys(["", *names, asked])), "", st.selectbox,
        label=t(everything), label_visibility="collapsed", width=230,
        format_func=lambda name: term(key, name) if name else t(everything),
    )  # fmt: skip


def _frame(found: list[dict[str, Any]], dated: bool) -> pd.DataFrame:
    offset, begin = viewer_offset(), 5 if dated else 11
    return pd.DataFrame(
        {
            "at": show.instant(row["started_at"], offset)[begin:-4],
            "provider": short_name(row["provider"], language()),
            "model": row["model"],
            "workload": workload_name(row["workload"]),
            "arm": t(f"arm.{row['arm'] or 'none'}"),
            "outcome": term("failure", row["failure"]) if row["failure"] else t("calls.answered"),
            "first_token": row["time_to_first_token_ms"],
            "duration": row["duration_ms"],
            "tokens": f"{show.count(row['input_tokens'])} → {show.count(row['output_tokens'])}",
            "cost": show.money(row["cost"], row["currency"]),
            "quality": None if row["quality"] is None else 100 * float(row["quality"]),
        }
        for row in found
    )


def _columns(widths: Mapping[str, int]) -> dict[str, Any]:
    numbers = {
        key: st.column_config.NumberColumn(
            t(f"calls.{key}"), help=t(f"calls.{key}.help"), format=form, width=widths.get(key)
        )
        for key, form in {"first_token": "%d ms", "duration": "%d ms", "quality": "%.0f %%"}.items()
    }
    names = {key: key for key in ("at", "provider", "model", "workload", "arm", "outcome", "cost", "call_id")}  # fmt: skip
    texts = {
        key: st.column_config.TextColumn(
            t(f"calls.{name}"), help=t(f"calls.{name}.help"), width=widths.get(key)
        )
        for key, name in (names | {"tokens": "tokens_column"}).items()
    }
    return numbers | texts


def _opened(call_id: str) -> None:
    if st.button(t("calls.back"), icon=":material/arrow_back:"):
        del st.query_params["call"]
        st.rerun()
    call = queries.call(call_id)
    if call is None:
        st.warning(t("calls.gone"), icon=":material/search_off:")
        return
    with st.container(border=True, key="card-head"):
        st.html(_head(call))
    left, right = st.columns(2)
    with left, card("calls.timeline"):
        st.html(_timeline(call))
    with left, card("calls.tokens"):
        st.html(_tokens(call))
    with right, card("calls.checks"):
        st.html(_checks(call))
    with left, card("calls.pairs"):
        _pairs(call)
    with left, card("calls.feedback"):
        _feedback(call)
    with right, card("calls.about"):
        st.html(_about(call))
    with card("calls.conversation"):
        _conversation(call)


def _head(call: dict[str, Any]) -> Markup:
    failure = call["failure"]
    outcome = (
        PILL.format("bad", term("failure", failure))
        if failure
        else PILL.format("good", t("calls.answered"))
    )
    what = markup.provider(call["provider"], language(), theme())
    words = Markup('<p class="sentence">{} · {} {}</p>').format(what, call["model"], outcome)
    if failure:
        words += Markup("<p>{} <small>{} · {}</small></p>").format(
            call["failure_message"] or "",
            call["failure_code"],
            t(f"fault.{call['fault'] or 'none'}"),
        )
    return words


def _timeline(call: dict[str, Any]) -> Markup:
    first, whole = call["time_to_first_token_ms"], call["duration_ms"]
    color = provider_color(call["provider"], theme())
    parts = [
        (t("calls.waiting"), first, 50),
        (t("calls.streaming"), None if whole is None or first is None else whole - first, 85),
    ]
    if first is None:
        parts = [(t("calls.whole"), whole, 85)]
    steps = joined(
        Markup(
            '<i style="flex:{} 0 auto;background:color-mix(in srgb, {} {}%, #1b2626)">{} {}</i>'
        ).format(max(1, ms), color, strength, words, show.milliseconds(ms))
        for words, ms, strength in parts
        if ms is not None
    )
    offset = viewer_offset()
    return Markup('<div class="steps">{}</div>').format(steps) + markup.facts([
        (hinted("calls.at"), show.instant(call["started_at"], offset)),
        (hinted("calls.first_token"), show.milliseconds(first)),
        (hinted("calls.duration"), show.milliseconds(whole)),
        (hinted("calls.visible"), show.instant(call["inserted_at"], offset)),
    ])  # fmt: skip


def _tokens(call: dict[str, Any]) -> Markup:
    names = ("input", "cache_read_input", "cache_write_5m_input", "cache_write_1h_input", "output", "reasoning_output")  # fmt: skip
    pairs = [(hinted(f"tokens.{name}"), show.count(call[f"{name}_tokens"])) for name in names]
    if call["usage_estimated"] or call["cost_estimated"]:
        pairs.append((t("calls.estimated"), t("calls.estimated.help")))
    return markup.facts(pairs) + _bill(call)


def _bill(call: dict[str, Any]) -> Markup:
    """The cost line by line where the facts still give the stored amount; else the amount alone, or why there is none."""
    currency = call["currency"]
    if call["cost"] is None:
        reason = term("unpriced", call["cost_unknown"]) if call["cost_unknown"] else ""
        return markup.facts([(t("calls.cost"), f"{show.UNKNOWN} {reason}".strip())])
    lines = [
        [t(f"bill.{line.what}"), show.count(line.tokens), show.exact_money(line.per_million, currency), show.exact_money(line.amount, currency)]
        for line in costs.lines_of(catalog(), call)
    ]  # fmt: skip
    whole = Markup("<b>{}</b>").format(show.exact_money(call["cost"], currency))
    if not lines:
        note = t("calls.bill.other", id=call["price_id"] or show.UNKNOWN)
        return markup.facts([(t("calls.cost"), markup.SMALL.format(whole, f" {note}"))])
    heads = [hinted(f"bill.{key}") for key in ("what", "tokens", "per_million", "amount")]
    name = Markup("<b>{}</b><small>{}</small>").format(t("calls.cost"), call["price_id"])
    total = [name, "", "", whole]
    return markup.table(heads, [*lines, total])


def _checks(call: dict[str, Any]) -> Markup:
    lines = [
        [
            HINT.format(check_asks(name, language()), term("check", name)),
            call["evidence"].get(name, ""),
            _mark(float(value)),
        ]
        for name, value in call["checks"].items()
    ]
    lines += [[t("calls.finding"), term("finding", finding), ""] for finding in call["findings"]]
    lines += [[t("calls.doubt"), term("doubt", doubt), ""] for doubt in call["doubts"]]
    if not lines:
        return Markup("<small>{}</small>").format(t("calls.no_checks"))
    heads = [hinted("calls.check"), hinted("calls.evidence"), hinted("calls.value")]
    return markup.table(heads, lines, text_columns=2)


def _mark(value: float) -> Markup:
    return PILL.format(
        "good" if value >= 1 else "bad" if value <= 0 else "warn",
        f"{value:.2f}".rstrip("0").rstrip("."),
    )


def _pairs(call: dict[str, Any]) -> None:
    """The shadow twin: what mirrored calls of it, or the call it mirrors, answered."""
    found = queries.ask_if_there("pairs", call=call["call_id"]) or []
    if not found:
        twin = call["shadow_of"]
        link = markup.link(twin, "calls", call=twin)
        st.html(
            Markup("<small>{} {}</small>").format(t("about.shadow_of"), link)
            if twin
            else Markup("<small>{}</small>").format(t("calls.no_pairs"))
        )
        return
    lines = []
    for row in found:
        twin = row["shadow_of"] if row["call_id"] == call["call_id"] else row["call_id"]
        who = Markup("{}<small>{}</small>").format(
            markup.link(term("pair", row["check"]), "calls", call=twin),
            f"{short_name(row['provider'], language())} · {t('arm.' + row['mirrored_to'])}",
        )
        lines.append([who, row["evidence"], _mark(float(row["value"]))])
    st.html(
        markup.table(
            [hinted("calls.pairs.check"), hinted("calls.evidence"), hinted("calls.value")],
            lines,
            text_columns=2,
        )
    )


def _feedback(call: dict[str, Any]) -> None:
    found = queries.ask_if_there("feedback", call=call["call_id"]) or []
    if not found:
        st.caption(t("calls.no_feedback"))
        return
    lines = [
        [
            show.moment(row["at"], viewer_offset()),
            markup.with_small(row["comment"], row["source"]),
            _mark(row["rating"]),
        ]
        for row in found
    ]
    st.html(
        markup.table(
            [hinted("calls.at"), hinted("calls.feedback"), hinted("calls.value")],
            lines,
            text_columns=2,
        )
    )


def _about(call: dict[str, Any]) -> Markup:
    names = ("call_id", "request_id", "attempt", "conversation_id", "workload", "app", "team", "stage", "request_model",
             "response_model", "host", "protocol", "http_status", "finish_reason", "source", "origin", "shadow_of")  # fmt: skip
    pairs = [
        (hinted(f"about.{name}"), str(call[name])) for name in names if call[name] not in ("", None)
    ]
    if call["failure"]:
        seen = {True: "yes", False: "no", None: "unknown"}[call["final"]]
        pairs.append((hinted("about.final"), t(f"about.final.{seen}")))
    if call["language"]:
        pairs.append((hinted("about.language"), term("tongue", call["language"])))
    if call["tools_called"]:
        pairs.append((hinted("about.tools_called"), ", ".join(call["tools_called"])))
    pairs += [(f"{t('about.tag')} {key}", value) for key, value in call["tags"].items()]
    return markup.facts(pairs)


def _conversation(call: dict[str, Any]) -> None:
    found = queries.conversation(call["conversation_id"])
    others = [row for row in found if row["call_id"] != call["call_id"]]
    if not others:
        st.caption(t("calls.alone"))
        return
    offset = viewer_offset()
    frame = pd.DataFrame(
        {
            "at": show.instant(row["started_at"], offset),
            "provider": short_name(row["provider"], language()),
            "model": row["model"],
            "arm": t(f"arm.{row['arm'] or 'none'}"),
            "outcome": term("failure", row["failure"]) if row["failure"] else t("calls.answered"),
            "duration": row["duration_ms"],
            "call_id": row["call_id"],
        }
        for row in others
    )
    picked = st.dataframe(
        frame, hide_index=True, on_select="rerun", selection_mode="single-row",
        key=f"conversation:{call['call_id']}", column_config=_columns({}),
    )  # fmt: skip
    if picked.selection.rows:
        _open(others[picked.selection.rows[0]]["call_id"])
