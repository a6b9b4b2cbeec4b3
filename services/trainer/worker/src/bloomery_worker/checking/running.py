"""One job of a recipe in a trainer process, with no service around it."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bloomery_worker.messages import (
    CheckpointNote,
    FailedNote,
    JobSpec,
    LastNote,
    MetricsNote,
    Note,
    ProgressNote,
    ResultNote,
    Start,
    Stop,
    StoppedNote,
)
from bloomery_worker.process import TrainerProcess

Spawn = Callable[[Path, Mapping[str, str]], Awaitable[TrainerProcess]]
"""Starts a trainer process in a folder, with an environment."""

N = TypeVar("N", bound=Note)

SECONDS = 600.0
"""The longest that a small job may take."""
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
"""One core: what is promised bit for bit is promised there."""


@dataclass(slots=True)
class Outcome:
    """What a job said.

    Attributes:
        notes: all of it.
        last: how it ended; None where it was killed, or died.
        checkpoint: folder of the newest one, and its epoch.
    """

    log: Path
    notes: list[Note] = field(default_factory=list)
    last: LastNote | None = None
    checkpoint: tuple[Path, int] | None = None

    def of(self, kind: type[N]) -> list[N]:
        """The notes of one kind."""
        return [note for note in self.notes if isinstance(note, kind)]

    def why(self) -> str:
        """How it ended, for people."""
        match self.last:
            case FailedNote(failure):
                return f"it failed with {failure.code}: {failure.message}"
            case StoppedNote():
                return "it stopped"
            case ResultNote():
                return "it came to its end"
            case _:
                return f"it died, and said last: {self.log.read_text(errors='replace')[-600:]}"


def is_checkpoint(note: Note) -> bool:
    """A moment to act at."""
    return isinstance(note, CheckpointNote)


def is_training(note: Note) -> bool:
    """Another one: something was measured."""
    return isinstance(note, MetricsNote) or (isinstance(note, ProgressNote) and note.phase == "training")


async def run(
    job: JobSpec,
    spawn: Spawn,
    *,
    kill_at: Callable[[Note], bool] = lambda _: False,
    stop_at: Callable[[Note], bool] = lambda _: False,
) -> Outcome:
    """Does a job, which is killed at the first note of one kind, or asked to stop."""
    work_dir = Path(job.work_dir)
    await asyncio.to_thread(work_dir.mkdir, parents=True)
    process = await spawn(work_dir, {**os.environ, **_ENVIRONMENT})
    outcome = Outcome(process.log)
    try:
        async with asyncio.timeout(SECONDS):
            process.send(Start(job))
            async for note in process.notes():
                _take(outcome, note)
                if kill_at(note):
                    return outcome
                if stop_at(note):
                    process.send(Stop())
            await process.wait()
    finally:
        await process.kill()
    return outcome


def _take(outcome: Outcome, note: Note) -> None:
    outcome.notes.append(note)
    match note:
        case CheckpointNote(folder, epoch):
            if outcome.checkpoint:
                shutil.rmtree(outcome.checkpoint[0], ignore_errors=True)
            outcome.checkpoint = Path(folder), epoch
        case ResultNote() | StoppedNote() | FailedNote():
            outcome.last = note
