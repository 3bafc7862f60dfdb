"""Faults at random moments, on each broker; `make chaos` does it with more of them, or a seed of its own."""

import asyncio
import random
from pathlib import Path

import pytest
from chaos import chaos, running_broker


@pytest.mark.parametrize(("broker", "faults"), [("embedded", 8), ("apache", 20)])
def test_nothing_is_lost_and_nothing_is_there_twice_whatever_breaks(
    broker: str, faults: int, tmp_path: Path
):
    seed = random.randrange(10_000)
    print(f"seed {seed}")  # shown when the test fails
    with running_broker(broker, tmp_path) as running:
        asyncio.run(chaos(running, tmp_path, faults=faults, seed=seed, say=print))
