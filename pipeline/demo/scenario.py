"""The story of the demo: its plan, and what the users of its four workloads say.

`plan.yml` and `workloads.yml` hold the data. Nothing here looks at a clock or the network: a
conversation is fixed by the seed, its number and the answers it hears.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeVar

import msgspec

from pipeline import yamlfile
from pipeline.calls import Protocol, ToolCall
from pipeline.demo.behaviour import HERE

MODEL = "claude-sonnet-4-5"  # what the apps ask for, wherever the call then goes
MINUTE_MS = 60 * 1000
DAY_MS = 24 * 60 * MINUTE_MS
Key = TypeVar("Key", str, int)


class OfferedTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool as an Anthropic Messages request offers it."""

    name: str
    description: str
    input_schema: dict[str, Any]


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One workload of `workloads.yml`; that file says what the fields mean."""

    app: str
    protocol: Protocol
    share: float
    calls: tuple[float, ...]
    streamed: float
    max_output_tokens: int
    cached: bool = False
    languages: dict[str, float]
    system: dict[str, str]
    slots: dict[str, tuple[str, ...]]
    openers: dict[str, tuple[str, ...]]
    follow_ups: dict[str, tuple[str, ...]]
    tools: tuple[OfferedTool, ...] = ()
    results: dict[str, tuple[str, ...]] = {}
    json_schema: dict[str, Any] | None = None

    @property
    def calls_per_conversation(self) -> float:
        """How many calls a conversation wants on average."""
        return sum(n * p for n, p in enumerate(self.calls, 1)) / sum(self.calls)


WORKLOADS = yamlfile.load(HERE / "workloads.yml", dict[str, Workload])


def demo_plan(start_ms: int, base_url: str, history_days: float = 0) -> str:
    """The demo's plan as YAML: pilots in the days before `start_ms`, the ramp in the minutes after.

    `base_url` is the simulators' address without a slash at the end. Without a history the plan
    begins with the live stages.
    """
    template = (HERE / "plan.yml").read_text(encoding="utf-8")
    lines = [line for line in template.splitlines() if not line.startswith("#")]
    if not history_days:
        lines = [line for line in lines if "history" not in line]
    text = "\n".join(lines) + "\n"
    text = re.sub(r"SIMULATOR(/\w+)", lambda mark: _base_urls(base_url + mark[1]), text)
    text = re.sub(r"live (\d+) min", lambda mark: _utc(start_ms + int(mark[1]) * MINUTE_MS), text)
    past_ms = history_days * DAY_MS
    return re.sub(
        r"history (\d+)%", lambda mark: _utc(start_ms - past_ms * (1 - int(mark[1]) / 100)), text
    )


def _base_urls(url: str) -> str:
    """As SDKs take them: an OpenAI client's base URL ends in /v1, an Anthropic client's does not."""
    return f"{{anthropic_messages: '{url}', openai_chat: '{url}/v1', openai_responses: '{url}/v1'}}"


def _utc(at_ms: float) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


class Conversation:
    """One user's conversation: `request()`, `hear()` the answer, and again until it is `over`."""

    def __init__(self, name: str, number: int, seed: int) -> None:
        self.workload = WORKLOADS[name]
        self._rng = Random(f"{seed} {name} {number}")
        self.id = f"{name}-{self._rng.getrandbits(64):016x}"
        self.streamed = self._rng.random() < self.workload.streamed
        self._language = _weighted(self._rng, self.workload.languages)
        self._left = _weighted(self._rng, dict(enumerate(self.workload.calls, 1)))
        self._slots = self._draw_slots()
        self._system = self._say((self.workload.system[self._language],))
        opener = self._say(self.workload.openers[self._language])
        self._follow_ups: list[str] = []
        self._messages: list[dict[str, Any]] = [{"role": "user", "content": opener}]

    @property
    def over(self) -> bool:
        """True when the user wants nothing more."""
        return self._left == 0

    def request(self) -> dict[str, Any]:
        """The body of the next call."""
        if self.workload.protocol is Protocol.ANTHROPIC_MESSAGES:
            return self._messages_body()
        return self._chat_body()

    def hear(self, text: str, calls: Sequence[ToolCall]) -> None:
        """Takes the answer in; the user goes on, unless there was nothing in it."""
        self._left = self._left - 1 if text or calls else 0
        if self.over:
            return
        if self.workload.json_schema:
            self._slots = self._draw_slots()  # the next document is another one
        self._messages.append({"role": "assistant", "content": _spoken(text, calls)})
        self._messages.append({"role": "user", "content": self._next(calls)})

    def _next(self, calls: Sequence[ToolCall]) -> str | list[dict[str, Any]]:
        if not calls:
            return self._say((self._follow_up(),))
        return [
            {"type": "tool_result", "tool_use_id": call.id, "content": self._result(call.name)}
            for call in calls
        ]

    def _follow_up(self) -> str:
        """Another one each time, until all have been said."""
        if not self._follow_ups:
            given = self.workload.follow_ups[self._language]
            self._follow_ups = self._rng.sample(given, len(given))
        return self._follow_ups.pop()

    def _result(self, tool: str) -> str:
        return self._say(self.workload.results.get(tool, ("Error: no such tool",)))

    def _messages_body(self) -> dict[str, Any]:
        body = {
            "model": MODEL,
            "max_tokens": self.workload.max_output_tokens,
            "system": self._system,
            "messages": self._messages,
            "metadata": {"user_id": self.id},
            "stream": self.streamed,
        }
        if self.workload.cached:
            mark = {"type": "ephemeral"}
            body["system"] = [{"type": "text", "text": self._system, "cache_control": mark}]
        if self.workload.tools:
            body["tools"] = self.workload.tools
        return body

    def _chat_body(self) -> dict[str, Any]:
        wanted = {"name": "document", "strict": True, "schema": self.workload.json_schema}
        body = {
            "model": MODEL,
            "max_tokens": self.workload.max_output_tokens,
            "messages": [{"role": "system", "content": self._system}, *self._messages],
            "response_format": {"type": "json_schema", "json_schema": wanted},
            "user": self.id,
        }
        if self.streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def _say(self, choices: Sequence[str]) -> str:
        return re.sub(r"\{(\w+)\}", lambda m: self._slots[m[1]], self._rng.choice(choices))

    def _draw_slots(self) -> dict[str, str]:
        return {
            name: re.sub("#", lambda _: self._rng.choice("0123456789"), self._rng.choice(values))
            for name, values in self.workload.slots.items()
        }


def any_workload(rng: Random) -> str:
    """A workload's name, by its share of the conversations."""
    return _weighted(rng, {name: workload.share for name, workload in WORKLOADS.items()})


def calls_per_conversation() -> float:
    """How many calls a conversation of any workload wants on average."""
    total = sum(workload.share for workload in WORKLOADS.values())
    return sum(w.share * w.calls_per_conversation for w in WORKLOADS.values()) / total


def _weighted(rng: Random, weights: Mapping[Key, float]) -> Key:
    return rng.choices(list(weights), list(weights.values()))[0]


def _spoken(text: str, calls: Sequence[ToolCall]) -> str | list[dict[str, Any]]:
    """An answer as it goes back to the model: tool calls need blocks, in Anthropic's shape."""
    if not calls:
        return text
    said = [{"type": "text", "text": text}] if text else []
    return said + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _arguments(call)}
        for call in calls
    ]


def _arguments(call: ToolCall) -> Any:
    try:
        return msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        return {}
