"""Made-up users: conversations of all four workloads, sent through the tap like real apps' calls.

Arrivals are open-loop (nobody waits for anybody else) with a mild swing. Each conversation is
seeded by its number, so two runs differ only in what the clock decides.
"""

import asyncio
import contextlib
import math
import os
from collections import Counter
from random import Random

import aiohttp
import msgspec

from pipeline.calls import Protocol
from pipeline.demo.scenario import Conversation, any_workload, calls_per_conversation
from pipeline.protocols import read_exchange

DEFAULT_RATE = 45.0  # calls per second wanted; hang-ups and errors leave some unmade
SWING = 0.15  # of the rate, up and down
SWING_SECONDS = 90
HANG_UPS = 0.01  # share of the calls
THINKING_SECONDS = (0.2, 1.2)
GRACE_SECONDS = 5.0  # for calls under way when the traffic is to stop
TIMEOUT = aiohttp.ClientTimeout(total=60)
PATHS = {
    Protocol.ANTHROPIC_MESSAGES: "/v1/messages",
    Protocol.OPENAI_CHAT: "/v1/chat/completions",
}


class Tally(msgspec.Struct):
    """What became of the traffic: calls sent, by outcome, and those cut off by the end."""

    sent: int = 0
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    cancelled: int = 0


async def drive(
    base_url: str, rate: float, seconds: float | None, seed: int, stop: asyncio.Event
) -> Tally:
    """Sends about `rate` calls a second until `stop` is set or `seconds` have passed.

    Then, or when it is cancelled, no call is begun any more; those under way get GRACE_SECONDS.
    """
    async with aiohttp.ClientSession(
        timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        crowd = _Crowd(session, base_url, seed, stop)
        try:
            async with asyncio.timeout(seconds):
                await crowd.arrive(rate)
        except TimeoutError:
            pass
        finally:
            stop.set()
            await crowd.leave()
    return crowd.tally


class _Crowd:
    """The users who are there now."""

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, seed: int, stop: asyncio.Event
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._seed = seed
        self._stop = stop
        self._tasks: set[asyncio.Task[None]] = set()
        self.tally = Tally()

    async def arrive(self, rate: float) -> None:
        """Starts conversation after conversation until it is time to stop."""
        rng = Random(self._seed)
        begun = asyncio.get_running_loop().time()
        due, number = 0.0, 0
        while not self._stop.is_set():
            per_second = rate / calls_per_conversation() * _swing(due)
            due += rng.expovariate(per_second)
            await self._pause(begun + due - asyncio.get_running_loop().time())
            number += 1
            task = asyncio.create_task(self._converse(any_workload(rng), number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def leave(self) -> None:
        """Waits for the calls under way, and cuts off those that take too long."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=GRACE_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _converse(self, workload: str, number: int) -> None:
        """One conversation; whoever gets no answer leaves."""
        conversation = Conversation(workload, number, self._seed)
        rng = Random(f"{self._seed} user {number}")
        while not conversation.over and not self._stop.is_set():
            self.tally.sent += 1
            try:
                outcome = await self._call_or_hang_up(conversation, rng)
            except asyncio.CancelledError:
                self.tally.cancelled += 1
                raise
            self.tally.outcomes[outcome] += 1
            if outcome != "answered":
                return
            await self._pause(rng.uniform(*THINKING_SECONDS))

    async def _call_or_hang_up(self, conversation: Conversation, rng: Random) -> str:
        patience = rng.uniform(0.1, 0.8) if rng.random() < HANG_UPS else None
        try:
            async with asyncio.timeout(patience):
                return await self._call(conversation)
        except TimeoutError:
            return "hung_up" if patience else "timeout"
        except aiohttp.ClientError:
            return "connection_lost"

    async def _call(self, conversation: Conversation) -> str:
        protocol = conversation.workload.protocol
        request = msgspec.json.encode(conversation.request())
        async with self._session.post(
            self._base_url + PATHS[protocol], data=request, headers=_headers(conversation)
        ) as response:
            body = await response.text()
        if response.status != 200:
            return f"http_{response.status}"
        exchange = read_exchange(protocol, request.decode(), body, response.status)
        if exchange.error or exchange.ended is False:
            return "broken_off"
        conversation.hear(exchange.text, exchange.tool_calls)
        return "answered"

    async def _pause(self, seconds: float) -> None:
        """Sleeps, but not beyond the stop."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)


def _swing(seconds: float) -> float:
    return 1 + SWING * math.sin(2 * math.pi * seconds / SWING_SECONDS)


def _headers(conversation: Conversation) -> dict[str, str]:
    key = os.environ.get("CUTOVER_DEMO_KEY", "made-up-key")
    headers = {
        "Content-Type": "application/json",
        "x-cutover-conversation": conversation.id,
        "x-cutover-app": conversation.workload.app,
    }
    if tokens := os.environ.get("CUTOVER_TAP_TOKENS"):
        headers["x-cutover-token"] = tokens.partition(",")[0].strip()
    if conversation.workload.protocol is Protocol.ANTHROPIC_MESSAGES:
        return headers | {"x-api-key": key, "anthropic-version": "2023-06-01"}
    return headers | {"Authorization": f"Bearer {key}"}
