"""Producer, topics and offsets, against real brokers."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from records import anthropic_record

from pipeline.kafka import (
    BATCH_BYTES,
    BATCH_CALLS,
    FORMAT_HEADER,
    CallProducer,
    KafkaError,
    batches,
    calls_beyond,
    cluster_id,
    end_offsets,
    ensure_topics,
    missing_topics,
)
from pipeline.settings import Settings


@pytest.fixture
def topics(kafka_settings: Settings) -> Settings:
    return kafka_settings


async def read(settings: Settings, topic: str) -> list[Any]:
    """Every message of a topic, partition by partition."""
    messages: list[Any] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, auto_offset_reset="earliest"
    ) as consumer:
        places = [TopicPartition(topic, p) for p in range(settings.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(tp) < ends[tp] for tp in places]):
            for found in (await consumer.getmany(timeout_ms=500)).values():
                messages += found
    return messages


async def test_topics_are_created_once_and_stay_as_they_are(topics: Settings) -> None:
    fresh = replace(topics, calls_topic=f"{topics.calls_topic}-again")
    assert await missing_topics(fresh) == {fresh.calls_topic}
    await asyncio.gather(ensure_topics(fresh), ensure_topics(fresh))
    await ensure_topics(fresh)
    assert await missing_topics(fresh) == set()
    assert await end_offsets(fresh) == dict.fromkeys(range(fresh.partitions), 0)
    assert await cluster_id(fresh) == await cluster_id(topics)


async def test_a_topic_that_kafka_refuses_to_create_is_named(topics: Settings) -> None:
    if (await cluster_id(topics)).startswith("embedded"):
        pytest.skip("the embedded broker refuses nothing")
    refused = replace(topics, calls_topic="not a name")
    with pytest.raises(KafkaError, match="not a name"):
        async with asyncio.timeout(20):
            await ensure_topics(refused)


async def test_what_lies_beyond_given_offsets_is_counted_call_by_call(topics: Settings) -> None:
    assert await calls_beyond(topics, {}) == 0
    producer = CallProducer(topics, "test")
    await producer.start()
    for number in range(1200):
        producer.put(anthropic_record(f"call {number}"))
    await producer.flush()
    ends = await end_offsets(topics)
    assert await calls_beyond(topics, {}) == 1200
    assert await calls_beyond(topics, ends) == 0
    producer.put_line(b"one more", "any")
    await producer.stop()
    assert await calls_beyond(topics, ends) == 1


async def test_calls_of_one_conversation_stay_together_in_order_and_are_sent_once(
    topics: Settings,
) -> None:
    producer = CallProducer(topics, "test")
    await producer.start()
    for turn in range(20):
        for talk in range(50):
            producer.put_line(json.dumps([talk, turn]).encode(), f"conversation {talk}")
        await asyncio.sleep(0.01)  # so that some are on their way when it stops
    await producer.stop()
    assert (producer.counts.produced, producer.counts.sent, producer.waiting) == (1000, 1000, 0)
    messages = await read(topics, topics.calls_topic)
    assert {dict(m.headers)[FORMAT_HEADER] for m in messages} == {b"cutover"}
    lines = [(m.partition, *json.loads(x)) for m in messages for x in m.value.split(b"\n")]
    for talk in range(50):
        mine = [(partition, turn) for partition, t, turn in lines if t == talk]
        assert len({partition for partition, _ in mine}) == 1
        assert [turn for _, turn in mine] == list(range(20))
    assert len({partition for partition, _, _ in lines}) == topics.partitions


async def test_events_and_counts_go_to_the_events_topic(topics: Settings) -> None:
    producer = CallProducer(topics, "test")
    await producer.start()
    producer.put(anthropic_record("a"))
    producer.event("stage_changed", {"workload": "support", "stage": "半"})
    await producer.stop()
    events = [json.loads(m.value) for m in await read(topics, topics.events_topic)]
    assert len({event["event_id"] for event in events}) == len(events)
    changed = next(e for e in events if e["kind"] == "stage_changed")
    assert (changed["workload"], changed["stage"]) == ("support", "半")
    last = max((e for e in events if e["kind"] == "producer_counts"), key=lambda e: e["at"])
    counts = {name: last[name] for name in ("produced", "sent", "waiting", "dropped", "resent")}
    assert counts == {"produced": 1, "sent": 1, "waiting": 0, "dropped": 0, "resent": 0}
    assert last["producer"] == producer.name


@given(st.lists(st.integers(0, BATCH_BYTES * 2) | st.integers(0, 200), max_size=1500))
def test_batches_cover_all_lines_in_order_within_the_limits(sizes: list[int]) -> None:
    lines: Any = [range(size) for size in sizes]  # only lengths matter
    cuts = list(batches(lines))
    assert [i for start, stop in cuts for i in range(start, stop)] == list(range(len(lines)))
    for start, stop in cuts:
        assert 1 <= stop - start <= BATCH_CALLS
        assert stop - start == 1 or sum(sizes[start:stop]) <= BATCH_BYTES
