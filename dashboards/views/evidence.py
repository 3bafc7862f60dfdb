"""The judge's evidence on the Compare page: gates against their margins, its path, the noise floor."""

from typing import Any

import streamlit as st
from markupsafe import Markup

from dashboards import charts, markup, queries, show
from dashboards.markup import PILL
from dashboards.names import side_color, side_name
from dashboards.sides import Apart, Side
from dashboards.verdicts import Gate, Verdict
from dashboards.views.parts import card, csv_button, draw, viewer_offset
from dashboards.words import language, t, term, theme
from pipeline.verdicts.words import gate_name

VERDICTS = {  # tone and mark: never colour alone; the worst first
    "ROLLBACK": ("bad", "▼"),
    "BLOCKED": ("bad", "◆"),
    "HOLD": ("warn", "■"),
    "PROMOTE": ("good", "▲"),
}
MARKS = VERDICTS | {"BEHIND": ("warn", "■"), "NO_OWNER": ("warn", "○")}  # what else is in the way
STATES = {"passed": ("good", "▲"), "open": ("warn", "■"), "harmed": ("bad", "▼"), "no_data": ("plain", "○")}  # fmt: skip
LEFT, RIGHT = -1.5, 2.5  # the ends of the line a gate is drawn on, in margins


def verdict_pill(verdict: str) -> Markup:
    """A verdict, or what else is in the way, as shape, word and colour."""
    tone, mark = MARKS.get(verdict, ("plain", "○"))
    return PILL.format(tone + " bare", f"{mark} {term('verdict', verdict)}")


def drift_note(verdict: Verdict) -> Markup:
    """The drift alarms of a workload that has moved as a whole, labelled as such; nothing without one."""
    told = verdict.reason(language())
    said = [
        drift.reason.zh if language() == "zh" else drift.reason.en
        for drift in verdict.alarms
        if drift.reason
    ]
    pill = (
        PILL.format("bad bare", f"◆ {term('event', 'drift_alarm')}")
        if verdict.alarms
        else Markup("")
    )
    new = " ".join(sentence for sentence in said if sentence not in told)
    return pill + Markup("<small>{}</small>").format(new) if new else pill


def gates(workload: str, verdicts: list[Verdict], of: Apart) -> None:
    """Every gate of each candidate against its margin, with what is still needed."""
    with card("compare.gates"):
        if not verdicts:
            st.caption(t("compare.no_verdict"))
            return
        for verdict in verdicts:
            st.html(_heading(verdict, of.judged(verdict)))
            if note := drift_note(verdict):
                st.html(note)
            st.html(_gate_table(verdict, of.judged(verdict)))
        st.caption(t("compare.gates.how"))
        csv_button(gate_rows(verdicts), f"gates-{workload}.csv", "gates_csv")


def _heading(verdict: Verdict, side: Side) -> Markup:
    rests = t(
        "compare.units",
        a=show.count(verdict.units_baseline),
        b=show.count(verdict.units_candidate),
        since=show.moment(verdict.since, viewer_offset()),
    )
    if verdict.pairs or verdict.late_pairs:
        pairs, late = show.count(verdict.pairs), show.count(verdict.late_pairs)
        rests += t("compare.mirrored", n=pairs, late=late)
    return Markup('<p class="verdict">{} <strong>{}</strong> <span>{}</span><small>{}</small></p>').format(
        verdict_pill(verdict.verdict), markup.side(side, language(), theme()), verdict.reason(language()), rests
    )  # fmt: skip


def _gate_table(verdict: Verdict, side: Side) -> Markup:
    keys = (
        "gate",
        "place",
        "state",
        "baseline",
        "candidate",
        "loss",
        "margin",
        "evidence",
        "needed",
    )
    heads = [markup.HINT.format(t(f"gate.{key}.help"), t(f"gate.{key}")) for key in keys]
    color = side_color(side, theme())
    lines = [_gate_line(gate, color) for gate in verdict.gates]
    return markup.table(heads, lines, text_columns=3)


def _gate_line(gate: Gate, color: str) -> list[Markup | str]:
    tone, mark = STATES.get(gate.state, ("plain", "○"))
    return [
        name_of(gate.gate),
        _track(gate, color),
        PILL.format(tone + " bare", f"{mark} {term('gate_state', gate.state)}"),
        markup.with_small(measured(gate, gate.baseline), _number(gate, "baseline")),
        markup.with_small(measured(gate, gate.candidate), _number(gate, "candidate")),
        markup.with_small(loss(gate, gate.estimate), _interval(gate)),
        loss(gate, gate.margin),
        _log_e(gate),
        needed(gate),
    ]


def _number(gate: Gate, side: str) -> str:
    """Over how many conversations a value is; of mirrored ones, the baseline's own disagreement is the noise floor."""
    n = show.count(gate.n_baseline if side == "baseline" else gate.n_candidate)
    if gate.gate == "pair:disagreement" and side == "baseline":
        return t("gate.noise", n=n)
    return t("gate.mirrored", n=n) if gate.gate.startswith("pair:") else f"n = {n}"


def _track(gate: Gate, color: str) -> Markup:
    places = [gate.place(x) for x in (gate.lower, gate.estimate, gate.upper)]
    low, value, high = (LEFT if p is None else p for p in places)
    if gate.estimate is None:
        return markup.UNKNOWN
    low = LEFT if places[0] is None else low
    high = RIGHT if places[2] is None else high
    on_line = [(x - LEFT) / (RIGHT - LEFT) for x in (low, value, high, 0.0, 1.0)]
    return markup.track(on_line[0], on_line[1], on_line[2], color, *on_line[3:])


def name_of(gate: str) -> str:
    """What people call a gate; a check by its own name."""
    if gate.startswith("check:"):
        return term("check", gate.removeprefix("check:"))
    try:
        english, chinese = gate_name(gate)
    except KeyError:
        return gate
    return chinese if language() == "zh" else english[:1].upper() + english[1:]


def loss(gate: Gate, value: float | None) -> str:
    """A loss or margin in the gate's unit."""
    if value is None:
        return show.UNKNOWN
    if gate.unit == "points":
        return show.points(value, 2)
    return f"× {value:.3g}" if gate.unit == "ratio" else show.money(value, gate.unit)


def measured(gate: Gate, value: float | None) -> str:
    """What was measured on one side: a share, a score, milliseconds or money."""
    if value is None:
        return show.UNKNOWN
    if gate.unit == "points":
        return show.percent(value, 2)
    if "ttft" in gate.gate or "duration" in gate.gate:
        return show.milliseconds(value)
    return f"{value:.4g}"


def _interval(gate: Gate) -> str:
    if gate.lower is None and gate.upper is None:
        return ""
    return f"{loss(gate, gate.lower)} … {loss(gate, gate.upper)}"


def _log_e(gate: Gate) -> Markup:
    if gate.log_e_promote is None:
        return markup.UNKNOWN
    wanted = (
        "" if gate.promote_threshold is None else t("gate.of", n=f"{gate.promote_threshold:.2f}")
    )
    return markup.with_small(f"{gate.log_e_promote:.2f}", wanted)


def needed(gate: Gate) -> Markup:
    """Conversations still needed, with the band of the forecast and the day expected."""
    ahead = gate.forecast
    if gate.state != "open" or ahead is None:
        return markup.UNKNOWN
    if ahead.conversations is None:
        return markup.with_small(t("gate.never"), "")
    most = "∞" if ahead.most is None else show.count(ahead.most)
    band = f"{show.count(ahead.least)} – {most}"
    day = f" · {show.day_ms(ahead.ready_at, viewer_offset())}" if ahead.ready_at else ""
    return markup.with_small(show.count(ahead.conversations), band + day)


def gate_rows(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Every gate as plain numbers, for a CSV file."""
    columns = ("unit", "state", "baseline", "candidate", "estimate", "lower", "upper", "margin", "harm", "log_e_promote",
               "promote_threshold", "log_e_rollback", "rollback_threshold", "n_baseline", "n_candidate")  # fmt: skip
    return [
        {"workload": v.workload, "provider": v.provider, "model": v.model, "verdict": v.verdict, "gate": g.gate}
        | {f"{name}_value" if name in ("baseline", "candidate") else name: getattr(g, name) for name in columns}
        | {"needed": g.forecast and g.forecast.conversations, "needed_least": g.forecast and g.forecast.least,
           "needed_most": g.forecast and g.forecast.most, "at": v.at.isoformat(timespec="seconds")}
        for v in verdicts
        for g in v.gates
    ]  # fmt: skip


def path(workload: str, verdicts: list[Verdict], of: Apart) -> None:
    """How the evidence grew: one candidate at a time, a curve for each gate."""
    with card("compare.evidence"):
        found = queries.evidence(workload)
        candidates = list(dict.fromkeys(row["candidate"] for row in found))
        if not candidates:
            st.caption(t("compare.no_evidence"))
            return
        names = {v.candidate: side_name(of.judged(v), language()) for v in verdicts}
        chosen = candidates[0]
        if len(candidates) > 1:
            chosen = st.segmented_control(
                t("compare.candidates"), candidates, default=chosen, label_visibility="collapsed",
                format_func=lambda key: names.get(key, key), key="evidence_of",
            ) or chosen  # fmt: skip
        gates_of = next((v.gates for v in verdicts if v.candidate == chosen), ())
        thresholds = {
            t("evidence.promote"): next((g.promote_threshold for g in gates_of if g.promote_threshold), None),
            t("evidence.rollback"): next((g.rollback_threshold for g in gates_of if g.rollback_threshold), None),
        }  # fmt: skip
        draw(charts.evidence(evidence_rows(found, chosen), thresholds))


def evidence_rows(found: list[dict[str, Any]], candidate: str) -> list[dict[str, Any]]:
    """A point for each gate, side and moment: at, gate, side, log_e."""
    sides = {"log_e_promote": t("evidence.promote"), "log_e_rollback": t("evidence.rollback")}
    return [
        {"at": row["at"], "gate": name_of(row["gate"]), "side": side, "log_e": row[key]}
        for row in found
        if row["candidate"] == candidate
        for key, side in sides.items()
        if row[key] is not None
    ]


def disagreement(workload: str, shown: set[Side]) -> None:
    """How much mirrored answers differ, beside how much the baseline differs from itself."""
    with card("compare.disagreement"):
        pairs = queries.disagreement(workload, queries.apart(workload))
        found = [row for row in pairs if row["side"] in shown]
        if not found:
            st.caption(t("compare.no_pairs"))
            return
        heads = [
            markup.HINT.format(t(f"pairs.{key}.help"), t(f"pairs.{key}"))
            for key in ("check", "place", "disagreement", "noise", "excess")
        ]
        st.html(markup.table(heads, [_disagreement(row) for row in found], text_columns=2))
        csv_button(disagreement_rows(workload, found), f"disagreement-{workload}.csv", "pairs_csv")


def _disagreement(row: dict[str, Any]) -> list[Markup | str]:
    value, noise = row["disagreement"], row["noise"]
    color = side_color(row["side"], theme())
    return [
        markup.with_small(term("pair", row["check"]), side_name(row["side"], language())),
        markup.track(0, value, value, color, *([] if noise is None else [noise])),
        markup.with_small(show.percent(value), t("pairs.n", n=show.count(row["pairs"]))),
        markup.with_small(show.percent(noise), t("pairs.n", n=show.count(row["noise_pairs"]))),
        show.points(row["excess"]),
    ]


def disagreement_rows(workload: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The table with Wilson intervals of the candidate's disagreement, in shares of 1."""
    rows = []
    for row in found:
        span = queries.stats.proportion(row["disagreement"] * row["pairs"], row["pairs"])
        side: Side = row["side"]
        told = {"workload": workload, "provider": side.provider, "model": side.model}
        told |= {name: value for name, value in row.items() if name != "side"}
        rows.append({**told, "low": span and span.low, "high": span and span.high})
    return rows
