"""How long it takes to score one call, on one core, by the size of its record.

Time of the processor, not of the clock, because machines are shared; the best round is nearest to
what a quiet core takes.
"""

import statistics
import time

from bench.records import NOW_MS, demo_lines, demo_rules
from pipeline.scoring.score import Rules, score_message

ROUNDS = 25
CALLS = 500
SIZES = {"1 KB": 1000, "2.5 KB": 2500, "4 KB": 4000}  # bytes of the record, the nearest are taken


def run() -> dict[str, float]:
    """Median and least microseconds a call for each size of record."""
    rules = demo_rules()
    lines = demo_lines(rules, 20_000)
    figures = {}
    for name, size in SIZES.items():
        chosen = sorted(lines, key=lambda line: abs(len(line) - size))[:CALLS]
        taken = [_microseconds(b"\n".join(chosen), rules) for _ in range(ROUNDS)]
        figures[f"score {name} record, µs"] = round(statistics.median(taken), 1)
        figures[f"score {name} record, best µs"] = round(min(taken), 1)
    return figures


def _microseconds(message: bytes, rules: Rules) -> float:
    """Time of the processor for each call of a message."""
    started = time.process_time()
    assert len(score_message(message, NOW_MS, rules)) == CALLS
    return (time.process_time() - started) / CALLS * 1e6
