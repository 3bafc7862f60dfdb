"""The filter of hashes seen: it never forgets one, and is seldom wrong about others."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.verdicts.bloom import LEAST_BITS, ROOM, Bloom, hashes_of

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=200)


@given(HASHES, HASHES)
def test_what_was_added_is_held_however_it_was_added(first: list[int], second: list[int]) -> None:
    bloom = Bloom(0)
    for part in (first, second, first):
        bloom.add(hashes_of(part))
    assert bloom.may_hold(hashes_of([*second, *first])).all()


def test_others_are_seldom_taken_for_seen_until_it_is_full() -> None:
    numbers = np.random.default_rng(1)
    bloom = Bloom(0)
    bloom.add(numbers.integers(0, 2**64, LEAST_BITS // ROOM, dtype=np.uint64))
    assert not bloom.is_full
    assert bloom.may_hold(numbers.integers(0, 2**64, 100_000, dtype=np.uint64)).mean() < 0.01
    bloom.add(hashes_of([1]))
    assert bloom.is_full


def test_there_is_room_for_twice_as_many_as_expected() -> None:
    bloom = Bloom(100_000)
    bloom.add(np.random.default_rng(2).integers(0, 2**64, 200_000, dtype=np.uint64))
    assert not bloom.is_full
