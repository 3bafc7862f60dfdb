"""How long one round of the judge takes with 100 pairs of workload and candidate and a full store.

Ten million conversations are stored as units, straight by SQL. Then traffic comes in rounds of two
seconds, 200 calls of 100 conversations each over 50 workloads with two candidates, and the judge
does its round, by the clock, since most of it is the store's: until it tells what it has found, and until the
store has all that it wrote, which a round without news leaves to the time before the next one. No other process
should be busy.
"""

import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bench.records import NOW_MS
from bench.servers import clickhouse, used_ms
from pipeline.catalog import load_catalog
from pipeline.judging import Judge
from pipeline.settings import Settings
from pipeline.store import service
from pipeline.store.connect import Client, connect
from pipeline.store.migrate import migrate
from pipeline.verdicts.plan import Plan, check

UNITS = 10_000_000
AT_ONCE = 500_000  # stored in one INSERT
WORKLOADS = 50
ROUNDS = 60
WARM_UP = 20
CALLS = 200


def run() -> dict[str, float]:
    """Median and 95th percentile of a round, and until all is stored, milliseconds; processor time of judge and engine."""
    with TemporaryDirectory() as folder, clickhouse(Path(folder) / "data") as (url, engine):
        settings = replace(Settings(), clickhouse_url=url)
        migrate(settings, load_catalog())
        with connect(settings) as client:
            _fill(client)
            rounds = _rounds(client, Path(folder) / "plan.yml", engine)
    what = f"judge's round, 100 pairs, {UNITS:,} conversations"
    took, stored, own, store = ([part[i] for part in rounds] for i in range(4))
    return {
        f"{what}, ms": round(statistics.median(took), 1),
        f"{what}, 95 %, ms": round(statistics.quantiles(took, n=20)[-1], 1),
        f"{what}, until all is stored, ms": round(statistics.median(stored), 1),
        f"{what}, until all is stored, 95 %, ms": round(statistics.quantiles(stored, n=20)[-1], 1),
        f"{what}, processor of the judge, ms": round(statistics.mean(own), 1),
        f"{what}, processor of the engine, ms": round(statistics.mean(store), 1),
    }


def _plan() -> Plan:
    workload = {
        "name": {"en": "Bench"},
        "stages": [{"name": "half", "from": "2026-01-01T00:00:00Z", "shares": {"kimi": 0.3, "glm": 0.3}}],
    }  # fmt: skip
    document = {
        "migration": "Bench",
        "baseline": "claude",
        "endpoints": {
            "claude": {"provider": "anthropic"},
            "kimi": {"provider": "moonshot", "key_env": "K"},
            "glm": {"provider": "zhipu", "key_env": "K"},
        },
        "workloads": {f"w{n:02}": workload for n in range(WORKLOADS)},
        "gates": {"idle_minutes": 0.1, "ttft_ms": {"slo": 3000}, "failure": {"margin": 0.01}},
    }
    return check(msgspec.convert(document, Plan))


_PROVIDER = "['anthropic', 'moonshot', 'zhipu'][1 + intDiv(number, 50) % 3]"


def _fill(client: Client) -> None:
    """The past: 200,000 conversations of each workload, by providers the judge does not fold anew."""
    for begin in range(0, UNITS, AT_ONCE):
        client.command(f"""
        INSERT INTO units (batch, writer, workload, provider, arm, conversation_id, assigned_at, closed_at, failed)
        SELECT 1, 'bench', 'w' || leftPad(toString(number % {WORKLOADS}), 2, '0'), 'elsewhere', 'candidate',
            'past-' || toString(number), fromUnixTimestamp64Milli({NOW_MS} - 900000000 + intDiv(number, 20)),
            fromUnixTimestamp64Milli({NOW_MS} - 900000000 + intDiv(number, 20)), false
        FROM numbers({begin}, {AT_ONCE})""")
    while client.command(
        "SELECT count() FROM system.merges"
    ):  # as in a store that has grown for weeks
        time.sleep(0.5)


def _rounds(
    client: Client, plan_path: Path, engine: int
) -> list[tuple[float, float, float, float]]:
    """Of each round, milliseconds: told, all stored, processor time of the judge and of the engine."""
    plan, now, offset, rounds = _plan(), NOW_MS, 0, []
    judge = Judge(client, "k", "llm.calls", "bench", load_catalog(), plan_path)
    for number in range(WARM_UP + ROUNDS):
        client.command(f"""
            INSERT INTO arrivals (cluster, topic, kafka_partition, kafka_offset, position, received_at, call_id,
                attempt, conversation_id, workload, arm, stage, share, provider, started_at, duration_ms, quality)
            SELECT 'k', 'llm.calls', 0, {offset} + intDiv(row, 10), row % 10,
                fromUnixTimestamp64Milli({now} + row * 10), '{number}-' || toString(row), 1,
                'now-{number}-' || toString(row % 100), 'w' || leftPad(toString(number % {WORKLOADS}), 2, '0'),
                if({_PROVIDER} = 'anthropic', 'baseline', 'candidate'), 'half', 0.6, {_PROVIDER},
                fromUnixTimestamp64Milli({now} + row * 10 - 500), 500, 0.9
            FROM (SELECT number AS row, (number + {number} * 50) AS number FROM numbers({CALLS}))""")
        ledger = ["k", "llm.calls", 0, offset, offset + CALLS // 10 - 1, CALLS, 0, 0, "w"]
        columns = ["cluster", "topic", "kafka_partition", "offset_from", "offset_to", "stored", "rejected",
                   "duplicates", "worker"]  # fmt: skip
        client.insert("ledger", [ledger], column_names=columns)
        offset += CALLS // 10
        now += 2000
        service.insert_partition_ends(client, "k", {("llm.calls", 0): (0, offset)}, now)
        started, own, store = time.perf_counter(), time.process_time(), used_ms(engine)
        judge.tick(plan, now)
        told = time.perf_counter()
        judge.settle()
        stored, own_after = time.perf_counter(), time.process_time()
        if number >= WARM_UP:
            rounds.append((
                (told - started) * 1000, (stored - started) * 1000, (own_after - own) * 1000,
                used_ms(engine) - store,
            ))  # fmt: skip
    assert client.command("SELECT count() FROM units") > UNITS
    return rounds
