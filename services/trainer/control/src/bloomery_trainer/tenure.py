"""Who may speak for an attempt: the one worker that holds its secret, while the attempt is the job's."""

from bloomery_kit.database import Transaction
from bloomery_kit.errors import Aborted, Unauthenticated
from bloomery_trainer.core import hashed
from bloomery_trainer.model import ACTIVE, Attempt, Job
from bloomery_trainer.store import attempts, jobs


async def holder(tx: Transaction, secret: str, *, lock: bool = False) -> tuple[Job, Attempt]:
    """The attempt of a secret with its job, whether they still count or not. Raise Unauthenticated."""
    found = await attempts.by_secret(tx, hashed(secret), lock=lock)
    if found is None:
        raise Unauthenticated("no attempt has this secret")
    return found


async def current(tx: Transaction, secret: str, *, lock: bool = False) -> tuple[Job, Attempt]:
    """The attempt of a secret with its job. Raise Aborted ATTEMPT_SUPERSEDED if it is no longer the job's."""
    job, attempt = await holder(tx, secret, lock=lock)
    check_current(job, attempt)
    return job, attempt


async def locked(tx: Transaction, attempt: Attempt) -> tuple[Job, Attempt]:
    """The job of an attempt, and the attempt as it is now; the job's lock covers both."""
    job = await jobs.find(tx, attempt.job_uid, lock=True)
    now = await attempts.find(tx, attempt.job_uid, attempt.number)
    if job is None or now is None:
        raise Unauthenticated("the job is gone")
    return job, now


def check_current(job: Job, attempt: Attempt) -> None:
    """Raise Aborted ATTEMPT_SUPERSEDED unless the attempt is the one that the job relies on."""
    if job.attempt != attempt.number or job.state not in ACTIVE or attempt.outcome is not None:
        raise superseded(job, attempt)


def superseded(job: Job, attempt: Attempt) -> Aborted:
    """The error that makes a worker leave at once."""
    message = f"attempt {attempt.number} of {job.name} is over: the job is {job.state.name}"
    return Aborted("ATTEMPT_SUPERSEDED", f"{message} in attempt {job.attempt}")
