"""What a job needs stays while it is there: its project and its dataset version by a hold, a file by a copy of its own.

So nothing of a project outlives it unseen, to show again in another project that gets the same id.
"""

import logging
from dataclasses import replace

from bloomery_kit.errors import NotFound
from bloomery_kit.idempotency import forget_answers
from bloomery_kit.tasks import at_once
from bloomery_trainer.core import Core
from bloomery_trainer.finishing import finish
from bloomery_trainer.model import Artifact, Job, State
from bloomery_trainer.store import events, jobs

_log = logging.getLogger("bloomery.trainer")


class ProjectGoneError(NotFound):
    """The project of a job was deleted; another one may have its id."""


async def hold(core: Core, job: Job) -> None:
    """Claim a job's project and inputs and remember it; idempotent.

    Raise ProjectGoneError, NotFound for a file that is gone, and what the owner of the dataset version raises.
    """
    await _hold_project(core, job)
    if job.spec.dataset_version:
        await core.neighbours.hold(job.spec.dataset_version, job.holder, _title(job))
    for file in job.spec.files:
        # Of many large ones a repeat makes those that are missing.
        if await core.objects.stat(_own_key(job, file)) is None:
            await core.objects.copy(file.logical_key, _own_key(job, file))
    await _note(core, job, held=True, project_held=True)
    core.moved.set()


async def hold_project(core: Core, job: Job) -> None:
    """Claim a job's project alone, and remember it; idempotent. Raise ProjectGoneError."""
    await _hold_project(core, job)
    await _note(core, job, project_held=True)


async def release(core: Core, job: Job) -> None:
    """Give back what a job holds, also where nobody remembers that it was claimed. Raise what the owners raise."""
    if job.spec.dataset_version:
        await core.neighbours.release(job.spec.dataset_version, job.holder)
    for file in job.spec.files:
        await core.objects.delete(_own_key(job, file))
    await core.neighbours.release_project(job.project, job.holder)


async def release_at_once(core: Core, job: Job) -> None:
    """Give it back before the job's deletion is answered, so that it can be deleted next, or leave it to the leader."""
    async with at_once("give back what a job held"):
        await release(core, job)


async def forget_orphan(core: Core, job: Job) -> None:
    """Delete a job after its project, once nothing of it is at work."""
    if job.held and job.spec.dataset_version:
        # The dataset version holds the project as well, so that it cannot be gone.
        _log.error("the project of a job is said to be gone", extra={"job": job.name})
        return
    async with core.db.write() as tx:
        found = await jobs.find(tx, job.uid, lock=True)
        if found is not None and found.state in (State.PENDING, State.PAUSED):
            found = await finish(tx, found, State.CANCELLED, core.clock())
        if found is None or not found.state.is_terminal:
            return
        await jobs.note(tx, job.uid, deleted=True)
        await events.drop(tx, job.uid)
        await forget_answers(tx, job.project)
    _log.info("a job goes after its project", extra={"job": job.name})
    core.jobs_moved(job.uid)
    core.deleted.set()


def own(job: Job, file: Artifact) -> Artifact:
    """A file that a job works on, where its workers read it."""
    return replace(file, logical_key=_own_key(job, file)) if job.held else file


def _own_key(job: Job, given: Artifact) -> str:
    return f"{job.prefix}/input/{given.digest.removeprefix('sha256:')}"


async def _hold_project(core: Core, job: Job) -> None:
    if not await core.neighbours.hold_project(job.project, job.project_uid, job.holder, _title(job)):
        raise ProjectGoneError("project", job.project, "it was deleted, and its id perhaps used again")


async def _note(core: Core, job: Job, **held: bool) -> None:
    async with core.db.write() as tx:
        is_there = await jobs.note(tx, job.uid, **held)
    if not is_there:
        await release(core, job)


def _title(job: Job) -> str:
    return f"jobs/{job.job_id}"
