"""Langfuse: generations of exported traces and tables, of its API, and of ingestion batches.

Knows times, time to first token, model, tokens, cost, both sides as the instrumentation shaped
them, and from the trace user, session and tags. Does not know: HTTP status, the provider's address
in most integrations, attempts, finish reason, the offered tools. Spans, tools and events are no
calls; neither is a generation that wraps another one (AI SDK's), whose tokens would count twice.
Of an ingestion batch the generations that ended in it are calls, put together with their beginning
if that is in the same batch; else start, conversation and what was asked are unknown. In the rows of an exported table a wrapping generation cannot be told.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from pipeline.calls import Call, Exchange, Usage, VendorError
from pipeline.formats import records as r
from pipeline.protocols.values import as_dict, as_text, dicts, encode, parts_text

_INPUT_CACHE_READ = (
    "input_cache_read",
    "input_cached_tokens",
    "cache_read_input_tokens",
    "prompt_details.cache_read",
    "cached_tokens",  # within OpenAI's details
)
_INPUT_CACHE_WRITE = (
    "input_cache_creation",
    "cache_creation_input_tokens",
    "prompt_details.cache_write",
)
_REASONING = ("output_reasoning", "output_reasoning_tokens", "completion_details.reasoning", "reasoning_tokens")  # fmt: skip
_PROVIDER_NAMES = ("gen_ai.provider.name", "gen_ai.system", "llm.provider")
TEXTS_TOO = ("[", "{", '"')  # stored observations hold JSON inside strings, texts as well
_COLUMNS = {  # of the exported tables, where they are not called as in the API
    "trace_id": "traceId",
    "start_time": "startTime",
    "completion_start_time": "completionStartTime",
    "end_time": "endTime",
    "status_message": "statusMessage",
    "provided_model_name": "model",
    "model_parameters": "modelParameters",
    "usage_details": "usageDetails",
    "cost_details": "costDetails",
    "total_cost": "totalCost",
}


class Trace(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a trace says of the calls within it."""

    id: Any = None
    name: Any = None
    userId: Any = None
    sessionId: Any = None
    tags: Any = None
    environment: Any = None


class Observation(msgspec.Struct):
    """An observation of the API; of an ingestion event the `body`."""

    id: Any = None
    traceId: Any = None
    type: Any = None
    startTime: Any = None
    completionStartTime: Any = None
    endTime: Any = None
    level: Any = None
    statusMessage: Any = None
    model: Any = None
    modelParameters: Any = None
    usageDetails: Any = None
    usage: Any = None
    costDetails: Any = None
    totalCost: Any = None
    input: Any = None
    output: Any = None
    metadata: Any = None


class Record(msgspec.Struct):
    """One observation with its trace, as `split` puts them together; `wraps` another generation.

    `unended`: of an ingestion batch, which tells of the end later.
    """

    observation: Observation
    trace: Trace = Trace()
    wraps: bool = False
    unended: bool = False


class _Kin(msgspec.Struct):
    """Enough of an observation to find its trace and its parent."""

    id: Any = None
    traceId: Any = None
    type: Any = None
    parentObservationId: Any = None


class _Export(msgspec.Struct):
    """A trace as the interface exports it, as the API returns it, or a page of observations."""

    observations: list[msgspec.Raw] | None = None
    data: list[msgspec.Raw] | None = None
    trace: Trace | None = None
    batch: list["_Event"] | None = None


class _Event(msgspec.Struct):
    type: str
    body: dict[str, Any]


_exports = msgspec.json.Decoder(_Export)
_traces = msgspec.json.Decoder(Trace)
_kin = msgspec.json.Decoder(_Kin)
_records = msgspec.json.Decoder(Record)
_observations = msgspec.json.Decoder(Observation)
_tables = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


def detect(value: bytes) -> bool:
    """True if it has observations or events as only Langfuse names their fields."""
    if b'"usage_details"' in value and b'"trace_id"' in value:
        return True
    if b'"traceId"' not in value:
        return False
    marks = (b'"usageDetails"', b'"modelParameters"', b'"generation-', b'"observations"')
    return any(mark in value for mark in marks)


def split(value: bytes) -> list[bytes]:
    """One record for each observation, its trace beside it; of a batch, for each generation."""
    records = r.split_records(value)
    return [record for each in records for record in _opened(each)]


def read(record: bytes) -> Call:
    """The call of one observation. Raises msgspec.DecodeError or ValidationError naming the field."""
    if b'"usage_details"' in record:
        found = _of_table(record)
    elif b'"observation"' in record:
        found = _records.decode(record)
    else:
        found = Record(_observations.decode(record))
    o, trace = found.observation, found.trace
    if not isinstance(o.type, str):
        raise msgspec.ValidationError("Object missing required field `type`")
    if o.type != "GENERATION":
        raise r.not_a_call(f"an observation of type {o.type}")
    if found.unended:
        raise r.not_a_call("a generation that has not ended in this batch: its end tells of it")
    if found.wraps:
        raise r.not_a_call("a generation around another one, which is counted")
    if not o.id:
        raise msgspec.ValidationError("Object missing required field `id`")
    metadata = r.json_object(o.metadata)
    attributes = as_dict(metadata.get("attributes"))
    return Call(
        call_id=r.text(o.id),
        source="langfuse",
        request_id=r.text(o.traceId) or r.text(trace.id),
        conversation_id=r.text(trace.sessionId) or r.text(metadata.get("thread_id")),
        app=r.text(trace.name),
        tags=tags_of(trace),
        provider=_provider(attributes) or r.text(metadata.get("ls_provider")),
        host=r.text(attributes.get("server.address")),
        started_at=r.moment(o.startTime),
        first_token_at=r.moment(o.completionStartTime),
        ended_at=r.moment(o.endTime),
        gateway_cost_usd=r.usd(as_dict(o.costDetails).get("total") or o.totalCost),
        exchange=_exchange(o, attributes),
    )


def _provider(attributes: dict[str, Any]) -> str:
    """OpenTelemetry's name, or the AI SDK's, which has the kind of API behind a dot."""
    named = next((r.text(attributes.get(n)) for n in _PROVIDER_NAMES if attributes.get(n)), "")
    return named or r.text(attributes.get("ai.model.provider")).partition(".")[0]


def _opened(value: bytes) -> list[bytes]:
    """The observations in one JSON value; a bare observation is itself."""
    if not any(mark in value for mark in (b'"observations"', b'"data"', b'"batch"')):
        return [value]
    export = _exports.decode(value)
    if export.batch is not None:
        return _of_batch(export.batch)
    within = export.observations if export.observations is not None else export.data
    if within is None:
        return [value]
    trace = export.trace or (_traces.decode(value) if export.observations is not None else Trace())
    kin = [_kin.decode(each) for each in within]
    wrapping = {r.text(k.parentObservationId) for k in kin if k.type == "GENERATION"} - {""}
    return [
        _joined(bytes(each), trace, wraps=r.text(k.id) in wrapping)
        for each, k in zip(within, kin, strict=True)
    ]


def _of_batch(events: list[_Event]) -> list[bytes]:
    """The generations of an ingestion batch: what later events add is put over what came before."""
    traces: dict[Any, dict[str, Any]] = {}
    generations: dict[Any, dict[str, Any]] = {}
    for event in events:
        id = r.text(event.body.get("id"))
        if event.type == "trace-create":
            traces.setdefault(id, {}).update(event.body)
        elif event.type.startswith("generation-"):
            told = {name: value for name, value in event.body.items() if value is not None}
            generations.setdefault(id, {}).update(told)
    return [
        _joined(
            _encode({**body, "type": "GENERATION"}),
            msgspec.convert(traces.get(r.text(body.get("traceId")), {}), Trace),
            unended=body.get("endTime") is None,
        )
        for id, body in generations.items()
    ]


def _of_table(record: bytes) -> Record:
    """A row of an exported table; the newer one has its trace's columns beside its own."""
    row = _tables.decode(record)
    observation = {_COLUMNS.get(name, name): value for name, value in row.items()}
    trace = Trace(
        id=row.get("trace_id"),
        name=row.get("trace_name"),
        userId=row.get("user_id"),
        sessionId=row.get("session_id"),
        tags=row.get("tags"),
        environment=row.get("environment"),
    )
    return Record(msgspec.convert(observation, Observation), trace)


def _joined(
    observation: bytes, trace: Trace, *, wraps: bool = False, unended: bool = False
) -> bytes:
    head = b'{"wraps":true,' if wraps else b'{"unended":true,' if unended else b"{"
    return b"%b%b:%b,%b:%b}" % (head, b'"trace"', _encode(trace), b'"observation"', observation)


def tags_of(trace: Trace) -> dict[str, str]:
    """A trace's tags, "key:value" or alone, with its user and environment."""
    tags = trace.tags if isinstance(trace.tags, list) else []
    pairs = (tag.partition(":") for tag in tags if isinstance(tag, str))
    return {key: value.strip() or "true" for key, _, value in pairs} | r.named_tags(
        user=r.text(trace.userId), environment=r.text(trace.environment)
    )


def _exchange(o: Observation, attributes: dict[str, Any]) -> Exchange:
    findings: list[str] = []
    streamed = as_dict(o.modelParameters).get("is_stream", True if o.completionStartTime else None)
    exchange = r.chat(
        model=r.text(attributes.get("gen_ai.request.model")) or r.text(o.model),
        messages=messages_of(o.input),
        answer=answer_of(o.output),
        stream=streamed if isinstance(streamed, bool) else None,
        usage=usage_of(as_dict(o.usageDetails) or as_dict(o.usage), findings),
    )
    failed = o.level == "ERROR"
    error = VendorError(message=r.text(o.statusMessage) or "level ERROR")
    return msgspec.structs.replace(
        exchange,
        response_model=r.text(attributes.get("gen_ai.response.model")) or r.text(o.model),
        error=error if failed else None,
        findings=tuple(findings),
    )


def usage_of(counters: dict[str, Any], findings: list[str]) -> Usage | None:
    """From the map of disjoint counters, or, by its `total`, from one whose parts are inside."""
    counted = {
        name: r.tokens(n, findings) or 0
        for name, n in _flat(counters)
        if n is not None and name != "unit"
    }
    if not counted:
        return None
    output = _sum(counted, "output") or counted.get("completion_tokens", 0)
    entered = _sum(counted, "input") or counted.get("prompt_tokens", 0)
    entered += counted.get("cache_read_input_tokens", 0)
    entered += counted.get("cache_creation_input_tokens", 0)
    total = counted.get("total") or counted.get("total_tokens") or 0
    return r.usage_of(
        findings,
        total=max(entered, total - output) if "input" not in counted else entered,
        output=output,
        read=_first(counted, _INPUT_CACHE_READ),
        written=_first(counted, _INPUT_CACHE_WRITE),
        reasoning=_first(counted, _REASONING),
    )


def _flat(counters: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The counters; those within OpenAI's details, which the SDKs send as they came, by their own names."""
    for name, value in counters.items():
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield name, value


def _sum(counted: dict[str, int], side: str) -> int:
    parts = side + "_"
    return sum([n for name, n in counted.items() if name == side or name.startswith(parts)])


def _first(counted: dict[str, int], names: tuple[str, ...]) -> int | None:
    for name in names:
        if found := counted.get(name):
            return found
    return None


def messages_of(said: Any) -> Any:
    """Messages out of what integrations log as `input`: a list, `{messages}`, a prompt, a string."""
    value = r.unpacked(said, TEXTS_TOO)
    if isinstance(value, dict):
        value = value.get("messages") or value.get("prompt") or ([value] if "role" in value else "")
    if isinstance(value, str):
        return [{"role": "user", "content": value}] if value else []
    return value


def answer_of(said: Any) -> dict[str, Any]:
    """A message out of what integrations log as `output`."""
    value = r.unpacked(said, TEXTS_TOO)
    if isinstance(value, str):
        return {"content": value}
    if isinstance(value, list):
        return {"tool_calls": [_ai_sdk_call(call) for call in dicts(value) if "toolName" in call]}
    message = as_dict(value)
    message = as_dict(message.get("message")) or message
    calls = message.get("tool_calls") or as_dict(message.get("additional_kwargs")).get("tool_calls")
    blocks = dicts(message.get("content"))
    return {
        "content": parts_text(message.get("content")),
        "tool_calls": calls or [_anthropic_call(b) for b in blocks if b.get("type") == "tool_use"],
    }


def _ai_sdk_call(call: dict[str, Any]) -> dict[str, Any]:
    function = {"name": call["toolName"], "arguments": call.get("input")}
    return {"id": as_text(call.get("toolCallId")), "function": function}


def _anthropic_call(block: dict[str, Any]) -> dict[str, Any]:
    function = {"name": block.get("name"), "arguments": encode(as_dict(block.get("input")))}
    return {"id": as_text(block.get("id")), "function": function}
