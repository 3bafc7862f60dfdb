"""What a simulated model answers: text, JSON or tool calls that fit the request, and its faults.

Everything random comes from one generator seeded with the seed and the request, so the same
request to the same provider ends the same way on every run, whatever the timing.
"""

import re
from hashlib import blake2b
from random import Random
from typing import Any

import msgspec

from pipeline import yamlfile
from pipeline.calls import Protocol, ToolCall, Usage
from pipeline.demo.behaviour import HERE, Behaviour, ErrorReply
from pipeline.demo.prompt import Prompt, tokens

PATH = re.compile(r"[\w./-]+/[\w-]+\.\w+")
NAME = re.compile(r"\b\w+_\w+\b")
MOST_ROUNDS = 4  # of tool calls for one question
SLOWEST_TOKENS_MS = 2200  # the longest a whole answer takes after its first token


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sentences that answer a question which holds one of the words."""

    words: tuple[str, ...]
    en: tuple[str, ...]
    zh: tuple[str, ...]


class Phrases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `replies.yml`."""

    topics: tuple[Topic, ...]
    otherwise: dict[str, tuple[str, ...]]
    refusals: dict[str, tuple[str, ...]]
    before_tools: dict[str, tuple[str, ...]]
    samples: dict[str, tuple[str, ...]]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a provider, before it is put on the wire. Times are milliseconds.

    `finish` is empty for an ordinary end. `error` replaces the answer unless `in_stream` says that
    it comes in the middle of one. A `cut` answer stops half-way without an end.
    """

    id: str
    model: str
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish: str = ""
    cut_by_limit: bool = False
    usage: Usage = Usage()
    error: ErrorReply | None = None
    in_stream: bool = False
    cut: bool = False
    first_token_ms: float = 0
    duration_ms: float = 0


_phrases = yamlfile.load(HERE / "replies.yml", Phrases)


def reply_to(prompt: Prompt, provider: str, behaviour: Behaviour, seed: int) -> Reply:
    """The provider's answer. `behaviour` is the one in force now, see Behaviour.during()."""
    digest = blake2b(prompt.identity, digest_size=12, salt=provider.encode()[:16]).hexdigest()
    rng = Random(f"{seed} {digest}")
    outcome = _draw(rng, behaviour.outcomes)
    wait_ms = _first_token_ms(rng, behaviour)
    model = behaviour.models.get(prompt.model, prompt.model)
    if error := behaviour.errors.get(outcome):
        return Reply(id=digest, model=model, error=error, duration_ms=wait_ms / 3)
    text, calls = _content(rng, prompt, behaviour, outcome)
    text, cut_by_limit = _within_limit(text, prompt, behaviour)
    usage = _usage(rng, prompt, behaviour, text, calls)
    return Reply(
        id=digest,
        model=model,
        text=text,
        tool_calls=calls,
        finish=behaviour.finishes.get(outcome, ""),
        cut_by_limit=cut_by_limit,
        usage=usage,
        error=behaviour.errors["overloaded"] if outcome == "error_in_stream" else None,
        in_stream=outcome == "error_in_stream",
        cut=outcome == "truncated_stream",
        first_token_ms=wait_ms,
        duration_ms=wait_ms + _answering_ms(usage.output_tokens or 0, behaviour),
    )


def _answering_ms(output_tokens: int, behaviour: Behaviour) -> float:
    alone = 1000 * output_tokens / behaviour.tokens_per_second
    return min(alone, SLOWEST_TOKENS_MS) * behaviour.slower


def _draw(rng: Random, rates: dict[str, float]) -> str:
    """One of the names by its rate, or "" for the rest."""
    point = rng.random()
    for name, rate in rates.items():
        point -= rate
        if point < 0:
            return name
    return ""


def _first_token_ms(rng: Random, behaviour: Behaviour) -> float:
    drawn = behaviour.first_token.median * rng.lognormvariate(0, behaviour.first_token.sigma)
    return min(max(drawn, 100), 900) * behaviour.slower


def _content(
    rng: Random, prompt: Prompt, behaviour: Behaviour, outcome: str
) -> tuple[str, tuple[ToolCall, ...]]:
    if outcome == "empty":
        return "", ()
    if outcome == "refusal":
        return rng.choice(_phrases.refusals[prompt.language]), ()
    if outcome in behaviour.finishes:
        return _prose(rng, prompt, behaviour)[:20], ()
    if prompt.json_wanted:
        return _json(rng, prompt, behaviour), ()
    if _calls_a_tool(rng, prompt):
        opening = rng.choice(_phrases.before_tools[prompt.language])
        return opening, (_tool_call(rng, prompt, behaviour),)
    return _prose(rng, prompt, behaviour), ()


def _prose(rng: Random, prompt: Prompt, behaviour: Behaviour) -> str:
    sentences = _sentences(prompt)
    count = round(rng.uniform(2, 4) * behaviour.verbosity)
    count = min(max(count, 1), len(sentences))
    chosen = sorted(rng.sample(range(len(sentences)), count))
    return ("" if prompt.language == "zh" else " ").join(sentences[i] for i in chosen)


def _sentences(prompt: Prompt) -> tuple[str, ...]:
    question = prompt.question.lower()
    for topic in _phrases.topics:
        if any(word in question for word in topic.words):
            return topic.zh if prompt.language == "zh" else topic.en
    return _phrases.otherwise[prompt.language]


def _calls_a_tool(rng: Random, prompt: Prompt) -> bool:
    if not prompt.tools or prompt.rounds >= MOST_ROUNDS:
        return False
    return prompt.tool_required or prompt.rounds == 0 or rng.random() < 0.6


def _tool_call(rng: Random, prompt: Prompt, behaviour: Behaviour) -> ToolCall:
    tool = rng.choice(prompt.tools)
    schema = tool.schema or {"type": "object"}
    arguments = _fill(rng, schema, "", prompt.question)
    name, text = tool.name, msgspec.json.encode(arguments).decode()
    if rng.random() < behaviour.tool_faults:
        name, text = _spoil(rng, name, arguments, schema)
    kind = "toolu" if prompt.protocol is Protocol.ANTHROPIC_MESSAGES else "call"
    return ToolCall(f"{kind}_{rng.getrandbits(80):020x}", name, text)


def _spoil(
    rng: Random, name: str, arguments: dict[str, Any], schema: dict[str, Any]
) -> tuple[str, str]:
    """A wrong tool call, as weaker models make them: name misspelt, field missing, JSON broken."""
    text = msgspec.json.encode(arguments).decode()
    match rng.choice(("name", "field", "json")):
        case "name":
            return name.replace("_", "") + "s", text
        case "json":
            return name, text[:-1] + ","
    required = schema.get("required", [])
    left = {key: value for key, value in arguments.items() if key not in required[:1]}
    return name, msgspec.json.encode(left).decode()


def _json(rng: Random, prompt: Prompt, behaviour: Behaviour) -> str:
    schema = prompt.json_schema or {"type": "object", "properties": {"answer": {"type": "string"}}}
    text = msgspec.json.encode(_fill(rng, schema, "", prompt.question)).decode()
    return text[: len(text) * 2 // 3] if rng.random() < behaviour.broken_json else text


def _fill(rng: Random, schema: dict[str, Any], name: str, text: str) -> Any:
    """A value that is valid against the schema, read from the text where it is labelled there."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    if kind == "object":
        properties = schema.get("properties", {})
        return {key: _fill(rng, part, key, text) for key, part in properties.items()}
    if kind == "array":
        return [_fill(rng, schema.get("items", {}), name, text)]
    found = _labelled(text, name, str(schema.get("description", "")))
    if found is None and isinstance(kinds, list) and "null" in kinds:
        return None
    if kind == "string":
        return found or _sample(rng, name, text)
    return _scalar(rng, kind, found, schema)


def _scalar(rng: Random, kind: str, found: str | None, schema: dict[str, Any]) -> float:
    """A truth value or a number: the one that was found, or one that is allowed."""
    if kind == "boolean":
        return rng.random() < 0.5
    least = schema.get("minimum", 0)
    try:
        return int(found or "") if kind == "integer" else float(found or "")
    except ValueError:
        return rng.randint(least, min(least + 9, schema.get("maximum", least + 9)))


def _labelled(text: str, name: str, description: str) -> str | None:
    """What stands after "name:" in a line of its own; a description in Chinese is a label too."""
    for label in (name.replace("_", " "), description):
        found = label and re.search(rf"^{re.escape(label)}\s*[:：]\s*(.+)$", text, re.I | re.M)
        if found:
            return found[1].strip()
    return None


def _sample(rng: Random, name: str, text: str) -> str:
    """A likely string for a property: a path or an identifier out of the text, or a sample."""
    if name in ("path", "target") and (path := PATH.search(text)):
        return path[0]
    if name == "query" and (identifier := NAME.search(text)):
        return identifier[0]
    return rng.choice(_phrases.samples.get(name, (text[:40] or name,)))


def _within_limit(text: str, prompt: Prompt, behaviour: Behaviour) -> tuple[str, bool]:
    """The text cut at the request's output limit, and whether it had to be cut."""
    length = tokens(text) * behaviour.token_factor
    if not prompt.max_output_tokens or length <= prompt.max_output_tokens:
        return text, False
    return text[: max(1, int(len(text) * prompt.max_output_tokens / length))], True


def _usage(
    rng: Random, prompt: Prompt, behaviour: Behaviour, text: str, calls: tuple[ToolCall, ...]
) -> Usage:
    """Counts in OpenTelemetry's sense, from the lengths of what was sent and said."""
    factor = behaviour.token_factor
    known = int((prompt.fixed_tokens + prompt.earlier_tokens) * factor)
    latest = max(1, round(prompt.latest_tokens * factor))
    block = behaviour.cache.block
    may_read = prompt.cache_marked or not behaviour.cache.writes
    hit = prompt.continued and may_read and rng.random() < behaviour.cache.hit_rate
    read = known // block * block if hit else 0
    writes = behaviour.cache.writes and prompt.cache_marked
    said = tokens(text) + sum(tokens(call.name + call.arguments) + 4 for call in calls)
    return Usage(
        input_tokens=known + latest,
        cache_read_input_tokens=read,
        cache_write_5m_input_tokens=_written(known, latest, hit) if writes else 0,
        output_tokens=round(said * factor),
    )


def _written(known: int, latest: int, hit: bool) -> int:
    """What a marked request adds to the cache: the new turn, or all of it after a miss."""
    return latest - 1 if hit else known
