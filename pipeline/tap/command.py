"""`cutover tap`: the tap with the plan file, the catalog's addresses and Kafka behind it."""

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack

from pipeline.calls import Protocol
from pipeline.catalog import load_catalog
from pipeline.embedded.ports import check_address
from pipeline.kafka import CallProducer
from pipeline.plan_file import SteeredPlanFile
from pipeline.settings import Settings, SettingsError
from pipeline.tap.grader import grader_of
from pipeline.tap.logs import check_admin_binding, create_log_app, serve_logs
from pipeline.tap.server import check_binding, create_app, serve, tokens_of
from pipeline.verdicts.plan import Endpoint, Plan


async def run_tap(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT. Raises SettingsError, BadFile, PlanError, OSError."""
    catalog = load_catalog()
    plan_file = SteeredPlanFile(settings.plan)

    def plan() -> Plan:
        found = plan_file()
        if found is None:
            raise SettingsError(
                f"CUTOVER_PLAN: there is no {settings.plan}; `cutover migrate` writes one"
            )
        return found

    def base_url(endpoint: Endpoint, protocol: Protocol) -> str | None:
        given = endpoint.base_urls.get(protocol)
        return given or catalog.base_url(endpoint.provider, protocol, endpoint.region)

    # What is wrong with the plan or the settings is said before Kafka is asked for.
    grader = grader_of(settings, catalog, plan(), os.environ, time.time_ns() // 1_000_000)
    tokens = tokens_of(settings.tap_tokens)
    check_binding(settings.host, tokens)
    check_admin_binding(settings.admin_host, tokens)
    check_address(settings.host, settings.tap_port, "CUTOVER_TAP_PORT")
    if settings.admin_port:
        check_address(settings.admin_host, settings.admin_port, "CUTOVER_ADMIN_PORT")
    producer = CallProducer(settings, "tap")
    spent = settings.data / "shadow-spent.json"
    app = create_app(plan, base_url, producer, tokens, catalog=catalog, spent=spent, grader=grader)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await producer.start()
    try:
        async with AsyncExitStack() as running:
            tap = await serve(app, settings.host, settings.tap_port)
            running.push_async_callback(tap.cleanup)
            if settings.admin_port:
                logs = create_log_app(producer, tokens)
                admin = await serve_logs(logs, settings.admin_host, settings.admin_port)
                running.push_async_callback(admin.cleanup)
            await stop.wait()
    finally:
        await producer.stop()
    return 0
