"""The catalog: what `facts/` says about providers, read once, checked, and asked for every call.

    catalog = load_catalog()
    at = catalog.resolve("openai", "open.bigmodel.cn", "/api/paas/v4/chat/completions", "glm-4.6")
    model = catalog.model(at.provider_id, "zai/GLM-4.6")
    price = catalog.price(at.provider_id, model.id, started_at, at.region)

Once loaded it never changes, and the questions read no clock and no file.
"""

import re
from datetime import date, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from pipeline.calls import Failure, Protocol
from pipeline.facts import FACTS
from pipeline.facts.rules import (
    check_failures,
    check_foreign_names,
    check_fx,
    check_provider,
    check_together,
    host_of,
    model_names,
    period,
    undated,
)
from pipeline.facts.schema import (
    FailuresFile,
    FinishClass,
    FxRow,
    Holidays,
    Host,
    ModelEntry,
    PriceEntry,
    ProviderFile,
    Rates,
    Tier,
    Window,
)
from pipeline.yamlfile import load, read

DAY_MS = 86_400_000
_ONE_TOKEN = Decimal("1e-12")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH = date(1970, 1, 1)  # a Thursday


class Row(msgspec.Struct, frozen=True):
    """Money per single token, with 12 decimals, for calls up to a size (None: any)."""

    max_input_tokens: int | None
    max_output_tokens: int | None
    certain: bool
    input: Decimal
    output: Decimal
    output_thinking: Decimal | None
    cache_read: Decimal | None
    cache_write_5m: Decimal | None
    cache_write_1h: Decimal | None

    def fits(self, input_tokens: int, output_tokens: int) -> bool:
        """True if a call of this size is within the row."""
        return (self.max_input_tokens is None or input_tokens <= self.max_input_tokens) and (
            self.max_output_tokens is None or output_tokens <= self.max_output_tokens
        )


class Hours(msgspec.Struct, frozen=True):
    """Hours of the week in which another row holds, and days on which it does not after all."""

    offset_ms: int
    weekdays: frozenset[int]  # 0 is Monday
    spans: tuple[tuple[int, int], ...]  # minutes of the day, the second outside
    days_off: frozenset[int]  # days since 1970, local
    row: Row

    def includes(self, at_ms: int) -> bool:
        """True if these are hours for the row, holidays not yet considered."""
        day, ms = divmod(at_ms + self.offset_ms, DAY_MS)
        minute = ms // 60_000
        return (day + 3) % 7 in self.weekdays and any(a <= minute < b for a, b in self.spans)

    def off(self, at_ms: int) -> bool:
        """True on a day that is left out."""
        return (at_ms + self.offset_ms) // DAY_MS in self.days_off


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What one model costs in one region over a period. Start included, end not; UTC ms."""

    id: str  # provider/model/region/first day, e.g. "zhipu/glm-4.6/international/2025-09-30"
    region: str
    currency: str
    begin: float
    end: float
    certain: bool  # verified, and its days known
    rows: tuple[Row, ...]
    hours: tuple[Hours, ...]
    entry: PriceEntry

    def row(self, at_ms: int, input_tokens: int, output_tokens: int) -> tuple[Row, bool]:
        """The row to charge, and whether that is beyond doubt.

        In doubt: a row or a price that is not verified, a call larger than the last row (charged at
        it), and a public holiday (those lists are not verified).
        """
        for hours in self.hours:
            if hours.includes(at_ms):
                off = hours.off(at_ms)
                row = self.rows[0] if off else hours.row
                return row, self.certain and row.certain and not off
        for row in self.rows:
            if row.fits(input_tokens, output_tokens):
                return row, self.certain and row.certain
        return self.rows[-1], False


class Model(msgspec.Struct, frozen=True, dict=True):
    """A model of one provider, with its prices in the order of its file."""

    id: str
    provider_id: str
    entry: ModelEntry
    prices: tuple[Price, ...]

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """Regions with a price, the first being the one assumed when a call's is unknown."""
        return tuple(dict.fromkeys(price.region for price in self.prices))


class Provider(msgspec.Struct, frozen=True):
    """A provider: its file, and its models by every name they answer to."""

    id: str
    file: ProviderFile
    models: dict[str, Model]  # by id
    by_name: dict[str, Model]  # by id, alias, and either without its date; small letters
    code_patterns: tuple[tuple[re.Pattern[str], Failure], ...]
    message_patterns: tuple[tuple[str, Failure], ...]  # small letters

    def model(self, name: str) -> Model | None:
        """The model called so; see `Catalog.model`."""
        if found := self.by_name.get(name):
            return found
        short = name.rpartition("/")[2].lower()
        found = self.by_name.get(short) or self.by_name.get(short.removesuffix("-latest"))
        if not found and (base := undated(short)) != short:
            found = self._undated_only(base)
        return found or self._by_pattern(short)

    def _undated_only(self, base: str) -> Model | None:
        """The model listed under this very name, not one that is listed under another date."""
        found = self.by_name.get(base)
        return found if found and base in model_names(found.entry) else None

    def _by_pattern(self, name: str) -> Model | None:
        for model in self.models.values():
            if any(fnmatchcase(name, p.lower()) for p in model.entry.name_patterns):
                return model
        return None


class Site(msgspec.Struct, frozen=True):
    """A host of a provider, with its base URLs as (path, region, plan), longest path first."""

    provider_id: str
    region: str
    bases: tuple[tuple[str, str, str], ...]

    def resolve(self, path: str) -> "Resolved":
        """Who serves that path: by the longest base URL it begins with, in whole segments.

        Without a path the plan is told only if all base URLs of the host are of one plan.
        """
        whole = path.partition("?")[0].rstrip("/") + "/"
        for prefix, region, plan in self.bases:
            if whole.startswith(prefix):
                return Resolved(self.provider_id, region or self.region, plan)
        plans = {plan for _, _, plan in self.bases}
        only_plan = plans.pop() if not path and len(plans) == 1 else ""
        return Resolved(self.provider_id, self.region, only_plan)


class Resolved(msgspec.Struct, frozen=True):
    """Whom a call went to. Unknown parts are ""; `plan` is a flat-rate plan without token prices."""

    provider_id: str = ""
    region: str = ""
    plan: str = ""


class Rate(msgspec.Struct, frozen=True):
    """An exchange rate: one unit of the first currency is `rate` of the second, from `day` on."""

    rate: Decimal
    day: date
    estimated: bool


class Catalog:
    """All facts, with the questions that are asked of them. Build it with `load_catalog`."""

    def __init__(
        self,
        providers: tuple[Provider, ...],
        failures: FailuresFile,
        fx_rows: tuple[FxRow, ...],
        sources: dict[str, str],
    ) -> None:
        self.providers = {provider.id: provider for provider in providers}
        self.failures = failures
        self.fx_rows = tuple(sorted(fx_rows, key=lambda row: row.day))
        self.sources = sources
        self._by_name = {name: p for p in providers for name in _provider_names(p.file)}
        self._only_owner = _only_owners(providers)
        sites = [(host, _site(p.file, host)) for p in providers for host in p.file.hosts]
        self._sites = {entry.host: site for entry, site in sites if entry.host}
        self._domains = [("." + entry.suffix, site) for entry, site in sites if entry.suffix]
        self._speakers = {id: self._who_speaks(id) for id in ("", *self.providers)}
        self._finish_reasons = {
            id: {
                word: meaning
                for provider in reversed(speakers)  # the first one's meaning holds
                for word, meaning in provider.file.finish_reasons.items()
            }
            for id, speakers in self._speakers.items()
        }

    def provider(self, name: str) -> Provider | None:
        """The provider with that id, or that LiteLLM, OpenTelemetry or genai-prices call so."""
        return self._by_name.get(name) or self._by_name.get(name.lower())

    def resolve(self, provider: str, host: str, path: str, model: str) -> Resolved:
        """Who was called: told by the host, else by the gateway's name for it, else by the model.

        A known host comes first because gateways call every OpenAI-shaped endpoint "openai"; it
        also tells region and plan, by the longest base URL that the path begins with. A model name
        counts only if a single provider lists it.
        """
        if site := self._site(host.partition(":")[0].lower()):
            return site.resolve(path)
        if named := self.provider(provider):
            return Resolved(named.id)
        return Resolved(self._only_owner.get(model.rpartition("/")[2].lower(), ""))

    def _site(self, host: str) -> Site | None:
        if found := self._sites.get(host):
            return found
        return next((site for domain, site in self._domains if host.endswith(domain)), None)

    def base_url(self, provider_id: str, protocol: Protocol, region: str = "") -> str | None:
        """Where to send calls of that protocol: the first base URL that is paid by the token.

        Written as the vendor tells its users: for OpenAI clients it ends before
        `/chat/completions`, for Anthropic clients before `/v1/messages`. None: there is none.
        """
        provider = self.providers.get(provider_id)
        spoken = "anthropic" if protocol is Protocol.ANTHROPIC_MESSAGES else "openai"
        for base in provider.file.base_urls if provider else ():
            if base.protocol == spoken and not base.plan and region in ("", base.region):
                return base.url
        return None

    def model(self, provider_id: str, name: str) -> Model | None:
        """The provider's model of that name.

        Tried in order: id or alias, letter case aside and without a leading `vendor/`; the same
        but for a date or `-latest` at the end on one side only; patterns of foreign names.
        """
        provider = self.providers.get(provider_id)
        return provider.model(name) if provider else None

    def price(self, provider_id: str, model_id: str, at_ms: int, region: str) -> Price | None:
        """The price in force then and there, or None.

        Region "" (unknown) takes the first price in force in the order of the provider's file;
        a known region is never charged at another one's price.
        """
        provider = self.providers.get(provider_id)
        model = provider.models.get(model_id) if provider else None
        for price in model.prices if model else ():
            if price.begin <= at_ms < price.end and region in ("", price.region):
                return price
        return None

    def fx(self, from_: str, to: str, at_ms: int) -> Rate | None:
        """The latest rate up to that day, either way round; before the first one, the first.

        The first one used for an earlier day is estimated.
        """
        day = _EPOCH + timedelta(days=at_ms // DAY_MS)
        if from_ == to:
            return Rate(Decimal(1), day, False)
        rows = [row for row in self.fx_rows if {row.from_, row.to} == {from_, to}]
        if not rows:
            return None
        row = next((row for row in reversed(rows) if row.day <= day), rows[0])
        rate = row.rate if row.from_ == from_ else 1 / row.rate
        return Rate(rate, row.day, row.estimated or row.day > day)

    def finish_class(self, provider_id: str, finish_reason: str) -> FinishClass | None:
        """What a finish reason means at that provider, else where its word comes from; or None."""
        meanings = self._finish_reasons.get(provider_id) or self._finish_reasons[""]
        return meanings.get(finish_reason)

    def speakers(self, provider_id: str) -> tuple[Provider, ...]:
        """Whose words the provider's answers may use: its own, then the protocols' definers'."""
        return self._speakers.get(provider_id) or self._speakers[""]

    def _who_speaks(self, provider_id: str) -> tuple[Provider, ...]:
        ids = dict.fromkeys((provider_id, *self.failures.protocols.values()))
        return tuple(self.providers[id] for id in ids if id)


def load_catalog(folder: Path = FACTS) -> Catalog:
    """Reads and checks all facts. Raises BadFile naming file, line, what is wrong and the mend."""
    sources = load(folder / "sources.yml", dict[str, str])
    holidays = load(folder / "holidays.yml", dict[str, Holidays])
    documents = [read(path) for path in sorted((folder / "providers").glob("*.yml"))]
    files = [document.convert(ProviderFile) for document in documents]
    for document, file in zip(documents, files, strict=True):
        check_provider(document, file, sources, holidays)
    check_together(documents, files)
    check_foreign_names(documents, files)
    failures_document = read(folder / "failures.yml")
    failures = failures_document.convert(FailuresFile)
    check_failures(failures_document, failures, [file.id for file in files])
    fx_document = read(folder / "fx.yml")
    fx_rows = fx_document.convert(tuple[FxRow, ...])
    check_fx(fx_document, fx_rows, sources)
    return Catalog(
        tuple(_provider(f, holidays) for f in _by_role(files)), failures, fx_rows, sources
    )


def _by_role(files: list[ProviderFile]) -> list[ProviderFile]:
    """The provider being left first, then those it is compared with, then the candidates."""
    return sorted(
        files, key=lambda file: (("source", "reference", "target").index(file.role), file.id)
    )


def _provider_names(file: ProviderFile) -> set[str]:
    return {
        name.lower()
        for name in (file.id, *file.names.litellm, *file.names.otel, *file.names.genai_prices)
    }


def _only_owners(providers: tuple[Provider, ...]) -> dict[str, str]:
    """Model name → provider, for the names that one provider alone lists."""
    owners: dict[str, set[str]] = {}
    for provider in providers:
        for name in provider.by_name:
            owners.setdefault(name, set()).add(provider.id)
    return {name: ids.pop() for name, ids in owners.items() if len(ids) == 1}


def _site(file: ProviderFile, host: Host) -> Site:
    bases = [
        (urlsplit(base.url).path.rstrip("/") + "/", base.region, base.plan)
        for base in file.base_urls
        if host_of(base.url) == host.host
    ]
    return Site(file.id, host.region, tuple(sorted(bases, key=lambda base: -len(base[0]))))


def _provider(file: ProviderFile, holidays: dict[str, Holidays]) -> Provider:
    models = {entry.id: _model(file, entry, holidays) for entry in file.models}
    by_name: dict[str, Model] = {}
    for model in models.values():
        by_name.update(dict.fromkeys((model.id, *model_names(model.entry)), model))
    for model in models.values():
        for name in model_names(model.entry):
            by_name.setdefault(undated(name), model)
    return Provider(
        file.id,
        file,
        models,
        by_name,
        tuple((re.compile(p.pattern), p.failure) for p in file.errors.code_patterns),
        tuple((p.text.lower(), p.failure) for p in file.errors.message_patterns),
    )


def _model(file: ProviderFile, entry: ModelEntry, holidays: dict[str, Holidays]) -> Model:
    prices = tuple(_price(file.id, entry.id, price, holidays) for price in entry.prices)
    return Model(entry.id, file.id, entry, prices)


def _price(
    provider_id: str, model_id: str, entry: PriceEntry, holidays: dict[str, Holidays]
) -> Price:
    begin, end = period(entry)
    first_day = entry.effective_from[:10] if entry.effective_from else "undated"
    return Price(
        id=f"{provider_id}/{model_id}/{entry.region}/{first_day}",
        region=entry.region,
        currency=entry.currency,
        begin=begin,
        end=end,
        certain=entry.verified and entry.dates_verified and entry.effective_from is not None,
        rows=tuple(_row(rates) for rates in (entry.tiers or (entry.per_million,)) if rates),
        hours=tuple(_hours(window, holidays) for window in entry.windows),
        entry=entry,
    )


def _row(rates: Rates) -> Row:
    tier = rates if isinstance(rates, Tier) else None
    return Row(
        tier.max_input_tokens if tier else None,
        tier.max_output_tokens if tier else None,
        tier.verified if tier else True,
        input=_per_token(rates.input),
        output=_per_token(rates.output),
        output_thinking=_if_known(rates.output_thinking),
        cache_read=_if_known(rates.cache_read),
        cache_write_5m=_if_known(rates.cache_write_5m),
        cache_write_1h=_if_known(rates.cache_write_1h),
    )


def _per_token(per_million: Decimal) -> Decimal:
    return (per_million / 1_000_000).quantize(_ONE_TOKEN)


def _if_known(per_million: Decimal | None) -> Decimal | None:
    return None if per_million is None else _per_token(per_million)


def _hours(window: Window, holidays: dict[str, Holidays]) -> Hours:
    spans = holidays[window.not_on].days if window.not_on else ()
    sign = -1 if window.utc_offset[0] == "-" else 1
    return Hours(
        offset_ms=sign * _minutes(window.utc_offset[1:]) * 60_000,
        weekdays=frozenset(_WEEKDAYS.index(day) for day in window.weekdays),
        spans=tuple((_minutes(begin), _minutes(end)) for begin, end in window.hours),
        days_off=frozenset(day for span in spans for day in _days(*span)),
        row=_row(window.per_million),
    )


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


def _days(first: date, last: date) -> range:
    return range((first - _EPOCH).days, (last - _EPOCH).days + 1)
