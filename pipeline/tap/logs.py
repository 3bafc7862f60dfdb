"""Ways in for senders without Kafka: log records and OpenTelemetry traces over HTTP.

A port of its own, so that the tap's passes every path through. An answer of 200 says that the
records are in Kafka or on disk. Who is told 429 or 503 sends again later; a call counts once.
"""

import asyncio
import io
import zlib
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from pipeline.embedded.ports import is_loopback
from pipeline.formats import FORMATS
from pipeline.forward import Parcel, hand_over, name_of, parcels
from pipeline.kafka import CallProducer, KafkaError
from pipeline.reading import UnreadableFileError, read_values
from pipeline.settings import SettingsError
from pipeline.tap.server import TOKENS, guard

MOST_BYTES = 7 * 1024 * 1024  # of a body, unpacked too: less than the largest Kafka message
NEARLY_FULL = 0.9
PATIENCE_SECONDS = 10.0
AGAIN_SECONDS = 5
FORMAT_HEADER = "x-cutover-format"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
OTLP = "otlp"
_GRPC_INVALID_ARGUMENT, _GRPC_UNAVAILABLE = 3, 14


class RefusedError(Exception):
    """A request that is not taken: the HTTP status and a sentence for a person."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


def create_log_app(producer: CallProducer, tokens: frozenset[str] = frozenset()) -> web.Application:
    """The web application of the admin port."""
    app = web.Application(middlewares=[guard] if tokens else [], client_max_size=MOST_BYTES)
    app[TOKENS] = tokens
    app.router.add_get("/healthz", _health(producer))
    app.router.add_post("/v1/logs", _logs(producer))
    app.router.add_post("/v1/traces", _traces(producer))
    return app


async def serve_logs(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Starts the admin port; the caller calls `cleanup()` in the end.

    Raises SettingsError if the address is open to others and no tokens are set, OSError if it
    is taken.
    """
    check_admin_binding(host, app[TOKENS])
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise OSError(f"CUTOVER_ADMIN_PORT: {error}; name another, or 0 for none") from None
    return runner


def check_admin_binding(host: str, tokens: frozenset[str]) -> None:
    """Raises SettingsError if others than this machine could send records without a token."""
    if not tokens and not is_loopback(host):
        raise SettingsError(
            f"CUTOVER_TAP_TOKENS is not set: with CUTOVER_ADMIN_HOST={host} others could send made-up "
            "records; set tokens or bind to 127.0.0.1"
        )


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _health(producer: CallProducer) -> _Handler:
    async def health(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"ok": True, "waiting": producer.waiting})

    return health


def _logs(producer: CallProducer) -> _Handler:
    """`POST /v1/logs`: records of any format; the answer says how many were taken."""

    async def logs(request: web.Request) -> web.StreamResponse:
        try:
            name = request.headers.get(FORMAT_HEADER, "")
            if name and name not in FORMATS:
                raise RefusedError(400, f"{FORMAT_HEADER}: {name}: use one of {', '.join(FORMATS)}")
            _must_have_room(producer)
            body = await _body(request)
            taken = await _take(producer, await asyncio.to_thread(_parcels, body, name))
        except RefusedError as refused:
            return web.json_response(
                {"error": str(refused)}, status=refused.status, headers=_again(refused.status)
            )
        return web.json_response({"taken": taken})

    return logs


def _traces(producer: CallProducer) -> _Handler:
    """`POST /v1/traces`: OTLP/HTTP; answers ExportTraceServiceResponse, or Status for an error.

    Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
    """

    async def traces(request: web.Request) -> web.StreamResponse:
        kind = request.content_type
        try:
            if kind not in (PROTOBUF, JSON):
                raise RefusedError(415, f"Content-Type: {PROTOBUF} or {JSON}")
            _must_have_room(producer)
            body = await _body(request)
            await _take(producer, await asyncio.to_thread(_spans, body))
        except RefusedError as refused:
            code = _GRPC_UNAVAILABLE if refused.status in (429, 503) else _GRPC_INVALID_ARGUMENT
            return web.Response(
                body=_status(code, str(refused), kind),
                status=refused.status,
                content_type=kind if kind == PROTOBUF else JSON,
                headers=_again(refused.status),
            )
        return web.Response(body=b"" if kind == PROTOBUF else b"{}", content_type=kind)

    return traces


async def _body(request: web.Request) -> bytes:
    """The body, unpacked. Raises RefusedError."""
    try:
        packed = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise RefusedError(413, f"the body is larger than {MOST_BYTES} bytes") from None
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return packed
    if encoding not in ("gzip", "deflate"):
        raise RefusedError(415, f"Content-Encoding {encoding}: use gzip, deflate or none")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    try:
        body = unpacker.decompress(packed, MOST_BYTES + 1)
    except zlib.error as error:
        raise RefusedError(400, f"the body is no {encoding}: {error}") from None
    if len(body) > MOST_BYTES:
        raise RefusedError(413, f"the unpacked body is larger than {MOST_BYTES} bytes")
    if not unpacker.eof:
        raise RefusedError(400, f"the body's {encoding} does not come to its end")
    return body


def _parcels(body: bytes, name: str) -> list[Parcel]:
    """The records of a body, whatever its shape. Raises RefusedError."""
    try:
        values = list(read_values(io.BytesIO(body), "the body"))
    except UnreadableFileError as error:
        raise RefusedError(400, str(error)) from None
    if not values:
        raise RefusedError(400, "the body has no records")
    return [parcel for value in values for parcel in parcels(value, name)]


def _spans(body: bytes) -> list[Parcel]:
    """The spans of an ExportTraceServiceRequest. Raises RefusedError."""
    if not body or body.strip() == b"{}":
        return []
    if name_of(body) != OTLP:
        raise RefusedError(400, "the body is no ExportTraceServiceRequest with spans")
    return parcels(body, OTLP)


def _must_have_room(producer: CallProducer) -> None:
    if producer.fullness > NEARLY_FULL:
        raise RefusedError(429, "Kafka is away and the spool is nearly full: send again later")


async def _take(producer: CallProducer, given: list[Parcel]) -> int:
    """Returns how many records were taken, once they are in Kafka or on disk. Raises RefusedError."""
    taken = hand_over(producer, given)
    if not await producer.keep():  # the disk takes no more: only Kafka itself will do
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await producer.flush()
        except (KafkaError, TimeoutError):
            raise RefusedError(503, "neither Kafka nor the disk takes records now") from None
    return taken


def _again(status: int) -> dict[str, str]:
    return {"Retry-After": str(AGAIN_SECONDS)} if status in (429, 503) else {}


def _status(code: int, message: str, kind: str) -> bytes:
    """google.rpc.Status: field 1 is the code, field 2 the message."""
    if kind != PROTOBUF:
        return msgspec.json.encode({"code": code, "message": message})
    text = message.encode()[:100]  # its length is one byte then
    return b"\x08" + bytes([code]) + b"\x12" + bytes([len(text)]) + text
