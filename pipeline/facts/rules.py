"""What must hold between the entries of the facts, beyond the types of `schema.py`.

Each rule raises BadFile with the file and line of the entry to mend.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import combinations, pairwise
from urllib.parse import urlsplit

from pipeline.calls import Failure
from pipeline.facts.schema import (
    FailuresFile,
    FxRow,
    Host,
    ModelEntry,
    PriceEntry,
    ProviderFile,
    Rates,
    Tier,
    Window,
)
from pipeline.yamlfile import Document, Step

MONEY_DECIMALS = 6  # per million tokens; so the price of one token has 12, like the stored amounts
RATES = ("input", "output", "output_thinking", "cache_read", "cache_write_5m", "cache_write_1h")
_DATED = re.compile(r"[-@](\d{8}|\d{4}-\d\d-\d\d|\d{6}|latest)$")

Where = tuple[Step, ...]


def undated(name: str) -> str:
    """The model name without its snapshot: `claude-sonnet-4-5-20250929` is `claude-sonnet-4-5`."""
    return _DATED.sub("", name)


def model_names(model: ModelEntry) -> tuple[str, ...]:
    """Every name written down for the model, in small letters."""
    return tuple(name.lower() for name in (model.id, *model.aliases))


def moment_ms(text: str) -> int:
    """UTC milliseconds of a day (its first moment) or time. Raises ValueError for 30 February."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def period(price: PriceEntry) -> tuple[float, float]:
    """When the price holds, in UTC milliseconds, its end outside; unknown ends are infinite."""
    begin, end = price.effective_from, price.effective_to
    return (
        moment_ms(begin) if begin else float("-inf"),
        moment_ms(end) if end else float("inf"),
    )


def host_of(url: str) -> str:
    """The host name of a URL, in small letters."""
    return (urlsplit(url).hostname or "").lower()


def owns(host: Host, name: str) -> bool:
    """True if this entry covers the host name."""
    return name == host.host if host.host else name.endswith("." + host.suffix)


def check_provider(
    document: Document, provider: ProviderFile, sources: dict[str, str], holidays: Iterable[str]
) -> None:
    """Everything that can be told from one provider's file."""
    if provider.id != document.file.stem:
        raise document.bad(("id",), f"must be the file's name, {document.file.stem!r}")
    _check_sources(document, sources)
    _check_hosts(document, provider)
    for i, code in enumerate(provider.errors.code_patterns):
        _check_pattern(document, ("errors", "code_patterns", i, "pattern"), code.pattern)
    _check_model_names(document, provider)
    for m, model in enumerate(provider.models):
        for p, price in enumerate(model.prices):
            where = ("models", m, "prices", p)
            _check_price(document, where, provider, price)
            for w, window in enumerate(price.windows):
                _check_window(document, (*where, "windows", w), window, set(holidays))
        _check_periods(document, ("models", m, "prices"), model.prices)


def check_together(documents: list[Document], providers: list[ProviderFile]) -> None:
    """No name and no host belongs to two providers."""
    seen_names: dict[str, str] = {}
    seen_hosts: dict[str, str] = {}
    for document, provider in zip(documents, providers, strict=True):
        for where, name in _names(provider):
            if seen_names.setdefault(name.lower(), provider.id) != provider.id:
                what = f"{name!r} already names {seen_names[name.lower()]}; keep one"
                raise document.bad(where, what)
        for i, host in enumerate(provider.hosts):
            key = host.host or "*." + host.suffix
            if key in seen_hosts:
                what = f"{key} already belongs to {seen_hosts[key]}; keep one"
                raise document.bad(("hosts", i), what)
            seen_hosts[key] = provider.id


def check_failures(document: Document, failures: FailuresFile, provider_ids: Iterable[str]) -> None:
    """Every class is described, and every protocol's definer is a provider of ours."""
    if missing := [f.value for f in Failure if f not in failures.classes]:
        raise document.bad(("classes",), f"no entry for {', '.join(missing)}; add it")
    known = set(provider_ids)
    for protocol, provider_id in failures.protocols.items():
        if provider_id not in known:
            raise document.bad(
                ("protocols", protocol), f"no provider {provider_id!r}; use one's id"
            )


def check_fx(document: Document, rows: tuple[FxRow, ...], sources: dict[str, str]) -> None:
    """Rates are positive and there is one a day for a pair."""
    _check_sources(document, sources)
    seen = set()
    for i, row in enumerate(rows):
        if not row.rate.is_finite() or row.rate <= 0:
            raise document.bad((i, "rate"), "must be above 0")
        pair = (frozenset((row.from_, row.to)), row.day)
        if row.from_ == row.to or pair in seen:
            raise document.bad((i,), "one rate a day for two different currencies; remove this row")
        seen.add(pair)


def _names(provider: ProviderFile) -> Iterator[tuple[Where, str]]:
    yield ("id",), provider.id
    for kind in ("litellm", "otel", "genai_prices"):
        for i, name in enumerate(getattr(provider.names, kind)):
            yield ("names", kind, i), name


def _check_sources(document: Document, sources: dict[str, str]) -> None:
    for where in document.lines:
        if where and where[-1] == "source":
            tag = document.at(where)
            if tag not in sources:
                raise document.bad(where, f"{tag!r} is not in sources.yml; add it there")


def _check_hosts(document: Document, provider: ProviderFile) -> None:
    for i, host in enumerate(provider.hosts):
        if bool(host.host) == bool(host.suffix):
            raise document.bad(("hosts", i), "give either host or suffix")
        if (name := host.host or host.suffix) != name.lower():
            raise document.bad(("hosts", i), "write host names in small letters")
    for i, base in enumerate(provider.base_urls):
        if not any(owns(host, host_of(base.url)) for host in provider.hosts):
            raise document.bad(("base_urls", i, "url"), "its host is not in hosts; add it there")
        if base.plan and base.plan not in provider.plans:
            raise document.bad(("base_urls", i, "plan"), "not in plans; add its name there")


def _check_pattern(document: Document, where: Where, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise document.bad(where, f"not a regular expression: {error}; mend it") from None


def _check_model_names(document: Document, provider: ProviderFile) -> None:
    """No name leads to two models: neither written, nor without its date, nor by a pattern."""
    owner: dict[str, str] = {}
    for m, model in enumerate(provider.models):
        for name in model_names(model):
            if name in owner:
                what = f"{name!r} already names {owner[name]}; keep one"
                raise document.bad(("models", m), what)
            owner[name] = model.id
    bases: dict[str, str] = {}
    for m, model in enumerate(provider.models):
        for base in {undated(name) for name in model_names(model)} - set(owner):
            if bases.setdefault(base, model.id) != model.id:
                what = f"both {bases[base]} and {model.id} are {base!r}; make it an alias of one"
                raise document.bad(("models", m), what)
    _check_name_patterns(document, provider)


def _check_name_patterns(document: Document, provider: ProviderFile) -> None:
    for m, model in enumerate(provider.models):
        for other in provider.models:
            for pattern in model.name_patterns:
                hits = [n for n in model_names(other) if fnmatchcase(n, pattern.lower())]
                if other is not model and hits:
                    what = f"{pattern!r} also fits {hits[0]!r}, which is {other.id}; narrow it"
                    raise document.bad(("models", m, "name_patterns"), what)


def check_foreign_names(documents: list[Document], providers: list[ProviderFile]) -> None:
    """No model name of any provider fits patterns of two models of another."""
    names = {undated(name) for p in providers for model in p.models for name in model_names(model)}
    for document, provider in zip(documents, providers, strict=True):
        for name in names:
            fits = [m for m, model in enumerate(provider.models) if _fits(model, name)]
            if len(fits) > 1:
                first, second = (provider.models[m].id for m in fits[:2])
                what = f"{name!r} fits patterns of both {first} and {second}; narrow one"
                raise document.bad(("models", fits[1], "name_patterns"), what)


def _fits(model: ModelEntry, name: str) -> bool:
    return any(fnmatchcase(name, pattern.lower()) for pattern in model.name_patterns)


def _check_price(
    document: Document, where: Where, provider: ProviderFile, price: PriceEntry
) -> None:
    if bool(price.per_million) == bool(price.tiers):
        raise document.bad(where, "give either per_million or tiers")
    if provider.billing_currency.get(price.region) != price.currency:
        what = f"{price.region or 'no region'} is not billed in {price.currency} (billing_currency)"
        raise document.bad((*where, "currency"), f"{what}; mend one of them")
    try:
        begin, end = period(price)
    except ValueError as error:
        raise document.bad(where, f"{error}; mend effective_from or effective_to") from None
    if begin >= end:
        raise document.bad((*where, "effective_to"), "must be later than effective_from")
    if price.per_million:
        _check_rates(document, (*where, "per_million"), price.per_million)
    for t, tier in enumerate(price.tiers):
        _check_rates(document, (*where, "tiers", t), tier)
    _check_tiers(document, (*where, "tiers"), price.tiers)
    if price.windows and price.tiers:
        raise document.bad((*where, "windows"), "a price with windows has per_million, not tiers")


def _check_rates(document: Document, where: Where, rates: Rates) -> None:
    for name in RATES:
        rate = getattr(rates, name)
        if rate is None:
            continue
        if not rate.is_finite() or rate < 0:
            raise document.bad((*where, name), "must be 0 or more")
        if rate != round(rate, MONEY_DECIMALS):
            raise document.bad((*where, name), f"at most {MONEY_DECIMALS} decimals; round it")


def _check_tiers(document: Document, where: Where, tiers: tuple[Tier, ...]) -> None:
    """Rows grow by input, then by output; each input size ends in a row for any output."""
    sizes = [
        (tier.max_input_tokens or float("inf"), tier.max_output_tokens or float("inf"))
        for tier in tiers
    ]
    for t, ((input_, output), (next_input, next_output)) in enumerate(pairwise(sizes)):
        if (next_input, next_output) <= (input_, output):
            raise document.bad(
                (*where, t + 1), "no call reaches this row; order rows by their size"
            )
        if next_input > input_ and output < float("inf"):
            what = (
                f"gap: no row for input up to {input_} with a longer output; add it after this one"
            )
            raise document.bad((*where, t), what)
    if sizes and sizes[-1][1] < float("inf"):
        what = "gap: no row for a longer output; add one without max_output_tokens"
        raise document.bad((*where, len(tiers) - 1), what)


def _check_window(document: Document, where: Where, window: Window, holidays: set[str]) -> None:
    _check_rates(document, (*where, "per_million"), window.per_million)
    if window.not_on and window.not_on not in holidays:
        raise document.bad((*where, "not_on"), f"no list {window.not_on!r} in holidays.yml")
    if any(begin >= end for begin, end in window.hours):
        raise document.bad((*where, "hours"), "each span ends after it begins; split one at 24:00")


def _check_periods(document: Document, where: Where, prices: tuple[PriceEntry, ...]) -> None:
    for (_, one), (p, other) in combinations(enumerate(prices), 2):
        (begin, end), (other_begin, other_end) = period(one), period(other)
        if one.region == other.region and begin < other_end and other_begin < end:
            what = "overlaps an earlier entry for the same region; end that one where this begins"
            raise document.bad((*where, p), what)
