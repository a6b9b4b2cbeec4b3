"""What a job works on stays while it needs it: the dataset version by a hold, a file by a copy of the job's own."""

from dataclasses import replace

from bloomery_trainer.core import Core
from bloomery_trainer.model import Artifact, Job
from bloomery_trainer.store import jobs


async def hold(core: Core, job: Job) -> None:
    """Claim a job's inputs and remember it; idempotent.

    Raise NotFound for a file that is gone, and what the owner of the dataset version raises.
    """
    if job.spec.dataset_version:
        await core.neighbours.hold(job.spec.dataset_version, job.holder, f"jobs/{job.job_id}")
    if job.spec.base_artifact is not None:
        await core.objects.copy(job.spec.base_artifact.logical_key, _own_key(job, job.spec.base_artifact))
    async with core.db.write() as tx:
        await jobs.note(tx, job.uid, held=True)
    core.moved.set()


async def release(core: Core, job: Job) -> None:
    """Give the dataset version back, also where nobody remembers that it was claimed. Raise what the owner raises."""
    if job.spec.dataset_version:
        await core.neighbours.release(job.spec.dataset_version, job.holder)


def base(job: Job) -> Artifact | None:
    """The file that a job works on, where its workers read it."""
    given = job.spec.base_artifact
    return replace(given, logical_key=_own_key(job, given)) if given and job.held else given


def _own_key(job: Job, given: Artifact) -> str:
    return f"{job.prefix}/input/{given.digest.removeprefix('sha256:')}"
