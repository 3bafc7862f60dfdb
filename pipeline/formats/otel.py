"""OpenTelemetry spans of model calls: OTLP JSON and protobuf, as a Collector's Kafka exporter writes them.

Reads the GenAI conventions, newest and older names, content in attributes or events; OpenInference's
(Envoy AI Gateway); OpenLLMetry's and LiteLLM's additions. Knows times, models, tokens, finish
reason, errors; both sides' text if the instrumentation was told to keep it. Does not know: the HTTP
status of a success, what a call cost (but LiteLLM's does), retries inside a client, teams and keys
unless attributes name them. The other spans of a trace are ignored and counted. Attributes of the
resource that are not OpenTelemetry's own become tags. A call that several spans of a trace tell of
(client library, instrumentation, gateway) counts once where they name the provider's answer by its
id, and as the first of them to come tells it; in one message also where one of a process's spans is
around the other. Langfuse's SDKs make spans of their own, which are read too.
"""

import re
from functools import lru_cache
from typing import Any

import msgspec

from pipeline.calls import Call, Exchange, Protocol, Usage, VendorError
from pipeline.formats import otel_langfuse
from pipeline.formats import records as r
from pipeline.formats.otel_content import content, merge_details, shape
from pipeline.formats.otel_names import (
    COSTS,
    FIRST_TOKENS,
    INPUTS,
    OUTPUTS,
    PROTOCOLS,
    PROVIDERS,
    READS,
    REASONINGS,
    REQUEST_MODELS,
    SESSIONS,
    STREAMS,
    TEAMS,
    WRITES,
    WRITTEN_1H,
    first,
    is_call,
)
from pipeline.formats.otel_spans import documents
from pipeline.formats.otlp import (
    Attributes,
    Document,
    Event,
    Resource,
    Span,
    attributes,
    ms,
    only_span,
)
from pipeline.formats.otlp_proto import as_json, is_otlp
from pipeline.protocols import read_parsed
from pipeline.protocols.values import as_text

_FAILED = (2, "2", "STATUS_CODE_ERROR")
_ABANDONED = ("CancelledError", "GeneratorExit", "ClientDisconnected")
_CLIENT_GONE = 499
_UNIQUE = 20  # characters of an answer's id that is drawn from many; vendors' have 22 and more
_OF_OPENTELEMETRY = (
    "telemetry.", "service.", "process.", "host.", "os.", "container.", "k8s.", "cloud.", "faas.",
    "deployment.", "cutover.", "model_id",
)  # fmt: skip
_TOOL_FINISH = {"tool_call": "tool_calls"}  # the conventions' word for it
_HTTP_STATUS = re.compile(r"Error code: ([1-5]\d\d)\b")
_PYTHON_COUNT = re.compile(r"'(\w+)': (\d{1,18})\b")  # LiteLLM writes Python's repr, not JSON
_PYTHON_TAGS = re.compile(r"'tags': \[([^\]]*)\]")
_PYTHON_SESSION = re.compile(r"'session_id': '([^']+)'")


class Origin(msgspec.Struct):
    """What a resource says of all its spans."""

    workload: str = ""
    app: str = ""
    team: str = ""
    tags: dict[str, str] = {}


_documents = msgspec.json.Decoder(Document)
_resources = msgspec.json.Decoder(Resource | None)


def detect(value: bytes) -> bool:
    """True if it is OTLP, JSON or protobuf, of any signal, or a bare span of OpenInference's."""
    if value[:1] == b"\n" and is_otlp(value):
        return True
    if any(mark in value for mark in (b'"resourceSpans"', b'"resourceMetrics"', b'"resourceLogs"')):
        return True
    return b'"span"' in value[:400] and b'"openinference.span.kind"' in value


def split(value: bytes) -> list[bytes]:
    """One document for each span, with its resource and scope. Raises ValueError."""
    if value[:1] == b"\n" and is_otlp(value):
        value = as_json(value)
    return documents(value)


def read(record: bytes) -> Call:
    """The call of one span. Raises msgspec.DecodeError, ValidationError or NotACallError."""
    document = _documents.decode(record)
    resource, scope, span = only_span(document)
    origin = _origin(resource)
    if document.told_by:
        what = f"the same call is told of by the span {document.told_by}: {span.name}"
        raise r.NotACallError(what, r.OTHER_SPAN)
    a = attributes(span.attributes)
    if not is_call(a):
        raise r.NotACallError(f"a span that tells of no model's call: {span.name}", r.OTHER_SPAN)
    merge_details(a, span.events)
    if otel_langfuse.KIND in a:
        a = otel_langfuse.conventional(a) | a
    base = r.json_object(a.get("hidden_params")).get("api_base") or a.get("gen_ai.openai.api_base")
    host, path = r.url(base)
    start, end = ms(span.startTimeUnixNano), ms(span.endTimeUnixNano)
    stream = _flag(first(a, STREAMS))
    reasons = _finish_reasons(a)
    error, status = _error(span, a, reasons)
    exchange = _exchange(a, span.events, scope, stream, reasons, error)
    requester = as_text(a.get("metadata.requester_metadata"))
    session = _PYTHON_SESSION.search(requester) if requester else None
    return Call(
        call_id=_call_id(span, exchange.response_id) or r.own_id(record),
        source="otlp",
        request_id=r.text(a.get("litellm.call_id")) or span.traceId,
        conversation_id=r.text(first(a, SESSIONS)) or (session[1] if session else ""),
        workload=r.text(a["cutover.workload"]) if "cutover.workload" in a else origin.workload,
        app=r.text(a.get("metadata.user_api_key_alias")) or origin.app or otel_langfuse.app(a),
        team=r.text(first(a, TEAMS)) or origin.team,
        tags=_tags(a, requester, origin),
        provider=_provider(a),
        host=r.text(a.get("server.address")) or host,
        path=path,
        protocol=_protocol(a, scope, span.name),
        started_at=start,
        first_token_at=_first_token(a, span.events, start) if stream is not False else None,
        ended_at=end,
        http_status=status,
        cancelled=status == _CLIENT_GONE or bool(error and error.type in _ABANDONED),
        gateway_cost_usd=r.usd(first(a, COSTS)),
        exchange=exchange,
    )


def _call_id(span: Span, answer: str) -> str:
    """The trace with the answer's id, which all spans of the call tell alike; else with the span's own.

    Some servers number their answers, or draw from few numbers: a short id may be that of another call.
    """
    if span.traceId and len(answer) >= _UNIQUE:
        return f"{span.traceId}/{answer}"
    return f"{span.traceId}/{span.spanId}" if span.spanId else ""


@lru_cache(maxsize=256)  # a process sends the same resource with all its spans
def _origin(resource: bytes) -> Origin:
    """Who sends spans; the resource's own attributes and its environment are tags. Raises as `read`."""
    found = _resources.decode(resource) if resource else None
    a = attributes(found.attributes) if found else {}
    name = r.text(a.get("service.name"))
    tags = {
        name: str(value)
        for name, value in a.items()
        if not name.startswith(_OF_OPENTELEMETRY) and isinstance(value, str | int | bool)
    }
    environment = first(a, ("deployment.environment.name", "deployment.environment"))
    return Origin(
        workload=r.text(a.get("cutover.workload")),
        app="" if name.startswith("unknown_service") else name,
        team=r.text(a.get("service.namespace")),
        tags=tags | r.named_tags(environment=r.text(environment)),
    )


def _provider(a: Attributes) -> str:
    """Whom it was sent to; LiteLLM leaves the name empty on some routes, but not before the model."""
    named = r.text(first(a, PROVIDERS))
    return named or as_text(a.get("litellm.provider.model")).rpartition("/")[0]


def _protocol(a: Attributes, scope: str, name: str) -> Protocol | None:
    """The protocol, where the operation or the instrumented client library tells it."""
    request = a.get("llm.request.type")
    operation = request if request in PROTOCOLS else a.get("gen_ai.operation.name")
    if told := PROTOCOLS.get(as_text(operation)):
        return told
    if a.get("openai.api.type") == "responses" or name in ("openai.response", "Responses"):
        return Protocol.OPENAI_RESPONSES
    if operation not in (None, "chat"):
        return None
    if ".anthropic" in scope or name in ("anthropic.chat", "Message"):
        return Protocol.ANTHROPIC_MESSAGES
    if ".openai" in scope or name in ("openai.chat", "ChatCompletion"):
        return Protocol.OPENAI_CHAT
    return None


def _tags(a: Attributes, requester: str, origin: Origin) -> dict[str, str]:
    """The resource's tags, and those that LiteLLM's or Langfuse's spans name themselves."""
    tags = origin.tags
    if requester:
        tags = tags | _requester_tags(requester)
    return tags | otel_langfuse.tags(a) if otel_langfuse.KIND in a else tags


def _requester_tags(requester: str) -> dict[str, str]:
    """LiteLLM's request tags."""
    found = _PYTHON_TAGS.search(requester)
    pairs = (tag.strip("' ").partition(":") for tag in found[1].split(",")) if found else ()
    return {key: value.strip() or "true" for key, _, value in pairs if key}


def _first_token(a: Attributes, events: list[Event], start: int | None) -> int | None:
    """From the seconds to the first chunk, or from the first event that a chunk left."""
    seconds = r.number(a.get("gen_ai.response.time_to_first_chunk"))
    if seconds is not None:
        return r.later(start, r.milliseconds(seconds * 1000))
    marked = next((ms(e.timeUnixNano) for e in events if e.name in FIRST_TOKENS), None)
    return marked if marked is not None else otel_langfuse.first_token_at(a)


def _error(span: Span, a: Attributes, reasons: list[str]) -> tuple[VendorError | None, int | None]:
    """The error and the HTTP status, as far as attributes, status or exception tell them."""
    code = r.status(a.get("error.code")) or r.status(a.get("http.response.status_code"))
    raised = next((attributes(e.attributes) for e in span.events if e.name == "exception"), {})
    kind = r.text(a.get("error.type")) or r.text(raised.get("exception.type"))
    broke = "error" in reasons
    if not (kind or broke or (span.status and span.status.code in _FAILED)):
        return None, code
    said = span.status.message if span.status else ""
    message = r.text(a.get("error.message")) or said or r.text(raised.get("exception.message"))
    quoted = _HTTP_STATUS.search(message)
    status = code or (int(quoted[1]) if quoted else None)
    kind = kind.rpartition(".")[2]
    known = r.text(a.get("error.code")) or ("" if kind else "error")
    return VendorError(code=known, type=kind, message=message, in_band=broke and not kind), status


def _exchange(
    a: Attributes,
    events: list[Event],
    scope: str,
    stream: bool | None,
    reasons: list[str],
    error: VendorError | None,
) -> Exchange:
    findings: list[str] = []
    said = content(a, events)
    if said:
        exchange = read_parsed(shape(said.answered), said.asked, said.answered)
    else:  # as most instrumentations write them unless told to keep content
        limit = a.get("gen_ai.request.max_tokens")
        exchange = Exchange(
            json_wanted=a.get("gen_ai.output.type") == "json",
            max_output_tokens=limit if type(limit) is int and limit > 0 else None,
        )
    finish = _TOOL_FINISH.get(reasons[0], reasons[0]) if reasons else exchange.finish_reason
    # A stream whose text was kept, but that never gave a finish reason, was cut off.
    kept = said is not None and said.has_answer
    cut = stream is True and kept and not finish and not error
    return msgspec.structs.replace(
        exchange,
        request_model=_request_model(a) or exchange.request_model,
        response_model=_response_model(a) or exchange.response_model,
        response_id=r.text(a.get("gen_ai.response.id")) or exchange.response_id,
        stream=exchange.stream if stream is None and said and said.is_whole else stream,
        finish_reason=finish,
        usage=_usage(a, scope, stream, findings),
        error=error,
        ended=False if cut else (True if kept and finish else None),
        findings=tuple(findings),
    )


def _request_model(a: Attributes) -> str:
    """The name the caller used; OpenInference has it among the parameters, if at all."""
    parameters = r.json_object(a.get("llm.invocation_parameters"))
    return r.text(first(a, REQUEST_MODELS)) or r.text(parameters.get("model"))


def _response_model(a: Attributes) -> str:
    """The model that answered. LiteLLM often puts its alias there, but knows what it asked for."""
    asked_for = a.get("gen_ai.request.model") if "litellm.model_group" in a else None
    return r.text(asked_for or a.get("gen_ai.response.model") or a.get("llm.model_name"))


def _usage(a: Attributes, scope: str, stream: bool | None, findings: list[str]) -> Usage | None:
    """Totals with the cache inside, as the conventions say; where the parts exceed it, it was left out.

    OpenLLMetry counts some output tokens of Anthropic's streams twice: those are estimates.
    """
    written_out = as_text(a.get("metadata.usage_object"))
    told = dict(_PYTHON_COUNT.findall(written_out)) if written_out else {}
    total = r.tokens(first(a, INPUTS), findings)
    output = r.tokens(first(a, OUTPUTS), findings)
    read = r.tokens(first(a, READS) or told.get("cached_tokens"), findings)
    written = r.tokens(first(a, WRITES) or told.get("cache_creation_tokens"), findings)
    an_hour = r.tokens(a.get(WRITTEN_1H), findings)
    if total is not None and (read or 0) + (written or 0) > total:
        total = r.plus(total, read, written)
    usage = r.usage_of(
        findings,
        total=total,
        output=output,
        read=read,
        written=max(0, written - (an_hour or 0)) if written else written,
        written_1h=an_hour,
        reasoning=r.tokens(first(a, REASONINGS) or told.get("reasoning_tokens"), findings),
    )
    twice = scope == "opentelemetry.instrumentation.anthropic" and stream is True
    return msgspec.structs.replace(usage, estimated=True) if usage and twice else usage


def _finish_reasons(a: Attributes) -> list[str]:
    """One a choice: a list, or LiteLLM's JSON inside a string."""
    found = r.unpacked(a.get("gen_ai.response.finish_reasons"))
    if not isinstance(found, list):
        found = [a.get("anthropic.message.stop_reason")]  # of Anthropic's client library
    return [each for each in found if isinstance(each, str)]


def _flag(value: Any) -> bool | None:
    """A truth value, also one that Python wrote as text."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None
