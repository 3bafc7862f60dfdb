"""Shadow calls and feedback the whole way: tap, simulated providers, Kafka, worker, store, views."""

import asyncio
import json
from decimal import Decimal

import aiohttp
import msgspec
from aiokafka import AIOKafkaProducer
from tapping import plan, tap
from workers import assert_all_is_accounted_for, producing, until, worker

from pipeline.demo.run import serve_simulators
from pipeline.demo.scenario import Conversation
from pipeline.settings import Settings
from pipeline.store.connect import Client, rows
from pipeline.verdicts.plan import Shadow

SHADOW = Shadow(share=1, baseline_share=1, budget_per_day=Decimal(100))
TALKS = 4


async def ask(address: str, number: int) -> str:
    """One call of a made-up code agent, with tools; gives its call id."""
    conversation = Conversation("code", number, 7)
    headers = {
        "x-cutover-app": "chat-app",
        "x-cutover-conversation": conversation.id,
        "x-api-key": "callers-own-key",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{address}/v1/messages",
            data=msgspec.json.encode(conversation.request()),
            headers=headers,
        ) as got,
    ):
        await got.read()
        return got.headers["x-cutover-call-id"]


async def rate(settings: Settings, call_id: str) -> None:
    """Feedback that comes twice, and some that cannot be used."""
    said = {"event_id": "e1", "call_id": call_id, "rating": 1, "comment": "well done"}
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        for value in (json.dumps(said).encode(), json.dumps(said).encode(), b"garbage"):
            await producer.send_and_wait(settings.feedback_topic, value, partition=0)


async def test_pairs_reasons_and_ratings_arrive_once_and_shadows_are_no_traffic(
    kafka_settings: Settings, store: Client
) -> None:
    settings = kafka_settings
    with worker(settings) as running:
        await running.ready()
        async with serve_simulators(0, 7) as url, producing(settings) as producer:
            moving = plan(f"{url}/anthropic", f"{url}/moonshot", shadow=SHADOW, model="kimi-k2.6")
            async with tap(moving, producer) as address:
                asked = await asyncio.gather(*(ask(address, number) for number in range(TALKS)))

                async def all_is_in_kafka() -> bool:
                    return producer.counts.sent == 3 * TALKS

                await until(all_is_in_kafka, running)
        await rate(settings, asked[0])

        async def all_is_there() -> bool:
            found = await asyncio.to_thread(
                rows,
                store,
                "SELECT (SELECT count() FROM v_feedback) AS rated, (SELECT sum(calls) FROM v_mirroring) AS told,"
                " (SELECT count() FROM v_events WHERE kind = 'feedback_rejected') AS refused",
            )
            return found == [{"rated": 1, "told": TALKS, "refused": 1}]

        await assert_all_is_accounted_for(settings, store, producer, running)
        await until(all_is_there, running)

    pairs = rows(store, "SELECT shadow_of, mirrored_to FROM pairs ORDER BY ALL")
    expected = [(call_id, to) for call_id in sorted(asked) for to in ("baseline", "candidate")]
    assert [tuple(row.values()) for row in pairs] == expected
    assert {row["check"] for row in rows(store, "SELECT check FROM v_disagreement")} >= {
        "same_tools"
    }
    assert store.command("SELECT count() FROM pair_arrivals") == 2 * TALKS
    (told,) = rows(store, "SELECT workload, reason, calls FROM v_mirroring")
    assert told == {"workload": "chat", "reason": "mirrored", "calls": TALKS}
    users = rows(store, "SELECT arm, count() AS n FROM v_calls GROUP BY arm ORDER BY arm")
    assert users == [{"arm": "baseline", "n": TALKS}, {"arm": "shadow", "n": 2 * TALKS}]
    (rated,) = rows(store, "SELECT call_id, comment, provider FROM v_feedback")
    assert rated == {"call_id": asked[0], "comment": "well done", "provider": "anthropic"}
