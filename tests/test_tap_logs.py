"""The tap's second port: records and traces over HTTP, safely taken or refused with a reason."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kafka_brokers import embedded
from records import anthropic_record
from test_replay import ids, sent

from pipeline.formats import FORMATS
from pipeline.formats.cutover import encode
from pipeline.kafka import CallProducer, ensure_topics
from pipeline.settings import Settings, SettingsError
from pipeline.tap import logs as module
from pipeline.tap.logs import create_log_app, serve_logs

LINES = [encode(anthropic_record(name)) for name in ("a", "b")]
SPAN = {
    "traceId": "0af7651916cd43dd8448eb211c80319c",
    "spanId": "b7ad6b7169203331",
    "name": "chat gpt-4o",
    "kind": 3,
    "startTimeUnixNano": "1795000000000000000",
    "endTimeUnixNano": "1795000001000000000",
    "attributes": [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "gen_ai.provider.name", "value": {"stringValue": "openai"}},
        {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}},
    ],
}
TRACES = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "x"}, "spans": [SPAN]}]}]}  # fmt: skip
otlp_is_read = pytest.mark.skipif("otlp" not in FORMATS, reason="OTLP is not among the formats yet")


@asynccontextmanager
async def serving(
    settings: Settings, tokens: frozenset[str] = frozenset()
) -> AsyncIterator[tuple[CallProducer, str, aiohttp.ClientSession]]:
    producer = CallProducer(settings, "tap")
    await producer.start()
    runner = await serve_logs(create_log_app(producer, tokens), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with aiohttp.ClientSession() as client:
            yield producer, url, client
    finally:
        await runner.cleanup()
        await producer.stop()


@pytest.fixture
def away(tmp_path: Path) -> Settings:
    """Settings of a Kafka that is not there."""
    return replace(Settings(), data=tmp_path, kafka="127.0.0.1:9")


BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "lines": (b"\n".join(LINES), {}, 2),
    "an array": (b"[" + b",".join(LINES) + b"]", {}, 2),
    "a pretty object": (json.dumps(json.loads(LINES[0]), indent=2).encode(), {}, 1),
    "gzip": (gzip.compress(b"\n".join(LINES)), {"content-encoding": "gzip"}, 2),
    "a named format": (LINES[0], {"x-cutover-format": "cutover"}, 1),
    "records nobody can read": (b'garbage\n{"x": 1}', {}, 2),
}


@pytest.mark.parametrize("body", BODIES)
async def test_records_are_taken_while_kafka_is_away(away: Settings, body: str) -> None:
    content, headers, count = BODIES[body]
    async with serving(away) as (producer, url, client):
        async with client.post(f"{url}/v1/logs", data=content, headers=headers) as answer:
            assert (answer.status, await answer.json()) == (200, {"taken": count})
        assert producer.waiting == count
    again = CallProducer(away, "tap")  # as after a crash: it was on disk when the answer came
    await again.start()
    assert again.waiting == count
    await again.stop()


async def test_records_over_http_arrive_as_others_do(kafka_settings: Settings) -> None:
    async with serving(kafka_settings) as (producer, url, client):
        for content, headers, _ in BODIES.values():
            async with client.post(f"{url}/v1/logs", data=content, headers=headers) as answer:
                assert answer.status == 200
        await producer.flush()
    expected = ["a", "a", "a", "a", "a", "b", "b", "b", "not_json", "unknown_format"]
    assert ids(await sent(kafka_settings)) == expected


BOMB = gzip.compress(b" " * (module.MOST_BYTES + 1))
REFUSED: list[tuple[str, bytes, dict[str, str], int, str]] = [
    ("nothing", b"", {}, 400, "no records"),
    ("a format nobody knows", LINES[0], {"x-cutover-format": "csv"}, 400, "csv"),
    ("too large", b"x" * (module.MOST_BYTES + 1), {}, 413, "larger than"),
    ("too large once unpacked", BOMB, {"content-encoding": "gzip"}, 413, "larger than"),
    ("no gzip", b"garbage", {"content-encoding": "gzip"}, 400, "no gzip"),
    ("cut gzip", BOMB[:-4], {"content-encoding": "gzip"}, 413, "larger than"),
    ("half a gzip", gzip.compress(LINES[0])[:-12], {"content-encoding": "gzip"}, 400, "come to its end"),
    ("an unknown encoding", b"x", {"content-encoding": "br"}, 415, "br"),
    ("a damaged archive", gzip.compress(LINES[0])[:-12], {}, 400, "damaged"),
]  # fmt: skip


@pytest.mark.parametrize(("says", "body", "headers", "status", "named"), REFUSED)
async def test_what_is_refused_says_why_and_takes_nothing(
    away: Settings, says: str, body: bytes, headers: dict[str, str], status: int, named: str
) -> None:
    async with serving(away) as (producer, url, client):
        async with client.post(f"{url}/v1/logs", data=body, headers=headers) as answer:
            assert answer.status == status, says
            assert named in (await answer.json())["error"]
        assert producer.counts.produced == 0


async def test_a_nearly_full_spool_says_come_again_and_takes_more_once_kafka_is_back(
    tmp_path: Path,
) -> None:
    broker = embedded()
    settings = replace(Settings(), data=tmp_path, kafka=broker.address, spool_bytes=20_000)
    async with serving(settings) as (producer, url, client):
        statuses = []
        for number in range(40):
            line = encode(anthropic_record(f"call {number}"))
            async with client.post(f"{url}/v1/logs", data=line) as answer:
                statuses.append(answer.status)
                if answer.status == 429:
                    assert int(answer.headers["retry-after"]) > 0
        taken = statuses.count(200)
        assert set(statuses) == {200, 429}
        assert producer.waiting == taken
        assert producer.counts.dropped == 0
        await asyncio.to_thread(broker.start)
        try:
            await ensure_topics(settings)
            async with asyncio.timeout(60):
                while producer.waiting:
                    await asyncio.sleep(0.05)
            async with client.post(f"{url}/v1/logs", data=LINES[0]) as answer:
                assert answer.status == 200
            await producer.flush()
            assert len(await sent(settings)) == taken + 1
        finally:
            await asyncio.to_thread(broker.kill)


async def test_records_that_are_only_in_memory_are_not_called_safe(
    away: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEARLY_FULL", 2.0)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.5)
    async with (
        serving(replace(away, spool_bytes=10)) as (_, url, client),
        client.post(f"{url}/v1/logs", data=LINES[0]) as answer,
    ):
        assert answer.status == 503
        assert "retry-after" in answer.headers


async def test_strangers_need_a_token(away: Settings) -> None:
    async with serving(away, frozenset({"s3cret"})) as (_, url, client):
        for headers, status in (({}, 401), ({"x-cutover-token": "wrong"}, 401), ({"x-cutover-token": "s3cret"}, 200)):  # fmt: skip
            async with client.post(f"{url}/v1/logs", data=LINES[0], headers=headers) as answer:
                assert answer.status == status
        async with client.get(f"{url}/healthz") as answer:
            assert answer.status == 200
    with pytest.raises(SettingsError, match="CUTOVER_TAP_TOKENS"):
        await serve_logs(create_log_app(CallProducer(away, "tap")), "0.0.0.0", 0)


@otlp_is_read
@pytest.mark.parametrize("kind", ["application/json", "application/x-protobuf"])
async def test_traces_are_taken_as_otlp_over_http_has_it(
    kafka_settings: Settings, kind: str
) -> None:
    body = json.dumps(TRACES).encode() if kind.endswith("json") else protobuf(TRACES)
    async with serving(kafka_settings) as (producer, url, client):
        for packed in (body, gzip.compress(body)):
            headers = {"content-type": kind}
            headers |= {} if packed is body else {"content-encoding": "gzip"}
            async with client.post(f"{url}/v1/traces", data=packed, headers=headers) as answer:
                assert (answer.status, answer.content_type) == (200, kind)
                assert await answer.read() == (b"{}" if kind.endswith("json") else b"")
        await producer.flush()
    found = await sent(kafka_settings)
    assert [call.exchange.request_model for call in found] == ["gpt-4o", "gpt-4o"]
    assert len({call.call_id for call in found}) == 1


def protobuf(traces: dict[str, Any]) -> bytes:
    """The same request in OTLP's other encoding: protobuf's JSON has ids in base64."""
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ParseDict(traces, ExportTraceServiceRequest())
    for within in request.resource_spans:
        for scoped in within.scope_spans:
            for span in scoped.spans:
                span.trace_id, span.span_id = bytes.fromhex(SPAN["traceId"]), bytes.fromhex(SPAN["spanId"])  # type: ignore[arg-type] # fmt: skip
    return bytes(request.SerializeToString())


TRACES_REFUSED = [
    ("application/x-protobuf", b"\xff\xff\xff", 400),
    ("application/json", b'{"x": 1}', 400),
    ("application/json", b"garbage", 400),
    ("text/plain", b"x", 415),
]


@pytest.mark.parametrize(("kind", "body", "status"), TRACES_REFUSED)
async def test_traces_that_are_none_are_answered_with_a_status_message(
    away: Settings, kind: str, body: bytes, status: int
) -> None:
    async with serving(away) as (producer, url, client):
        async with client.post(
            f"{url}/v1/traces", data=body, headers={"content-type": kind}
        ) as answer:
            assert answer.status == status
            said = await answer.read()
        assert producer.counts.produced == 0
    if kind == "application/x-protobuf":
        assert said[:2] == b"\x08\x03"
        assert said[2:4] == bytes([0x12, len(said) - 4])
    else:
        assert json.loads(said)["code"] == 3


async def test_an_export_without_spans_is_nothing_wrong(away: Settings) -> None:
    async with serving(away) as (producer, url, client):
        for kind, body in (("application/json", b"{}"), ("application/x-protobuf", b"")):
            async with client.post(
                f"{url}/v1/traces", data=body, headers={"content-type": kind}
            ) as answer:
                assert answer.status == 200
        assert producer.counts.produced == 0
