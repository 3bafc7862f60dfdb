"""The event feed: stage changes, verdicts and incidents, the newest first."""

import json
from typing import Any

import streamlit as st
from markupsafe import Markup

from dashboards import access, markup, queries, show
from dashboards.figures import Scope
from dashboards.markup import PILL, joined
from dashboards.names import short_name, side_name, sides
from dashboards.sides import Side
from dashboards.views.parts import viewer_offset, workload_name
from dashboards.words import language, t, term
from pipeline.verdicts.plan import Plan

MOST = 40
HEIGHT = 310
ENTRY = Markup('<li class="{}"><time>{}</time>{}<span class="clamped" title="{}">{}</span>{}</li>')
ACKNOWLEDGED = Markup('<small class="ack">✓ {}</small>')
OWN = {"event_id", "at", "kind", "workload", "provider"}
TONES = {"stage_changed": "plain", "verdict": "warn", "incident": "bad", "alert": "bad", "drift_alarm": "bad", "resolved": "good"}  # fmt: skip
VERDICT_TONES = {"PROMOTE": "good", "HOLD": "warn", "ROLLBACK": "bad", "BLOCKED": "bad"}


def event_feed(scope: Scope) -> None:
    """The newest events in a box of its own; an operator may acknowledge them."""
    events = [event for event in queries.events(scope) if event["kind"] != "verdict_changed"]
    found = sorted([*events, *queries.verdict_changes(scope)], key=lambda e: e["at"])
    seen = {
        event.get("of"): event.get("by", "") for event in found if event["kind"] == "acknowledged"
    }
    shown = [event for event in reversed(found) if event["kind"] != "acknowledged"][:MOST]
    if not shown:
        st.caption(t("live.events.none"))
        return
    entries = joined(_entry(event, seen) for event in shown)
    with st.container(height=HEIGHT, border=False):
        st.html(Markup('<ul class="feed">{}</ul>').format(entries))
    _acknowledge([event for event in shown if event["event_id"] and event["event_id"] not in seen])


def _entry(event: dict[str, Any], seen: dict[str, str]) -> Markup:
    kind = event["kind"]
    tone = VERDICT_TONES.get(str(event.get("verdict")), TONES.get(kind, "plain"))
    by = event["event_id"] in seen
    note = ACKNOWLEDGED.format(seen.get(event["event_id"]) or t("live.acknowledged")) if by else ""
    when, told = show.moment(event["at"], viewer_offset())[5:], words(event)
    return ENTRY.format("seen" if by else "", when, PILL.format(tone, kind_name(event)), told, told, note)  # fmt: skip


def kind_name(event: dict[str, Any]) -> str:
    """What kind of event it is, in the language in force."""
    return term("verdict", event["verdict"]) if event["kind"] == "verdict" else term("event", event["kind"])  # fmt: skip


def words(event: dict[str, Any]) -> str:
    """The event in one line."""
    if event["kind"] == "stage_changed":
        return stage_label(event, queries.plan())
    if event["kind"] == "verdict":
        return verdict_label(event)
    if event["kind"] == "autopilot":
        return autopilot_label(event)
    if event["kind"] == "epoch_started":
        told = t("feed.epoch", epoch=event.get("epoch", "?"), by=event.get("set_by", "?"))
        return f"{_workload(event)} · {event.get('candidate', '')}: {told}"
    if event["kind"] in ("retry_wanted", "retried"):
        return retry_label(event)
    fields = {key: value for key, value in event.items() if key not in OWN}
    place = [event["workload"], event["provider"] and short_name(event["provider"], language())]
    said = fields.pop(f"message_{language()}", "") or fields.pop("message", "")
    rest = said or json.dumps(fields, ensure_ascii=False, default=str)[:300]
    return " · ".join(part for part in [*place, rest] if part)


def stage_label(change: dict[str, Any], plan: Plan | None) -> str:
    """What a stage change was, in one line: workload, stage, shares by provider."""
    known = sides(plan, change["workload"]).sides
    parts = [
        f"{side_name(known[name], language()) if name in known else name} {show.percent(share, 0)}"
        for name, share in change.get("shares", {}).items()
    ]
    return f"{_workload(change)} · {change.get('stage', '')}: {', '.join(parts) or '0 %'}"


def verdict_label(event: dict[str, Any]) -> str:
    """What a verdict says, in one line: workload, candidate, reason."""
    of = queries.apart(event["workload"]).sides
    who = side_name(of.get(event["candidate"], Side(event["provider"])), language())
    return f"{_workload(event)} · {who}: {event.get(f'reason_{language()}', '')}"


def autopilot_label(event: dict[str, Any]) -> str:
    """What the autopilot did, in one line: workload, from which stage to which."""
    moved = t("feed.moved", before=event.get("stage_from", ""), stage=event.get("stage", ""))
    return f"{_workload(event)}: {moved}"


def retry_label(event: dict[str, Any]) -> str:
    """Who asked for rejected records to be sent again, or what came of it, in one line."""
    reason = str(event.get("reason") or "")
    counts = {name: event.get(name) for name in ("rows", "records", "empty")}
    told = {name: show.count(n if isinstance(n, int) else None) for name, n in counts.items()}
    return t(
        f"feed.{event['kind']}",
        by=event.get("by") or t("feed.an_operator"),
        reason=term("rejected", reason) if reason else t("feed.any_reason"),
        **told,
    )


def _workload(event: dict[str, Any]) -> str:
    """What people call the event's workload."""
    return workload_name(event.get("workload", ""))


def _acknowledge(open_events: list[dict[str, Any]]) -> None:
    """An operator takes note of an event, for everybody to see."""
    if not open_events or not access.is_operator():
        return
    with st.popover(t("live.acknowledge"), icon=":material/done_all:"):
        names = {event["event_id"]: f"{show.moment(event['at'], viewer_offset())[5:]} {kind_name(event)} · {words(event)}"
                 for event in open_events}  # fmt: skip
        chosen = st.selectbox(t("live.events"), list(names), format_func=lambda key: markup.plain(names[key]), key="ack")  # fmt: skip
        pressed = st.button(t("live.acknowledge"), key="ack_now", type="primary")
        event = {"of": chosen, "by": access.viewer()}
        if chosen and pressed and access.tell("acknowledged", event):
            st.toast(t("live.acknowledged"))
