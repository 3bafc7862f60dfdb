"""List and net cost of each provider and month, from the store and the plan."""

from datetime import date, timedelta

from pipeline.catalog import Catalog
from pipeline.scoring.net_cost import (
    DayUsage,
    NetCost,
    grants_of,
    net_by_day,
    net_by_month,
    plans_of,
    tokens_left,
)
from pipeline.store.connect import Client, rows
from pipeline.store.migrate import SQL
from pipeline.verdicts.plan import Plan


def monthly_costs(
    client: Client, catalog: Catalog, plan: Plan | None, until: date
) -> list[NetCost]:
    """List and net cost per month, provider and native currency, before the day `until` (UTC).

    Reads the usage of all days, because grants are used up in order. Costs are as of the newest
    cost version; shadow calls are included. Without a plan nothing is free. Raises StoreError.
    """
    grants = grants_of(plan, catalog) if plan else {}
    plans = plans_of(plan) if plan else {}
    return net_by_month(net_by_day(_usage(client, until), grants, plans, until))


def free_tokens_left(client: Client, catalog: Catalog, plan: Plan, day: date) -> dict[str, int]:
    """Free tokens left that day, by provider with grants. Reads all usage; raises StoreError."""
    grants = grants_of(plan, catalog)
    if not any(grants.values()):
        return {}
    usage = _usage(client, day + timedelta(days=1))
    return tokens_left(usage, grants, plans_of(plan), day)


def _usage(client: Client, until: date) -> list[DayUsage]:
    sql = (SQL / "queries" / "daily_usage.sql").read_text(encoding="utf-8")
    return [DayUsage(**row) for row in rows(client, sql, {"until": until})]
