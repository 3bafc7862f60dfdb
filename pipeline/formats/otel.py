"""OpenTelemetry spans of model calls: OTLP JSON and protobuf, as a Collector's Kafka exporter writes them.

Reads the GenAI conventions, newest and older names, content in attributes or events; OpenInference's
(Envoy AI Gateway); OpenLLMetry's and LiteLLM's additions. Knows times, models, tokens, finish
reason, errors; both sides' text if the instrumentation was told to keep it. Does not know: the HTTP
status of a success, what a call cost (but LiteLLM's does), retries inside a client, teams and keys
unless attributes name them. The other spans of a trace are ignored and counted. Attributes of the
resource that are not OpenTelemetry's own become tags. A call that a client library and an
instrumentation around it both tell of counts once, where both spans come in one message. One that
application and gateway tell of is two spans: send one of them.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from pipeline.calls import Call, Exchange, Protocol, Usage, VendorError
from pipeline.formats import records as r
from pipeline.formats.otlp_proto import as_json, is_otlp
from pipeline.protocols import read_parsed
from pipeline.protocols.values import as_dict, as_text, dicts, encode

_PROTOCOLS = {
    "chat": None,
    "text_completion": None,
    "generate_content": None,
    "embeddings": None,
    "completion": None,  # OpenLLMetry's older kind of request, and LiteLLM's
    "embedding": None,
    "aembedding": None,
    "atext_completion": None,
    "acompletion": Protocol.OPENAI_CHAT,
    "anthropic_messages": Protocol.ANTHROPIC_MESSAGES,
    "responses": Protocol.OPENAI_RESPONSES,
    "aresponses": Protocol.OPENAI_RESPONSES,
}  # operation → protocol, of the operations that are calls of a model
_PROVIDERS = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
_REQUEST_MODELS = ("litellm.model_group", "gen_ai.request.model")
_INPUTS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
_OUTPUTS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")  # fmt: skip
_READS = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
)
_WRITES = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
_WRITTEN_1H = "anthropic.usage.cache_creation.ephemeral_1h_input_tokens"
_REASONINGS = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
)
_STREAMS = ("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming")
_COSTS = ("gen_ai.cost.total_cost", "llm.cost.total")
_SESSIONS = (
    "gen_ai.conversation.id",
    "session.id",
    "traceloop.association.properties.session_id",
    "langfuse.session.id",
)
_TEAMS = ("metadata.user_api_key_team_alias", "metadata.user_api_key_team_id")
_FIRST_TOKENS = ("First Token Stream Event", "gen_ai.content.completion.chunk")
_FAILED = (2, "2", "STATUS_CODE_ERROR")
_ABANDONED = ("CancelledError", "GeneratorExit", "ClientDisconnected")
_CLIENT_GONE = 499
_OWN = b'"com.anthropic.sdk.'  # the scope of spans that a client library makes itself
_OF_OPENTELEMETRY = (
    "telemetry.", "service.", "process.", "host.", "os.", "container.", "k8s.", "cloud.", "faas.",
    "deployment.", "cutover.", "model_id",
)  # fmt: skip
_TOOL_FINISH = {"tool_call": "tool_calls"}  # the conventions' word for it
_HTTP_STATUS = re.compile(r"Error code: ([1-5]\d\d)\b")
_PYTHON_COUNT = re.compile(r"'(\w+)': (\d{1,18})\b")  # LiteLLM writes Python's repr, not JSON
_PYTHON_TAGS = re.compile(r"'tags': \[([^\]]*)\]")
_PYTHON_SESSION = re.compile(r"'session_id': '([^']+)'")
_INDEX = re.compile(r"(\d{1,4})\.(.+)")
_CONTENT = frozenset(
    {
        "gen_ai.system_instructions",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.tool.definitions",
    }
)  # what was said, where it is not in numbered attributes or events
_ANY_INDEX = re.compile(r"\.\d{1,4}\.")


class Value(msgspec.Struct, gc=False):
    """An attribute's value; integers may be text, and all may be missing."""

    stringValue: Any = None
    intValue: Any = None
    doubleValue: Any = None
    boolValue: Any = None
    arrayValue: "Values | None" = None
    kvlistValue: "Pairs | None" = None


class Values(msgspec.Struct, gc=False):
    values: list[Value] = []


class Attribute(msgspec.Struct, gc=False):
    key: str
    value: Value | None = None


class Pairs(msgspec.Struct, gc=False):
    values: list[Attribute] = []


class Event(msgspec.Struct, gc=False):
    name: str = ""
    timeUnixNano: Any = None
    attributes: list[Attribute] = []


class Status(msgspec.Struct, gc=False):
    code: Any = None
    message: str = ""


class Span(msgspec.Struct, gc=False):
    """The fields of a span that are read. Ids are kept as they come, hex or base64."""

    traceId: str = ""
    spanId: str = ""
    name: str = ""
    startTimeUnixNano: Any = None
    endTimeUnixNano: Any = None
    attributes: list[Attribute] = []
    events: list[Event] = []
    status: Status | None = None


class Scope(msgspec.Struct, gc=False):
    name: str = ""


class Resource(msgspec.Struct, gc=False):
    attributes: list[Attribute] = []


class ScopeSpans(msgspec.Struct, gc=False):
    spans: list[Span] = []
    scope: Scope | None = None


class ResourceSpans(msgspec.Struct, gc=False):
    scopeSpans: list[ScopeSpans] = []
    resource: msgspec.Raw = msgspec.Raw()


class Document(msgspec.Struct, gc=False):
    """What `read` is given: a document with one span at most, or a bare one, without ids, as `span`.

    `told_by` is the name of another span that tells of the same call.
    """

    told_by: str = ""

    resourceSpans: list[ResourceSpans] | None = None
    span: Span | None = None
    resourceMetrics: msgspec.Raw = msgspec.Raw()
    resourceLogs: msgspec.Raw = msgspec.Raw()


class _ScopeSpans(msgspec.Struct, gc=False):
    spans: list[msgspec.Raw] = []
    scope: msgspec.Raw = msgspec.Raw(b"{}")


class _ResourceSpans(msgspec.Struct, gc=False):
    scopeSpans: list[_ScopeSpans] = []
    resource: msgspec.Raw = msgspec.Raw(b"{}")


class _Document(msgspec.Struct, gc=False):
    resourceSpans: list[_ResourceSpans] = []


class _Kin(msgspec.Struct, gc=False):
    spanId: str = ""
    parentSpanId: str = ""


class Origin(msgspec.Struct):
    """What a resource says of all its spans."""

    workload: str = ""
    app: str = ""
    team: str = ""
    tags: dict[str, str] = {}


class Told(NamedTuple):
    """A span of a message, as JSON, with its resource and its scope."""

    resource: bytes
    scope: bytes
    span: bytes


_documents = msgspec.json.Decoder(Document)
_resources = msgspec.json.Decoder(Resource | None)
_unread = msgspec.json.Decoder(_Document)
_spans = msgspec.json.Decoder(Span)
_kin = msgspec.json.Decoder(_Kin)
Attributes = dict[str, Any]


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
        return _opened(as_json(value))
    try:
        return _opened(value)
    except msgspec.DecodeError:  # several documents: each by itself, so that one cannot spoil all
        return [span for each in r.split_records(value) for span in _tried(each)]


def read(record: bytes) -> Call:
    """The call of one span. Raises msgspec.DecodeError, ValidationError or NotACallError."""
    document = _documents.decode(record)
    resource, scope, span = _only_span(document)
    origin = _origin(resource)
    if document.told_by:
        what = f"the same call is told of by the span {document.told_by}: {span.name}"
        raise r.NotACallError(what, r.OTHER_SPAN)
    a = _attributes(span.attributes)
    if not _is_call(a):
        raise r.NotACallError(f"a span that tells of no model's call: {span.name}", r.OTHER_SPAN)
    _merge_details(a, span.events)
    base = r.json_object(a.get("hidden_params")).get("api_base") or a.get("gen_ai.openai.api_base")
    host, path = r.url(base)
    start, end = _ms(span.startTimeUnixNano), _ms(span.endTimeUnixNano)
    stream = _flag(_first(a, _STREAMS))
    reasons = _finish_reasons(a)
    error, status = _error(span, a, reasons)
    requester = as_text(a.get("metadata.requester_metadata"))
    session = _PYTHON_SESSION.search(requester) if requester else None
    return Call(
        call_id=f"{span.traceId}/{span.spanId}" if span.spanId else r.own_id(record),
        source="otlp",
        request_id=r.text(a.get("litellm.call_id")) or span.traceId,
        conversation_id=r.text(_first(a, _SESSIONS)) or (session[1] if session else ""),
        workload=r.text(a["cutover.workload"]) if "cutover.workload" in a else origin.workload,
        app=r.text(a.get("metadata.user_api_key_alias")) or origin.app,
        team=r.text(_first(a, _TEAMS)) or origin.team,
        tags=origin.tags | _requester_tags(requester) if requester else origin.tags,
        provider=_provider(a),
        host=r.text(a.get("server.address")) or host,
        path=path,
        protocol=_protocol(a, scope, span.name),
        started_at=start,
        first_token_at=_first_token(a, span.events, start) if stream is not False else None,
        ended_at=end,
        http_status=status,
        cancelled=status == _CLIENT_GONE or bool(error and error.type in _ABANDONED),
        gateway_cost_usd=r.usd(_first(a, _COSTS)),
        exchange=_exchange(a, span.events, scope, stream, reasons, error),
    )


# --- documents ------------------------------------------------------------------------------------


def _opened(value: bytes) -> list[bytes]:
    """The spans of one document; itself if it has no more than one."""
    found = [
        Told(bytes(within.resource), bytes(scoped.scope), bytes(span))
        for within in _unread.decode(value).resourceSpans
        for scoped in within.scopeSpans
        for span in scoped.spans
    ]
    return _alone(found) if len(found) > 1 else [value]


def _alone(found: list[Told]) -> list[bytes]:
    """A document for each span; one whose call another one tells of says so."""
    twice = _told_twice(found)
    return [
        (b'{%b"resourceSpans":[{"resource":%b,"scopeSpans":[{"scope":%b,"spans":[%b]}]}]}')
        % (b'"told_by":%b,' % encode(twice[place]).encode() if place in twice else b"", *each)
        for place, each in enumerate(found)
    ]


def _told_twice(found: list[Told]) -> dict[int, str]:
    """The places of spans of which another one tells the same call, and that one's name.

    That is a call's span around it, or, where the client library's own span stands beside that of an
    instrumentation, one with the same answer; both of the same process, so of the same resource.
    """
    ids = [_ids(told.span) for told in found]
    named = {(told.resource, own): told for told, (own, _) in zip(found, ids, strict=True) if own}
    answered: dict[tuple[bytes, str], Told] = {}  # by an instrumentation's word
    if any(_OWN in told.scope for told in found):
        told_by_others = (told for told in found if _OWN not in told.scope)
        answered = {(t.resource, id): t for t in told_by_others if (id := _answer(t))}
    twice: dict[int, str] = {}
    for place, told in enumerate(found):
        around = named.get((told.resource, ids[place][1]))
        if around not in (None, told) and None not in (_answer(told), _answer(around)):
            twice[place] = _name(around)
        elif _OWN in told.scope and (same := answered.get((told.resource, _answer(told) or ""))):
            twice[place] = _name(same)
    return twice


def _answer(told: Told) -> str | None:
    """The id of the answer that a model's call got, "" if it is not known; None if it is no call."""
    try:
        a = _attributes(_spans.decode(told.span).attributes)
    except msgspec.DecodeError:
        return None
    return r.text(a.get("gen_ai.response.id")) if _is_call(a) else None


def _ids(span: bytes) -> tuple[str, str]:
    """The ids of a span and of the one around it; "" where there is none."""
    try:
        kin = _kin.decode(span)
    except msgspec.DecodeError:
        return "", ""
    return kin.spanId, kin.parentSpanId


def _name(told: Told) -> str:
    return _spans.decode(told.span).name


def _tried(value: bytes) -> list[bytes]:
    try:
        return _opened(value)
    except (msgspec.DecodeError, RecursionError):
        return [value]  # `read` says what is wrong with it


def _only_span(document: Document) -> tuple[bytes, str, Span]:
    """The resource as JSON, the scope's name and the span. Raises if there is none."""
    if document.span:
        return b"", "", document.span
    if document.resourceSpans is None:
        if bytes(document.resourceMetrics) or bytes(document.resourceLogs):
            raise r.NotACallError(
                "OpenTelemetry's metrics or logs: only traces tell of single calls", r.NOT_TRACES
            )
        raise msgspec.ValidationError("Object missing required field `resourceSpans`")
    for within in document.resourceSpans:
        for scoped in within.scopeSpans:
            for span in scoped.spans:
                return bytes(within.resource), scoped.scope.name if scoped.scope else "", span
    raise r.NotACallError("a message without spans", r.OTHER_SPAN)


def _attributes(pairs: Iterable[Attribute]) -> Attributes:
    return {
        pair.key: value.stringValue if value.stringValue is not None else _plain(value)
        for pair in pairs
        if (value := pair.value) is not None
    }


def _plain(value: Value) -> Any:
    """The Python value; integers that are text become numbers."""
    if value.stringValue is not None:
        return value.stringValue
    if value.intValue is not None:
        return _integer(value.intValue)
    if value.arrayValue is not None:
        return [_plain(each) for each in value.arrayValue.values]
    if value.kvlistValue is not None:
        return _attributes(value.kvlistValue.values)
    return value.doubleValue if value.boolValue is None else value.boolValue


def _integer(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and len(value) < 20:
        return int(value) if value.isdigit() or value.removeprefix("-").isdigit() else value
    return value


# --- what a span says -----------------------------------------------------------------------------


def _is_call(a: Attributes) -> bool:
    """True for the calls of a model; agents, tools and web requests are none."""
    operation = a.get("gen_ai.operation.name") or a.get("llm.request.type")
    if operation:
        return isinstance(operation, str) and operation in _PROTOCOLS
    if kind := a.get("openinference.span.kind"):
        return kind in ("LLM", "EMBEDDING")
    return "gen_ai.request.model" in a and any(name in a for name in _PROVIDERS)


@lru_cache(maxsize=256)  # a process sends the same resource with all its spans
def _origin(resource: bytes) -> Origin:
    """Who sends spans; the resource's own attributes and its environment are tags. Raises as `read`."""
    found = _resources.decode(resource) if resource else None
    a = _attributes(found.attributes) if found else {}
    name = r.text(a.get("service.name"))
    tags = {
        name: str(value)
        for name, value in a.items()
        if not name.startswith(_OF_OPENTELEMETRY) and isinstance(value, str | int | bool)
    }
    environment = _first(a, ("deployment.environment.name", "deployment.environment"))
    return Origin(
        workload=r.text(a.get("cutover.workload")),
        app="" if name.startswith("unknown_service") else name,
        team=r.text(a.get("service.namespace")),
        tags=tags | r.named_tags(environment=r.text(environment)),
    )


def _provider(a: Attributes) -> str:
    """Whom it was sent to; LiteLLM leaves the name empty on some routes, but not before the model."""
    named = r.text(_first(a, _PROVIDERS))
    return named or as_text(a.get("litellm.provider.model")).rpartition("/")[0]


def _protocol(a: Attributes, scope: str, name: str) -> Protocol | None:
    """The protocol, where the operation or the instrumented client library tells it."""
    request = a.get("llm.request.type")
    operation = request if request in _PROTOCOLS else a.get("gen_ai.operation.name")
    if told := _PROTOCOLS.get(as_text(operation)):
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
    return next((_ms(e.timeUnixNano) for e in events if e.name in _FIRST_TOKENS), None)


def _error(span: Span, a: Attributes, reasons: list[str]) -> tuple[VendorError | None, int | None]:
    """The error and the HTTP status, as far as attributes, status or exception tell them."""
    code = r.status(a.get("error.code")) or r.status(a.get("http.response.status_code"))
    raised = next((_attributes(e.attributes) for e in span.events if e.name == "exception"), {})
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
    bodies, kept, findings = _bodies(a), False, list[str]()
    numbered = a if _ANY_INDEX.search("\n".join(a)) else {}
    if bodies or events or numbered or not _CONTENT.isdisjoint(a):
        asked, answered, kept = bodies or _told(a, numbered, events)
        exchange = read_parsed(_shape(answered), asked, answered)
    else:  # as most instrumentations write them unless told to keep content
        limit = a.get("gen_ai.request.max_tokens")
        exchange = Exchange(
            json_wanted=a.get("gen_ai.output.type") == "json",
            max_output_tokens=limit if type(limit) is int and limit > 0 else None,
        )
    finish = _TOOL_FINISH.get(reasons[0], reasons[0]) if reasons else exchange.finish_reason
    # A stream whose text was kept, but that never gave a finish reason, was cut off.
    cut = stream is True and kept and not finish and not error
    return msgspec.structs.replace(
        exchange,
        request_model=_request_model(a) or exchange.request_model,
        response_model=_response_model(a) or exchange.response_model,
        response_id=r.text(a.get("gen_ai.response.id")) or exchange.response_id,
        stream=exchange.stream if stream is None and bodies else stream,
        finish_reason=finish,
        usage=_usage(a, scope, stream, findings),
        error=error,
        ended=False if cut else (True if kept and finish else None),
        findings=tuple(findings),
    )


def _request_model(a: Attributes) -> str:
    """The name the caller used; OpenInference has it among the parameters, if at all."""
    parameters = r.json_object(a.get("llm.invocation_parameters"))
    return r.text(_first(a, _REQUEST_MODELS)) or r.text(parameters.get("model"))


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
    total = r.tokens(_first(a, _INPUTS), findings)
    output = r.tokens(_first(a, _OUTPUTS), findings)
    read = r.tokens(_first(a, _READS) or told.get("cached_tokens"), findings)
    written = r.tokens(_first(a, _WRITES) or told.get("cache_creation_tokens"), findings)
    an_hour = r.tokens(a.get(_WRITTEN_1H), findings)
    if total is not None and (read or 0) + (written or 0) > total:
        total = r.plus(total, read, written)
    usage = r.usage_of(
        findings,
        total=total,
        output=output,
        read=read,
        written=max(0, written - (an_hour or 0)) if written else written,
        written_1h=an_hour,
        reasoning=r.tokens(_first(a, _REASONINGS) or told.get("reasoning_tokens"), findings),
    )
    twice = scope == "opentelemetry.instrumentation.anthropic" and stream is True
    return msgspec.structs.replace(usage, estimated=True) if usage and twice else usage


def _finish_reasons(a: Attributes) -> list[str]:
    """One a choice: a list, or LiteLLM's JSON inside a string."""
    found = _unpacked(a.get("gen_ai.response.finish_reasons"))
    if not isinstance(found, list):
        found = [a.get("anthropic.message.stop_reason")]  # of Anthropic's client library
    return [each for each in found if isinstance(each, str)]


# --- what was asked and answered ------------------------------------------------------------------


def _bodies(a: Attributes) -> tuple[dict[str, Any], dict[str, Any], bool] | None:
    """Both bodies, where OpenInference keeps them whole."""
    asked, answered = r.json_object(a.get("input.value")), r.json_object(a.get("output.value"))
    if not asked or not ("message" in answered or _shape(answered, None)):
        return None
    return asked, answered, True


def _shape(answer: dict[str, Any], other: Protocol | None = Protocol.OPENAI_CHAT) -> Any:
    """In which protocol's shape an answer is."""
    if answer.get("object") == "response":
        return Protocol.OPENAI_RESPONSES
    if answer.get("type") == "message":
        return Protocol.ANTHROPIC_MESSAGES
    return Protocol.OPENAI_CHAT if answer.get("object") == "chat.completion" else other


def _told(
    a: Attributes, numbered: Attributes, events: list[Event]
) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Request and answer in Chat's shape, put together from messages; whether an answer was kept."""
    asked = {
        "model": _first(a, _REQUEST_MODELS),
        "messages": [*_system(a), *_messages(a, numbered, "input", events)],
        "tools": _tools(a, numbered),
        "max_tokens": a.get("gen_ai.request.max_tokens"),
        "response_format": {"type": "json_object"} if a.get("gen_ai.output.type") == "json" else {},
    }
    said = next(iter(_messages(a, numbered, "output", events)), None)
    beside = _numbered(numbered, "gen_ai.completion.")
    if said and beside and not said.get("tool_calls"):
        said["tool_calls"] = _flat(beside[0])["tool_calls"]  # LiteLLM keeps them there only
    choice = {"message": said or {}, "finish_reason": as_dict(said).get("finish_reason")}
    return asked, {"choices": [choice]}, said is not None


def _system(a: Attributes) -> Iterator[dict[str, Any]]:
    parts = _unpacked(a.get("gen_ai.system_instructions"))
    if isinstance(parts, list) and (message := _chat({"role": "system", "parts": parts})):
        yield message


def _messages(
    a: Attributes, numbered: Attributes, side: str, events: list[Event]
) -> list[dict[str, Any]]:
    """The messages of one side, "input" or "output", from wherever they stand."""
    written = _unpacked(a.get(f"gen_ai.{side}.messages"))
    if isinstance(written, list):
        return [_chat(message) for message in dicts(written)]
    older = "prompt" if side == "input" else "completion"
    for prefix in (f"llm.{side}_messages.", f"gen_ai.{older}."):
        if found := _numbered(numbered, prefix):
            return [_flat(message) for message in found]
    if side == "input" and (found := _numbered(numbered, "llm.prompts.")):
        return [{"role": "user", "content": m.get("prompt.text")} for m in found]
    if side == "output" and (found := _numbered(numbered, "llm.choices.")):
        return [{"role": "assistant", "content": m.get("completion.text")} for m in found]
    return list(_of_events(events, side, older))


def _chat(message: dict[str, Any]) -> dict[str, Any]:
    """A message of parts as a Chat message."""
    parts = dicts(message.get("parts"))
    texts = [{"text": as_text(p.get("content"))} for p in parts if p.get("type") == "text"]
    calls = [_call(p) for p in parts if p.get("type") == "tool_call"]
    thoughts = [as_text(p.get("content")) for p in parts if p.get("type") == "reasoning"]
    result = next((p for p in parts if p.get("type") == "tool_call_response"), None)
    return {
        "role": "tool" if result and not texts else message.get("role"),
        "content": texts if parts else message.get("content"),
        "tool_calls": calls or message.get("tool_calls"),
        "tool_call_id": result.get("id") if result else None,
        "reasoning_content": "".join(thoughts),
        "finish_reason": message.get("finish_reason"),
    }


def _call(part: dict[str, Any]) -> dict[str, Any]:
    arguments = part.get("arguments")
    packed = arguments if isinstance(arguments, str) else encode(as_dict(arguments))
    return {
        "id": part.get("id"),
        "function": {"name": as_text(part.get("name")), "arguments": packed},
    }


def _numbered(a: Attributes, prefix: str) -> list[dict[str, Any]]:
    """`prefix.N.rest` as a list of {rest: value}, in order of N."""
    if not a or prefix not in "\n".join(a):
        return []
    found: dict[int, dict[str, Any]] = {}
    for name, value in a.items():
        if name.startswith(prefix) and (place := _INDEX.fullmatch(name, len(prefix))):
            found.setdefault(int(place[1]), {})[place[2].removeprefix("message.")] = value
    return [found[number] for number in sorted(found)]


def _flat(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose fields are attributes of their own."""
    calls = [
        {name.removeprefix("tool_call.").removeprefix("function."): v for name, v in each.items()}
        for each in _numbered(message, "tool_calls.")
    ]
    if "function_call.name" in message:
        calls.append({name.removeprefix("function_call."): v for name, v in message.items()})
    return {
        "role": message.get("role"),
        "content": _unparted(message.get("content")),
        "tool_calls": [_call(call) for call in calls],
        "tool_call_id": message.get("tool_call_id"),
        "finish_reason": message.get("finish_reason"),
    }


def _unparted(content: Any) -> Any:
    """Content; older OpenLLMetry packs a list of parts into a string."""
    unpacked = _unpacked(content)
    return unpacked if isinstance(unpacked, list) and dicts(unpacked) else content


def _of_events(events: list[Event], side: str, older: str) -> Iterator[dict[str, Any]]:
    """Messages that stand in span events: one a message, or all in one."""
    for event in events:
        a = _attributes(event.attributes)
        if event.name == f"gen_ai.content.{older}":
            found = _unpacked(a.get(f"gen_ai.{older}"))
            yield from map(_chat, dicts(found if isinstance(found, list) else [found]))
        elif event.name == "gen_ai.choice" and side == "output":
            body = r.json_object(a.get("gen_ai.event.content")) or a
            said = as_dict(_unpacked(body.get("message"))) or body
            yield {**said, "finish_reason": body.get("finish_reason")}
        elif event.name.startswith("gen_ai.") and event.name.endswith(".message"):
            role = event.name.split(".")[1]
            if side == "input" and role in ("system", "user", "assistant", "tool"):
                yield {"role": role, **(r.json_object(a.get("gen_ai.event.content")) or a)}


def _merge_details(a: Attributes, events: list[Event]) -> None:
    """Adds what the conventions' one event of a call says to what its attributes say."""
    for event in events:
        if event.name == "gen_ai.client.inference.operation.details":
            a.update({k: v for k, v in _attributes(event.attributes).items() if k not in a})


def _tools(a: Attributes, numbered: Attributes) -> list[dict[str, Any]]:
    """The tools that were offered."""
    defined = _unpacked(a.get("gen_ai.tool.definitions"))
    if isinstance(defined, list):
        return dicts(defined)
    schemas = [r.json_object(t.get("tool.json_schema")) for t in _numbered(numbered, "llm.tools.")]
    older = _numbered(numbered, "llm.request.functions.")
    return schemas or [
        {"name": t.get("name"), "parameters": r.json_object(t.get("parameters"))} for t in older
    ]


def _unpacked(value: Any) -> Any:
    """A list or an object that may stand inside a string as JSON."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except (ValueError, RecursionError):
            return value
    return value


# --- small things ---------------------------------------------------------------------------------


def _first(a: Attributes, names: tuple[str, ...]) -> Any:
    for name in names:
        if name in a and (value := a[name]) is not None and value != "":
            return value
    return None


def _flag(value: Any) -> bool | None:
    """A truth value, also one that Python wrote as text."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def _ms(nanoseconds: Any) -> int | None:
    """UTC ms of nanoseconds, a number or text; 0 is unknown."""
    found = _integer(nanoseconds)
    return round(found / 1e6) if isinstance(found, int) and 0 < found < 2**63 else None
