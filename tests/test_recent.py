"""The last ids, by comparison with a dictionary that keeps them whole."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.recent import RecentIds

FEW = st.integers(0, 30).map(str)  # so that they come again


@given(st.integers(0, 12), st.lists(st.lists(FEW, max_size=8), max_size=30))
def test_it_knows_the_last_ids_and_no_others(limit: int, batches: list[list[str]]) -> None:
    recent = RecentIds(limit)
    known: dict[str, None] = {}
    for ids in batches:
        recent.add(ids)
        for call_id in ids:
            known.setdefault(call_id)
            while len(known) > limit:
                del known[next(iter(known))]
        assert [n for n in map(str, range(31)) if n in recent] == sorted(known, key=int)
        assert len(recent) == len(known)


def test_an_id_that_is_added_again_keeps_its_turn() -> None:
    recent = RecentIds(2, ["a", "b"])
    recent.add(["a", "c"])
    assert [call_id in recent for call_id in "abc"] == [False, True, True]
