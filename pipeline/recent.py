"""The ids of the last calls of a partition, in some 30 bytes each: is one of them seen again?

Kept as 64-bit hashes in two arrays: a ring, oldest first, and a table with open addressing. Two ids in
10^19 share a hash; a new call meets one of 200,000 by chance once in 10^14.
"""

from array import array
from collections.abc import Iterable

_MASK = 2**64 - 1


class RecentIds:
    """The last `limit` ids that were added."""

    def __init__(self, limit: int, ids: Iterable[str] = ()) -> None:
        self._limit = limit
        self._ring = array("Q")
        self._oldest = 0  # its place in the ring, once that is full
        self._last = (
            1 << (2 * limit + 1).bit_length()
        ) - 1  # of the table: never more than half full
        self._table = array("Q", bytes(8)) * (self._last + 1)  # 0: free
        self.add(ids)

    def __len__(self) -> int:
        return len(self._ring)

    def __contains__(self, call_id: str) -> bool:
        return self._table[self._place(_hashed(call_id))] != 0

    def add(self, ids: Iterable[str]) -> None:
        """Adds ids, the newest last; those that are there keep their turn. The oldest ones make room."""
        for hashed in map(_hashed, ids):
            if not self._table[self._place(hashed)] and self._limit:
                self._take_turn(hashed)
                self._table[self._place(hashed)] = hashed

    def _take_turn(self, hashed: int) -> None:
        if len(self._ring) < self._limit:
            self._ring.append(hashed)
            return
        self._remove(self._ring[self._oldest])
        self._ring[self._oldest] = hashed
        self._oldest = (self._oldest + 1) % self._limit

    def _place(self, hashed: int) -> int:
        """Where a hash is in the table, or would be put."""
        table, last = self._table, self._last
        at = hashed & last
        while (there := table[at]) and there != hashed:
            at = (at + 1) & last
        return at

    def _remove(self, hashed: int) -> None:
        """Takes a hash out and moves up those behind it that could not have the place they wanted."""
        table, last = self._table, self._last
        hole = at = self._place(hashed)
        while there := table[at := (at + 1) & last]:
            if (at - there) & last >= (at - hole) & last:
                table[hole] = there
                hole = at
        table[hole] = 0


def _hashed(call_id: str) -> int:
    """Never 0. Another one in each process: nobody can make up ids that meet."""
    return hash(call_id) & _MASK or 1
