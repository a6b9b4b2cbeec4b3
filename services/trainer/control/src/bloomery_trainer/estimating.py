"""What a training would take, from what earlier ones of the project took."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from statistics import median

from bloomery.training.v1 import PreflightReported
from bloomery_kit.database import Transaction
from bloomery_trainer.core import Core
from bloomery_trainer.model import Job, Kind, Result, Spec, State
from bloomery_trainer.store import events, jobs, results
from bloomery_trainer.store.events import Content
from bloomery_trainer.store.jobs import Filter

LOOKED_AT = 200
"""Newest trainings of a project."""
USED = 5
"""Of those that are alike, the newest so many."""
_BATCHES = 50


class Source(IntEnum):
    """Where an estimate comes from; as the contract's."""

    NONE = 1
    JOBS = 2
    PREFLIGHTS = 3


@dataclass(frozen=True)
class Estimate:
    """What a training would take.

    Attributes:
        source: where that comes from.
        jobs: the earlier trainings, newest first.
        seconds: of the whole training, 0 where unknown: of the steps alone where it comes from preflights.
        least: by the quickest of the earlier trainings.
        most: by the slowest.
        memory_bytes: most that a step took with the same batch, 0 where unknown.
    """

    source: Source
    jobs: tuple[str, ...] = ()
    seconds: float = 0.0
    least: float = 0.0
    most: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Earlier:
    """A training with what it made, where it has succeeded, and its preflight, where it got there."""

    job: Job
    result: Result | None
    preflight: PreflightReported | None


async def estimate(core: Core, draft: Job, images: int) -> Estimate:
    """What a job that is drafted on so many training images would take."""
    async with core.db.read() as tx:
        wanted = Filter(project=draft.project, kind=Kind.TRAIN)
        found = await jobs.listed(tx, wanted, before=None, limit=LOOKED_AT)
        alike = [job for job in core.complaints.whole(found) if is_alike(job.spec, draft.spec)]
        earlier = [await _earlier(tx, job) for job in alike[: 2 * USED]]
    return judged(draft.spec, images, earlier)


def is_alike(earlier: Spec, wanted: Spec) -> bool:
    """Whether a training says how long another takes: the same recipe, base, input and kind of machine."""

    def facts(spec: Spec) -> tuple[object, ...]:
        given = spec.effective_parameters
        return spec.recipe, _size(spec), given.get("imgsz"), given.get("method"), spec.resources.gpus

    return facts(earlier) == facts(wanted)


def judged(spec: Spec, images: int, earlier: Sequence[Earlier]) -> Estimate:
    """An estimate from trainings that are alike, newest first: from whole ones, else from preflights."""
    known = [each.preflight for each in earlier if each.preflight is not None]
    batch = spec.effective_parameters.get("batch")
    memory = max((each.peak_memory_bytes for each in known if each.batch == batch), default=0)
    whole = [(each.job.name, seconds) for each in earlier if (seconds := _whole(spec, images, each)) is not None]
    if whole := whole[:USED]:
        times = [seconds for _, seconds in whole]
        names = tuple(name for name, _ in whole)
        return Estimate(Source.JOBS, names, median(times), min(times), max(times), memory)
    steps = [(each.job.name, seconds) for each in earlier if (seconds := _steps(spec, images, each)) is not None]
    if steps := steps[:USED]:
        times = [seconds for _, seconds in steps]
        names = tuple(name for name, _ in steps)
        return Estimate(Source.PREFLIGHTS, names, median(times), min(times), max(times), memory)
    return Estimate(Source.NONE)


def _whole(spec: Spec, images: int, earlier: Earlier) -> float | None:
    """By a training that has succeeded: its epochs for so many images, and what it took beside them."""
    durations, done = earlier.job.progress.durations, earlier.job.progress.epoch
    trained = _trained_on(earlier.result)
    if not (durations and done and trained and images):
        return None
    epoch = median(durations)
    beside = max(0.0, earlier.job.worked_seconds - epoch * done)
    return epoch * images / trained * spec.epochs + beside


def _steps(spec: Spec, images: int, earlier: Earlier) -> float | None:
    """By a preflight: the steps of all epochs, each for the time of one of as many images."""
    seen = earlier.preflight
    if seen is None or not (seen.batch and seen.seconds_per_step and images):
        return None
    return seen.seconds_per_step / seen.batch * images * spec.epochs


def _trained_on(result: Result | None) -> int:
    """Images of an epoch of a training; 0 where its recipe does not say."""
    data = result.success.details.get("data") if result else None
    used = data.get("used") if isinstance(data, dict) else None
    count = used.get("train") if isinstance(used, dict) else None
    return int(count) if isinstance(count, int | float) else 0


def _size(spec: Spec) -> str:
    """The base; of a checkpoint or a version of a model the first of the names, as its epoch or number is no size."""
    parts = spec.base.split("/")
    return "/".join(parts[:4]) if len(parts) > 1 else spec.base


async def _earlier(tx: Transaction, job: Job) -> Earlier:
    result = await results.of_job(tx, job.uid) if job.state is State.SUCCEEDED else None
    told = await events.read(tx, job.uid, 0, rows=_BATCHES, content=Content.LIFECYCLE)
    found = [event.preflight for event in told if event.WhichOneof("event") == "preflight"]
    return Earlier(job, result, found[-1] if found else None)
