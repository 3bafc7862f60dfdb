"""`cutover check`: what is wrong with the facts, the plan, Kafka and ClickHouse, each with its mend."""

import asyncio
import os
import time
from collections.abc import Iterator

from pipeline.catalog import load_catalog
from pipeline.kafka import KafkaError, cluster_id, missing_topics, why_not
from pipeline.plan_file import load_plan
from pipeline.settings import Settings, SettingsError
from pipeline.store.connect import StoreError, connect, why_not_stored
from pipeline.store.migrate import MigrationError, pending
from pipeline.tap.grader import grader_of
from pipeline.verdicts.plan import Plan, PlanError
from pipeline.yamlfile import BadFile

GOOD, BAD = "✓", "✗"


async def findings(settings: Settings) -> list[str]:
    """One line for each thing looked at; a line that starts with ✗ says what to mend."""
    return [
        *_facts(),
        *_plan(settings),
        await _kafka(settings),
        await asyncio.to_thread(_clickhouse, settings),
    ]


def _facts() -> Iterator[str]:
    try:
        yield f"{GOOD} facts: {len(load_catalog().providers)} providers"
    except BadFile as error:
        yield f"{BAD} facts: {error}"


def _plan(settings: Settings) -> Iterator[str]:
    if not settings.plan.exists():
        yield f"{BAD} plan: there is no {settings.plan}; `cutover up` writes one to start from"
        return
    try:
        plan = load_plan(settings.plan)
    except (BadFile, PlanError) as error:
        yield f"{BAD} plan: {error}"
        return
    yield f"{GOOD} plan: {plan.migration}, {len(plan.workloads)} workloads"
    yield from _judge_model(settings, plan)
    for name, endpoint in plan.endpoints.items():
        if endpoint.key_env and not os.environ.get(endpoint.key_env):
            yield f"{BAD} plan: endpoint {name}: put its API key into the variable {endpoint.key_env}"


def _judge_model(settings: Settings, plan: Plan) -> Iterator[str]:
    try:
        now = time.time_ns() // 1_000_000
        if grader_of(settings, load_catalog(), plan, os.environ, now):
            yield f"{GOOD} judge model: {settings.judge_model}"
    except SettingsError as error:
        yield f"{BAD} judge model: {error}"


async def _kafka(settings: Settings) -> str:
    try:
        cluster, missing = await cluster_id(settings), await missing_topics(settings)
    except (KafkaError, OSError) as error:
        return f"{BAD} {why_not(settings, error)}"
    if missing:
        return f"{BAD} Kafka: no topics {', '.join(sorted(missing))}; run `cutover migrate`"
    return f"{GOOD} Kafka: cluster {cluster}"


def _clickhouse(settings: Settings) -> str:
    try:
        with connect(settings) as client:
            waiting = pending(client)
            version = client.server_version
    except (StoreError, MigrationError, OSError) as error:
        return f"{BAD} {why_not_stored(settings, error)}"
    if waiting:
        return f"{BAD} ClickHouse: {len(waiting)} migrations are missing; run `cutover migrate`"
    return f"{GOOD} ClickHouse: {version}, database {settings.clickhouse_database}"
