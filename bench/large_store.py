"""A store after two months: 20 million calls, and what only time brings beside them.

The calls are the page tests' own (`tests/seed_store.py`), inserted in blocks as a worker's are, so that sums and
arrivals come from the materialised views. Beside them: the ledger of a worker that stores once a second, a twentieth
of the calls mirrored, ratings, and the rows that the judge writes in two weeks (verdicts) and two months (evidence).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import seed_store
from seed_store import DUPLICATES, PARTITIONS, REJECTED, VERDICTS, call_id

from pipeline.catalog import load_catalog
from pipeline.settings import Settings
from pipeline.store.connect import Client, connect

DAYS = 60
PAIRS = 20  # one call in so many is mirrored
RATINGS = 200  # one call in so many is rated
VERDICT_S, VERDICT_DAYS = 20, 14  # between the judge's rows of a pair; how long they are kept
EVIDENCE_S = 40


@contextmanager
def large_store(url: str, calls: int) -> Iterator[Settings]:
    """Settings of a filled database of its own; dropped at the end."""
    seed_store.SPAN_S = DAYS * 86_400
    with (
        seed_store.seeded(url, load_catalog(), calls=calls) as settings,
        connect(settings) as client,
    ):
        grow(client, calls)
        yield settings


def grow(client: Client, calls: int) -> None:
    """Adds to the seeded calls what two months leave behind."""
    _ledger(client, calls)
    for first in range(0, calls // PAIRS, 250_000):
        _pairs(client, calls, first)
    _ratings(client, calls)
    _judged(client)


def _ledger(client: Client, calls: int) -> None:
    """Batches of one second; the seeded ledger's last offsets, of rejected records and repeats, in one more."""
    client.command("TRUNCATE TABLE ledger")
    for partition in range(PARTITIONS):
        client.command(f"""
INSERT INTO ledger (cluster, topic, kafka_partition, offset_from, offset_to, stored, rejected, duplicates, worker, inserted_at)
SELECT cluster, topic, kafka_partition, min(kafka_offset), max(kafka_offset), count(), 0, 0, 'worker-1', max(inserted_at)
FROM calls WHERE kafka_partition = {partition}
GROUP BY cluster, topic, kafka_partition, toStartOfSecond(started_at)
SETTINGS max_bytes_before_external_group_by = 200000000""")
    last = calls // PARTITIONS
    rejected, duplicates = len(REJECTED) // PARTITIONS, DUPLICATES // PARTITIONS
    client.insert(
        "ledger",
        [["seed", "llm.calls", partition, last, last + rejected + duplicates - 1, 0, rejected, duplicates, "worker-1"]
         for partition in range(PARTITIONS)],
        column_names=["cluster", "topic", "kafka_partition", "offset_from", "offset_to", "stored", "rejected", "duplicates", "worker"],
    )  # fmt: skip


def _pairs(client: Client, calls: int, first: int) -> None:
    """Every twentieth call with the candidate's answer, and one in five of them with a second one of the baseline."""
    count = min(250_000, calls // PAIRS - first)
    begin = datetime.now(UTC) - timedelta(days=DAYS)
    client.command(f"""
INSERT INTO pairs (cluster, topic, kafka_partition, kafka_offset, position, received_at, received_on, call_id, shadow_of,
    conversation_id, workload, stage, mirrored_to, provider, model, twin_provider, twin_model, started_at, failed,
    twin_failed, quality, twin_quality, agreement, evidence, agreement_version)
SELECT 'seed', 'llm.calls', number % {PARTITIONS}, number, 1, started_at, toDate(started_at), concat('shadow-', toString(number)),
    {call_id(f"number * {PAIRS}")}, concat(workload, '-', toString(intDiv(number, 2))),
    ['support', 'code-agent', 'game', 'extraction'][1 + number % 4] AS workload, 'canary',
    if(number % 5 = 0, 'baseline', 'candidate') AS mirrored_to,
    if(mirrored_to = 'baseline', 'anthropic', ['moonshot', 'zhipu', 'volcengine', 'dashscope'][1 + number % 4]) AS provider,
    if(mirrored_to = 'baseline', 'claude-sonnet-4-5', ['kimi-k2-0905-preview', 'glm-4.6', 'doubao-seed-1-6', 'qwen3-max-preview'][1 + number % 4]), 'anthropic',
    'claude-sonnet-4-5', toDateTime64('{begin:%Y-%m-%d %H:%M:%S}', 3, 'UTC') + number / {calls // PAIRS} * {DAYS * 86_400} AS started_at,
    cityHash64(number) % 90 = 0, cityHash64(number, 1) % 100 = 0, 0.9, 0.95,
    map('same_outcome', cityHash64(number, 2) % 20 > 0, 'similar_text', (cityHash64(number, 3) % 10001) / 10000,
        'same_tools', cityHash64(number, 4) % 9 > 0, 'same_finish', 1),
    map('similar_text', 'the longest common part is of 40 words'), 1
FROM numbers({first}, {count})""")


def _ratings(client: Client, calls: int) -> None:
    client.command(f"""
INSERT INTO feedback (event_id, call_id, at, rating, comment, source)
SELECT toString(number), {call_id(f"number * {RATINGS}")}, now64(3), number % 2, '', 'app'
FROM numbers({calls // RATINGS})""")


def _judged(client: Client) -> None:
    """The judge's rows of every pair: the newest are the seeded ones, so that the pages say the same."""
    for (workload, candidate), (verdict, _, gates) in VERDICTS.items():
        document = json.dumps(
            [{"gate": gate[0], "state": gate[1], "reason_en": "x" * 200} for gate in gates]
        )
        client.command(f"""
INSERT INTO verdicts (at, workload, candidate, provider, verdict, since, reason_en, gates, changed)
SELECT now64(3) - number * {VERDICT_S} - {DAYS * 4320 + 3600}, '{workload}', '{candidate}', '', '{verdict}', now64(3), 'why', '{document}', false
FROM numbers({VERDICT_DAYS * 86_400 // VERDICT_S})""")
        for gate in ("failure", "score", "ttft_ms", "duration_ms", "cost"):
            client.command(f"""
INSERT INTO evidence (at, workload, candidate, epoch, gate, units_baseline, units_candidate, log_e_promote, log_e_rollback, estimate, lower, upper)
SELECT now64(3) - number * {EVIDENCE_S}, '{workload}', '{candidate}', 1, '{gate}', 10, 10, 4 - number / 50000, -1, 0.01, 0, 0.02
FROM numbers({DAYS * 86_400 // EVIDENCE_S})""")
