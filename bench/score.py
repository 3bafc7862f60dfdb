"""How long it takes to score one call, on one core, by the size of its record."""

from bench.records import NOW_MS, demo_lines, demo_rules, median_seconds
from pipeline.scoring.score import score_message

ROUNDS = 15
CALLS = 500
SIZES = {"1 KB": 1000, "2.5 KB": 2500, "4 KB": 4000}  # bytes of the record, the nearest are taken


def run() -> dict[str, float]:
    """Median microseconds a call for each size of record."""
    rules = demo_rules()
    lines = demo_lines(rules, 20_000)
    figures = {}
    for name, size in SIZES.items():
        chosen = sorted(lines, key=lambda line: abs(len(line) - size))[:CALLS]
        message = b"\n".join(chosen)
        assert len(score_message(message, NOW_MS, rules)) == CALLS
        seconds = median_seconds(lambda m=message: score_message(m, NOW_MS, rules), ROUNDS)
        figures[f"score {name} record, µs"] = round(seconds / CALLS * 1e6, 1)
    return figures
