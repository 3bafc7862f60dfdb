"""Messages on their way to the store: one lane per Kafka partition, each gathered into large batches.

A lane stores one batch at a time, so that its messages stay in order; several lanes work side by
side, and what arrives meanwhile makes the next batch larger. What comes slowly is gathered for a
while, since each insert has its price; what comes fast is not: it would only get older. What is old
already when it arrives is gathered all the same: the worker is behind, and pace is what counts.
Knows neither Faust nor the store.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Message = TypeVar("Message")
Key = TypeVar("Key", bound=Hashable)

MOST_WAITING_BYTES = 64 * 1024 * 1024
ENOUGH_BYTES = 256 * 1024  # some 200 calls: of 2,000 a second, two batches a second and partition
BEHIND_SECONDS = 1.0  # the age of a message, when it arrives, from which its worker is behind
STORING_AT_ONCE = 2  # one lane is scored while another one's insert is under way


class _Lane(Generic[Message]):
    def __init__(self) -> None:
        self.waiting: list[Message] = []
        self.arrived = asyncio.Event()  # since the last batch was taken
        self.arrived_at = 0.0  # the first of them
        self.bytes = 0  # of them
        self.enough = asyncio.Event()

    def add(self, message: Message, size: int, age: float) -> None:
        self.waiting.append(message)
        if not self.arrived.is_set():
            self.arrived_at = asyncio.get_running_loop().time()
            self.arrived.set()
        self.bytes += size
        if self.bytes >= ENOUGH_BYTES and age < BEHIND_SECONDS:
            self.enough.set()

    async def gathered(self, seconds: float) -> None:
        """Returns when the first message that arrived has waited that long, or enough others came."""
        await self.arrived.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self.arrived_at + seconds):
                await self.enough.wait()

    def take(self) -> list[Message]:
        taken, self.waiting, self.bytes = self.waiting, [], 0
        self.arrived.clear()
        self.enough.clear()
        return taken


class Lanes(Generic[Key, Message]):
    """Gathers what arrives for at most `seconds` and gives it to `store`, which returns what must come again.

    `size` is a message's in bytes, `age` the seconds since it was sent.
    """

    def __init__(
        self,
        key: Callable[[Message], Key],
        size: Callable[[Message], int],
        age: Callable[[Message], float],
        store: Callable[[Key, Sequence[Message]], Awaitable[list[Message]]],
        seconds: float,
    ) -> None:
        self._key, self._size, self._age = key, size, age
        self._store, self._seconds = store, seconds
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
                size = self._size(message)
                lane.add(message, size, self._age(message))
                self._bytes += size
                while self._bytes > MOST_WAITING_BYTES:
                    self._room.clear()
                    await self._room.wait()

    def clear(self) -> None:
        """Forgets what waits; what is being stored goes on."""
        for lane in self._lanes.values():
            self._left(lane.take())

    async def _work(self, key: Key, lane: _Lane[Message]) -> None:
        while True:
            await lane.gathered(self._seconds)
            async with self._storing:
                if taken := lane.take():
                    again = await self._store(key, taken)
                    lane.waiting[:0] = again
                    self._bytes += sum(map(self._size, again))
                    self._left(taken)

    def _left(self, messages: Sequence[Message]) -> None:
        self._bytes -= sum(map(self._size, messages))
        self._room.set()
