"""Kong AI Gateway: what Kong's logging plugins write, with the `ai` object of ai-proxy.

Knows times, status, consumer, route, the provider's and the model's names, totals of tokens, the
operator's cost, balancer attempts, semantic-cache hits; both bodies with `log_payloads` (Kong
writes them anew, so they say nothing of the provider's protocol). Does not know: time to first
token, cached and reasoning tokens, finish reason and error text without payloads. A streamed
answer's completion tokens are guessed by Kong from characters where the stream has no usage: for
streams they count as estimated. Zeros are unknown. A failure without an `ai` object is told from
other traffic by a protocol's path alone.
"""

from typing import Any

import msgspec

from pipeline.calls import Call, Exchange, Protocol, Usage
from pipeline.formats import records as r
from pipeline.protocols import protocol_of, read_parsed
from pipeline.protocols.values import as_dict

_PLUGINS = ("proxy", "ai-proxy", "proxy-advanced", "ai-proxy-advanced")
_CLIENT_GONE = 499
split = r.split_records


class Record(msgspec.Struct):
    """Kong's serializer, as far as it is read."""

    ai: dict[str, Any] | None = None
    started_at: Any = None
    latencies: dict[str, Any] | None = None
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    route: dict[str, Any] | None = None
    service: dict[str, Any] | None = None
    consumer: dict[str, Any] | None = None
    workspace_name: Any = None
    tries: list[Any] | None = None


_decoder = msgspec.json.Decoder(Record)


def detect(value: bytes) -> bool:
    """True if it has the analytics of ai-proxy, or the fields of Kong's serializer."""
    if b'"llm_latency"' in value:
        return True
    return b'"latencies"' in value and b'"tries"' in value and b'"started_at"' in value


def read(record: bytes) -> Call:
    """The call of one record. Raises msgspec.DecodeError or ValidationError, which name the field."""
    k = _decoder.decode(record)
    request, ai = as_dict(k.request), as_dict(k.ai)
    path = r.text(request.get("uri")).partition("?")[0]
    protocol = protocol_of(path)
    if not ai and protocol is None:
        raise r.not_a_call("a record without an ai object, and not on the path of a model")
    plugin = next((as_dict(ai[name]) for name in _PLUGINS if ai.get(name)), {})
    meta = as_dict(plugin.get("meta"))
    status = r.status(as_dict(k.response).get("status"))
    said = r.labels(as_dict(request.get("headers")))
    start = r.milliseconds(k.started_at)
    request_id = r.text(request.get("id"))
    provider = r.text(meta.get("provider_name"))
    consumer = as_dict(k.consumer)
    usage = as_dict(plugin.get("usage"))
    return Call(
        call_id=request_id or r.own_id(record),
        source="kong",
        request_id=request_id,
        attempt=min(max(1, len(k.tries or ())), 100),
        conversation_id=said.conversation_id,
        workload=said.workload,
        app=said.app or r.text(consumer.get("username")) or r.text(consumer.get("custom_id")),
        team=said.team or r.text(k.workspace_name),
        tags=said.tags
        | r.named_tags(
            route=r.text(as_dict(k.route).get("name")),
            service=r.text(as_dict(k.service).get("name")),
        ),
        provider="" if provider == "UNSPECIFIED" else provider,
        path=path,
        protocol=protocol or Protocol.OPENAI_CHAT,  # the shape Kong gives every other route
        started_at=start,
        ended_at=r.later(start, r.milliseconds(as_dict(k.latencies).get("request"))),
        http_status=status,
        cancelled=status == _CLIENT_GONE,
        gateway_cache_hit=any(_hit(part) for part in ai.values()),
        gateway_cost_usd=r.usd(usage.get("cost")),
        exchange=_exchange(ai, plugin, meta, usage, protocol or Protocol.OPENAI_CHAT),
    )


def _exchange(
    ai: dict[str, Any],
    plugin: dict[str, Any],
    meta: dict[str, Any],
    usage: dict[str, Any],
    protocol: Protocol,
) -> Exchange:
    payload = as_dict(ai.get("payload")) | as_dict(plugin.get("payload"))
    asked, answer = r.json_object(payload.get("request")), r.json_object(payload.get("response"))
    exchange = read_parsed(protocol, asked or None, answer) if asked or answer else Exchange()
    findings: list[str] = []
    counted = _usage(usage, exchange.stream, findings)
    return msgspec.structs.replace(
        exchange,
        request_model=r.text(meta.get("request_model")) or exchange.request_model,
        response_model=r.text(meta.get("response_model")) or exchange.response_model,
        usage=exchange.usage or counted,
        findings=tuple(findings),
    )


def _usage(usage: dict[str, Any], stream: bool | None, findings: list[str]) -> Usage | None:
    """The code writes the plural, the documentation says the singular."""
    counted = r.usage_of(
        findings,
        total=r.tokens(usage.get("prompt_tokens", usage.get("prompt_token")), findings) or None,
        output=r.tokens(usage.get("completion_tokens", usage.get("completion_token")), findings)
        or None,
    )
    return msgspec.structs.replace(counted, estimated=True) if counted and stream else counted


def _hit(part: Any) -> bool:
    return as_dict(as_dict(part).get("cache")).get("cache_status") == "Hit"
