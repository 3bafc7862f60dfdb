"""A drift alarm for the time when no baseline is left to compare with. It is no comparison, and says so.

An e-detector (Shin, Ramdas & Rinaldo 2023): a new bettor starts with every conversation, all against
"the mean loss is at most what it was before the cutover, and a margin more"; their fortunes are added
up. While that holds, the sum stays below N for N conversations on average, so a false alarm comes at
most once in N; with several detectors each waits for so many times N, since their sum is one too. What
moves the whole world (an outage at the client's, other users) raises it as well.
"""

from math import exp, log, log1p

import msgspec

from pipeline.verdicts.betting import CAP
from pipeline.verdicts.evidence import STAKES
from pipeline.verdicts.rates import NEVER

FALSE_ALARM_EVERY = 100_000  # conversations, on average, at least
BEFORE = 200  # conversations before the cutover that the reference must rest on


class Detector(msgspec.Struct):
    """Watches one loss in [0, 1] above `limit`, the reference and the margin together."""

    limit: float
    needed: float = log(FALSE_ALARM_EVERY)  # log e of an alarm
    log_fortunes: list[float] = msgspec.field(default_factory=lambda: [NEVER] * len(STAKES))
    since: int | None = None

    def add(self, loss: float, at: int) -> None:
        for i, stake in enumerate(STAKES):
            before = self.log_fortunes[i]
            started = max(before, 0.0) + log1p(exp(-abs(before)))  # log(e^before + 1)
            self.log_fortunes[i] = started + log1p(stake * CAP / self.limit * (loss - self.limit))
        if self.log_e >= self.needed:
            self.since = self.since or at
        elif self.log_e < self.needed / 2:
            self.since = None

    @property
    def log_e(self) -> float:
        """log of the mean over the bets."""
        most = max(self.log_fortunes)
        return most + log(sum(exp(f - most) for f in self.log_fortunes) / len(STAKES))
