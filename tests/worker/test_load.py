"""How much of the machine a job takes is measured from when one begins to look."""

import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import httpx
import pytest

from bloomery.training.v1 import JobEvent
from bloomery_worker import supervisor
from bloomery_worker.client import WorkerClient
from bloomery_worker.gpus import Gpus
from bloomery_worker.load import LoadMeter
from bloomery_worker.process import TrainerProcess
from bloomery_worker.settings import WorkerSettings
from bloomery_worker.spool import Spool


def test_what_was_computed_before_is_not_counted() -> None:
    times = iter([0.0, 1e-3])
    while sum(os.times()[:2]) < 0.1:
        pass
    meter = LoadMeter(os.getpid(), Gpus(""), clock=lambda: next(times))
    assert meter.read().cpus < 50


class BusyProcess:
    """A process in a trainer's place that keeps one core busy."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        self.pid = self._process.pid
        self.log = folder / "trainer.log"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


async def first_look(folder: Path, trainer: BusyProcess) -> JobEvent:
    """What the watch over a trainer process says first."""
    settings = WorkerSettings(
        target="127.0.0.1:1", token="t", work_dir=folder, cache_dir=folder, termination_file=folder / "termination.json"
    )
    client = WorkerClient(settings.target)
    async with httpx.AsyncClient() as http:
        attempt = supervisor.Attempt(settings, client, http, cast("TrainerProcess", trainer))
        await attempt._watch()
    await client.close()
    spool: Spool = attempt._spool
    _, (event,) = spool.batch(1)
    spool.close()
    return event


async def test_the_first_look_spans_the_time_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "WATCH_INTERVAL", 0.5)
    trainer = BusyProcess(tmp_path)
    try:
        event = await first_look(tmp_path, trainer)
    finally:
        trainer.end()
    # In a window of a millisecond, times that tick every ten are nothing or many cores.
    assert 0 < event.system.cpus < 2
