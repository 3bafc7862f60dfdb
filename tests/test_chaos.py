"""Twenty faults at random moments, on each broker; `make chaos` does it with more of them, or a seed of its own."""

import asyncio
import random
from pathlib import Path

import pytest
from chaos import chaos, running_broker


@pytest.mark.parametrize("broker", ["embedded", "apache"])
def test_nothing_is_lost_and_nothing_is_there_twice_whatever_breaks(broker: str, tmp_path: Path):
    seed = random.randrange(10_000)
    print(f"seed {seed}")  # shown when the test fails
    with running_broker(broker, tmp_path) as running:
        asyncio.run(chaos(running, tmp_path, faults=20, seed=seed, say=print))
