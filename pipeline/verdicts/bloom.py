"""Which hashes may have been seen: never wrong about one that was, seldom about one that was not.

A Bloom filter (Bloom 1970) in blocks of one word (Putze, Sanders & Singler 2009): the highest bits of a hash say which
word, its lowest which four bits of it.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

WORD = 64
ROOM = 16  # bits a hash below which a filter is full: then one in 200 is taken for seen
LEAST_BITS, MOST_BITS = 1 << 20, 1 << 28  # 128 KB, 32 MB


def hashes_of(numbers: Collection[int]) -> Hashes:
    """The same as an array."""
    return np.fromiter(numbers, np.uint64, len(numbers))


class Bloom:
    """A filter of 64-bit hashes that are spread evenly, with room for at least twice the number expected."""

    def __init__(self, expected: int) -> None:
        wanted = 1 << (2 * ROOM * expected).bit_length()
        self._bits = min(max(wanted, LEAST_BITS), MOST_BITS)
        self._words = np.zeros(self._bits // WORD, np.uint64)
        self._shift = np.uint64(WORD - (self._bits // WORD).bit_length() + 1)
        self._added = 0

    @property
    def is_full(self) -> bool:
        """True if a larger one would be wrong less often."""
        return self._added * ROOM > self._bits and self._bits < MOST_BITS

    def add(self, hashes: Hashes) -> None:
        if not len(hashes):
            return
        hashes = np.sort(hashes)
        words = hashes >> self._shift
        firsts = np.flatnonzero(np.append(True, words[1:] != words[:-1]))
        self._words[words[firsts]] |= np.bitwise_or.reduceat(_bits_of(hashes), firsts)
        self._added += len(hashes)

    def may_hold(self, hashes: Hashes) -> NDArray[np.bool_]:
        """For each, whether it may have been added."""
        bits = _bits_of(hashes)
        found: NDArray[np.bool_] = self._words[hashes >> self._shift] & bits == bits
        return found


def _bits_of(hashes: Hashes) -> Hashes:
    """Four bits of a word, not always different."""
    found = np.zeros_like(hashes)
    for place in range(0, 24, 6):
        found |= np.uint64(1) << (hashes >> np.uint64(place) & np.uint64(WORD - 1))
    return found
