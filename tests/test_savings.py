"""What moving saved, by hand and against many made-up migrations."""

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.savings import Saving, savings, total


def day(
    number: int, arm: str, clusters: list[tuple[int, float]], *, unpriced: int = 0
) -> dict[str, Any]:
    """A row of savings.sql, from (priced calls, cost) of each ten minutes."""
    n = sum(calls for calls, _ in clusters)
    return {
        "day": number, "workload": "w", "arm": arm, "calls": n + unpriced, "priced": n,
        "cost": sum((Decimal(str(cost)) for _, cost in clusters), Decimal(0)),
        "clusters": len(clusters), "yy": sum(c * c for _, c in clusters),
        "yn": sum(c * k for k, c in clusters), "nn": float(sum(k * k for k, _ in clusters)),
    }  # fmt: skip


def test_without_a_price_of_the_baseline_nothing_is_compared() -> None:
    found = savings([day(1, "candidate", [(5, 1)])])["w"]
    assert found == Saving(paid=Decimal(0), baseline_would_be=Decimal(0), calls=0, left_out=5)
    assert found.interval is None


def test_a_day_without_baseline_calls_takes_the_price_of_the_nearest_day_before() -> None:
    rows = [
        day(1, "baseline", [(10, 20.0), (10, 20.0)]),
        day(1, "candidate", [(4, 1.0)], unpriced=1),
        day(2, "candidate", [(6, 3.0)]),
        day(3, "baseline", [(5, 5.0), (5, 5.0)]),
        day(3, "candidate", [(10, 2.0)]),
    ]
    found = savings(rows)["w"]
    assert found.baseline_would_be == 2 * 4 + 2 * 6 + 1 * 10
    assert found.paid == 6
    assert (found.calls, found.left_out) == (20, 1)
    assert found.interval == (Decimal(24), Decimal(24))  # the baseline's cost never varied


def test_a_baseline_seen_for_ten_minutes_gives_no_interval() -> None:
    rows = [day(1, "baseline", [(10, 20.0)]), day(1, "candidate", [(4, 1.0)])]
    found = savings(rows)["w"]
    assert found.saved == 7
    assert found.interval is None
    assert total([found]).interval is None


def test_the_variance_by_hand() -> None:
    """Ratio 1.5 a call; residuals 5 − 7.5 and 10 − 7.5; D = 12.5 · 2/1; m/n = 1/2: ½ · 1½ · 25."""
    rows = [day(1, "baseline", [(5, 5.0), (5, 10.0)]), day(1, "candidate", [(5, 0.0)])]
    assert savings(rows)["w"].variance == pytest.approx(18.75)


def test_the_interval_covers_what_the_baseline_would_really_have_cost() -> None:
    """1,000 made-up days of 48 busy and quiet ten minutes, calls split by chance: about 95 % covered."""
    chance, covered, trials = random.Random(7), 0, 1_000
    for _ in range(trials):
        stay: list[tuple[int, float]] = []
        moved: list[int] = []
        truth = 0.0
        for _ in range(48):
            calls = [chance.lognormvariate(0, 0.5) for _ in range(chance.randint(4, 30))]
            gone = [c for c in calls if chance.random() < 0.4]
            kept = len(calls) - len(gone)
            truth += sum(gone)
            moved.append(len(gone))
            if kept:
                stay.append((kept, sum(calls) - sum(gone)))
        rows = [day(1, "baseline", stay), day(1, "candidate", [(m, 0.0) for m in moved])]
        low, high = savings(rows)["w"].interval or (Decimal(0), Decimal(0))
        covered += float(low) <= truth <= float(high)
    assert 0.93 < covered / trials < 0.97


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 100)), min_size=2, max_size=20))
def test_workloads_add_up(clusters: list[tuple[int, float]]) -> None:
    rows = [day(1, "baseline", clusters), day(1, "candidate", [(7, 2.0)])]
    one = savings(rows)["w"]
    both = total([one, one])
    assert float(both.saved) == pytest.approx(2 * float(one.saved))
    assert both.calls == 14
    assert both.variance == pytest.approx(2 * (one.variance or 0))
