"""Shadow calls: a sampled share of what the baseline answered is asked again, and nobody waits for it.

A call is mirrored once its user has the whole answer, so that it can delay nothing; the user's
record is kept in memory until then and goes along with the shadow call's own, as its twin. How
many are under way, how long one may take and what they may cost is bounded; the rest is counted.
"""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from urllib.parse import urlsplit

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from pipeline.calls import Usage
from pipeline.catalog import Catalog
from pipeline.formats.cutover import Record
from pipeline.protocols import read_exchange
from pipeline.protocols.tokens import estimate
from pipeline.scoring.cost import price_call
from pipeline.tap.budget import Purse
from pipeline.tap.grader import Grader
from pipeline.tap.recording import Copy, Recorder, Recording, Stopwatch
from pipeline.tap.routing import Asked, BaseUrls, Body, Route, with_model
from pipeline.tap.sampling import Mirrored, ways, why_not
from pipeline.tap.upstream import transport_error
from pipeline.verdicts.plan import Plan, Shadow

log = logging.getLogger(__name__)

AT_ONCE = 8  # user calls being mirrored; what comes beyond is shed
TIMEOUT = aiohttp.ClientTimeout(total=180, sock_connect=15)
REPORT_SECONDS = 5.0
LONGEST_ANSWER = 2 * 1024 * 1024  # bytes of a shadow answer that are kept
HOUR_MS = 3_600_000
_GUESSED_OUTPUT = 1000  # tokens, for the budget, where the user's call has no count
_NOT_REPEATED = ("idempotency-key", "x-request-id")  # would be answered with the first answer again

Prepare = Callable[[str], tuple[CIMultiDict[str], tuple[str, ...]]]


class Answered(msgspec.Struct, frozen=True):
    """A call whose user has the answer. `prepare` gives an endpoint's headers, and the secrets in them."""

    record: Record
    asked: Asked
    route: Route
    body: Body
    plan: Plan
    prepare: Prepare


class _Bill(msgspec.Struct, frozen=True):
    """What was set aside for one shadow call, and of which budget."""

    workload: str
    currency: str
    amount: Decimal
    at_ms: int


class Mirror:
    """Everything about shadow calls in one tap. `offer` never waits and never raises."""

    def __init__(
        self,
        catalog: Catalog,
        base_urls: BaseUrls,
        recorder: Recorder,
        purse: Purse,
        grader: Grader | None = None,
    ) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()  # since the start, by workload and reason
        self._name = uuid.uuid4().hex[:12]
        self._catalog = catalog
        self._base_urls = base_urls
        self._recorder = recorder
        self._purse = purse
        self._grader = grader
        self.grading = (
            grader.counts if grader else Counter[str]()
        )  # what became of pairs to be graded
        self._hourly: Counter[tuple[int, str, str]] = Counter()  # by hour in UTC ms too
        self._told: Counter[tuple[int, str, str]] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession

    @asynccontextmanager
    async def running(self, session: aiohttp.ClientSession) -> AsyncIterator[None]:
        """Mirrors while the block runs; in the end what is under way is cut short and recorded."""
        self._session = session
        reports = asyncio.create_task(self._report_every(REPORT_SECONDS))
        try:
            yield
        finally:
            for task in (reports, *self._tasks):
                task.cancel()
            await asyncio.gather(reports, *self._tasks, return_exceptions=True)
            self._report()

    def offer(self, call: Answered) -> None:
        """Takes a user's call that is over; it is mirrored later, or counted with the reason why not."""
        workload = call.plan.workloads.get(call.asked.workload)
        if workload is None or workload.shadow is None:
            return
        reason = why_not(call.record, call.asked, call.route, call.body, workload.shadow)
        found = (
            () if reason else ways(call.asked, call.route, call.plan, self._base_urls, _at(call))
        )
        if not reason and not found:
            reason = "no_candidate"
        elif not reason and len(self._tasks) >= AT_ONCE:
            reason = "shed_under_load"
        if reason:
            self._count(call, reason)
            return
        task = asyncio.create_task(self._mirror(call, workload.shadow, found))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _mirror(self, call: Answered, shadow: Shadow, found: Sequence[Mirrored]) -> None:
        usage = await asyncio.to_thread(_usage, call.record)
        bills, reason = self._set_aside(call, shadow, found, usage)
        self._count(call, reason or "mirrored")
        sent = [self._ask(call, way, bill) for way, bill in zip(found, bills, strict=False)]
        for error in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(error, Exception):  # told without its text: it may hold content
                log.error("shadow of call %s: %s", call.record.call_id, type(error).__name__)

    def _set_aside(
        self, call: Answered, shadow: Shadow, found: Sequence[Mirrored], usage: Usage
    ) -> tuple[list[_Bill], str]:
        """A bill for each way, or why there is no money for all of them."""
        workload, at = call.asked.workload, _at(call)
        amounts = [self._price(call, way, shadow.currency, usage, at) for way in found]
        known = [amount for amount in amounts if amount is not None]
        if len(known) < len(amounts):
            return [], "no_price"
        if not self._purse.set_aside(workload, sum(known, Decimal(0)), shadow.budget_per_day, at):
            return [], "over_budget"
        return [_Bill(workload, shadow.currency, amount, at) for amount in known], ""

    def _price(
        self, call: Answered, way: Mirrored, currency: str, usage: Usage | None, at_ms: int
    ) -> Decimal | None:
        """The list price of that usage in a currency; None if it is not known, 0 under a flat-rate plan."""
        endpoint = call.plan.endpoints[way.route.endpoint]
        url = urlsplit(way.route.url)
        model = way.route.model or call.asked.model
        who = self._catalog.resolve(endpoint.provider, url.netloc, url.path, model)
        cost = price_call(
            self._catalog,
            provider=who.provider_id or endpoint.provider,
            region=who.region or endpoint.region,
            plan=who.plan,
            model=model,
            usage=usage,
            at_ms=at_ms,
        )
        rate = self._catalog.fx(cost.currency, currency, at_ms) if cost.currency else None
        if cost.unknown == "flat_rate_plan":
            return Decimal(0)
        return cost.amount * rate.rate if cost.amount is not None and rate else None

    async def _ask(self, call: Answered, way: Mirrored, bill: _Bill) -> None:
        """One shadow call, recorded whatever becomes of it."""
        headers, secrets = call.prepare(way.route.endpoint)
        for name in (*_NOT_REPEATED, "content-encoding"):
            headers.popall(name, None)
        model = way.route.model
        data = with_model(call.body, model) if model else msgspec.json.encode(call.body)
        sent = Copy("")
        sent.feed(data)
        recording = Recording(Stopwatch(), sent, call.asked.protocol, LONGEST_ANSWER)
        try:
            await self._exchange(way.route.url, headers, data, recording)
        except BaseException:
            recording.hung_up()
            self._recorder.put(_shadow_record(call, way, recording, secrets))
            raise
        record = _shadow_record(call, way, recording, secrets)
        await self._put(record, call.record)
        await self._settle(call, way, bill, record)

    async def _put(self, record: Record, user: Record) -> None:
        """Hands a record on, with the judge's word if there is a judge and the tap does not stop meanwhile."""
        try:
            if self._grader:
                grade = await self._grader.grade(self._session, self._purse, record, user)
                record = msgspec.structs.replace(record, grade=grade)
        finally:
            self._recorder.put(record)

    async def _settle(self, call: Answered, way: Mirrored, bill: _Bill, record: Record) -> None:
        """Corrects what was set aside for a call by what it cost."""
        if (record.http_status or 0) >= 400:
            actual: Decimal | None = Decimal(0)
        else:
            told = await asyncio.to_thread(_told_usage, record)
            actual = self._price(call, way, bill.currency, told, bill.at_ms)
        if actual is not None:
            self._purse.correct(bill.workload, actual - bill.amount, bill.at_ms)

    async def _exchange(
        self, url: str, headers: CIMultiDict[str], data: bytes, recording: Recording
    ) -> None:
        try:
            async with self._session.post(
                URL(url, encoded=True),
                headers=headers,
                data=data,
                allow_redirects=False,
                timeout=TIMEOUT,
            ) as upstream:
                recording.answered(upstream.status, upstream.headers)
                async for chunk in upstream.content.iter_any():
                    recording.passed(chunk, recording.watch.now())
        except (aiohttp.ClientError, TimeoutError) as error:
            recording.transport_error = transport_error(error)

    def _count(self, call: Answered, reason: str) -> None:
        self.counts[call.asked.workload, reason] += 1
        self._hourly[_at(call) // HOUR_MS * HOUR_MS, call.asked.workload, reason] += 1

    async def _report_every(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._report()

    def _report(self) -> None:
        """Tells the hour's counts that changed, forgets those of the hours before; saves what was spent."""
        for key, calls in self._hourly.items():
            if self._told[key] != calls:
                hour, workload, reason = key
                fields = {"tap": self._name, "hour": hour, "workload": workload}
                self._recorder.event("mirroring", fields | {"reason": reason, "calls": calls})
        last = max((hour for hour, _, _ in self._hourly), default=0)
        self._hourly = Counter({k: n for k, n in self._hourly.items() if k[0] >= last - HOUR_MS})
        self._told = self._hourly.copy()
        self._purse.save()


def _shadow_record(
    call: Answered, way: Mirrored, recording: Recording, secrets: tuple[str, ...]
) -> Record:
    return msgspec.structs.replace(
        recording.record(call.asked, way.route, secrets),
        request_id="",  # it is no attempt at the user's request
        shadow_of=call.record.call_id,
        mirrored_to=way.to,
        twin=call.record,
    )


def _at(call: Answered) -> int:
    """When the user had the answer, UTC ms."""
    return call.record.ended_at or 0


def _told_usage(record: Record) -> Usage | None:
    protocol = record.protocol
    if protocol is None:
        return None
    return read_exchange(protocol, record.request, record.response, record.http_status).usage


def _usage(record: Record) -> Usage:
    """The tokens another answer to the same request may need: those of the user's, else guessed."""
    told = _told_usage(record) or Usage()
    return msgspec.structs.replace(
        told,
        input_tokens=told.input_tokens or estimate(record.request),
        output_tokens=told.output_tokens or _GUESSED_OUTPUT,
    )
