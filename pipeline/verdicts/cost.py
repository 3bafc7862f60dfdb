"""Mean costs without a bound, from sums: an approximation that says nothing before its burn-in.

Costs have heavy tails, and the normal approximation behind these intervals needs many conversations:
looked at from the first one on, a nominal 5 % was wrong in 21 % of simulated runs; from 2,000
per arm on in 3.8 %. A gate with a `bound` is exact instead (`betting`).
"""

from math import exp, log, sqrt

import msgspec

BURN_IN = 2_000  # conversations per arm


class Sums(msgspec.Struct):
    """One arm's conversations with a known cost: number, sums of cost c and success s, and of products."""

    n: int = 0
    c: float = 0.0
    cc: float = 0.0
    s: float = 0.0
    cs: float = 0.0

    def add(self, cost: float, success: float) -> None:
        self.n += 1
        self.c += cost
        self.cc += cost * cost
        self.s += success
        self.cs += cost * success

    @property
    def mean(self) -> float:
        return self.c / self.n

    @property
    def variance(self) -> float:
        return max(0.0, self.cc / self.n - self.mean**2) * self.n / (self.n - 1)


def half_width(variance: float, n: int, alpha: float, tightest: int = 2 * BURN_IN) -> float:
    """Half the width of the asymptotic confidence sequence for a mean difference.

    `variance` is that of the estimate, s_a²/n_a + s_b²/n_b; `n` both arms' number; `tightest` the number at
    which it is narrowest. Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024 (arXiv 2103.06476), Thm 2.2.
    """
    rho2 = (-2 * log(alpha) + log(1 - 2 * log(alpha))) / tightest
    scale = n * rho2 + 1
    return sqrt(variance * n) * sqrt(2 * scale / (n * n * rho2) * log(sqrt(scale) / alpha))


def difference(a: Sums, b: Sums, alpha: float) -> tuple[float, float, float]:
    """b's mean cost less a's, and its interval."""
    half = half_width(a.variance / a.n + b.variance / b.n, a.n + b.n, alpha)
    estimate = b.mean - a.mean
    return estimate, estimate - half, estimate + half


def ratio(
    a: Sums, b: Sums, alpha: float, *, per_success: bool
) -> tuple[float, float, float] | None:
    """b's mean cost (per success) over a's, and its interval; None where an arm has no cost or success.

    The delta method on the logarithm: Var log(C/S) = Var(c/c̄ - s/s̄)/n.
    """
    if min(a.c, b.c, a.s, b.s) <= 0:
        return None
    logs, variance = 0.0, 0.0
    for arm, sign in ((a, -1), (b, 1)):
        c, s = arm.mean, arm.s / arm.n
        relative = arm.variance / c**2
        if per_success:  # s is 0 or 1: its variance is s(1-s)
            relative += (1 - s) / s - 2 * (arm.cs / arm.n - c * s) / (c * s)
        logs += sign * (log(c / s) if per_success else log(c))
        variance += max(0.0, relative) / arm.n
    half = half_width(variance, a.n + b.n, alpha)
    return exp(logs), exp(logs - half), exp(logs + half)
