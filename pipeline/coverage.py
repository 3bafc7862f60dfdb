"""Which of a call's fields logs yield, counted format by format: what the numbers rest on."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pipeline.calls import Ignored, Rejected, ScoredCall

_BEYOND_DELIVERY = {"not_refused", "tool_calls_valid", "structured_output_valid"}


class Field(NamedTuple):
    """A field, the calls it can be asked of, and whether a call has it."""

    label: str
    asked_of: Callable[[ScoredCall], bool]
    known: Callable[[ScoredCall], bool]


def _any(row: ScoredCall) -> bool:
    return True


def _answered(row: ScoredCall) -> bool:
    return not row.failure


def _failed(row: ScoredCall) -> bool:
    return bool(row.failure)


def _streamed(row: ScoredCall) -> bool:
    return row.stream is True and not row.failure


FIELDS = (
    Field("start", _any, lambda row: "start_missing" not in row.doubts),
    Field("duration", _any, lambda row: row.duration_ms is not None),
    Field("time to first token, of streams", _streamed, lambda r: r.time_to_first_token_ms is not None),
    Field("streamed or not", _any, lambda row: row.stream is not None),
    Field("HTTP status", _any, lambda row: row.http_status is not None),
    Field("provider", _any, lambda row: bool(row.provider)),
    Field("model asked for", _any, lambda row: bool(row.request_model)),
    Field("model that answered", _answered, lambda row: bool(row.response_model)),
    Field("protocol", _any, lambda row: bool(row.protocol)),
    Field("conversation", _any, lambda row: bool(row.conversation_id)),
    Field("application or team", _any, lambda row: bool(row.app or row.team)),
    Field("tags", _any, lambda row: bool(row.tags)),
    Field("input and output tokens", _answered, lambda r: None not in (r.input_tokens, r.output_tokens)),
    Field("cached input tokens", _answered, lambda row: row.cache_read_input_tokens is not None),
    Field("reasoning tokens", _answered, lambda row: row.reasoning_output_tokens is not None),
    Field("cost by the gateway", _answered, lambda row: row.gateway_cost_usd is not None),
    Field("finish reason", _answered, lambda row: bool(row.finish_reason)),
    Field("content to judge", _answered, lambda row: not _BEYOND_DELIVERY.isdisjoint(row.checks)),
    Field("protocol conformance", _answered, lambda row: "protocol_conformance" in row.checks),
    Field("the provider's error, of failures", _failed, lambda r: r.failure_code not in ("", str(r.http_status))),
)  # fmt: skip


def coverage_table(scored: Iterable[ScoredCall | Rejected | Ignored]) -> str:
    """A Markdown table: for each format its calls, and of how many of those a field is known.

    "–" where no call could have had it.
    """
    by_format: dict[str, list[ScoredCall]] = {}
    for record in scored:
        if isinstance(record, ScoredCall):
            by_format.setdefault(record.source, []).append(record)
    lines = [("of the calls, known", *by_format)]
    lines.append(tuple("---" if not n else "---:" for n in range(len(by_format) + 1)))
    lines.append(("calls", *(str(len(rows)) for rows in by_format.values())))
    lines += [
        (field.label, *(_share(field, rows) for rows in by_format.values())) for field in FIELDS
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def set_aside(scored: Iterable[ScoredCall | Rejected | Ignored]) -> list[str]:
    """What was no call, most frequent first: how often and why."""
    others = (record for record in scored if not isinstance(record, ScoredCall))
    why = Counter(f"{record.reason}: {record.detail}" for record in others)
    return [f"{count} × {reason}" for reason, count in why.most_common()]


def _share(field: Field, rows: Sequence[ScoredCall]) -> str:
    asked = [row for row in rows if field.asked_of(row)]
    return f"{sum(map(field.known, asked)) * 100 // len(asked)} %" if asked else "–"
