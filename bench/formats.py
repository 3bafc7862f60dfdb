"""How many records of each gateway's format one core scores in a second, in the processor's time.

The records are those of the tests, all calls of a format in turn, as one message of lines.
"""

import json
import time
from pathlib import Path

import yaml

from bench.records import NOW_MS, demo_rules
from pipeline.calls import ScoredCall
from pipeline.formats import FORMATS
from pipeline.scoring.score import Rules, score_message

ROUNDS = 9
RECORDS = 2000
DATA = Path(__file__).parents[1] / "tests" / "data"


def run() -> dict[str, float]:
    """Records a second for each format, the best round: nearest to what a quiet core does."""
    rules = demo_rules()
    figures: dict[str, float] = {}
    for name, records in _records().items():
        message = b"\n".join(records[n % len(records)] for n in range(RECORDS))
        figures[f"score {name}, records/s"] = max(_rate(message, rules) for _ in range(ROUNDS))
        figures[f"{name} record, bytes"] = round(len(message) / RECORDS)
    return figures


def _records() -> dict[str, list[bytes]]:
    """Each format's records, one a line."""
    found = {}
    for file in sorted((DATA / "gateways").glob("*.yml")):
        cases = yaml.safe_load(file.open(encoding="utf-8"))
        values = [case["record"].encode() for case in cases if "expect" in case]
        found[file.stem] = [each for v in values for each in FORMATS[file.stem].split(v)]
    captured = DATA / "litellm" / "captured.jsonl"
    padding = {
        "model_map_information": {"model_map_value": {f"cost_{n}": 1e-6 for n in range(400)}}
    }
    found["litellm"] = [
        json.dumps({**json.loads(line)["payload"], **padding}).encode()
        for line in captured.open("rb")
    ]  # with a price map as large as LiteLLM's, which the tests' records are without
    return found


def _rate(message: bytes, rules: Rules) -> float:
    started = time.process_time()
    scored = score_message(message, NOW_MS, rules)
    seconds = time.process_time() - started
    assert len(scored) == RECORDS
    assert any(isinstance(record, ScoredCall) for record in scored)
    return round(RECORDS / seconds)
