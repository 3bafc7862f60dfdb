"""Broken records of every format: each is a call, is set aside by name or rejected by name.

A few thousand mutations by default; 200,000 in the nightly profile, which also measures the slowest
record and the memory. `FUZZ_SEED` starts elsewhere.
"""

import json
import os
import resource
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from mutations import MUTATIONS
from records import STARTED, anthropic_record
from samples import CASES, shared_files
from test_formats import RULES, assert_storable
from test_otel import DOCUMENTS, as_protobuf

from pipeline.calls import Ignored, Rejected
from pipeline.files import messages
from pipeline.formats import FORMATS
from pipeline.formats.cutover import encode
from pipeline.scoring.score import score_message

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
COUNT = 200_000 if NIGHTLY else 4_000
SEED = int(os.environ.get("FUZZ_SEED", "20261125"))
RECEIVED = STARTED + 2000
LONGEST = 40_000  # bytes; longer samples only take longer
SLOW_SECONDS = 0.05
GROWTH_MB = 300


def corpus() -> dict[str, list[bytes]]:
    """Sound records of every format: authored ones, and the shared ones where they are."""
    litellm = Path(__file__).parent / "data" / "litellm" / "captured.jsonl"
    found = {
        "cutover": [encode(anthropic_record("a"))],
        "litellm": [json.dumps(json.loads(line)["payload"]).encode() for line in litellm.open()],
    }
    for case in CASES:
        found.setdefault(case["format"], []).append(case["record"].encode())
    for file, format in shared_files():
        found.setdefault(format, []).extend(messages(file))
    found["otlp"] += [as_protobuf(document) for document in DOCUMENTS]
    return {name: [r for r in records if len(r) <= LONGEST] for name, records in found.items()}


RECORDS = corpus()


def mutated(number: int) -> tuple[str, bytes]:
    """The mutation of that number: the format's name and the bytes."""
    chance = Random(f"{SEED}/{number}")
    name = chance.choice(sorted(RECORDS))
    record = chance.choice(RECORDS[name])
    for _ in range(chance.choice((1, 1, 1, 2))):
        try:
            record = chance.choice(MUTATIONS)(chance, record)
        except (ValueError, RecursionError):  # broken by the mutation before: then that is it
            break
    return name, record


def test_the_corpus_covers_every_format() -> None:
    assert set(RECORDS) == set(FORMATS)


def test_mutations_are_the_same_every_time() -> None:
    assert [mutated(n) for n in range(50)] == [mutated(n) for n in range(50)]


def test_every_broken_record_is_counted() -> None:
    """As its own format and, every other one, as whatever it looks like now."""
    outcomes: Counter[str] = Counter()
    for number in range(COUNT):
        name, record = mutated(number)
        try:
            found = score_message(record, RECEIVED, RULES, name if number % 2 else "")
            assert_storable(found)
        except Exception as error:
            pytest.fail(f"mutation {number} of {name}, seed {SEED}: {error!r}\n{record[:2000]!r}")
        outcomes.update(_outcome(each) for each in found)
    print(f"\n{COUNT} broken records: {dict(outcomes)}")
    assert outcomes["scored"] > COUNT / 10
    assert outcomes["malformed_record"] and outcomes["not_json"]


@pytest.mark.skipif(not NIGHTLY, reason="measured in the nightly profile only")
def test_no_broken_record_takes_long_or_much_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest = max((_seconds(number), number) for number in range(COUNT))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\nslowest {slowest[0] * 1000:.1f} ms (mutation {slowest[1]}), memory +{grown:.0f} MB")
    assert slowest[0] < SLOW_SECONDS
    assert grown < GROWTH_MB


def _seconds(number: int) -> float:
    """Time of the processor; a slow one is measured again, as it may have been the machine."""
    name, record = mutated(number)
    taken = _once(name, record)
    return taken if taken < SLOW_SECONDS else min(_once(name, record) for _ in range(5))


def _once(name: str, record: bytes) -> float:
    started = time.process_time()
    score_message(record, RECEIVED, RULES, name)
    return time.process_time() - started


def _outcome(found: object) -> str:
    return found.reason if isinstance(found, Rejected | Ignored) else "scored"
