"""Where a call goes: from what the caller sent, the plan and the time, without any I/O.

`read_request` finds out what is asked (protocol, workload, conversation), `choose` draws an
endpoint for the conversation, `route` turns the endpoint into a URL and a model name.

The conversation of a call is the first of these that is given:

1. a header: x-cutover-conversation, x-conversation-id, x-session-id, x-claude-code-session-id
   (Claude Code), session_id (Codex), helicone-session-id;
2. Anthropic: Claude Code's session inside `metadata.user_id`, in its old and its new form;
3. OpenAI: `metadata.conversation_id`, `metadata.session_id`, the Responses API's `conversation`;
4. `previous_response_id`: the conversation of that response, or the id itself if it is not known;
5. a hash of the caller's key (hashed first), the system prompt and the first user message, which
   every turn of a conversation repeats.

`user`, other forms of `user_id` and `prompt_cache_key` are left out: they name a person or a
shared prefix, and would keep all of an application's conversations on one endpoint.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

import msgspec

from pipeline.calls import Arm, Call, Exchange, Protocol
from pipeline.protocols import protocol_of
from pipeline.protocols.conversation import CONVERSATION_HEADERS, conversation_in
from pipeline.verdicts.plan import Endpoint, Plan, Workload

Headers = Mapping[str, str]  # looked up by lower-case name
Body = dict[str, msgspec.Raw]  # the request's top level; values are decoded when asked for
BaseUrls = Callable[[Endpoint, Protocol], str | None]

TAG_PREFIX = "x-cutover-tag-"

_WORKLOAD_PATH = re.compile(r"/w/([^/]+)(/.*)")
_SYSTEM_ROLES = ("system", "developer")
_SHARE_OF_NOTHING = 1e-9  # what rounding leaves of the baseline's share when all has moved
_KEY_PARAMETERS = {"key", "api_key", "api-key", "apikey", "access_token", "token"}


class MissingBaseUrlError(LookupError):
    """The baseline has no address for a protocol; the message names the entry to add."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What one request asks for, and what it says of itself."""

    path: str  # without the /w/<workload> prefix
    query: str
    protocol: Protocol
    workload: str
    app: str
    team: str
    tags: dict[str, str]
    model: str
    conversation_id: str
    request_id: str
    attempt: int
    readable: bool  # the body is a JSON object


class Choice(msgspec.Struct, frozen=True):
    """The endpoint for a conversation, and the stage and candidates' share it was chosen by."""

    endpoint: str
    stage: str = ""
    share: float | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where one call is sent; `model` is empty where the caller's own stays."""

    endpoint: str
    provider: str
    arm: Arm
    stage: str
    share: float | None
    url: str
    model: str = ""
    kept: str = ""  # why the baseline answers although a candidate was drawn


def split_path(path: str) -> tuple[str, str]:
    """The workload named by a /w/<workload>/… path ("" if none is) and the path without it."""
    match = _WORKLOAD_PATH.fullmatch(path)
    return (unquote(match[1]), match[2]) if match else ("", path)


def parse_body(data: bytes) -> Body | None:
    """The fields of a JSON object, each still as its own bytes; None if it is not one."""
    try:
        return msgspec.json.decode(data, type=Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def with_model(body: Body, model: str) -> bytes:
    """The same object with another model; order and bytes of all other fields stay as sent."""
    return msgspec.json.encode(body | {"model": msgspec.Raw(msgspec.json.encode(model))})


def read_request(
    *,
    path: str,
    query: str,
    protocol: Protocol,
    headers: Headers,
    body: Body | None,
    workload: str,
    key_hash: str,
    plan: Plan,
    conversation_of: Callable[[str], str],
) -> Asked:
    """What is asked. `workload` is the one the path named; `conversation_of` knows response ids."""
    fields = body or {}
    model = _text(_field(fields, "model"))
    app = _header(headers, "x-cutover-app") or product(_header(headers, "user-agent"))
    team = _header(headers, "x-cutover-team")
    tags = tags_of(headers)
    told = Call(
        call_id="",
        source="",
        workload=workload or _header(headers, "x-cutover-workload"),
        app=app,
        team=team,
        tags=tags,
        path=path,
        exchange=Exchange(request_model=model),
    )
    return Asked(
        path=path,
        query=query,
        protocol=protocol,
        workload=plan.workload_of(told),
        app=app,
        team=team,
        tags=tags,
        model=model,
        conversation_id=conversation_id(headers, fields, key_hash, conversation_of),
        request_id=_header(headers, "idempotency-key") or _header(headers, "x-request-id"),
        attempt=attempt_of(headers),
        readable=body is not None,
    )


def product(user_agent: str) -> str:
    """The product name at the head of a User-Agent: "claude-cli" of "claude-cli/2.0 (external)"."""
    return user_agent.partition("/")[0].partition(" ")[0]


def tags_of(headers: Headers) -> dict[str, str]:
    """The tags given as x-cutover-tag-<name> headers, names in lower case."""
    names = (name.lower() for name in headers)
    return {
        name.removeprefix(TAG_PREFIX): _header(headers, name)
        for name in names
        if name.startswith(TAG_PREFIX)
    }


def attempt_of(headers: Headers) -> int:
    """Which attempt this is by the official SDKs' retry count; 1 where none is given."""
    retries = headers.get("x-stainless-retry-count", "")
    return int(retries) + 1 if re.fullmatch("[0-9]{1,4}", retries) else 1


def conversation_id(
    headers: Headers, body: Body, key_hash: str, conversation_of: Callable[[str], str]
) -> str:
    """The conversation a call belongs to, by the order in this module's docstring."""
    given = (_header(headers, name) for name in CONVERSATION_HEADERS)
    return (
        next(filter(None, given), "")
        or conversation_in({name: _field(body, name) for name in ("metadata", "conversation")})
        or _chained(body, conversation_of)
        or _opening_hash(body, key_hash)
    )


def _header(headers: Headers, name: str) -> str:
    """A header as clean text; bytes that are no UTF-8 become question marks."""
    return headers.get(name, "").encode("utf-8", "replace").decode()


def _chained(body: Body, conversation_of: Callable[[str], str]) -> str:
    previous = _text(_field(body, "previous_response_id"))
    return previous and (conversation_of(previous) or previous)


def _opening_hash(body: Body, key_hash: str) -> str:
    messages = _opening_messages(body)
    parts = [
        key_hash,
        _content(_field(body, "system")),
        _content(_field(body, "instructions")),
        *(_content(m.get("content")) for m in messages if m.get("role") in _SYSTEM_ROLES),
        next((_content(m.get("content")) for m in messages if m.get("role") == "user"), ""),
    ]
    return f"opening-{_digest(parts).hex()[:32]}"


def _opening_messages(body: Body) -> list[dict[str, Any]]:
    """The messages up to the first of the user's, of Anthropic, Chat Completions or Responses."""
    said = _field(body, "messages") or _field(body, "input")
    if isinstance(said, str):
        return [{"role": "user", "content": said}]
    messages = [m for m in said if isinstance(m, dict)] if isinstance(said, list) else []
    first_user = next((n for n, m in enumerate(messages) if m.get("role") == "user"), 0)
    return messages[: first_user + 1]


def _content(content: Any) -> str:
    """Content as text, the same whether it came as a string or as parts, cache marks or not."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(_part(part) for part in parts)


def _part(part: Any) -> str:
    text = _mapping(part).get("text")
    if isinstance(text, str):
        return text
    return msgspec.json.encode(_mapping(part) | {"cache_control": None}).decode()


def _field(body: Body, name: str) -> Any:
    return _decoded(body[name]) if name in body else None


def _decoded(data: msgspec.Raw | str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def choose(
    plan: Plan, workload: str, conversation: str, at_ms: int, remembered: str = ""
) -> Choice:
    """The endpoint for a conversation: the remembered one while it has a share, else a fresh draw.

    An endpoint whose share went to zero loses its conversations at once: a candidate that is
    rolled back, and the baseline when all has moved.
    """
    planned = plan.workloads.get(workload)
    if planned is None:
        return Choice(plan.baseline)
    shares = shares_in_force(plan, planned, at_ms)
    kept = remembered if shares.get(remembered) else ""
    stage = planned.stage_at(at_ms)
    return Choice(
        endpoint=kept or draw(shares, position(workload, conversation)),
        stage=stage.name if stage else "",
        share=stage.migrated if stage else 0.0,
    )


def shares_in_force(plan: Plan, workload: Workload, at_ms: int) -> dict[str, float]:
    """Each endpoint's share of a workload: candidates in the plan's order, then the baseline."""
    stage = workload.stage_at(at_ms)
    given = stage.shares if stage else {}
    candidates = {name: given.get(name, 0.0) for name in workload.candidates}
    rest = 1 - sum(candidates.values())
    return candidates | {plan.baseline: rest if rest > _SHARE_OF_NOTHING else 0.0}


def position(workload: str, conversation: str) -> float:
    """Where a conversation lies in [0, 1): uniform, and the same on every machine and day."""
    return (int.from_bytes(_digest([workload, conversation])[:8]) >> 11) / 2**53


def draw(shares: Mapping[str, float], at: float) -> str:
    """The endpoint whose stretch of [0, 1) holds that point, the stretches laid end to end."""
    taken = [(name, share) for name, share in shares.items() if share > 0]
    end = 0.0
    for name, share in taken:
        end += share
        if at < end:
            return name
    return taken[-1][0]  # the stretches may end a rounding error short of 1


def route(asked: Asked, choice: Choice, plan: Plan, base_urls: BaseUrls) -> Route:
    """The way to the chosen endpoint, or to the baseline if the endpoint cannot take this request.

    Raises MissingBaseUrlError if the baseline has no address for the protocol.
    """
    base, kept = _base_url(asked, choice.endpoint, plan, base_urls)
    name = plan.baseline if kept else choice.endpoint
    endpoint = plan.endpoints[name]
    model = endpoint.model_for(asked.model) if asked.readable else asked.model
    query = asked.query if name == plan.baseline else without_keys(asked.query)
    return Route(
        endpoint=name,
        provider=endpoint.provider,
        arm=_arm(asked.workload, name, plan),
        stage=choice.stage,
        share=choice.share,
        url=join(base, asked.protocol, asked.path, query),
        model=model if model != asked.model else "",
        kept=kept,
    )


def _base_url(asked: Asked, name: str, plan: Plan, base_urls: BaseUrls) -> tuple[str, str]:
    """The base URL to use, and why it is not the chosen endpoint's but the baseline's, or ""."""
    found = base_url(plan.endpoints[name], asked.protocol, base_urls)
    if name == plan.baseline:
        return found or _missing(name, asked.protocol), ""
    if found and asked.readable:
        return found, ""
    reason = f"{name} has no {asked.protocol}" if asked.readable else "the request is not JSON"
    return _base_url(asked, plan.baseline, plan, base_urls)[0], reason


def base_url(endpoint: Endpoint, protocol: Protocol, base_urls: BaseUrls) -> str:
    """An endpoint's address for a protocol, from the plan or else `base_urls`; "" if none."""
    return endpoint.base_urls.get(protocol) or base_urls(endpoint, protocol) or ""


def _missing(name: str, protocol: Protocol) -> str:
    raise MissingBaseUrlError(
        f"endpoint {name!r} has no address for {protocol}: "
        f"add endpoints.{name}.base_urls.{protocol} to the plan"
    )


def _arm(workload: str, endpoint: str, plan: Plan) -> Arm:
    if workload not in plan.workloads:
        return Arm.NONE
    return Arm.BASELINE if endpoint == plan.baseline else Arm.CANDIDATE


def likely_protocol(path: str, headers: Headers) -> Protocol:
    """The protocol a path or its headers hint at, where the path itself is no call of any."""
    anthropic = "anthropic-version" in headers or path.startswith("/v1/messages")
    return protocol_of(path) or (Protocol.ANTHROPIC_MESSAGES if anthropic else Protocol.OPENAI_CHAT)


def pass_through_url(
    path: str, query: str, headers: Headers, plan: Plan, base_urls: BaseUrls
) -> str:
    """The baseline's URL for a path that is no call: models, files, … Raises MissingBaseUrlError."""
    likely = likely_protocol(path, headers)
    baseline = plan.endpoints[plan.baseline]
    for protocol in (likely, *Protocol):
        if base := base_url(baseline, protocol, base_urls):
            return join(base, protocol, path, query)
    return _missing(plan.baseline, likely)


def join(base: str, protocol: Protocol, path: str, query: str) -> str:
    """Base URL and path as one. OpenAI base URLs hold their own version, which replaces /v1."""
    if protocol != Protocol.ANTHROPIC_MESSAGES:
        path = path.removeprefix("/v1")
    return base.rstrip("/") + path + (f"?{query}" if query else "")


def without_keys(query: str) -> str:
    """A query string without parameters that carry the caller's key."""
    kept = (p for p in query.split("&") if _parameter(p) not in _KEY_PARAMETERS)
    return "&".join(kept)


def _parameter(pair: str) -> str:
    return unquote(pair.partition("=")[0]).lower()


def digest(text: str) -> str:
    """A short one-way hash, for telling callers apart without keeping their keys."""
    return _digest([text]).hex()[:32]


def _digest(parts: Iterable[str]) -> bytes:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=32).digest()
