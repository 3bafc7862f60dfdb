"""What moving saved: what migrated calls cost, against what the baseline would have cost for them.

The counterfactual is the baseline's own cost per call in the same workload on the same day (or on
the nearest day before), times the number of migrated calls: the baseline's own tokens and caches are
in it. A candidate's tokens are never priced anew at the baseline's price: other tokenizers count
differently and other models write longer or shorter. Pure.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import sqrt
from typing import Any

import msgspec

from pipeline.stats import Z


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of money over the migrated calls whose cost is known, and whose baseline's is.

    `variance` is that of `baseline_would_be`, currency squared; None if it cannot be told. What was
    paid is known and has none.
    """

    paid: Decimal
    baseline_would_be: Decimal
    calls: int  # migrated calls both sums are about
    left_out: int  # migrated calls whose cost, or whose baseline's, is unknown
    variance: float | None = 0.0

    @property
    def saved(self) -> Decimal:
        return self.baseline_would_be - self.paid

    @property
    def interval(self) -> tuple[Decimal, Decimal] | None:
        """The 95 % interval of what was saved, for one look; None if it cannot be told."""
        if self.variance is None or not self.calls:
            return None
        half = Decimal(Z * sqrt(self.variance))
        return self.saved - half, self.saved + half


def savings(days: Iterable[Mapping[str, Any]]) -> dict[str, Saving]:
    """By workload, from the rows of `queries/savings.sql`."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in days:
        groups.setdefault(row["workload"], []).append(row)
    return {workload: _saving(found) for workload, found in groups.items()}


def total(parts: Iterable[Saving]) -> Saving:
    """Several workloads' savings together."""
    found = list(parts)
    variances = [part.variance for part in found if part.calls]
    return Saving(
        paid=sum((part.paid for part in found), Decimal(0)),
        baseline_would_be=sum((part.baseline_would_be for part in found), Decimal(0)),
        calls=sum(part.calls for part in found),
        left_out=sum(part.left_out for part in found),
        variance=_added(variances),
    )


def _added(variances: Iterable[float | None]) -> float | None:
    known = list(variances)
    return None if None in known else sum(v for v in known if v is not None)


def _saving(rows: Iterable[Mapping[str, Any]]) -> Saving:
    paid = would_be = Decimal(0)
    compared = left_out = 0
    variances: list[float | None] = []
    price: Mapping[str, Any] | None = None  # the baseline's row that prices a call
    for_price = 0  # migrated calls it has priced
    for row in sorted(rows, key=lambda row: (row["day"], row["arm"])):  # baseline before candidate
        if row["arm"] == "baseline":
            if row["priced"]:
                variances.append(_variance(price, for_price))
                price, for_price = row, 0
        elif price is None:
            left_out += row["calls"]
        else:
            paid += row["cost"]
            would_be += price["cost"] / price["priced"] * row["priced"]
            compared += row["priced"]
            for_price += row["priced"]
            left_out += row["calls"] - row["priced"]
    variances.append(_variance(price, for_price))
    return Saving(
        paid=paid,
        baseline_would_be=would_be,
        calls=compared,
        left_out=left_out,
        variance=_added(variances),
    )


def _variance(baseline: Mapping[str, Any] | None, calls: int) -> float | None:
    """Variance of what `calls` calls would have cost, told by one day of the baseline.

    A ratio estimator over clusters (Cochran, Sampling Techniques, 1977, eq. 2.46), scaled from the
    baseline's n calls to m: (m/n)² D for the estimated mean, and (m/n) D for the calls' own chance.
    None with fewer than two clusters.
    """
    if not calls or baseline is None:
        return 0.0
    if baseline["clusters"] < 2:
        return None
    n = baseline["priced"]
    ratio = float(baseline["cost"]) / n
    residual = max(0.0, baseline["yy"] - 2 * ratio * baseline["yn"] + ratio**2 * baseline["nn"])
    spread = residual * baseline["clusters"] / (baseline["clusters"] - 1)
    return float((calls / n) * (1 + calls / n) * spread)
