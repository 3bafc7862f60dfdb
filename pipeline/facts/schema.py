"""What may stand in the YAML files beside this one: their keys, types and meanings.

Prices are money per 1,000,000 tokens in the stated currency, before tax, discounts and plans.
`verified: false` marks what no cited source confirms; `source` is a tag of `sources.yml`.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pipeline.calls import Failure, Fault, Protocol

Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
Region = Annotated[str, Meta(pattern=r"^[a-z_]*$")]  # "" where one host serves several
Money = Decimal
Tokens = Annotated[int, Meta(gt=0)]
Moment = Annotated[
    str, Meta(pattern=r"^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?$")
]  # a bare day is 00:00 UTC
Clock = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]
UtcOffset = Annotated[str, Meta(pattern=r"^[+-](0\d|1[0-4]):[0-5]\d$")]
Status = Annotated[str, Meta(pattern=r"^[1-5](\d\d|xx)$")]
HexColor = Annotated[str, Meta(pattern=r"^#[0-9A-F]{6}$")]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class FinishClass(StrEnum):
    """What a vendor's finish reason means."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_USE = "tool_use"
    PAUSE = "pause"
    CONTENT_FILTER = "content_filter"
    CONTEXT_LENGTH = "context_length"
    OVERLOADED = "overloaded"
    ERROR = "error"


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a facts file; a key that is not listed is an error."""


class Text(Strict, frozen=True, kw_only=True):
    """The same words in both languages of the pages."""

    en: str
    zh: str


class Color(Strict, frozen=True, kw_only=True):
    """The provider's colour in every chart, on a light and on a dark page."""

    light: HexColor
    dark: HexColor


class Names(Strict, frozen=True, kw_only=True):
    """What others call the provider."""

    litellm: tuple[str, ...] = ()
    otel: tuple[str, ...] = ()
    genai_prices: tuple[str, ...] = ()


class Host(Strict, frozen=True, kw_only=True):
    """A host that belongs to the provider: `host` exactly, or any host under `suffix`."""

    host: str = ""
    suffix: str = ""
    region: Region = ""
    verified: bool = True
    source: str = ""
    note: str = ""


class BaseUrl(Strict, frozen=True, kw_only=True):
    """Where a client of `protocol` is pointed; under a `plan` tokens have no price."""

    protocol: Literal["anthropic", "openai", "native"]
    url: Annotated[str, Meta(pattern=r"^https://[^/]+(/.*)?$")]
    region: Region = ""
    plan: str = ""
    verified: bool = True
    source: str = ""
    note: str = ""


class Rates(Strict, frozen=True, kw_only=True):
    """Money per million tokens.

    `input` is for tokens that were not read from a cache. Without `cache_read` no price of a hit
    was found; without `cache_write_5m` filling the cache costs the plain input price.
    `output_thinking` is the price of the whole output when the model thought.
    """

    input: Money
    output: Money
    output_thinking: Money | None = None
    cache_read: Money | None = None
    cache_write_5m: Money | None = None
    cache_write_1h: Money | None = None


class Tier(Rates, frozen=True, kw_only=True):
    """Rates of calls up to a size; the first row that fits is charged for the whole call."""

    max_input_tokens: Tokens | None = None  # cached tokens included
    max_output_tokens: Tokens | None = None
    verified: bool = True
    note: str = ""


class Window(Strict, frozen=True, kw_only=True):
    """Rates at certain hours, in the local time at `utc_offset`; the end of a span is outside it."""

    name: str
    weekdays: tuple[Weekday, ...]
    utc_offset: UtcOffset
    hours: tuple[tuple[Clock, Clock], ...]
    not_on: str = ""  # a list of `holidays.yml`
    per_million: Rates


class PriceEntry(Strict, frozen=True, kw_only=True):
    """One price of one model in one region, from one moment to another (its end is outside)."""

    region: Region
    currency: Currency
    per_million: Rates | None = None  # either this
    tiers: tuple[Tier, ...] = ()  # or these
    windows: tuple[Window, ...] = ()
    effective_from: Moment | None = None  # None: unknown, so costs are estimated
    effective_to: Moment | None = None
    dates_verified: bool = True  # False: some day is a stand-in, so costs are estimated
    observed: date | None = None
    source: str = ""
    verified: bool
    note: str = ""


class ModelEntry(Strict, frozen=True, kw_only=True):
    """A model as the provider names it."""

    id: str
    aliases: tuple[str, ...] = ()
    name_patterns: tuple[str, ...] = ()  # shell-style; names of other vendors that it answers to
    hosted: bool = False  # made by someone else
    retired: date | None = None
    verified: bool = True
    prices: tuple[PriceEntry, ...]


class UsageNotes(Strict, frozen=True, kw_only=True):
    """How the provider counts tokens; protocol readers and the generated page use it."""

    counts: Literal["anthropic", "openai"]
    fields: tuple[str, ...]
    streaming: str = ""
    source: str = ""
    note: str = ""


class CodePattern(Strict, frozen=True, kw_only=True):
    """A regular expression that whole families of error codes fit."""

    pattern: str
    failure: Failure = msgspec.field(name="class")


class MessagePattern(Strict, frozen=True, kw_only=True):
    """Words in an error's message that say more than its code; letter case does not matter."""

    text: str
    failure: Failure = msgspec.field(name="class")
    source: str = ""
    verified: bool = True


class Errors(Strict, frozen=True, kw_only=True):
    """What the provider's errors mean in our taxonomy."""

    path: str
    source: str = ""
    codes: dict[str, Failure]
    code_patterns: tuple[CodePattern, ...] = ()
    http_status: dict[Status, Failure]
    message_patterns: tuple[MessagePattern, ...] = ()


class Grant(Strict, frozen=True, kw_only=True):
    """Something given to movers: an amount of tokens, of credit, or of benefits that are neither."""

    kind: Literal["tokens", "credit", "benefits"]
    amount: Money
    currency: Currency | None = None
    expires: date | None = None
    models: tuple[str, ...] = ()  # empty: not stated
    note: str = ""


class Offer(Strict, frozen=True, kw_only=True):
    """What the provider offered to those who left Claude in September 2025."""

    en: str
    zh: str
    grants: tuple[Grant, ...] = ()
    source: str = ""


class ProviderFile(Strict, frozen=True, kw_only=True):
    """One file of `providers/`."""

    id: str
    role: Literal["source", "reference", "target"]
    name: Text
    color: Color
    names: Names
    billing_currency: dict[Region, Currency]
    hosts: tuple[Host, ...]
    base_urls: tuple[BaseUrl, ...]
    plans: dict[str, str] = {}
    auth: dict[Literal["anthropic", "openai", "extra_headers"], tuple[str, ...]]
    models: tuple[ModelEntry, ...]
    usage: UsageNotes
    finish_reasons: dict[str, FinishClass]
    errors: Errors
    deviations: tuple[str, ...] = ()
    offer: Offer


class FailureClass(Strict, frozen=True, kw_only=True):
    """One class of the taxonomy.

    Of a `coarse` class an error code says too little: words in the message may overrule it.
    """

    fault: Fault
    meaning: Text
    coarse: bool = False


class FailuresFile(Strict, frozen=True, kw_only=True):
    """`failures.yml`: the taxonomy, and what holds for any vendor."""

    classes: dict[Failure, FailureClass]
    catch_all_codes: dict[str, Failure]  # for anything from a wrong key to an empty balance
    gateway_codes: dict[str, Failure]
    protocols: dict[Protocol, str]
    http_status: dict[Status, Failure]
    message_patterns: tuple[MessagePattern, ...]


class FxRow(Strict, frozen=True, kw_only=True):
    """One unit of `from` is `rate` units of `to`, from that day on."""

    from_: Currency = msgspec.field(name="from")
    to: Currency
    rate: Money
    day: date
    estimated: bool
    source: str
    note: str = ""


class Holidays(Strict, frozen=True, kw_only=True):
    """Days on which a time window of a price does not hold."""

    days: tuple[tuple[date, date], ...]  # first and last day of each span
    verified: bool
    note: str = ""
