"""A made-up past: records of the days before the live run, with the same stories.

For every workload and endpoint a stock of conversations is made up once, by the simulators' own
code; the records of many days then draw from the stock, so that they come fast.
"""

import math
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import accumulate, pairwise
from random import Random

import msgspec

from pipeline.calls import Arm, Protocol
from pipeline.demo import wire
from pipeline.demo.behaviour import Behaviour, load_behaviours
from pipeline.demo.prompt import Prompt, read_prompt
from pipeline.demo.reply import Reply, reply_to
from pipeline.demo.scenario import Conversation, any_workload
from pipeline.formats.cutover import VERSION, Record
from pipeline.tap.routing import choose
from pipeline.verdicts.plan import Endpoint, Plan

STOCK = 400  # conversations for each workload and endpoint
HOUR_MS = 60 * 60 * 1000
MARGIN_MS = 5 * 60 * 1000  # the last conversations begin so long before the end
STREAMED = 0.08  # share of the streaming conversations that stay so: whole bodies are smaller
PIECES = 1  # of a streamed text
HANG_UPS = 0.008
TIMEOUTS = 0.0007
TIMEOUT_MS = 60_000
PATHS = {
    Protocol.ANTHROPIC_MESSAGES: "/v1/messages",
    Protocol.OPENAI_CHAT: "/v1/chat/completions",
}
WEEK = (1.10, 1.12, 1.10, 1.08, 1.05, 0.80, 0.75)  # Monday to Sunday


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a conversation in stock; times are milliseconds after the conversation began."""

    started: int
    first_token: int | None
    ended: int
    status: int | None
    request: str
    response: str
    cancelled: bool = False
    transport_error: str = ""


class Script(msgspec.Struct, frozen=True):
    """A conversation in stock; its id stands in the requests and is replaced for each use."""

    id: str
    protocol: Protocol
    app: str
    turns: tuple[Turn, ...]


def history(plan: Plan, days: float, per_day: int, seed: int, end_ms: int) -> Iterator[Record]:
    """Exactly days × per_day records in order of their start, the last shortly before `end_ms`.

    `plan` is the demo's, with stages in those days. Raises KeyError if it names a provider that
    is not simulated.
    """
    rng = Random(f"{seed} history")
    stock = _Stock(plan, seed)
    waiting: list[tuple[int, str, Record]] = []
    for begin_ms, until_ms, calls in _hours(days, per_day, end_ms):
        made = 0
        while made < calls:
            start_ms = rng.randrange(begin_ms, until_ms)
            records = stock.conversation(rng, start_ms, (start_ms - end_ms) / 60_000)
            for record in records[: calls - made]:
                heappush(waiting, (record.started_at or 0, record.call_id, record))
            made += len(records)
        while waiting and waiting[0][0] < until_ms:
            yield heappop(waiting)[2]
    while waiting:
        yield heappop(waiting)[2]


def _hours(days: float, per_day: int, end_ms: int) -> Iterator[tuple[int, int, int]]:
    """Begin, end and number of calls of each hour, by the time of day and the day of the week."""
    count = max(1, round(days * 24))
    begin_ms = end_ms - round(days * 24 * HOUR_MS)
    edges = [begin_ms + (end_ms - MARGIN_MS - begin_ms) * i // count for i in range(count + 1)]
    weights = [_busy(edge) for edge in edges[:-1]]
    scale = days * per_day / sum(weights)
    totals = [0, *(round(total * scale) for total in accumulate(weights))]
    for (begin, until), (before, after) in zip(pairwise(edges), pairwise(totals), strict=True):
        yield begin, until, after - before


def _busy(at_ms: int) -> float:
    """How busy an hour is: most at 14:00 in China, least on Sunday nights."""
    hours = at_ms / HOUR_MS
    weekday = int(hours // 24 + 3) % 7  # 1970 began on a Thursday
    return WEEK[weekday] * (1 + 0.6 * math.cos(2 * math.pi * (hours % 24 - 6) / 24))


class _Stock:
    """Conversations to draw from, made up when they are first needed."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self._plan = plan
        self._seed = seed
        self._behaviours = load_behaviours()
        self._scripts: dict[tuple[str, str, float | None], list[Script]] = {}

    def conversation(self, rng: Random, start_ms: int, minute: float) -> list[Record]:
        """The records of one conversation that began then, on the endpoint the plan gives it."""
        workload = any_workload(rng)
        number = f"{workload}-{rng.getrandbits(64):016x}"
        choice = choose(self._plan, workload, number, start_ms)
        endpoint = self._plan.endpoints[choice.endpoint]
        script = self._draw(rng, workload, choice.endpoint, endpoint, minute)
        candidate = choice.endpoint != self._plan.baseline
        return [
            Record(
                cutover=VERSION,
                call_id=f"{number}-{turn_number}",
                conversation_id=number,
                workload=workload,
                app=script.app,
                arm=Arm.CANDIDATE if candidate else Arm.BASELINE,
                stage=choice.stage,
                share=choice.share,
                provider=endpoint.provider,
                host=self._behaviours[endpoint.provider].host,
                path=PATHS[script.protocol],
                protocol=script.protocol,
                started_at=start_ms + turn.started,
                first_token_at=None if turn.first_token is None else start_ms + turn.first_token,
                ended_at=start_ms + turn.ended,
                http_status=turn.status,
                transport_error=turn.transport_error,
                cancelled=turn.cancelled,
                request=turn.request.replace(script.id, number),
                response=turn.response,
            )
            for turn_number, turn in enumerate(script.turns, 1)
        ]

    def _draw(
        self, rng: Random, workload: str, name: str, endpoint: Endpoint, minute: float
    ) -> Script:
        behaviour = self._behaviours[endpoint.provider]
        incident = behaviour.incident(minute)
        key = (workload, name, incident.from_minute if incident else None)
        if key not in self._scripts:
            in_force = behaviour.during(incident)
            self._scripts[key] = [
                _script(Conversation(workload, number, self._seed), endpoint, in_force, self._seed)
                for number in range(STOCK)
            ]
        return rng.choice(self._scripts[key])


def _script(
    conversation: Conversation, endpoint: Endpoint, behaviour: Behaviour, seed: int
) -> Script:
    """Holds the whole conversation with the simulated endpoint, without a network."""
    workload = conversation.workload
    rng = Random(f"{seed} stock {conversation.id} {endpoint.provider}")
    conversation.streamed = conversation.streamed and rng.random() < STREAMED
    turns: list[Turn] = []
    begin = 0
    while not conversation.over:
        body = conversation.request()
        body["model"] = endpoint.model_for(body["model"])
        request = msgspec.json.encode(body)
        prompt = read_prompt(workload.protocol, msgspec.json.decode(request))
        assert prompt is not None, "a conversation's requests hold messages"
        reply = reply_to(prompt, endpoint.provider, behaviour, seed)
        turn = _interrupted(rng, _turn(begin, request.decode(), prompt, reply, behaviour))
        turns.append(turn)
        if turn.status != 200 or turn.cancelled or reply.error or reply.cut:
            break
        conversation.hear(reply.text, reply.tool_calls)
        begin = turn.ended + rng.randrange(1_000, 20_000)
    return Script(conversation.id, workload.protocol, workload.app, tuple(turns))


def _turn(begin: int, request: str, prompt: Prompt, reply: Reply, behaviour: Behaviour) -> Turn:
    status, response = 200, b""
    if reply.error and not (reply.in_stream and prompt.stream):
        status = reply.error.status
        response = wire.error_body(prompt.protocol, behaviour, reply.error)
    elif prompt.stream:
        response = b"".join(wire.stream(prompt, reply, behaviour, 0, PIECES))
    else:
        response = wire.whole(prompt, reply, behaviour, 0)
    streamed = prompt.stream and status == 200
    return Turn(
        started=begin,
        first_token=begin + round(reply.first_token_ms) if streamed else None,
        ended=begin + round(reply.duration_ms),
        status=status,
        request=request,
        response=response.decode(),
    )


def _interrupted(rng: Random, turn: Turn) -> Turn:
    """The same turn, or rarely one that the client hung up on or that never got an answer."""
    point = rng.random()
    if point < HANG_UPS:
        cut = turn.response[: len(turn.response) // 3] if turn.first_token is not None else ""
        return msgspec.structs.replace(turn, cancelled=True, response=cut)
    if point < HANG_UPS + TIMEOUTS:
        return msgspec.structs.replace(
            turn,
            transport_error="timeout",
            status=None,
            first_token=None,
            response="",
            ended=turn.started + TIMEOUT_MS,
        )
    return turn
