"""Whether most of what came in the last minute was rejected: then the fault is likely ours."""

from collections import deque

WINDOW_SECONDS = 60.0
FEWEST = 20  # records; of fewer nothing is said
MOST = 0.5


class RejectingWatch:
    """Looks at two growing counts from time to time and tells the share of the last minute."""

    def __init__(self) -> None:
        # When, rejected, read; at first what was before the first look.
        self._looks: deque[tuple[float, int, int]] = deque([(-WINDOW_SECONDS, 0, 0)])
        self._said_at = -WINDOW_SECONDS
        self.rejected = self.read = 0  # in the last minute

    @property
    def share(self) -> float:
        """Of the last minute's records, how many were rejected; 0 if there are too few to say."""
        return self.rejected / self.read if self.read >= FEWEST else 0.0

    def look(self, at: float, rejected: int, read: int) -> bool:
        """Takes the counts since the start at a time in seconds. True if it is to be told now, once a minute."""
        self._looks.append((at, rejected, read))
        while len(self._looks) > 2 and self._looks[1][0] <= at - WINDOW_SECONDS:
            self._looks.popleft()
        _, first_rejected, first_read = self._looks[0]
        self.rejected, self.read = rejected - first_rejected, read - first_read
        if self.share <= MOST or at - self._said_at < WINDOW_SECONDS:
            return False
        self._said_at = at
        return True
