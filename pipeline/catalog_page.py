"""The catalog as a page: `docs/providers.md`, and what `cutover catalog show` prints.

python -m pipeline.catalog_page > docs/providers.md
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from pipeline.catalog import Catalog, Model, Provider, load_catalog
from pipeline.facts.schema import BaseUrl, Grant, Offer, PriceEntry, Rates, Tier, Window

INTRO = """# Providers

What Cutover knows about each provider, made from `pipeline/facts/` by `pipeline/catalog_page.py`; a
test keeps this page true. To change a fact, change its YAML file and run
`python -m pipeline.catalog_page > docs/providers.md`.

Prices are money per 1,000,000 tokens before tax, discounts and plans, as *input / output / cache read
/ cache write 5 min / cache write 1 h*; a dash means that none is published: a cache hit without a price
is charged as input and the cost marked as estimated, filling a cache without a price costs plain input.
A price is **estimated** if its first day is not known, or one of its days is a stand-in; **unverified** if no
cited source confirms it. Either way the costs are marked as estimates. A model
without a price has an unknown cost, never a cost of zero.
"""


def render(catalog: Catalog) -> str:
    """The whole page as Markdown."""
    parts = [INTRO, _summary(catalog)]
    parts += [_provider(provider) for provider in catalog.providers.values()]
    parts += [_failures(catalog), _rates(catalog), _sources(catalog)]
    return "\n".join(parts)


def _summary(catalog: Catalog) -> str:
    head = (
        "provider",
        "id",
        "models",
        "priced",
        "of these estimated",
        "without price",
        "currencies",
    )
    return _table(head, (_counts(provider) for provider in catalog.providers.values()))


def _counts(provider: Provider) -> tuple[str, ...]:
    models = provider.models.values()
    priced = [model for model in models if model.prices]
    estimated = [m for m in priced if not any(price.certain for price in m.prices)]
    counts = (len(models), len(priced), len(estimated), len(models) - len(priced))
    currencies = dict.fromkeys(provider.file.billing_currency.values())
    name = f"[{provider.file.name.en}](#{provider.id})"
    return name, f"`{provider.id}`", *map(str, counts), ", ".join(currencies)


def _provider(provider: Provider) -> str:
    file = provider.file
    return "\n".join(
        (
            f'\n<a id="{file.id}"></a>\n\n## {file.name.en}\n',
            f"{file.name.zh}. {_called(provider)}\n",
            _hosts(provider),
            _table(
                ("protocol", "region", "plan", "base URL", "source"),
                (
                    (base.protocol, base.region, base.plan, f"`{base.url}`", _cited(base))
                    for base in file.base_urls
                ),
            ),
            _models(provider),
            _usage(provider),
            _errors(provider),
            *(f"- {deviation}" for deviation in file.deviations),
            f"\n{_offer(file.offer)}",
        )
    )


def _called(provider: Provider) -> str:
    names = provider.file.names
    known = {
        "LiteLLM": names.litellm,
        "OpenTelemetry": names.otel,
        "genai-prices": names.genai_prices,
    }
    said = [f"{who} {_codes(what)}" for who, what in known.items() if what]
    return f"Known to {', '.join(said)}."


def _hosts(provider: Provider) -> str:
    hosts = [
        f"`{host.host or '*.' + host.suffix}`" + (f" ({host.region})" if host.region else "")
        for host in provider.file.hosts
    ]
    return f"Hosts: {', '.join(hosts)}.\n"


def _models(provider: Provider) -> str:
    rows = [row for model in provider.models.values() for row in _model(model)]
    return _table(("model", "region", "price", "from", "until", "seen", "source", "standing"), rows)


def _model(model: Model) -> Iterator[tuple[str, ...]]:
    name = f"`{model.id}`"
    if aliases := (*model.entry.aliases, *model.entry.name_patterns):
        name += f", also {_codes(aliases)}"
    if model.entry.retired:
        name += f", retired {model.entry.retired}"
    if not model.prices:
        yield name, "", "", "", "", "", "", "**no price**"
    for price in model.prices:
        entry = price.entry
        standing = "known" if price.certain else "estimated" if entry.verified else "unverified"
        seen = str(entry.observed or "")
        begin, end = entry.effective_from or "", entry.effective_to or ""
        note = f"; {entry.note}" if entry.note else ""
        yield name, entry.region, _price(entry), begin, end, seen, entry.source, standing + note


def _price(entry: PriceEntry) -> str:
    rows = entry.tiers or ((entry.per_million,) if entry.per_million else ())
    said = [f"{_size(row)}{_rate(row)}" for row in rows]
    return f"{entry.currency} " + "; ".join((*said, *map(_window, entry.windows)))


def _size(rates: Rates) -> str:
    if not isinstance(rates, Tier):
        return ""
    limits = {"input": rates.max_input_tokens, "output": rates.max_output_tokens}
    said = [f"{what} ≤ {limit:,}" for what, limit in limits.items() if limit]
    return (", ".join(said) or "above") + (": " if rates.verified else " (unverified): ")


def _window(window: Window) -> str:
    hours = ", ".join(f"{begin}–{end}" for begin, end in window.hours)
    days = "–".join((window.weekdays[0], window.weekdays[-1]))
    off = f", not on {window.not_on.replace('_', ' ')}" if window.not_on else ""
    zone = f"UTC{window.utc_offset}"
    return f"{window.name} ({days} {hours} {zone}{off}): {_rate(window.per_million)}"


def _rate(rates: Rates) -> str:
    kinds = (
        rates.input,
        rates.output,
        rates.cache_read,
        rates.cache_write_5m,
        rates.cache_write_1h,
    )
    thinking = rates.output_thinking
    said = " / ".join("–" if kind is None else _number(kind) for kind in kinds)
    return said + (f" (output when thinking {_number(thinking)})" if thinking is not None else "")


def _usage(provider: Provider) -> str:
    usage = provider.file.usage
    cached = "does not count" if usage.counts == "anthropic" else "counts"
    said = f"Usage, on its own protocol: {_codes(usage.fields)}; the input {cached} cached tokens."
    return said + (f" Streaming: {usage.streaming}." if usage.streaming else "") + "\n"


def _errors(provider: Provider) -> str:
    errors = provider.file.errors
    by_class: dict[str, list[str]] = {}
    for code, failure in errors.codes.items():
        by_class.setdefault(failure, []).append(code)
    for pattern in errors.code_patterns:
        by_class.setdefault(pattern.failure, []).append(pattern.pattern)
    for message in errors.message_patterns:
        doubt = "" if message.verified else " (unverified)"
        by_class.setdefault(message.failure, []).append(f"“{message.text}”{doubt}")
    for status, failure in errors.http_status.items():
        by_class.setdefault(failure, []).append(f"HTTP {status}")
    rows = [(failure, _codes(codes)) for failure, codes in by_class.items()]
    finish = [f"`{word}` {meaning.value}" for word, meaning in provider.file.finish_reasons.items()]
    return (
        _table(("failure", f"codes ({errors.path})"), rows)
        + f"\nFinish reasons: {', '.join(finish)}.\n"
    )


def _offer(offer: Offer) -> str:
    grants = "; ".join(map(_grant, offer.grants))
    return f"Offer to movers: {offer.en}" + (f" Grants: {grants}." if grants else "") + "\n"


def _grant(grant: Grant) -> str:
    amount = f"{grant.currency + ' ' if grant.currency else ''}{grant.amount:,} of {grant.kind}"
    expiry = f"until {grant.expires}" if grant.expires else "expiry not stated"
    return f"{amount}, {expiry}" + (f", {grant.note}" if grant.note else "")


def _failures(catalog: Catalog) -> str:
    rows = [
        (name.value, entry.fault, entry.meaning.en, entry.meaning.zh)
        for name, entry in catalog.failures.classes.items()
    ]
    return "\n## Failures\n\n" + _table(("class", "charged to", "meaning", "含义"), rows)


def _rates(catalog: Catalog) -> str:
    rows = [
        (
            str(row.day),
            f"1 {row.from_} = {row.rate} {row.to}",
            "estimated" if row.estimated else "",
            row.source,
        )
        for row in catalog.fx_rows
    ]
    return "\n## Exchange rates\n\n" + _table(("from", "rate", "standing", "source"), rows)


def _sources(catalog: Catalog) -> str:
    rows = [(f"`{tag}`", meaning) for tag, meaning in catalog.sources.items()]
    return "\n## Sources\n\n" + _table(("tag", "what"), rows)


def _cited(base: BaseUrl) -> str:
    doubt = "" if base.verified else "unverified"
    return ", ".join(filter(None, (base.source, doubt)))


def _number(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(render(load_catalog()), end="")
