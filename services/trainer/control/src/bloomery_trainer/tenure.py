"""Who may speak for an attempt: the one worker that holds its secret, while the attempt is the job's."""

from collections.abc import Iterator
from contextlib import contextmanager

from bloomery_kit.database import Transaction
from bloomery_kit.errors import Aborted, Unauthenticated, Unavailable
from bloomery_trainer.core import hashed
from bloomery_trainer.model import ACTIVE, Attempt, Job
from bloomery_trainer.store import attempts, jobs


async def holder(tx: Transaction, secret: str, *, lock: bool = False) -> tuple[Job, Attempt]:
    """The attempt of a secret with its job, whether they still count or not. Raise Unauthenticated, Unavailable."""
    with readable():
        found = await attempts.by_secret(tx, hashed(secret), lock=lock)
    if found is None:
        raise Unauthenticated("no attempt has this secret")
    return found


async def current(tx: Transaction, secret: str, *, lock: bool = False) -> tuple[Job, Attempt]:
    """The same. Raise Aborted ATTEMPT_SUPERSEDED too, if the attempt is no longer the job's."""
    job, attempt = await holder(tx, secret, lock=lock)
    check_current(job, attempt)
    return job, attempt


async def locked(tx: Transaction, attempt: Attempt) -> tuple[Job, Attempt]:
    """The job of an attempt, and the attempt as it is now; the job's lock covers both."""
    with readable():
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


@contextmanager
def readable() -> Iterator[None]:
    """Raise Unavailable JOB_UNREADABLE for rows that cannot be read: a worker goes on, and tells it again later."""
    try:
        yield
    except ValueError as error:
        raise Unavailable("JOB_UNREADABLE", f"the row of the job or the attempt is to be mended: {error}") from error
