"""Higress: JSON access log with the `ai_log` of the ai-statistics plugin, a document in a string.

Knows tokens, the model, service time, time to first token of streams, session, consumer, route;
status, request id and cluster from the log around it; both sides' text if configured. Does not
know: finish reason, cost, the error's text, retries. Texts longer than 4,000 characters are cut in
the middle (doubt `text_cut`); without `start_time` the time of the log line stands for it.
"""

from typing import Any

import msgspec

from pipeline.calls import Call, Exchange, Usage
from pipeline.formats import records as r
from pipeline.protocols import protocol_of
from pipeline.protocols.values import as_text

_CUT = "[truncated]"
_CLIENT_GONE = 499
split = r.split_records


class Line(msgspec.Struct):
    """The access log around `ai_log`; every value is text there."""

    ai_log: Any
    start_time: Any = None
    timestamp: Any = None
    duration: Any = None
    request_id: Any = None
    trace_id: Any = None
    authority: Any = None
    path: Any = None
    route_name: Any = None
    upstream_cluster: Any = None
    response_code: Any = None


class AiLog(msgspec.Struct):
    """What ai-statistics counts and, if configured, quotes."""

    session_id: Any = None
    chat_id: Any = None
    api: Any = None
    consumer: Any = None
    model: Any = None
    response_type: Any = None
    input_token: Any = None
    output_token: Any = None
    total_token: Any = None
    cached_tokens: Any = None
    reasoning_tokens: Any = None
    input_token_details: Any = None
    output_token_details: Any = None
    llm_first_token_duration: Any = None
    llm_service_duration: Any = None
    messages: Any = None
    question: Any = None
    answer: Any = None
    reasoning: Any = None
    tool_calls: Any = None


_lines = msgspec.json.Decoder(Line)
_logs = msgspec.json.Decoder(AiLog)


def detect(value: bytes) -> bool:
    """True if it has an `ai_log`."""
    return b'"ai_log"' in value


def read(record: bytes) -> Call:
    """The call of one line. Raises msgspec.DecodeError or ValidationError, which name the field."""
    line = _lines.decode(record)
    path, status = r.text(line.path).partition("?")[0], r.status(line.response_code)
    if line.ai_log in (None, "", "-", "{}", {}) and protocol_of(path) is None:
        raise r.not_a_call("a line with an empty ai_log, and not on the path of a model")
    log = _log(line.ai_log)
    start = r.moment(line.start_time) or r.moment(line.timestamp)
    span = r.milliseconds(log.llm_service_duration) or r.milliseconds(line.duration)
    first = r.milliseconds(log.llm_first_token_duration)
    stream = {"stream": True, "normal": False}.get(
        r.text(log.response_type), True if first else None
    )
    request_id = r.text(line.request_id) or r.text(log.chat_id)
    exchange = _exchange(log, stream)
    return Call(
        call_id=request_id or r.own_id(record),
        source="higress",
        request_id=request_id,
        conversation_id=r.text(log.session_id),
        app=r.text(log.consumer),
        tags=r.named_tags(route=r.text(line.route_name), api=r.text(log.api)),
        provider=_provider(r.text(line.upstream_cluster)),
        host=r.text(line.authority),
        path=path,
        protocol=protocol_of(path),
        started_at=start,
        first_token_at=r.later(start, first or None) if stream else None,
        ended_at=r.later(start, span),
        http_status=status,
        cancelled=status == _CLIENT_GONE,
        exchange=exchange,
        doubts=("text_cut",) if _CUT in exchange.text or _CUT in exchange.prompt else (),
    )


def _log(value: Any) -> AiLog:
    """The document in the string; some pipelines unpack it on the way."""
    if isinstance(value, str) and value not in ("", "-"):
        return _logs.decode(value)
    return msgspec.convert(value, AiLog) if isinstance(value, dict) else AiLog()


def _exchange(log: AiLog, stream: bool | None) -> Exchange:
    findings: list[str] = []
    model = "" if log.model == "unknown" else r.text(log.model)
    asked = log.messages
    if not asked and as_text(log.question):
        asked = [{"role": "user", "content": log.question}]
    answer = {
        "content": log.answer,
        "reasoning_content": log.reasoning,
        "tool_calls": log.tool_calls,
    }
    usage = _usage(log, findings)
    exchange = r.chat(model="", messages=asked, answer=answer, stream=stream, usage=usage)
    return msgspec.structs.replace(
        exchange,
        request_model=model,
        response_id=r.text(log.chat_id),
        findings=tuple(findings),
    )


def _usage(log: AiLog, findings: list[str]) -> Usage | None:
    """`input_token` leaves an Anthropic upstream's cache out, `total_token` never does."""
    total, output = r.tokens(log.total_token, findings), r.tokens(log.output_token, findings)
    input_tokens = r.tokens(log.input_token, findings)
    if None not in (total, output, input_tokens):
        input_tokens = max(input_tokens, total - output)  # type: ignore[operator, type-var]
    details = r.json_object(log.input_token_details)
    cached = log.cached_tokens or details.get("cached_tokens")
    reasoning = log.reasoning_tokens or r.json_object(log.output_token_details).get(
        "reasoning_tokens"
    )
    return r.usage_of(
        findings,
        total=input_tokens,
        output=output,
        read=r.tokens(cached, findings),
        reasoning=r.tokens(reasoning, findings),
    )


def _provider(cluster: str) -> str:
    """The name in Envoy's "outbound|443||llm-NAME.internal.dns"."""
    host = cluster.rpartition("|")[2]
    return host.removeprefix("llm-").partition(".internal.")[0] if "llm-" in host else ""
