"""An older worker, the real one of an earlier commit, beside the present one on a store the present one migrated."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from workers import (
    KILL,
    TERMINATE,
    Worker,
    assert_all_is_accounted_for,
    caught_up,
    traffic,
    worker,
    writes,
)

from pipeline.audit import audit
from pipeline.settings import Settings
from pipeline.store.connect import Client

EARLIER = "d9473c45"  # the columns `language` and `tools_called`, among others, came after it
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of that commit, in a folder of its own."""
    folder = tmp_path_factory.mktemp("earlier")
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", EARLIER, "pipeline"], check=False, capture_output=True
    )
    if archive.returncode:
        pytest.skip(f"the earlier commit {EARLIER} is not here: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


class Earlier(Worker):
    """A worker of the earlier code."""

    def __init__(self, settings: Settings, code: Path) -> None:
        super().__init__(settings, "earlier")
        self.code = code

    def start(self) -> None:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "worker"], cwd=self.code, stdout=log, stderr=log,
                env={**os.environ, **self.settings.environ(), "PYTHONPATH": str(self.code)},
            )  # fmt: skip


async def test_old_and_new_workers_share_a_topic_while_they_are_updated_and_rolled_back(
    kafka_settings: Settings, store: Client, earlier: Path
) -> None:
    settings = kafka_settings
    old = Earlier(settings, earlier)
    old.start()
    try:
        async with traffic(settings) as producer:
            await writes(store, old)
            with worker(settings, "new") as new:
                await asyncio.gather(writes(store, old), writes(store, new))
                old.signal(KILL)  # what it had begun the new one goes on with
                await caught_up(settings, store, new)
                back = Earlier(settings, earlier)
                back.start()
                try:
                    await asyncio.gather(writes(store, back), writes(store, new))
                    new.signal(TERMINATE)
                    assert await new.ended() == 0
                    await caught_up(settings, store, back)
                finally:
                    back.process.kill()
        with worker(settings, "last") as last:
            await assert_all_is_accounted_for(settings, store, producer, last)
    finally:
        old.process.kill()
    found = await asyncio.to_thread(audit, store)
    assert found.ok, found.first_discrepancy
    told = store.query("SELECT language = '', count() FROM calls GROUP BY 1").result_rows
    assert {unknown for unknown, _ in told} == {False, True}, "both have stored calls"
