"""Messages on their way to the store: one lane per Kafka partition, each gathered into large batches.

A lane stores one batch at a time, so that its messages stay in order; several lanes work side by
side, and what arrives meanwhile makes the next batch larger. Knows neither Faust nor the store.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

Message = TypeVar("Message")
Key = TypeVar("Key", bound=Hashable)

MOST_WAITING_BYTES = 64 * 1024 * 1024
STORING_AT_ONCE = 2  # one lane is scored while another one's insert is under way


class _Lane(Generic[Message]):
    def __init__(self) -> None:
        self.waiting: list[Message] = []
        self.arrived = asyncio.Event()


class Lanes(Generic[Key, Message]):
    """Gathers what arrives for `seconds` and gives it to `store`, which returns what must come again."""

    def __init__(
        self,
        key: Callable[[Message], Key],
        size: Callable[[Message], int],
        store: Callable[[Key, Sequence[Message]], Awaitable[list[Message]]],
        seconds: float,
    ) -> None:
        self._key, self._size, self._store, self._seconds = key, size, store, seconds
        self._lanes: dict[Key, _Lane[Message]] = {}
        self._bytes = 0
        self._room = asyncio.Event()
        self._storing = asyncio.Semaphore(STORING_AT_ONCE)

    async def run(self, messages: AsyncIterable[Message]) -> None:
        """Takes messages until there are no more, or until `store` raises: then it raises that."""
        async with asyncio.TaskGroup() as tasks:
            async for message in messages:
                key = self._key(message)
                lane = self._lanes.get(key)
                if lane is None:
                    lane = self._lanes[key] = _Lane()
                    tasks.create_task(self._work(key, lane))
                lane.waiting.append(message)
                lane.arrived.set()
                self._bytes += self._size(message)
                while self._bytes > MOST_WAITING_BYTES:
                    self._room.clear()
                    await self._room.wait()

    def clear(self) -> None:
        """Forgets what waits; what is being stored goes on."""
        for lane in self._lanes.values():
            self._left(lane.waiting)
            lane.waiting = []

    async def _work(self, key: Key, lane: _Lane[Message]) -> None:
        while await lane.arrived.wait():
            await asyncio.sleep(self._seconds)
            async with self._storing:
                lane.arrived.clear()
                taken, lane.waiting = lane.waiting, []
                if taken:
                    again = await self._store(key, taken)
                    lane.waiting[:0] = again
                    self._bytes += sum(map(self._size, again))
                    self._left(taken)

    def _left(self, messages: Sequence[Message]) -> None:
        self._bytes -= sum(map(self._size, messages))
        self._room.set()
