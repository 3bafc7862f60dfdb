"""What changed between two states of the facts, in lines for a person: `cutover catalog diff`.

Each fact is a name and a value in words; comparing two catalogs is comparing names and values.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from pipeline.catalog import Catalog
from pipeline.facts.schema import PriceEntry

_ASIDE = {
    "region",
    "effective_from",
    "effective_to",
    "observed",
    "source",
    "note",
}  # told elsewhere


def diff(old: Catalog, new: Catalog) -> list[str]:
    """What was added, removed and changed from the old facts to the new ones, kind by kind.

    Told are models, their other names, prices and when they end, what errors mean, and exchange
    rates. "added end of price …" is a price that has ended.
    """
    return [line for kind, of in _KINDS.items() for line in _compare(kind, of(old), of(new))]


def _compare(kind: str, old: dict[str, str], new: dict[str, str]) -> list[str]:
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            lines.append(f"added {kind} {name}: {new[name]}")
        elif name not in new:
            lines.append(f"removed {kind} {name}: {old[name]}")
        elif old[name] != new[name]:
            lines.append(f"changed {kind} {name}: {old[name]} → {new[name]}")
    return lines


def _models(catalog: Catalog) -> dict[str, str]:
    return {
        f"{provider.id}/{model.id}": f"retired {model.entry.retired}"
        if model.entry.retired
        else "in use"
        for provider in catalog.providers.values()
        for model in provider.models.values()
    }


def _aliases(catalog: Catalog) -> dict[str, str]:
    return {
        f"{provider.id}/{name}": model.id
        for provider in catalog.providers.values()
        for model in provider.models.values()
        for name in (*model.entry.aliases, *model.entry.name_patterns)
    }


def _price_entries(catalog: Catalog) -> dict[str, PriceEntry]:
    return {
        f"{provider.id}/{model.id}/{p.region}/{p.effective_from or 'undated'}": p
        for provider in catalog.providers.values()
        for model in provider.models.values()
        for p in model.entry.prices
    }


def _prices(catalog: Catalog) -> dict[str, str]:
    entries = _price_entries(catalog).items()
    return {name: _words(msgspec.to_builtins(entry)) for name, entry in entries}


def _ends(catalog: Catalog) -> dict[str, str]:
    entries = _price_entries(catalog).items()
    return {name: entry.effective_to for name, entry in entries if entry.effective_to}


def _errors(catalog: Catalog) -> dict[str, str]:
    found: dict[str, str] = {}
    for id, provider in catalog.providers.items():
        errors = provider.file.errors
        found |= {f"{id} code {code}": failure for code, failure in errors.codes.items()}
        found |= {f"{id} code like {p.pattern}": p.failure for p in errors.code_patterns}
        found |= {
            f"{id} status {status}": failure for status, failure in errors.http_status.items()
        }
        found |= {f"{id} message {p.text!r}": p.failure for p in errors.message_patterns}
    return found


def _rates(catalog: Catalog) -> dict[str, str]:
    return {f"{row.from_}/{row.to} {row.day}": str(row.rate) for row in catalog.fx_rows}


def _words(value: Any) -> str:
    """A value of a facts file on one line, without what is not set or told elsewhere."""
    if isinstance(value, dict):
        told = {k: v for k, v in value.items() if k not in _ASIDE and v not in (None, "", [], ())}
        return ", ".join(f"{key} {_words(v)}" for key, v in told.items())
    if isinstance(value, list | tuple):
        return " + ".join(f"({_words(item)})" for item in value)
    return str(value)


_KINDS: dict[str, Callable[[Catalog], dict[str, str]]] = {
    "model": _models,
    "alias": _aliases,
    "price": _prices,
    "end of price": _ends,
    "error": _errors,
    "exchange rate": _rates,
}
