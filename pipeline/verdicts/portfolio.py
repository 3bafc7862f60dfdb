"""Many workloads at once: which verdicts to believe together."""

from collections.abc import Sequence
from math import log

from pipeline.verdicts.verdict import Verdict


def together(verdicts: Sequence[Verdict], alpha: float) -> list[Verdict]:
    """The verdicts whose candidates are shown tolerable, so that at most a share alpha of those named is wrong on average.

    A verdict's own α says nothing about how many of forty are wrong. Its e-value is that of its
    weakest gate, since all must pass; gates by approximation have none and are left out.
    """
    return [verdicts[i] for i in proven([_weakest(verdict) for verdict in verdicts], alpha)]


def proven(log_e: Sequence[float], alpha: float) -> list[int]:
    """Which of some hypotheses to reject by their e-values: the e-BH procedure, under any dependence.

    The k largest with e >= M/(kα), for the largest such k. Wang & Ramdas 2022 (arXiv 2009.02824).
    """
    order = sorted(range(len(log_e)), key=lambda i: -log_e[i])
    m = len(log_e)
    most = max(
        (k for k in range(1, m + 1) if log_e[order[k - 1]] >= -log(k * alpha / m)), default=0
    )
    return sorted(order[:most])


def _weakest(verdict: Verdict) -> float:
    return min(
        (gate.log_e_promote for gate in verdict.gates if gate.log_e_promote is not None),
        default=0.0,
    )
