"""The spool alone: first in first out, bounded, and what a crash leaves behind is put in order and counted."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import spool as module
from pipeline.spool import Batch, Spool

PLENTY = 1024**3


def batch(number: int, size: int = 100, calls: int = 2) -> Batch:
    return Batch("calls", number % 4, "cutover", calls, f"{number}:".encode().ljust(size, b"x"))


def opened(folder: Path, limit: int = PLENTY) -> Spool:
    return Spool(folder, "tap", limit)


def took(spool: Spool, *batches: Batch) -> None:
    """Appends as a producer does."""
    for one in batches:
        spool.state.produced += one.calls
        assert spool.append(one)


def all_sent(spool: Spool) -> list[Batch]:
    """Sends everything as a producer does."""
    sent = []
    while head := spool.head():
        sent.append(head)
        spool.pop(head.calls)
    return sent


def died(spool: Spool, folder: Path, other: Path) -> None:
    """What is on the disk now, without the process that holds it."""
    shutil.copytree(folder, other, dirs_exist_ok=True)


def test_batches_come_out_as_they_went_in_and_their_segments_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    spool = opened(tmp_path)
    batches = [batch(number) for number in range(50)]
    took(spool, *batches)
    assert len(list(tmp_path.glob("tap-0/*.log"))) > 3
    assert all_sent(spool) == batches
    assert spool.head() is None
    took(spool, batch(51))
    assert all_sent(spool) == [batch(51)]
    assert len(list(tmp_path.glob("tap-0/*.log"))) <= 1
    assert (spool.state.produced, spool.state.sent, spool.state.waiting) == (102, 102, 0)
    spool.close()


def test_another_process_goes_on_with_name_counts_and_batches(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    name = spool.state.name
    took(spool, *[batch(number) for number in range(5)])
    spool.head()
    spool.pop(2)
    spool.close()
    assert (spool.state.name, spool.state.waiting) == (name, 8)  # can be read after it is closed
    again = opened(tmp_path)
    assert (again.state.name, again.state.produced, again.state.sent) == (name, 10, 2)
    assert all_sent(again) == [batch(number) for number in range(1, 5)]
    again.close()


def test_two_processes_of_a_kind_have_places_of_their_own(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    assert first.state.name != second.state.name
    first.close()
    third = opened(tmp_path)
    assert third.state.name == first.state.name
    for spool in (second, third):
        spool.close()


def test_the_limit_holds_and_room_comes_back(tmp_path: Path) -> None:
    spool = opened(tmp_path, limit=1000)
    kept = [number for number in range(20) if spool.append(batch(number))]
    assert 5 < len(kept) < 10
    assert kept == list(range(len(kept)))
    assert spool.size <= 1000
    assert len(all_sent(spool)) == len(kept)
    took(spool, *[batch(number) for number in range(len(kept))])
    assert len(all_sent(spool)) == len(kept)
    spool.close()


@contextmanager
def full_disk_at(size: int) -> Iterator[None]:
    """No file may grow beyond that many bytes; a write that would is cut short or fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_the_disk_takes_half_is_taken_back(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    took(spool, batch(0, size=9000))
    with full_disk_at(10_000):
        assert not spool.append(batch(1, size=5000))
        assert not spool.append(batch(1, size=5000))
    took(spool, batch(2))
    died(spool, tmp_path, tmp_path / "later")
    assert all_sent(spool) == [batch(0, size=9000), batch(2)]
    again = opened(tmp_path / "later")
    assert all_sent(again) == [batch(0, size=9000), batch(2)]
    for one in (spool, again):
        one.close()


def test_a_folder_that_cannot_be_used_is_an_error_that_can_be_caught(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(OSError):
        opened(tmp_path / "spool")


def test_calls_that_were_only_in_memory_when_it_died_are_counted_as_dropped(tmp_path: Path) -> None:
    spool = opened(tmp_path / "a")
    took(spool, batch(0))
    spool.state.produced += 7
    died(spool, tmp_path / "a", tmp_path / "b")
    again = opened(tmp_path / "b")
    assert (again.state.produced, again.state.dropped, again.state.waiting) == (9, 7, 2)
    for one in (spool, again):
        one.close()


def test_a_batch_that_may_have_been_sent_is_sent_again_and_known_to_be(tmp_path: Path) -> None:
    spool = opened(tmp_path / "a")
    took(spool, batch(0))
    spool.head()
    spool.state.trying = 1
    died(spool, tmp_path / "a", tmp_path / "b")
    again = opened(tmp_path / "b")
    assert (again.state.sent, again.state.waiting, again.state.trying) == (0, 2, 1)
    assert all_sent(again) == [batch(0)]
    for one in (spool, again):
        one.close()


@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=30),
    popped=st.integers(0, 30),
    damage=st.integers(1, 4000),
    flip=st.booleans(),
)
def test_whatever_is_torn_or_damaged_the_rest_before_it_comes_out_whole(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    popped: int,
    damage: int,
    flip: bool,
) -> None:
    """Bytes cut off at the end, or one flipped: never a wrong batch, never an error, all counted."""
    folder = tmp_path_factory.mktemp("spool")
    spool = opened(folder)
    batches = [batch(number, size) for number, size in enumerate(sizes)]
    took(spool, *batches)
    popped = min(popped, len(batches))
    for _ in range(popped):
        spool.head()
        spool.pop(2)
    spool.close()
    file = folder / "tap-0" / "0000000001.log"
    data = bytearray(file.read_bytes())
    if flip:
        data[damage % len(data)] ^= 0xFF
    else:
        del data[max(0, len(data) - damage) :]
    file.write_bytes(data)
    again = opened(folder)
    assert again.state.waiting + again.state.dropped + again.state.sent == 2 * len(batches)
    left = all_sent(again)
    assert left == batches[popped : popped + len(left)]
    assert again.state.waiting == 0
    assert again.append(batch(99))
    assert all_sent(again) == [batch(99)]
    again.close()


def test_a_new_cluster_gets_an_account_of_its_own(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    state = spool.state
    took(spool, batch(0), batch(1), batch(2))
    state.begin("one")
    assert (state.produced, state.cluster) == (6, "one")
    spool.head()
    spool.pop(2)
    state.resent = 2
    state.begin("one")
    assert (state.produced, state.sent, state.resent) == (6, 2, 2)
    state.begin("two")
    assert (state.produced, state.sent, state.resent, state.waiting) == (4, 0, 0, 4)
    spool.close()
