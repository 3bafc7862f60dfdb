"""How a call passes: request to the provider, answer back as it arrives, a record at the end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from pipeline.calls import Protocol
from pipeline.formats.cutover import Record
from pipeline.protocols import protocol_of
from pipeline.settings import SettingsError
from pipeline.tap import headers as rules
from pipeline.tap.memory import Memory
from pipeline.tap.metrics import Metrics
from pipeline.tap.mirror import Answered, Mirror
from pipeline.tap.recording import Copy, Recorder, Recording, Stopwatch, unpacked
from pipeline.tap.routing import (
    Asked,
    BaseUrls,
    Body,
    MissingBaseUrlError,
    Route,
    choose,
    digest,
    likely_protocol,
    parse_body,
    pass_through_url,
    read_request,
    route,
    split_path,
    with_model,
)
from pipeline.tap.upstream import Outgoing, transport_error
from pipeline.verdicts.plan import Plan, Stage

log = logging.getLogger(__name__)

PlanSource = Callable[[], Plan]

CALL_ID_HEADER = "x-cutover-call-id"
REMEMBERED = 100_000  # conversations, and as many response ids
IDLE_MS = 6 * 3600 * 1000  # a conversation silent for longer is drawn anew
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=600)
LONGEST_HEADER = 64 * 1024
_RELAYED = web.ResponseKey("relayed", set[str])  # names of the headers the provider sent


class ClientGoneError(Exception):
    """The caller closed its connection before it had the whole answer."""


class Tap:
    """One tap: the plan in force, what is remembered of conversations, and the way through."""

    def __init__(
        self,
        plan_source: PlanSource,
        base_urls: BaseUrls,
        recorder: Recorder,
        mirror: Mirror,
        environ: Mapping[str, str],
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        """Raises SettingsError naming the variable if the plan needs a key that is not set."""
        self.metrics = Metrics(mirroring=mirror.counts, grading=mirror.grading)
        self.recorder = recorder
        self._mirror = mirror
        self._plan_source = plan_source
        self._base_urls = base_urls
        self._environ = environ
        self._timeout = timeout
        self._plan = self._newest = check_keys(plan_source(), environ)
        self._stages: dict[str, Stage | None] = {}
        self._drawn = Memory(REMEMBERED, IDLE_MS)
        self._conversations = Memory(REMEMBERED, IDLE_MS)
        self._session: aiohttp.ClientSession

    async def connected(self, _app: web.Application) -> AsyncIterator[None]:
        """Holds the pool of connections to the providers, for aiohttp's `cleanup_ctx`."""
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),  # cookies belong to callers, not to the tap
                timeout=self._timeout,
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                max_line_size=LONGEST_HEADER,
                max_field_size=LONGEST_HEADER,
            ) as self._session,
            self._mirror.running(self._session),
        ):
            yield

    @property
    def plan(self) -> Plan:
        """The plan in force: the newest one that can be used."""
        try:
            newest = self._plan_source()
            if newest is not self._newest:
                self._newest = newest
                self._plan = check_keys(newest, self._environ)
        except (ValueError, OSError) as error:
            self.metrics.plan_errors += 1
            log.error("the plan before stays in force: %s", error)
        return self._plan

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one request, whatever its path."""
        workload, path = split_path(request.rel_url.raw_path)
        protocol = protocol_of(path) if request.method == "POST" else None
        self.metrics.in_flight += 1
        try:
            if protocol:
                return await self._call(request, workload, path, protocol)
            return await self._pass_through(request, path)
        except MissingBaseUrlError as error:
            log.error("%s", error)
            return refusal(likely_protocol(path, request.headers), 502, str(error), "")
        except ClientGoneError:
            return web.Response(status=499)  # nobody reads it
        finally:
            self.metrics.in_flight -= 1

    async def _pass_through(self, request: web.Request, path: str) -> web.StreamResponse:
        """A request that is no call goes to the baseline, as a stream, and is not recorded."""
        plan, headers = self.plan, request.headers
        protocol = likely_protocol(path, headers)
        url = pass_through_url(
            path, request.rel_url.raw_query_string, headers, plan, self._base_urls
        )
        sent = self._headers(headers, plan, plan.baseline, protocol)
        if request.body_exists and "content-length" in headers:
            sent["Content-Length"] = headers["content-length"]
        outgoing = Outgoing(url, sent, request.content if request.body_exists else b"")
        seen = Recording(Stopwatch(), Copy(""), protocol, limit=0)
        return await self._exchange(request, outgoing, seen, plan.baseline)

    async def _call(
        self, request: web.Request, workload: str, path: str, protocol: Protocol
    ) -> web.StreamResponse:
        data = await request.read()
        watch, plan = Stopwatch(), self.plan
        body = _fields(data, request.headers)
        asked = self._asked(
            request,
            path=path,
            protocol=protocol,
            body=body,
            workload=workload,
            plan=plan,
            at=watch.started_at,
        )
        way = self._route(asked, plan, watch.started_at)
        headers = self._headers(request.headers, plan, way.endpoint, protocol)
        if way.model and body is not None:
            data = with_model(body, way.model)
            headers.pop("content-encoding", None)
        sent = unpacked(data, headers.get("content-encoding", ""))
        recording = Recording(watch, sent, protocol)
        try:
            outgoing = Outgoing(way.url, headers, data)
            return await self._exchange(request, outgoing, recording, way.endpoint)
        except (ClientGoneError, asyncio.CancelledError):
            recording.hung_up()
            raise
        finally:
            secrets = self._secrets(request.headers, plan, way.endpoint)
            record = self._keep(recording, asked, way, secrets, plan)
            if record:
                self._offer(record, asked, way, body, plan, request.headers)

    def _asked(
        self,
        request: web.Request,
        *,
        path: str,
        protocol: Protocol,
        body: Body | None,
        workload: str,
        plan: Plan,
        at: int,
    ) -> Asked:
        return read_request(
            path=path,
            query=request.rel_url.raw_query_string,
            protocol=protocol,
            headers=request.headers,
            body=body,
            workload=workload,
            key_hash=digest(" ".join(rules.secrets_in(request.headers))),
            plan=plan,
            conversation_of=lambda response: self._conversations.get(response, at),
        )

    def _route(self, asked: Asked, plan: Plan, at: int) -> Route:
        self._note_stage(asked.workload, plan, at)
        key = f"{asked.workload}\0{asked.conversation_id}"
        remembered = self._drawn.get(key, at)
        choice = choose(plan, asked.workload, asked.conversation_id, at, remembered)
        if asked.workload in plan.workloads:
            self._drawn.put(key, choice.endpoint, at)
        return route(asked, choice, plan, self._base_urls)

    def _note_stage(self, workload: str, plan: Plan, at: int) -> None:
        """Tells of a stage when its first call comes; after a restart that may be known already."""
        planned = plan.workloads.get(workload)
        stage = planned.stage_at(at) if planned else None
        if stage is None or stage == self._stages.get(workload):
            return
        since = at if workload in self._stages else stage.starts_ms
        self._stages[workload] = stage
        fields = {"workload": workload, "stage": stage.name, "shares": stage.shares, "at": since}
        try:
            self.recorder.event("stage_changed", fields)
        except Exception as error:
            self._not_recorded("a change of stage", error)

    def _headers(
        self, headers: Mapping[str, str], plan: Plan, name: str, protocol: Protocol
    ) -> CIMultiDict[str]:
        """The headers for an endpoint: the caller's key for a baseline without one of its own."""
        key_env = plan.endpoints[name].key_env
        caller_pays = name == plan.baseline and not key_env
        pairs = (
            rules.for_baseline(headers.items())
            if caller_pays
            else rules.with_own_key(headers.items(), protocol, self._environ[key_env])
        )
        accepted = rules.accept_encoding(headers.get("accept-encoding", ""))
        return CIMultiDict([*pairs, ("Accept-Encoding", accepted)])

    async def _exchange(
        self, request: web.Request, outgoing: Outgoing, recording: Recording, endpoint: str
    ) -> web.StreamResponse:
        """Sends the request and relays the answer; without an answer, an error of the tap's own."""
        url = URL(outgoing.url, encoded=True)
        try:
            async with self._session.request(
                request.method,
                url,
                headers=outgoing.headers,
                data=outgoing.data or None,
                allow_redirects=False,
            ) as upstream:
                return await self._relay(request, upstream, recording)
        except (aiohttp.ClientError, TimeoutError) as error:
            recording.transport_error = self._upstream_error(error)
            status = 504 if recording.transport_error == "timeout" else 502
            what = f"no answer from endpoint {endpoint} at {url.host}: {recording.transport_error}"
            return refusal(recording.protocol, status, what, recording.call_id)

    async def _relay(
        self, request: web.Request, upstream: aiohttp.ClientResponse, recording: Recording
    ) -> web.StreamResponse:
        """Passes the answer on byte for byte, as it arrives."""
        recording.answered(upstream.status, upstream.headers)
        answer = answer_like(upstream, recording.call_id)
        await _to_client(answer.prepare(request))
        try:
            async for chunk in upstream.content.iter_any():
                at = recording.watch.now()
                await _to_client(answer.write(chunk))
                recording.passed(chunk, at)
        except (aiohttp.ClientError, TimeoutError) as error:
            recording.transport_error = self._upstream_error(error)
            _break_off(request)
            return answer
        await _to_client(answer.write_eof())
        return answer

    def _upstream_error(self, error: Exception) -> str:
        name = transport_error(error)
        self.metrics.upstream_errors[name] += 1
        return name

    def _secrets(self, headers: Mapping[str, str], plan: Plan, name: str) -> tuple[str, ...]:
        """The keys that a call to an endpoint has to do with: the caller's, and the endpoint's own."""
        own_key = self._environ.get(plan.endpoints[name].key_env, "")
        return *rules.secrets_in(headers), own_key

    def _offer(
        self,
        record: Record,
        asked: Asked,
        way: Route,
        body: Body | None,
        plan: Plan,
        headers: Mapping[str, str],
    ) -> None:
        """Offers a call that is over to be mirrored."""

        def prepare(name: str) -> tuple[CIMultiDict[str], tuple[str, ...]]:
            sent = self._headers(headers, plan, name, asked.protocol)
            return sent, self._secrets(headers, plan, name)

        try:
            self._mirror.offer(Answered(record, asked, way, body or {}, plan, prepare))
        except Exception as error:
            self._not_recorded(f"shadow of call {record.call_id}", error)

    def _keep(
        self, recording: Recording, asked: Asked, way: Route, secrets: tuple[str, ...], plan: Plan
    ) -> Record | None:
        """Hands the record on; None if that failed."""
        workload = asked.workload if asked.workload in plan.workloads else ""
        self.metrics.calls[workload, way.provider, way.arm, recording.outcome] += 1
        try:
            record = recording.record(asked, way, secrets)
            self.recorder.put(record)
            self.metrics.recorded += 1
            if asked.protocol == Protocol.OPENAI_RESPONSES and (answer := recording.response_id()):
                self._conversations.put(answer, asked.conversation_id, recording.watch.now())
        except Exception as error:
            self._not_recorded(f"call {recording.call_id}", error)
            return None
        return record

    def _not_recorded(self, what: str, error: Exception) -> None:
        """Counts and logs, without the error's text: it may hold content."""
        self.metrics.recording_errors += 1
        log.error("%s was not recorded: %s", what, type(error).__name__)


def _fields(data: bytes, headers: Mapping[str, str]) -> Body | None:
    """The request's fields, of a compressed body too."""
    encoding = headers.get("content-encoding", "")
    return parse_body(bytes(unpacked(data, encoding).data) if encoding else data)


def check_keys(plan: Plan, environ: Mapping[str, str]) -> Plan:
    """The plan itself if the keys it names can be used. Raises SettingsError naming the variable."""
    used = [plan.baseline, *(name for w in plan.workloads.values() for name in w.candidates)]
    for name in used:
        variable = plan.endpoints[name].key_env
        key = environ.get(variable, "")
        if (name != plan.baseline or variable) and not key:
            raise SettingsError(
                f"{variable} is not set: put the API key for endpoint {name!r} of the plan there"
            )
        if not key.isprintable():
            raise SettingsError(
                f"{variable} holds a line break or the like: no header can carry it"
            )
    return plan


def answer_like(upstream: aiohttp.ClientResponse, call_id: str) -> web.StreamResponse:
    """A response with the provider's status and headers, and the id of the call.

    Of a stream the head goes out at once; else head and body, as far as it is there, go in one piece.
    """
    pairs = rules.for_client(upstream.headers.items())
    kind = web.Response if "content-length" in upstream.headers else web.StreamResponse
    answer = kind(
        status=upstream.status,
        reason=upstream.reason,
        headers=CIMultiDict([*pairs, (CALL_ID_HEADER, call_id)]),
    )
    answer[_RELAYED] = {name.lower() for name, _ in pairs}
    return answer


async def drop_added_headers(_request: web.Request, answer: web.StreamResponse) -> None:
    """Takes out what aiohttp adds to a relayed answer; a signal handler (`on_response_prepare`)."""
    for name in ("Server", "Date", "Content-Type"):
        if _RELAYED in answer and name.lower() not in answer[_RELAYED]:
            answer.headers.pop(name, None)


def refusal(protocol: Protocol, status: int, what: str, call_id: str) -> web.Response:
    """An error of the tap's own, in the shape the caller's SDK expects."""
    message = f"cutover tap: {what}"
    kind = "timeout_error" if status == 504 else "api_error"
    body = (
        {"type": "error", "error": {"type": kind, "message": message}}
        if protocol == Protocol.ANTHROPIC_MESSAGES
        else {"error": {"message": message, "type": kind, "param": None, "code": "cutover_tap"}}
    )
    headers = {CALL_ID_HEADER: call_id} if call_id else {}
    return web.json_response(body, status=status, headers=headers)


async def _to_client(sending: Awaitable[object]) -> None:
    try:
        await sending
    except ConnectionError:
        raise ClientGoneError from None


def _break_off(request: web.Request) -> None:
    """Closes the caller's connection, so that half an answer does not look like a whole one."""
    if request.transport:
        request.transport.close()
