"""What meets in a block, and the stakes on harm that begins later: fixed before anybody knows how it went."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.verdicts.blocks import LONGEST_WAIT_MS, MOST_PER_ARM, Matcher, sizes
from pipeline.verdicts.changes import left, staked

MINUTE = 60_000


def matched(arms: list[bool], share: float, step: int = MINUTE) -> list[tuple[list, list]]:
    """The blocks of conversations of these arms, each told by its number."""
    matcher = Matcher()
    added = (matcher.add(arm, i * step, share, [i]) for i, arm in enumerate(arms))
    return [([n for (n,) in block[0]], [n for (n,) in block[1]]) for block in added if block]


def test_the_rarer_arm_meets_the_latest_of_the_other() -> None:
    assert sizes(0.5) == (1, 1)
    assert sizes(0.1) == (9, 1)
    assert sizes(0.75) == (1, 3)
    assert sizes(0.001) == (MOST_PER_ARM, 1)
    assert matched([False] * 12 + [True], 0.1) == [(list(range(3, 12)), [12])]
    assert matched([True, False, False, True], 0.5) == [([1], [0]), ([2], [3])]


def test_what_is_more_than_a_day_apart_never_meets() -> None:
    assert matched([False, True], 0.5, LONGEST_WAIT_MS) == [([0], [1])]
    assert matched([False, True], 0.5, LONGEST_WAIT_MS + 1) == []


@given(st.lists(st.booleans(), max_size=200), st.floats(0.02, 0.98))
def test_no_conversation_is_in_two_blocks(arms: list[bool], share: float) -> None:
    found = [n for block in matched(arms, share) for side in block for n in side]
    assert len(found) == len(set(found))


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.data())
def test_what_is_staked_and_what_is_left_are_the_whole_stake_at_all_times(steps, data) -> None:
    """Or the bets on harm that begins later would be no e-process; cut into pieces anywhere."""
    cut = data.draw(st.integers(0, len(steps)))
    first, second = np.array(steps[:cut], bool), np.array(steps[cut:], bool)
    weights = np.concatenate([staked(0, 0, first), staked(cut, int(first.sum()), second)])
    assert (weights >= 0).all()
    rest = left(1 + np.arange(len(steps)), np.cumsum(steps))
    np.testing.assert_allclose(np.cumsum(weights) + rest, 1, atol=1e-12)
