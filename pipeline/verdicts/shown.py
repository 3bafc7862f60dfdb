"""Verdicts as they are written down: gates as JSON objects, the path of the evidence as rows."""

from typing import Any

from pipeline.verdicts.state import State
from pipeline.verdicts.verdict import Forecast, Verdict

DAY_MS = 86_400_000


def gate_rows(verdict: Verdict) -> list[dict[str, Any]]:
    """One object a gate; `estimate` is the loss, `needed_…` the logarithms of the e-values to be reached."""
    return [
        {
            "gate": gate.name,
            "unit": gate.unit,
            "state": str(gate.state),
            "method": gate.method,
            "baseline": gate.baseline,
            "candidate": gate.candidate,
            "n_baseline": gate.n_baseline,
            "n_candidate": gate.n_candidate,
            "estimate": gate.loss,
            "lower": gate.lower,
            "upper": gate.upper,
            "confidence": gate.confidence,
            "margin": gate.margin,
            "harm": gate.harm,
            "log_e_promote": gate.log_e_promote,
            "needed_promote": gate.promote_threshold,
            "log_e_rollback": gate.log_e_rollback,
            "needed_rollback": gate.rollback_threshold,
            "since": gate.since,
            "reason_en": gate.reason.en if gate.reason else "",
            "reason_zh": gate.reason.zh if gate.reason else "",
            "forecast": _forecast(gate.forecast, verdict.at),
        }
        for gate in verdict.gates
    ]


def _forecast(found: Forecast | None, now: int) -> dict[str, Any] | None:
    """Conversations of both arms and days still needed; None where that is not to be expected."""
    if found is None:
        return None

    def days(at: int | None) -> float | None:
        return None if at is None else max(0.0, (at - now) / DAY_MS)

    return {
        "conversations_p10": found.least,
        "conversations_p50": found.conversations,
        "conversations_p90": found.most,
        "days_p10": days(found.ready_at_least),
        "days_p50": days(found.ready_at),
        "days_p90": days(found.ready_at_most),
        "reachable": found.conversations is not None and found.in_time is not False,
    }


def evidence_rows(verdict: Verdict, state: State) -> list[dict[str, Any]]:
    """The evidence of every gate as it stood at `last_at`."""
    return [
        {
            "at": last_at(state),
            "gate": gate.name,
            "units_baseline": verdict.units_baseline,
            "units_candidate": verdict.units_candidate,
            "log_e_promote": gate.log_e_promote,
            "log_e_rollback": gate.log_e_rollback,
            "estimate": gate.loss,
            "lower": gate.lower,
            "upper": gate.upper,
        }
        for gate in verdict.gates
    ]


def last_at(state: State) -> int:
    """When the last conversation folded was assigned, or its shadow pairs, or the last failure told came, UTC ms."""
    places = (state.told.place, state.pair_place)
    return max(state.baseline.last_at, state.tested.last_at, *(p[0] for p in places if p))
