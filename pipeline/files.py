"""`cutover score`: log files scored without any server."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pipeline.calls import Ignored, Rejected, ScoredCall
from pipeline.formats.records import OTHER_SPAN
from pipeline.reading import STDIN, opened, read_values
from pipeline.rules import load_rules
from pipeline.scoring.score import score_message

log = logging.getLogger(__name__)

_encoder = msgspec.json.Encoder(decimal_format="string")


def score_file(file: Path, format: str, plan: Path | None) -> Iterator[bytes]:
    """One JSON object for each record of a file: the scored call, or `{"rejected": reason, …}`.

    The other spans of traces are only counted, on stderr.

    Records without a believable start count from the file's own time. Raises BadFile or
    PlanError for a bad plan, UnreadableFileError for a damaged file.
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
    rules = load_rules(plan)
    changed_at = time.time_ns() if file == STDIN else file.stat().st_mtime_ns
    for value in messages(file):
        yield from score_message(value, changed_at // 1_000_000, rules, format)


def messages(file: Path) -> Iterator[bytes]:
    """A file's records as messages: see `reading.read_values`."""
    with opened(file) as stream:
        yield from read_values(stream, str(file))


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
