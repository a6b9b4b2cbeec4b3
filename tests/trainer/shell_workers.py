"""Launchers of one machine whose workers are lines of shell."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from bloomery_trainer.launcher import JobFacts, Launched, Order, Phase
from bloomery_trainer.launcher.process import ProcessLauncher
from bloomery_trainer.model import Kind, Resources
from bloomery_trainer.settings import Machine, ProcessLauncherSettings

UID = "u" * 32
SLEEP = "echo started >>starts; exec sleep 600"


class Bench:
    """Launchers of one machine whose workers run a line of shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "python"
        self.script(SLEEP)

    def script(self, line: str) -> None:
        self.python.write_text(f"#!/bin/sh\n{line}\n")
        self.python.chmod(0o755)

    def launcher(self, *, gpus: int = 0, **options: object) -> ProcessLauncher:
        settings = ProcessLauncherSettings(
            jobs_dir=self.folder / "jobs",
            cache_dir=self.folder / "cache",
            worker_python=self.python,
            machine=Machine(cpus=4, memory_bytes=1 << 30, gpus=gpus),
        )
        return ProcessLauncher(settings, **options)  # type: ignore[arg-type]

    def order(self, attempt: int = 1, gpus: int = 0, cpus: float = 2) -> Order:
        job = JobFacts(
            UID, "projects/p", "projects/p/jobs/j", Kind.TRAIN, "recipes/r", 0, 0, Resources(cpus, 1 << 20, gpus)
        )
        return Order(job, attempt, {"BLOOMERY_TRAINER_TARGET": "here:1"}, {"BLOOMERY_ATTEMPT_TOKEN": "secret"})

    def work(self, attempt: int = 1) -> Path:
        return self.folder / "jobs" / UID / str(attempt)

    def starts(self, attempt: int = 1) -> int:
        file = self.work(attempt) / "starts"
        return len(file.read_text().splitlines()) if file.exists() else 0


async def seen(
    launcher: ProcessLauncher, holds: Callable[[Launched | None], bool], attempt: int = 1
) -> Launched | None:
    """What a launcher sees of an attempt once something holds of it."""
    found: Launched | None = None
    for _ in range(1500):
        found = next((thing for thing in await launcher.observe() if thing.attempt == attempt), None)
        if holds(found):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(found)


def runs(thing: Launched | None) -> bool:
    return thing is not None and thing.phase is Phase.RUNNING


def ended(thing: Launched | None) -> bool:
    return thing is not None and thing.phase is Phase.ENDED


async def written(launcher: ProcessLauncher, *, tail: int = 5) -> list[str]:
    return [line async for line in launcher.logs(UID, 1, tail=tail)]
