"""How a simulated provider behaves: the types of `providers.yml`, and what is in force when."""

from enum import StrEnum
from pathlib import Path

import msgspec

from pipeline import yamlfile

HERE = Path(__file__).parent


class Quirk(StrEnum):
    """Where a vendor leaves the path of the protocol's owner."""

    ZERO_USAGE_AT_START = "zero_usage_at_start"  # message_start counts nothing
    USAGE_ON_FINISH_CHUNK = "usage_on_finish_chunk"  # asked for or not, no trailing chunk
    USAGE_TWICE = "usage_twice"  # in choices[0] of the finish chunk, and in the trailing one
    CACHE_HIT_TOKENS = "cache_hit_tokens"  # prompt_cache_hit_tokens, prompt_cache_miss_tokens
    BARE_ERRORS = "bare_errors"  # OpenAI-shaped error bodies on the Anthropic endpoint too


class FirstToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log-normal time to the first token, its median in milliseconds."""

    median: float
    sigma: float


class Cache(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prompt cache: how often a next turn finds it, in which steps, and if writes are told."""

    hit_rate: float
    block: int
    writes: bool = False


class ErrorReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the vendor's own errors."""

    status: int
    message: str
    type: str = ""
    code: str = ""
    param: str = ""


class Incident(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bad time: other outcomes and slower answers, between two minutes of the demo."""

    from_minute: float
    to_minute: float
    outcomes: dict[str, float]
    slower: float = 1.0


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider of `providers.yml`; that file says what each field means."""

    host: str
    models: dict[str, str] = {}
    first_token: FirstToken
    tokens_per_second: float
    verbosity: float
    token_factor: float
    cache: Cache
    quirks: frozenset[Quirk]
    errors: dict[str, ErrorReply]
    finishes: dict[str, str]
    outcomes: dict[str, float]
    tool_faults: float
    broken_json: float
    incidents: tuple[Incident, ...] = ()
    slower: float = 1.0

    def incident(self, minute: float) -> Incident | None:
        """The incident of that minute of the demo, if there is one."""
        begun = (i for i in self.incidents if i.from_minute <= minute < i.to_minute)
        return next(begun, None)

    def during(self, incident: Incident | None) -> "Behaviour":
        """The behaviour with an incident's outcomes and slowness in place."""
        if incident is None:
            return self
        outcomes = self.outcomes | incident.outcomes
        return msgspec.structs.replace(self, outcomes=outcomes, slower=incident.slower)


def load_behaviours() -> dict[str, Behaviour]:
    """The simulated providers by name."""
    return yamlfile.load(HERE / "providers.yml", dict[str, Behaviour])
