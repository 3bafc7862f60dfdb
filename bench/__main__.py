"""Runs every benchmark and prints and writes what it measured."""

import json
from pathlib import Path

from bench import formats, score, store

RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    """Prints one figure a line; `results.json` holds the same."""
    figures: dict[str, float] = {}
    for benchmark in (score, formats, store):
        for name, value in benchmark.run().items():
            print(f"{name:32} {value:>10,}")
            figures[name] = value
    RESULTS.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
