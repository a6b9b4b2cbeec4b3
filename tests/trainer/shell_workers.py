"""Launchers of one machine whose workers are lines of shell."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from bloomery_trainer.launcher import JobFacts, Launched, Order, Phase
from bloomery_trainer.launcher.process import ProcessLauncher
from bloomery_trainer.model import Kind, Resources
from bloomery_trainer.settings import Machine, ProcessLauncherSettings

T = TypeVar("T")
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


async def until(ask: Callable[[], Awaitable[T]], holds: Callable[[T], object]) -> T:
    """The first answer of which something holds."""
    answer: T | None = None
    for _ in range(1500):
        if holds(answer := await ask()):
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError(answer)


async def seen(
    launcher: ProcessLauncher, holds: Callable[[Launched | None], bool], attempt: int = 1
) -> Launched | None:
    """What a launcher sees of an attempt once something holds of it."""

    async def observed() -> Launched | None:
        return next((thing for thing in await launcher.observe() if thing.attempt == attempt), None)

    return await until(observed, holds)


async def said(file: Path) -> str:
    """What a worker's line has put into a file, once it has."""

    def text() -> str:
        return file.read_text() if file.exists() else ""

    return (await until(lambda: asyncio.to_thread(text), bool)).strip()


def runs(thing: Launched | None) -> bool:
    return thing is not None and thing.phase is Phase.RUNNING


def ended(thing: Launched | None) -> bool:
    return thing is not None and thing.phase is Phase.ENDED


async def written(launcher: ProcessLauncher, *, tail: int = 5) -> list[str]:
    return [line async for line in launcher.logs(UID, 1, tail=tail)]
