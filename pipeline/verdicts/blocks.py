"""Time-matched blocks: so many candidate conversations with so many of the baseline's of that time.

Which conversations meet in a block depends on their order, arms and shares, never on how they went.
Within a block both arms had the same day, so ramps and swings cancel out.
"""

import msgspec

MOST_PER_ARM = 20  # conversations of one arm in a block
MOST_WAITING = 100  # conversations of one arm that wait for the other's
LONGEST_WAIT_MS = 24 * 3_600_000  # what is older is not of the same time any more

Losses = list[float | None]  # one for each stream; None: does not apply


class Waiting(msgspec.Struct):
    """Conversations that found no block yet, the latest last: times of assignment, losses."""

    times: list[int] = []
    losses: list[Losses] = []

    def add(self, at: int, losses: Losses) -> None:
        self.times.append(at)
        self.losses.append(losses)

    def take(self, k: int) -> list[Losses]:
        """The latest k, which wait no longer."""
        taken = self.losses[-k:]
        del self.times[-k:], self.losses[-k:]
        return taken

    def give_up(self, now: int) -> None:
        """Leave out what is too old or too much; the test does without, the averages shown do not."""
        while len(self.times) > MOST_WAITING or (
            self.times and self.times[0] < now - LONGEST_WAIT_MS
        ):
            self.times.pop(0)
            self.losses.pop(0)


class Matcher(msgspec.Struct):
    """Forms blocks as conversations come in; keeps what waits."""

    baseline: Waiting = msgspec.field(default_factory=Waiting)
    candidate: Waiting = msgspec.field(default_factory=Waiting)

    def add(
        self, is_candidate: bool, at: int, share: float, losses: Losses
    ) -> tuple[list[Losses], list[Losses]] | None:
        """The block this conversation completes, (baseline's, candidate's); None if it waits."""
        (self.candidate if is_candidate else self.baseline).add(at, losses)
        self.baseline.give_up(at)
        self.candidate.give_up(at)
        k_a, k_b = sizes(share)
        if len(self.baseline.times) < k_a or len(self.candidate.times) < k_b:
            return None
        return self.baseline.take(k_a), self.candidate.take(k_b)


def sizes(share: float) -> tuple[int, int]:
    """Conversations per block (baseline, candidate) at that candidate's share: one of the rarer arm."""
    share = min(max(share, 1e-9), 1 - 1e-9)
    if share <= 0.5:
        return min(round((1 - share) / share), MOST_PER_ARM), 1
    return 1, min(round(share / (1 - share)), MOST_PER_ARM)


def sums(side: list[Losses]) -> tuple[list[int], list[float]]:
    """For each stream, how many of one side's conversations it applies to, and the sum of their losses."""
    columns = [[loss for loss in column if loss is not None] for column in zip(*side, strict=True)]
    return [len(column) for column in columns], [sum(column) for column in columns]
