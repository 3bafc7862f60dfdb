"""A judge model that grades shadow answers, if the settings name one: any OpenAI-compatible endpoint.

It runs where both texts are, in the tap's shadow path, after the shadow call and with nobody
waiting. What it may see and cost is bounded; a judge of the family of one of the arms is refused,
because models prefer their own kind.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from itertools import permutations
from urllib.parse import urlsplit

import aiohttp
import msgspec

from pipeline.calls import Exchange, Grade, Protocol, Standing, Usage
from pipeline.catalog import Catalog
from pipeline.formats.cutover import Record
from pipeline.protocols import read_exchange
from pipeline.protocols.tokens import estimate
from pipeline.scoring.cost import price_call
from pipeline.scoring.grading import better_of, families, messages, shown
from pipeline.settings import Settings, SettingsError
from pipeline.tap.budget import Purse
from pipeline.tap.routing import position
from pipeline.verdicts.plan import Plan

log = logging.getLogger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=15)
PURPOSE = "judge"  # of its budget
_MOST_TOKENS = 1024  # of a reply; models that think first need some
_LONGEST_REPLY = 1024 * 1024  # bytes
_GUESSED_OUTPUT = 100  # tokens, until the reply tells
CURRENCY = "USD"  # of the budget
_NOTHING = Decimal(0)
_STEP = Decimal("1E-12")  # as costs are stored
_OF_FIRST: dict[str, Standing] = {"first": "better", "second": "worse", "same": "same"}
_OF_SECOND: dict[str, Standing] = {"first": "worse", "second": "better", "same": "same"}


class Grader:
    """Grades pairs of answers with one judge model. `counts` says what became of those offered."""

    def __init__(self, settings: Settings, catalog: Catalog, key: str) -> None:
        self.counts: Counter[str] = Counter()
        self._catalog = catalog
        self._url = settings.judge_base_url.rstrip("/") + "/chat/completions"
        self._model = settings.judge_model
        self._key = key
        self._share = settings.judge_share
        self._budget = Decimal(str(settings.judge_budget_usd))
        self._any_family = settings.judge_same_family == "allow"

    def akin(self, provider: str, model: str) -> bool:
        """True if the judge must not grade this model: it is of its own family."""
        own = families(self._catalog, "", self._model)
        return not self._any_family and bool(own & families(self._catalog, provider, model))

    async def grade(
        self, session: aiohttp.ClientSession, purse: Purse, shadow: Record, user: Record
    ) -> Grade | None:
        """What the judge says in both orders; None if it was not asked. Does not raise on its failures."""
        if position(f"grading of {user.workload}", user.conversation_id) >= self._share:
            self.counts["not_sampled"] += 1
            return None
        ours, theirs = await asyncio.to_thread(lambda: (_read(shadow), _read(user)))
        if not shown(ours) or not shown(theirs):
            self.counts["no_answer"] += 1
            return None
        arms = ((shadow.provider, ours), (user.provider, theirs))
        if any(self.akin(p, e.response_model or e.request_model) for p, e in arms):
            self.counts["same_family"] += 1
            return None
        at, request = user.ended_at or 0, theirs.prompt
        asked = [messages(request, *two) for two in permutations((shown(ours), shown(theirs)))]
        guessed = [self._guess(conversation, at) for conversation in asked]
        if not purse.set_aside(PURPOSE, sum(guessed, _NOTHING), self._budget, at):
            self.counts["over_budget"] += 1
            return None
        replies = await asyncio.gather(
            *(self._ask(session, conversation) for conversation in asked)
        )
        costs = [
            self._cost(reply, guess, at) for reply, guess in zip(replies, guessed, strict=True)
        ]
        purse.correct(PURPOSE, sum(costs, -sum(guessed, _NOTHING)), at)
        first, second = (better_of(reply.text) if reply else "" for reply in replies)
        self.counts["graded" if first and second else "no_verdict"] += 1
        return Grade(
            model=self._model,
            shadow_first=_OF_FIRST.get(first, ""),
            shadow_second=_OF_SECOND.get(second, ""),
            cost=sum(costs, _NOTHING).quantize(_STEP),
            currency=CURRENCY,
        )

    async def _ask(
        self, session: aiohttp.ClientSession, conversation: list[dict[str, str]]
    ) -> Exchange | None:
        """The judge's reply; None if there was none."""
        body = {"model": self._model, "messages": conversation, "max_tokens": _MOST_TOKENS}
        data = msgspec.json.encode(body)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            async with session.post(
                self._url, data=data, headers=headers, allow_redirects=False, timeout=TIMEOUT
            ) as got:
                reply = await got.content.read(_LONGEST_REPLY)
                while not got.content.at_eof() and len(reply) < _LONGEST_REPLY:
                    reply += await got.content.read(_LONGEST_REPLY)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("the judge model gave no answer: %s", type(error).__name__)
            return None
        if got.status != 200:
            log.warning("the judge model answered with status %d", got.status)
            return None
        return read_exchange(Protocol.OPENAI_CHAT, data, reply, got.status)

    def _guess(self, conversation: list[dict[str, str]], at_ms: int) -> Decimal:
        asked = sum(estimate(message["content"]) for message in conversation)
        usage = Usage(input_tokens=asked, output_tokens=_GUESSED_OUTPUT)
        return self.price(usage, at_ms) or _NOTHING

    def _cost(self, reply: Exchange | None, guess: Decimal, at_ms: int) -> Decimal:
        """What a reply cost: by its own counts, nothing if there was none, else what was guessed."""
        if reply is None:
            return _NOTHING
        told = self.price(reply.usage, at_ms) if reply.usage else None
        return guess if told is None else told

    def price(self, usage: Usage, at_ms: int) -> Decimal | None:
        """The list price in the budget's currency; None if it is not known."""
        url = urlsplit(self._url)
        who = self._catalog.resolve("", url.netloc, url.path, self._model)
        cost = price_call(
            self._catalog,
            provider=who.provider_id,
            region=who.region,
            plan=who.plan,
            model=self._model,
            usage=usage,
            at_ms=at_ms,
        )
        rate = self._catalog.fx(cost.currency, CURRENCY, at_ms) if cost.currency else None
        return cost.amount * rate.rate if cost.amount is not None and rate else None


def grader_of(
    settings: Settings, catalog: Catalog, plan: Plan, environ: Mapping[str, str], at_ms: int
) -> Grader | None:
    """The judge of the settings, None if they name none.

    Raises SettingsError naming the variable if something is missing, or if the judge is of the same
    family as an endpoint of a workload with a shadow.
    """
    if not settings.judge_base_url:
        return None
    if not settings.judge_model:
        raise SettingsError("CUTOVER_JUDGE_MODEL is not set: name the model that is to grade")
    key = environ.get(settings.judge_key_env, "")
    if not key:
        name = settings.judge_key_env or "CUTOVER_JUDGE_KEY_ENV"
        raise SettingsError(f"{name} is not set: put the judge model's API key there")
    grader = Grader(settings, catalog, key)
    if grader.price(Usage(input_tokens=1, output_tokens=1), at_ms) is None:
        raise SettingsError(
            f"CUTOVER_JUDGE_MODEL={settings.judge_model} has no known price, so that no budget could "
            "be kept: name a model of `cutover catalog show`"
        )
    shadowed = [w for w in plan.workloads.values() if w.shadow]
    names = (
        {plan.baseline, *(name for w in shadowed for name in w.candidates)} if shadowed else set()
    )
    for name in sorted(names):
        endpoint = plan.endpoints[name]
        if grader.akin(endpoint.provider, endpoint.model):
            raise SettingsError(
                f"CUTOVER_JUDGE_MODEL={settings.judge_model}: of the same family as endpoint {name!r}; models "
                "prefer their own kind: take another one, or set CUTOVER_JUDGE_SAME_FAMILY=allow"
            )
    return grader


def _read(record: Record) -> Exchange:
    """The exchange of a call that was answered; an empty one of a call that failed."""
    if record.protocol is None or record.http_status != 200 or record.cancelled:
        return Exchange()
    return read_exchange(record.protocol, record.request, record.response, record.http_status)
