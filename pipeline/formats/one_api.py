"""one-api and new-api: rows of their `logs` table, from SQL or from `/api/log/`.

Knows token name, user, group, channel, models, totals of tokens, whether it streamed, and, in
whole seconds of its end, when; new-api also time to first token, cached tokens, path and the
channels tried. Does not know: text, finish reason, and of one-api any failure: it writes no row.
new-api writes a row for each failed attempt (type 5), without saying whether a retry came after.
`quota` is a resale price in a unit the operator sets, so the cost is unknown. Times are the
table's: one-api's to the millisecond, new-api's durations in whole seconds.
"""

from typing import Annotated, Any

import msgspec

from pipeline.calls import Call, Exchange, Usage, VendorError
from pipeline.formats import records as r
from pipeline.protocols import protocol_of
from pipeline.protocols.values import as_dict

_CONSUMPTION, _FIVE = 2, 5  # 5 is an error in new-api and a channel test in one-api
_STREAM_ENDS = {"timeout": "timeout", "scanner_error": "reset", "ping_fail": "reset"}


class Row(msgspec.Struct):
    """The columns of both programs; `use_time` and `other` are new-api's alone."""

    type: int
    created_at: Annotated[int, msgspec.Meta(ge=0, le=2**40)]
    id: Any = None
    request_id: Any = None
    username: Any = None
    token_name: Any = None
    model_name: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    channel: Any = None
    channel_name: Any = None
    group: Any = None
    is_stream: bool | None = None
    elapsed_time: Any = None
    use_time: Any = None
    other: Any = None
    content: Any = None


class Page(msgspec.Struct):
    """An answer of `/api/log/`: its rows in `data`, or, with paging, one level below."""

    data: list[msgspec.Raw] | dict[str, Any]


_rows = msgspec.json.Decoder(Row)
_pages = msgspec.json.Decoder(Page)
_encode = msgspec.json.Encoder().encode


def detect(value: bytes) -> bool:
    """True if it has the columns that only this table has together."""
    return b'"quota"' in value and b'"token_name"' in value


def split(value: bytes) -> list[bytes]:
    """The rows of an array, of a page of the API, or one a line."""
    if b'"data"' not in value[:400]:
        return r.split_records(value)
    data = _pages.decode(value).data
    if isinstance(data, dict):
        return [_encode(row) for row in data.get("items") or data.get("logs") or ()]
    return [bytes(row) for row in data]


def read(record: bytes) -> Call:
    """The call of one row. Raises msgspec.DecodeError or ValidationError, which name the field."""
    row = _rows.decode(record)
    newer = row.use_time is not None or bool(row.other)
    failed = row.type == _FIVE and newer
    if row.type != _CONSUMPTION and not failed:
        raise r.not_a_call(f"a row of type {row.type}: no consumption and no error")
    other = r.json_object(row.other)
    path = r.text(other.get("request_path")).partition("?")[0]
    start, end = _times(row)
    first = r.milliseconds(other.get("frt")) if row.is_stream else None
    ending = r.text(as_dict(other.get("stream_status")).get("end_reason"))
    request_id = r.text(row.request_id)
    tried = as_dict(other.get("admin_info")).get("use_channel")
    return Call(
        call_id=request_id or r.text(row.id) or r.own_id(record),
        source="one_api",
        request_id=request_id,
        attempt=min(max(1, len(tried)), 100) if isinstance(tried, list) else 1,
        app=r.text(row.token_name),
        team=r.text(row.group),
        tags=r.named_tags(user=r.text(row.username)),
        provider=r.text(row.channel_name) or r.text(row.channel),
        path=path,
        protocol=protocol_of(path),
        started_at=start,
        first_token_at=r.later(start, first or None),
        ended_at=end,
        http_status=r.status(other.get("status_code")) if failed else None,
        transport_error=_STREAM_ENDS.get(ending, ""),
        cancelled=ending == "client_gone",
        exchange=_exchange(row, other, failed),
    )


def _times(row: Row) -> tuple[int, int | None]:
    """Start and end; the row is written at the end. A duration of 0 whole seconds is unknown."""
    end = row.created_at * 1000
    seconds = r.number(row.use_time)
    span = r.milliseconds(row.elapsed_time) or r.milliseconds(seconds and seconds * 1000)
    return (end - span, end) if span else (end, None)


def _exchange(row: Row, other: dict[str, Any], failed: bool) -> Exchange:
    findings: list[str] = []
    error = VendorError(
        code=r.text(other.get("error_code")),
        type=r.text(other.get("error_type")),
        message=r.text(row.content),
    )
    return Exchange(
        request_model=r.text(row.model_name),
        response_model=r.text(other.get("upstream_model_name")),
        stream=row.is_stream,
        usage=_usage(row, other, findings),
        error=error if failed else None,
        findings=tuple(findings),
    )


def _usage(row: Row, other: dict[str, Any], findings: list[str]) -> Usage | None:
    """For a Claude upstream `prompt_tokens` is Anthropic's own counter, without the cache."""
    read = r.tokens(other.get("cache_tokens"), findings)
    written = r.tokens(other.get("cache_creation_tokens"), findings)
    written_1h = r.tokens(other.get("cache_creation_tokens_1h"), findings)
    total = r.tokens(row.prompt_tokens, findings)
    if other.get("claude"):
        total = r.plus(total, read, written)
    return r.usage_of(
        findings,
        total=total,
        output=r.tokens(row.completion_tokens, findings),
        read=read,
        written=max(0, (written or 0) - (written_1h or 0)),
        written_1h=written_1h,
    )
