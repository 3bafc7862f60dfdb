"""Runs the benchmarks named, or all of them, and prints and writes what they measured.

python -m bench                  # everything
python -m bench score pipelines  # some; the others' figures stay as they are in results.json
"""

import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

RESULTS = Path(__file__).parent / "results.json"
BENCHMARKS = ("score", "formats", "store", "pipelines", "steady", "tap", "pages", "verdicts")


def main() -> None:
    """Prints one figure a line; `results.json` holds the same, by benchmark."""
    if unknown := set(sys.argv[1:]) - set(BENCHMARKS):
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    results["machine"] = {"cores": os.cpu_count(), "python": platform.python_version()}
    for name in sys.argv[1:] or BENCHMARKS:
        run: Callable[[], dict[str, float]] = import_module(f"bench.{name}").run
        print(f"\n{name}, load {os.getloadavg()[0]:.1f} before")
        results[name] = run()
        for figure, value in results[name].items():
            print(f"  {figure:60} {value:>12,}", flush=True)
        RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
