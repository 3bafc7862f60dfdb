"""Who is compared in a workload: providers, and models where the plan sends it to several of one provider. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from dashboards.verdicts import Verdict
from pipeline.catalog import Catalog
from pipeline.verdicts.plan import Endpoint, Plan


class Side(NamedTuple):
    """One of those compared. `model` is "" where the provider alone tells it; else it is the provider's `nth`."""

    provider: str
    model: str = ""
    nth: int = 0

    @property
    def key(self) -> str:
        """Its name where text is needed."""
        return f"{self.provider}/{self.model}" if self.model else self.provider


@dataclass(frozen=True)
class Apart:
    """How a workload's sides are told by provider and model."""

    sides: dict[str, Side] = field(default_factory=dict)  # by endpoint
    models: dict[str, str] = field(default_factory=dict)  # "provider/model" → endpoint, if shared
    rest: dict[str, str] = field(default_factory=dict)  # provider → endpoint of all other models

    @property
    def document(self) -> str:
        """`models` as JSON, which is how a query takes them."""
        return msgspec.json.encode(self.models).decode()

    def side(self, provider: str, told: str) -> Side:
        """Of a provider's calls under one of `models` (`told`: its endpoint), or under none of them ("")."""
        name = told or self.rest.get(provider, "")
        return self.sides[name] if name else Side(provider)

    def judged(self, verdict: Verdict) -> Side:
        """The side a verdict is about; its provider, if the plan no longer sends the workload there."""
        return self.sides.get(verdict.candidate, Side(verdict.provider))

    def model_of(self, side: Side) -> str:
        """The model under which all of a side's calls are stored; "" if it has none of its own, or several."""
        mine = [
            key.partition("/")[2] for key, name in self.models.items() if self.sides[name] == side
        ]
        return mine[0] if len(mine) == 1 else ""


def told_apart(plan: Plan | None, workload: str, catalog: Catalog) -> Apart:
    """The sides of a workload: a shared provider's are called by their models, or by the endpoint if it has not one.

    Sums know a model by the catalog's name alone: of endpoints that name one model twice, the first has its calls.
    """
    work = plan.workloads.get(workload) if plan else None
    if plan is None or work is None:
        return Apart()
    by_provider: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys((plan.baseline, *work.candidates)):
        by_provider[plan.endpoints[name].provider].append(name)
    found = Apart()
    for provider, names in by_provider.items():
        if len(names) == 1:
            found.sides[names[0]] = Side(provider)
        else:
            _share(found, provider, names, plan.endpoints, catalog)
    return found


def _share(
    found: Apart, provider: str, names: Sequence[str], endpoints: dict[str, Endpoint], catalog: Catalog
) -> None:  # fmt: skip
    """Adds several endpoints of one provider."""
    for nth, name in enumerate(names):
        found.sides[name] = Side(provider, endpoints[name].model or name, nth)
        if not endpoints[name].named_models:
            found.rest[provider] = name
        for model in endpoints[name].named_models:
            known = catalog.model(provider, model)
            found.models.setdefault(f"{provider}/{known.id if known else model}", name)
