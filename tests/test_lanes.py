"""Messages keep their order in a lane, are stored in large batches, and wait when too many wait."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from pipeline import lanes
from pipeline.lanes import Lanes

Message = tuple[str, int]


class Store:
    """Remembers the batches of each lane; may hold one up, leave some over, or fail."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.at_once = self.most_at_once = 0
        self.leaves_over: set[Message] = set()

    async def __call__(self, key: str, messages: Sequence[Message]) -> list[Message]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.open.wait()
        self.at_once -= 1
        left = [message for message in messages if message in self.leaves_over]
        self.leaves_over -= set(left)
        self.batches.append((key, [n for _, n in messages if (key, n) not in left]))
        return left

    def stored(self, key: str) -> list[int]:
        return [n for lane, numbers in self.batches if lane == key for n in numbers]


class Source:
    """Messages in the order they were given, without end."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Message] = asyncio.Queue()

    def give(self, key: str, *numbers: int) -> None:
        for number in numbers:
            self.queue.put_nowait((key, number))

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            yield await self.queue.get()


@pytest.fixture
async def running():
    """A source, a store and the lanes between them."""
    source, store = Source(), Store()
    between = Lanes(
        key=lambda m: m[0], size=lambda m: m[1], age=lambda m: 0, store=store, seconds=0
    )
    task = asyncio.create_task(between.run(source))
    yield source, store, between, task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_each_lane_keeps_its_order_and_what_arrives_meanwhile_is_one_batch(running):
    source, store, _, _ = running
    store.open.clear()
    source.give("a", 1)
    await until(lambda: store.at_once == 1)
    source.give("a", 2, 3, 4)
    source.give("b", 5)
    await until(lambda: store.at_once == 2)
    store.open.set()
    await until(lambda: store.stored("a") == [1, 2, 3, 4] and store.stored("b") == [5])
    assert [batch for lane, batch in store.batches if lane == "a"] == [[1], [2, 3, 4]]


async def test_what_comes_slowly_is_gathered_until_there_is_enough(monkeypatch):
    monkeypatch.setattr(lanes, "ENOUGH_BYTES", 6)
    source, store = Source(), Store()
    between = Lanes(
        key=lambda m: m[0], size=lambda m: m[1], age=lambda m: 0, store=store, seconds=3600
    )
    task = asyncio.create_task(between.run(source))
    for expected in ([1, 2, 3], [5, 2]):
        for number in expected[:-1]:
            source.give("a", number)
            source.give("b", 1)
        await until(source.queue.empty)
        assert store.stored("a") + store.stored("b") in ([], [1, 2, 3])
        source.give("a", expected[-1])
        await until(lambda batch=expected: ("a", batch) in store.batches)
    assert store.stored("b") == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_old_when_it_arrives_is_gathered_for_the_whole_time(monkeypatch):
    monkeypatch.setattr(lanes, "ENOUGH_BYTES", 6)
    source, store = Source(), Store()
    between = Lanes(key=lambda m: m[0], size=lambda m: m[1], age=lambda m: lanes.BEHIND_SECONDS, store=store, seconds=0.2)  # fmt: skip
    task = asyncio.create_task(between.run(source))
    source.give("a", 4, 5, 6, 7)
    await until(lambda: store.batches)
    assert store.batches == [("a", [4, 5, 6, 7])]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_left_over_is_not_tried_again_before_more_arrives(running):
    source, store, _, _ = running
    store.leaves_over = {("a", 1)}
    source.give("a", 1)
    await until(lambda: store.batches == [("a", [])])
    for _ in range(100):
        await asyncio.sleep(0)
    assert store.batches == [("a", [])]
    source.give("a", 2)
    await until(lambda: store.stored("a") == [1, 2])


async def test_only_some_lanes_store_at_once(running):
    source, store, _, _ = running
    store.open.clear()
    for key in "abcd":
        source.give(key, 1)
    await until(lambda: store.at_once == lanes.STORING_AT_ONCE)
    store.open.set()
    await until(lambda: len(store.batches) == 4)
    assert store.most_at_once == lanes.STORING_AT_ONCE


async def test_what_is_left_over_comes_first_in_the_next_batch(running):
    source, store, _, _ = running
    store.leaves_over = {("a", 2)}
    source.give("a", 1, 2)
    await until(lambda: store.batches)
    source.give("a", 3)
    await until(lambda: store.stored("a") == [1, 2, 3])


async def test_the_source_waits_while_too_much_waits(running, monkeypatch):
    monkeypatch.setattr(lanes, "MOST_WAITING_BYTES", 10)
    source, store, between, _ = running
    store.open.clear()
    source.give("a", 6, 6, 6, 6)
    await until(lambda: store.at_once == 1 and between._bytes == 12)
    for _ in range(100):
        await asyncio.sleep(0)
    assert source.queue.qsize() == 2
    store.open.set()
    await until(lambda: store.stored("a") == [6, 6, 6, 6] and between._bytes == 0)


async def test_what_is_cleared_is_not_stored(running):
    source, store, between, _ = running
    store.open.clear()
    source.give("a", 1)
    await until(lambda: store.at_once == 1)
    source.give("a", 2)
    await until(lambda: between._bytes == 3)
    between.clear()
    source.give("a", 4)
    store.open.set()
    await until(lambda: store.stored("a") == [1, 4] and between._bytes == 0)


async def test_a_store_that_fails_ends_it():
    async def fails(key: str, messages: Sequence[Message]) -> list[Message]:
        raise ValueError("broken on purpose")

    source = Source()
    source.give("a", 1)
    between = Lanes(
        key=lambda m: m[0], size=lambda m: m[1], age=lambda m: 0, store=fails, seconds=0
    )
    with pytest.raises(ExceptionGroup) as raised:
        await between.run(source)
    assert raised.group_contains(ValueError, match="broken on purpose")
