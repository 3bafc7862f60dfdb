"""The judging worker is killed in the midst of the traffic: another one judges on, from the same evidence, shadow pairs too."""

import asyncio
import itertools
import json
from contextlib import ExitStack

import msgspec
import pytest
from workers import KILL, live_record, producing, until, worker

from pipeline.calls import Arm
from pipeline.formats.cutover import Record
from pipeline.plan_file import load_plan
from pipeline.settings import Settings
from pipeline.store import verdicts as stored
from pipeline.store.connect import Client, rows
from pipeline.verdict_commands import verdicts_of
from pipeline.verdicts.units import write_pairs, write_units

PLAN = """
migration: Takeover
baseline: claude
endpoints:
  claude: {provider: anthropic}
  kimi: {provider: moonshot, model: kimi-k2.6, key_env: KEY}
workloads:
  support:
    name: {en: Support}
    shadow: {share: 1, baseline_share: 1, budget_per_day: 9}
    stages: [{name: half, from: 2026-01-01T00:00:00Z, shares: {kimi: 0.5}}]
gates:
  idle_minutes: 0.05
  horizon: {conversations: 20, final_days: 0}
  failure: {margin: 0.2}
  score: {margin: 0.2}
  pairs: {failure: {margin: 0.2}, score: {margin: 0.2}, disagreement: {margin: 0.2}}
"""
NAMES = ("log_e_promote", "log_e_rollback", "estimate", "lower", "upper")


def conversation(number: int):
    """One call; every other one is the candidate's, and every ninth of these fails."""
    theirs = number % 2 == 1
    fields = {"provider": "moonshot", "host": "api.moonshot.ai"} if theirs else {}
    failed = {"http_status": 503, "response": "{}"} if number % 18 == 1 else {}
    return live_record(
        f"call-{number:05}", conversation_id=f"c{number:05}", arm="candidate" if theirs else "baseline",
        stage="half", share=0.5, **fields, **failed,
    )  # fmt: skip


def mirrored(user: Record, number: int) -> list[Record]:
    """The baseline's calls are mirrored to the candidate, two of three to the baseline too; some answers differ."""
    if number % 2 == 1:
        return []
    say = "It arrives tomorrow." if number % 4 else "Tomorrow."
    response = json.loads(user.response) | {"content": [{"type": "text", "text": say}]}
    again = {"arm": "shadow", "shadow_of": user.call_id, "twin": user, "stage": "", "share": None}
    told = [
        again
        | {"mirrored_to": Arm.CANDIDATE, "provider": "moonshot", "host": "api.moonshot.ai"}
        | {"response": json.dumps(response) if number % 10 else "{}"}
        | {"http_status": 200 if number % 10 else 503}
    ]
    if number % 3:
        told.append(again | {"mirrored_to": Arm.BASELINE})
    return [
        msgspec.structs.replace(user, call_id=f"{user.call_id}-{to}", **changes)
        for to, changes in enumerate(told)
    ]


@pytest.mark.parametrize("kafka", ["embedded"], indirect=True)
async def test_another_worker_judges_on_to_the_bit_when_the_judge_is_killed(
    kafka_settings: Settings, store: Client
) -> None:
    settings = kafka_settings
    settings.plan.write_text(PLAN)
    numbers = itertools.count()

    async def ask(sql: str):
        return await asyncio.to_thread(store.command, sql)

    with ExitStack() as running:
        workers = {}
        for name in ("one", "two"):
            started = running.enter_context(worker(settings, name))
            await started.ready()
            workers[started.settings.worker_port] = started
        async with producing(settings) as producer:

            async def talk() -> None:
                while True:
                    number = next(numbers)
                    producer.put(user := conversation(number))
                    for shadow in mirrored(user, number):
                        producer.put(shadow)
                    await asyncio.sleep(0.03)

            talking = asyncio.create_task(talk())
            try:

                async def judged() -> bool:
                    least = "SELECT least(sum(units_candidate), sum(pairs)) FROM v_verdicts"
                    return int(await ask(least) or 0) > 20

                await until(judged, *workers.values())
                writer = str(await ask("SELECT writer FROM units ORDER BY batch DESC LIMIT 1"))
                victim = workers.pop(int(writer.partition("/")[0].rpartition(":")[2]))
                victim.signal(KILL)
                (survivor,) = workers.values()

                async def taken_over() -> bool:
                    port = survivor.settings.worker_port
                    theirs = f"WHERE position(writer, ':{port}/') > 0"
                    sql = f"SELECT least((SELECT count() FROM units {theirs}), (SELECT count() FROM paired_units {theirs}))"
                    return int(await ask(sql)) > 20

                await until(taken_over, survivor)
            finally:
                talking.cancel()
        produced = next(numbers)

        async def all_said() -> bool:
            said = "SELECT sum(units_baseline + units_candidate + pairs) FROM v_verdicts"
            return int(await ask(said) or 0) == produced + (produced + 1) // 2

        await until(all_said, survivor)

    units = stored.read_units(store, "support")
    assert [unit.conversation_id for unit in units] == [f"c{n:05}" for n in range(produced)]
    assert sum(unit.failed_at is not None for unit in units) == len(range(1, produced, 18)) > 3
    pairs = stored.read_pairs(store, "support")
    assert [pair.conversation_id for pair in pairs] == [f"c{n:05}" for n in range(0, produced, 2)]
    assert [pair.noise is not None for pair in pairs] == [n % 3 > 0 for n in range(0, produced, 2)]
    (shown,) = rows(store, "SELECT units_candidate, pairs, gates FROM v_verdicts")
    files = write_units(units), write_pairs(pairs)
    (again,) = verdicts_of(load_plan(settings.plan), *files)["verdicts"]
    assert [again[n] for n in ("units_candidate", "pairs")] == [
        shown["units_candidate"],
        len(pairs),
    ]
    assert shown["pairs"] == len(pairs)
    told = {gate["gate"]: gate for gate in json.loads(shown["gates"])}
    assert {"pair:failure", "pair:score", "pair:disagreement"} < told.keys()
    for gate in again["gates"]:
        assert {n: gate[n] for n in NAMES} == {n: told[gate["gate"]][n] for n in NAMES}
