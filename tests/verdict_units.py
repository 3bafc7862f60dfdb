"""Conversations made up for tests of the judge, seeded."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.calls import Arm
from pipeline.verdicts.judge import Facts, State, Verdict, judge
from pipeline.verdicts.units import Unit

START = 1_790_000_000_000
MINUTE = 60_000
Drawn = Callable[[np.random.Generator, int], Any]


def unit(i: int, *, candidate: bool, share: float | None = 0.5, **fields: Any) -> Unit:
    """Conversation number i of a made-up workload, one a minute."""
    at = START + i * MINUTE
    return Unit(
        workload="support",
        provider="moonshot" if candidate else "anthropic",
        arm=Arm.CANDIDATE if candidate else Arm.BASELINE,
        conversation_id=f"c{i:07}",
        assigned_at=at,
        closed_at=at + MINUTE,
        **{"failed": False, "share": share, **fields},
    )


def traffic(
    n: int,
    *,
    seed: int = 1,
    first: int = 0,
    share: float = 0.5,
    failing: Sequence[float] = (0.02, 0.02),
    score: Sequence[float] = (0.9, 0.9),
    dearer: float = 1.0,
) -> list[Unit]:
    """n conversations; failing and score are (baseline's, candidate's)."""
    rng = np.random.default_rng(seed)
    arms = rng.random(n) < share
    return [
        unit(
            first + i,
            candidate=bool(b),
            share=share,
            failed=bool(rng.random() < failing[int(b)]),
            score=round(float(rng.beta(20 * score[int(b)], 20 * (1 - score[int(b)]))), 4),
            cost=Decimal(f"{rng.lognormal(-5, 1) * (dearer if b else 1):.6f}"),
            currency="USD",
            ttft_ms=int(600 * rng.lognormal(0, 0.6)),
            duration_ms=int(5000 * rng.lognormal(0, 0.6)),
        )
        for i, b in enumerate(arms)
    ]


def verdict(state: State, **facts: Any) -> Verdict:
    """The verdict right after the last conversation, with sound accounts unless told otherwise."""
    now = max(START, state.baseline.last_at, state.tested.last_at) + MINUTE
    return judge(state, Facts(**{"now": now, "watermark": now, **facts}))
