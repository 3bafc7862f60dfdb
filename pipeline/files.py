"""Log files: scored without any server, or sent through Kafka like live records."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline.calls import Call, Ignored, Rejected, ScoredCall
from pipeline.catalog import load_catalog
from pipeline.formats import FORMATS, read_message, recognise
from pipeline.formats.records import OTHER_SPAN
from pipeline.kafka import CallProducer
from pipeline.plan_file import load_plan
from pipeline.rules import load_checks
from pipeline.scoring.conversation import conversation_of
from pipeline.scoring.score import Rules, score_message
from pipeline.settings import Settings

log = logging.getLogger(__name__)

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_encoder = msgspec.json.Encoder(decimal_format="string")


def score_file(file: Path, format: str, plan: Path | None) -> Iterator[bytes]:
    """One JSON object for each record of a file: the scored call, or `{"rejected": reason, …}`.

    The other spans of traces are only counted, on stderr.

    Records without a believable start count from the file's own time. Raises BadFile or
    PlanError for a bad plan.
    """
    other_spans = 0
    for record in scored_records(file, format, plan):
        if isinstance(record, Ignored) and record.reason == OTHER_SPAN:
            other_spans += 1
        else:
            yield _encoder.encode(_printed(record))
    if other_spans:
        log.warning("%s: %d spans tell of no model's call", file, other_spans)


def scored_records(
    file: Path, format: str = "", plan: Path | None = None
) -> Iterator[ScoredCall | Rejected | Ignored]:
    """The same as objects, other spans too."""
    in_force = load_plan(plan) if plan else None
    rules = Rules(catalog=load_catalog(), checks=load_checks(), plan=in_force)
    received_at = file.stat().st_mtime_ns // 1_000_000
    for value in messages(file):
        yield from score_message(value, received_at, rules, format)


def messages(file: Path) -> Iterator[bytes]:
    """A file's records as messages: its lines, or, if it is one JSON value, that or each of its items."""
    content = file.read_bytes().removeprefix(_BYTE_ORDER_MARK)
    try:
        value = msgspec.json.decode(content)
    except (ValueError, RecursionError):
        yield from (line for line in content.split(b"\n") if line.strip())
    else:
        yield from map(msgspec.json.encode, value if isinstance(value, list) else [value])


async def replay_files(settings: Settings, files: Sequence[Path]) -> int:
    """Sends every record of the files to the calls topic; returns how many. Raises KafkaError."""
    producer = CallProducer(settings, "replay")
    sent = 0
    await producer.start()
    try:
        await producer.connect()
        for file in files:
            for value in messages(file):
                sent += _put(producer, value)
                if producer.waiting > 1000:
                    await producer.flush()
        await producer.flush()
    finally:
        await producer.stop()
    return sent


def _put(producer: CallProducer, value: bytes) -> int:
    """Sends one record a line, so that what cannot be read is rejected alone, by the worker."""
    format = recognise(value)
    name = next((name for name, known in FORMATS.items() if known is format), "")
    records = format.split(value) if format else [value]
    for record in records:
        call = read_message(record, name)[0]
        key = conversation_of(call) or call.call_id if isinstance(call, Call) else ""
        producer.put_line(record, key, name)
    return len(records)


def _printed(record: Any) -> dict[str, Any]:
    if isinstance(record, Rejected):
        return {
            "rejected": record.reason,
            "detail": record.detail,
            "value": record.value.decode("utf-8", "replace"),
        }
    if isinstance(record, Ignored):
        return {"rejected": record.reason, "detail": record.detail}
    return msgspec.structs.asdict(record)
