"""The judge's verdicts as the pages read them from `v_verdicts`, and where a gate stands. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from pipeline.verdicts.verdict import Drift

SMALLEST = {"points": 0.01, "ratio": 0.1}  # what a margin's length is taken for where it has none


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations of both arms still needed and when, UTC ms, with a 10-90 % band; None: not to be expected."""

    conversations: int | None = None
    least: int | None = None
    most: int | None = None
    ready_at: int | None = None
    ready_at_least: int | None = None
    ready_at_most: int | None = None
    in_time: bool | None = None


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's evidence. Estimate, interval, margin and harm are losses: positive when the candidate is worse.

    `unit`: points (shares), ratio (candidate over baseline) or a currency.
    """

    gate: str
    unit: str = "points"
    state: str = "no_data"  # passed, open, harmed, no_data
    baseline: float | None = None
    candidate: float | None = None
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    margin: float = 0.0
    harm: float | None = None
    log_e_promote: float | None = None
    promote_threshold: float | None = None
    log_e_rollback: float | None = None
    rollback_threshold: float | None = None
    n_baseline: int = 0
    n_candidate: int = 0
    forecast: Forecast | None = None

    def place(self, loss: float | None) -> float | None:
        """Where a loss lies on the gate's own scale: 0 is no difference, 1 is the margin."""
        if loss is None:
            return None
        none = 1.0 if self.unit == "ratio" else 0.0
        length = abs(self.margin - none) or SMALLEST.get(self.unit, 1.0)
        return 1 + (loss - self.margin) / length


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The newest word on a workload and candidate (the endpoint's name in the plan)."""

    at: datetime
    workload: str
    candidate: str
    provider: str
    model: str
    epoch: int
    verdict: str  # PROMOTE, HOLD, ROLLBACK, BLOCKED
    since: datetime
    reason_en: str
    reason_zh: str
    stage: str
    share: float
    units_baseline: int
    units_candidate: int
    late_calls: int
    gates: tuple[Gate, ...]
    pairs: int = 0  # mirrored conversations
    late_pairs: int = 0
    drift: tuple[Drift, ...] = ()  # after the cutover

    @property
    def alarms(self) -> tuple[Drift, ...]:
        """The drift alarms that stand; they compare with nothing."""
        return tuple(drift for drift in self.drift if drift.since is not None)

    def reason(self, language: str) -> str:
        return self.reason_zh if language == "zh" and self.reason_zh else self.reason_en

    @property
    def slowest(self) -> Gate | None:
        """The open gate that needs most; one that is not expected to pass at all comes first."""
        waiting = [g for g in self.gates if g.state == "open" and g.forecast]
        never = [g for g in waiting if g.forecast and g.forecast.conversations is None]
        most = max(
            waiting, key=lambda g: (g.forecast and g.forecast.conversations) or 0, default=None
        )
        return never[0] if never else most


def read(row: Mapping[str, Any]) -> Verdict:
    """A row of `v_verdicts`."""
    raw = msgspec.json.decode(row["gates"] or "[]", type=list[dict[str, Any]])
    gates = tuple(msgspec.convert(_gate(gate, row["at"]), Gate, strict=False) for gate in raw)
    drift = msgspec.json.decode(row["drift"] or "[]", type=tuple[Drift, ...])
    return msgspec.convert({**row, "gates": gates, "drift": drift}, Verdict)


def _gate(raw: dict[str, Any], at: datetime) -> dict[str, Any]:
    """A gate as it is stored: its thresholds are `needed_…`, its forecast counts days from the verdict on."""
    gate = {"promote_threshold": raw.get("needed_promote"), "rollback_threshold": raw.get("needed_rollback"), **raw}  # fmt: skip
    told = raw.get("forecast")
    if told and "conversations_p50" in told:
        gate["forecast"] = {
            "conversations": told["conversations_p50"],
            "least": told["conversations_p10"],
            "most": told["conversations_p90"],
            "in_time": told.get("reachable"),
            "ready_at": _after(at, told["days_p50"]),
            "ready_at_least": _after(at, told["days_p10"]),
            "ready_at_most": _after(at, told["days_p90"]),
        }
    return gate


def _after(at: datetime, days: float | None) -> int | None:
    return None if days is None else round(at.timestamp() * 1000 + days * 86_400_000)
