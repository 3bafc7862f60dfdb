"""`cutover demo`: the whole service with simulated providers and made-up traffic through the tap."""

import asyncio
import os
import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from pipeline.account import take_account
from pipeline.demo.behaviour import load_behaviours
from pipeline.demo.past import sending_past
from pipeline.demo.run import serve_simulators
from pipeline.demo.scenario import demo_plan
from pipeline.demo.traffic import drive
from pipeline.embedded.ports import free_port
from pipeline.embedded.supervisor import supervise
from pipeline.kafka import COUNT_INTERVAL_SECONDS, cluster_id
from pipeline.service import alone_in, children, drained, next_to_start, on_free_ports, welcome
from pipeline.settings import Settings
from pipeline.store.connect import Client, connect, rows

SQL = Path(__file__).parent / "sql"
SIMULATORS_PORT = 8600
SETTLE_SECONDS = 30.0
KEY_VARIABLE = "CUTOVER_DEMO_KEY"


class Demo(msgspec.Struct, frozen=True):
    """What was asked for on the command line."""

    seconds: float | None
    json: bool
    rate: float
    seed: int | None
    history_days: int


async def run_demo(settings: Settings, demo: Demo) -> int:
    """Runs until Ctrl-C, or for `seconds`. Returns 1 if the account does not balance in the end.

    Raises SettingsError if another demo runs in the same folder.
    """
    with alone_in(settings.data / "demo"):
        result = await _run_alone(settings, demo)
    if result or not demo.json:  # Ctrl-C leaves no account to print
        print(msgspec.json.encode(result).decode() if demo.json else "stopped")
    return 0 if result.get("balanced", True) else 1


async def _run_alone(asked: Settings, demo: Demo) -> dict[str, Any]:
    """The account of this run; nothing if it was stopped."""
    start = await next_to_start()
    settings = on_free_ports(replace(asked, data=asked.data / "demo"))
    settings = replace(settings, plan=settings.data / "plan.yml")
    port = free_port(SIMULATORS_PORT)
    now = time.time_ns() // 1_000_000
    settings.plan.write_text(demo_plan(now, f"http://127.0.0.1:{port}", demo.history_days))
    os.environ.setdefault(KEY_VARIABLE, secrets.token_urlsafe(12))
    seed = demo.seed if demo.seed is not None else now // 1000
    result: dict[str, Any] = {}

    async def body() -> None:
        if not demo.json:
            # `cutover check` wants some key, as the simulated providers do.
            print(welcome(settings, asked, f"{KEY_VARIABLE}=made-up"), flush=True)
        tap = f"http://127.0.0.1:{settings.tap_port}"
        async with (
            serve_simulators(port, seed),
            sending_past(settings, demo.history_days, seed, now),
        ):
            start.close()
            begun, started = time.time_ns() // 1_000_000, time.monotonic()
            await drive(tap, demo.rate, demo.seconds, seed, asyncio.Event())
            seconds = time.monotonic() - started
        result.update(await outcome(settings, now, seconds))
        with connect(settings) as client:
            result["seconds_to_rollback"] = seconds_to_rollback(client, begun, seconds)

    await supervise(children(settings), settings.data, body)
    return result


async def outcome(settings: Settings, started_ms: int, seconds: float) -> dict[str, Any]:
    """Waits until nothing moves any more and takes the account of this run."""
    cluster = await cluster_id(settings)
    with connect(settings) as client:
        made = await _final_counts(settings, client, cluster)
        account = await take_account(
            settings, client, cluster, made["produced"], made["waiting"], made["resent"]
        )
        here = {"cluster": cluster, "started": started_ms}
        (live,) = rows(client, (SQL / "live.sql").read_text(), here)
        verdicts = rows(client, (SQL / "verdicts.sql").read_text())
    return {
        **msgspec.structs.asdict(account),
        "balanced": account.balanced,
        "dropped": made["dropped"],
        "calls_per_second": round(live["calls"] / seconds, 1),
        "freshness_p99_ms": round(live["freshness_p99_ms"]),
        "providers": live["providers"],
        "verdicts": {
            f"{found['workload']}/{found['candidate']}": found["verdict"] for found in verdicts
        },
    }


def seconds_to_rollback(client: Client, begun: int, seconds: float) -> dict[str, float | None]:
    """Provider → from the begin of its incident, if there was one, to its ROLLBACK; None if none was said.

    `begun` is when the simulated providers began, UTC ms, and `seconds` how long they had traffic.
    """
    found: dict[str, float | None] = {}
    for provider, behaviour in load_behaviours().items():
        for incident in behaviour.incidents:
            if 0 <= incident.from_minute * 60 < seconds:
                since = begun + round(incident.from_minute * 60_000)
                asked = {"provider": provider, "since": since}
                said = rows(client, (SQL / "rollback.sql").read_text(), asked)
                found[provider] = round((said[0]["at"] - since) / 1000, 1) if said else None
    return found


async def _final_counts(settings: Settings, client: Client, cluster: str) -> dict[str, int]:
    """What all producers say they made, once they hold nothing back and the ledger has all."""
    deadline = time.monotonic() + SETTLE_SECONDS
    before: dict[str, int] = {}
    while time.monotonic() < deadline:
        await asyncio.sleep(COUNT_INTERVAL_SECONDS + 0.5)  # every producer speaks once in that time
        await drained(settings)
        (counts,) = rows(client, (SQL / "produced.sql").read_text(), {"cluster": cluster})
        if counts == before and not counts["waiting"]:
            break
        before = counts
    return before
