"""What providers are called and which colour they have on every page, from the catalog."""

from functools import cache

from pipeline.catalog import Catalog, load_catalog
from pipeline.rules import load_checks

UNKNOWN_COLOR = "#8A8F98"


@cache
def catalog() -> Catalog:
    """The facts, read once."""
    return load_catalog()


@cache
def _asked() -> dict[str, dict[str, str]]:
    return {name: rule.asks for name, rule in load_checks().checks.items()}


def check_asks(check: str, language: str) -> str:
    """The question a quality check answers; "" for a check that is not known any more."""
    return _asked().get(check, {}).get(language, "")


def provider_name(provider: str, language: str) -> str:
    """The provider's full name; one the catalog does not know keeps the name it came with."""
    found = catalog().provider(provider)
    return getattr(found.file.name, language) if found else provider or "?"


def short_name(provider: str, language: str) -> str:
    """The name without what stands in brackets or after a slash, for legends and table heads."""
    return provider_name(provider, language).split(" (")[0].split(" / ")[0]


def provider_color(provider: str, theme: str) -> str:
    """The provider's colour on a light or a dark page; grey for one the catalog does not know."""
    found = catalog().provider(provider)
    return getattr(found.file.color, theme) if found else UNKNOWN_COLOR
