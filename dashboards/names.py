"""What providers are called and which colour they have on every page, from the catalog."""

from functools import cache

from dashboards.sides import Apart, Side, told_apart
from dashboards.verdicts import Verdict
from pipeline.catalog import Catalog, load_catalog
from pipeline.rules import load_checks
from pipeline.verdicts.plan import Plan

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


def sides(plan: Plan | None, workload: str) -> Apart:
    """The sides of a workload, by that plan."""
    return told_apart(plan, workload, catalog())


def candidate_name(plan: Plan | None, verdict: Verdict, language: str) -> str:
    """Who a verdict is about."""
    return side_name(sides(plan, verdict.workload).judged(verdict), language)


def side_name(side: Side, language: str) -> str:
    """The short name of a side, with its model where that tells it apart."""
    return f"{short_name(side.provider, language)} {side.model}".strip()


def side_color(side: Side, theme: str) -> str:
    """The provider's colour; of its further sides ever lighter, or darker where it is a light one."""
    color = provider_color(side.provider, theme)
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    far = 255 if sum(parts) < 3 * 128 else 0
    moved = side.nth / (side.nth + 1)
    return "#" + "".join(f"{round(part + (far - part) * moved):02X}" for part in parts)


def provider_color(provider: str, theme: str) -> str:
    """The provider's colour on a light or a dark page; grey for one the catalog does not know."""
    found = catalog().provider(provider)
    return getattr(found.file.color, theme) if found else UNKNOWN_COLOR
