"""What is measured of a conversation: from gates to streams of losses in [0, 1], 1 the worst."""

from collections.abc import Callable
from decimal import Decimal

import msgspec

from pipeline.calls import Arm
from pipeline.verdicts.evidence import Stream
from pipeline.verdicts.gates import CostGate, Gates, LatencyGate, PairGates
from pipeline.verdicts.units import Pair, Unit

UNSCORED_TOLERANCE = 0.05  # how far the arms' shares without a score may lie apart


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """A stream, and the loss a unit adds to it (None: does not apply).

    `decides`: it is a gate; the others watch over gates. `rolls_back`: its harm is a reason to go
    back. A value v is shown as `scale`·v, a score as 1 - v.
    """

    stream: Stream
    loss: Callable[[Unit], float | None]
    decides: bool = True
    rolls_back: bool = True
    is_score: bool = False
    unit: str = "points"
    scale: float = 1.0


class PairMeasure(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of pairs: what a pair adds for the baseline and for the candidate."""

    stream: Stream
    losses: Callable[[Pair], tuple[float | None, float | None]]
    is_score: bool = False


def measures(gates: Gates) -> list[Measure]:
    """The streams of conversations, always in the same order."""
    found = []
    if gates.failure:
        stream = Stream(
            name="failure",
            margin=gates.failure.margin,
            harm=gates.failure.harm_above,
            binary=True,
        )
        found.append(Measure(stream=stream, loss=lambda unit: float(unit.failed)))
    if gates.score:
        found += _score(gates.score.margin, gates.score.harm_above)
    for name, gate in sorted(gates.checks.items()):
        stream = Stream(name=f"check:{name}", margin=gate.margin, harm=gate.harm_above)
        found.append(Measure(stream=stream, loss=_check_loss(name), is_score=True))
    for field, latency in (("ttft", gates.ttft_ms), ("duration", gates.duration_ms)):
        if latency is not None and latency.slo is not None:
            found.append(_slo(field, latency, latency.slo))
    if gates.cost and gates.cost.bound:
        found.append(_cost(gates.cost, gates.cost.bound))
    return found


def _score(margin: float, harm: float) -> list[Measure]:
    """The score; the same with missing scores at their worst; and how often they are missing."""
    return [
        Measure(
            stream=Stream(name="score", margin=margin, harm=harm),
            loss=lambda unit: None if unit.score is None else 1 - unit.score,
            is_score=True,
        ),
        Measure(
            stream=Stream(name="score_at_worst", margin=margin, harm=harm),
            loss=lambda unit: (
                float(unit.arm is Arm.CANDIDATE) if unit.score is None else 1 - unit.score
            ),
            decides=False,
            rolls_back=False,
        ),
        Measure(
            stream=Stream(name="unscored", margin=UNSCORED_TOLERANCE, harm=UNSCORED_TOLERANCE),
            loss=lambda unit: float(unit.score is None),
            decides=False,
            rolls_back=False,
        ),
        Measure(
            stream=Stream(name="scored", margin=UNSCORED_TOLERANCE, harm=UNSCORED_TOLERANCE),
            loss=lambda unit: float(unit.score is not None),
            decides=False,
            rolls_back=False,
        ),
    ]


def _check_loss(name: str) -> Callable[[Unit], float | None]:
    def loss(unit: Unit) -> float | None:
        value = unit.checks.get(name)
        return None if value is None else 1 - value

    return loss


def _slo(field: str, gate: LatencyGate, slo: float) -> Measure:
    """A conversation that failed before it had a time is slow: it never answered in time."""

    def loss(unit: Unit) -> float | None:
        ms: int | None = getattr(unit, f"{field}_ms")
        if ms is None:
            return 1.0 if unit.failed else None
        return float(ms > slo)

    stream = Stream(
        name=f"{field}_slo",
        margin=gate.margin,
        harm=gate.harm_above,
        binary=True,
    )
    return Measure(stream=stream, loss=loss)


def _cost(gate: CostGate, bound: Decimal) -> Measure:
    """Costs as shares of their bound. Dearer is no reason to go back, only not to go on."""

    def loss(unit: Unit) -> float | None:
        if unit.cost is None or unit.currency != gate.currency:
            return None
        return float(min(max(unit.cost, Decimal(0)), bound) / bound)

    margin = gate.ratio if gate.ratio is not None else float((gate.amount or 0) / bound)
    return Measure(
        stream=Stream(name="cost", margin=margin, harm=margin, as_ratio=gate.ratio is not None),
        loss=loss,
        rolls_back=False,
        unit="ratio" if gate.ratio is not None else gate.currency,
        scale=float(bound),
    )


def pair_measures(gates: PairGates) -> list[PairMeasure]:
    """The streams of pairs, always in the same order."""
    kinds: dict[str, Callable[[Pair], tuple[float | None, float | None]]] = {
        "failure": lambda pair: (pair.failed_baseline, pair.failed_candidate),
        "score": lambda pair: (_loss(pair.score_baseline), _loss(pair.score_candidate)),
        "disagreement": lambda pair: (pair.noise, pair.disagreement),
    }
    return [
        PairMeasure(
            stream=Stream(name=f"pair:{name}", margin=gate.margin, harm=gate.harm_above),
            losses=losses,
            is_score=name == "score",
        )
        for name, losses in kinds.items()
        if (gate := getattr(gates, name)) is not None
    ]


def _loss(score: float | None) -> float | None:
    return None if score is None else 1 - score
