"""Attempts in the database, and what they completed: artifacts and checkpoints."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_kit.database import Transaction, UtcDateTime, insert_ignore
from bloomery_trainer.model import ACTIVE, Artifact, Attempt, Checkpoint, Job
from bloomery_trainer.store import damage, jobs
from bloomery_trainer.store.damage import Damaged
from bloomery_trainer.store.tables import OPEN, artifacts, attempts, checkpoints, in_batches, made
from bloomery_trainer.store.tables import jobs as job_rows

Present = tuple[Job, Attempt | None]
EVENTS = "tensorboard/"
"""What the roles of files of events begin with."""
_AT_ONCE = 100
_COLUMNS = [attempts.c[column.name] for column in fields(Attempt)]
# Every report of a worker runs these, and building a statement costs more than running it.
_BY_SECRET = (
    sa.select(*jobs.COLUMNS, *_COLUMNS)
    .join(job_rows, job_rows.c.uid == attempts.c.job_uid)
    .where(attempts.c.secret_hash == sa.bindparam("secret_hash"))
)
_LOCK_BY_SECRET = _BY_SECRET.with_for_update()
_CHANGE = sa.update(attempts).where(
    attempts.c.job_uid == sa.bindparam("of_job"), attempts.c.number == sa.bindparam("of_number")
)
_PRESENT = sa.select(*jobs.COLUMNS, *_COLUMNS, *damage.RESOURCES).outerjoin(
    attempts, sa.and_(attempts.c.job_uid == job_rows.c.uid, attempts.c.number == job_rows.c.attempt)
)
_CHECKPOINT_COLUMNS = [checkpoints.c[column.name] for column in fields(Checkpoint)]


async def insert(tx: Transaction, job_uid: str, number: int, *, nonce: str, token_hash: str, now: datetime) -> Attempt:
    """Write a new attempt. IntegrityError if there is one of that number."""
    values = {
        "job_uid": job_uid,
        "number": number,
        "nonce": nonce,
        "token_hash": token_hash,
        "host": "",
        "worker_sequence": 0,
        "reports": 0,
        "stalled": False,
        "publishing": False,
        "create_time": now,
    }
    await tx.execute(sa.insert(attempts).values(values))
    created = await find(tx, job_uid, number)
    assert created is not None
    return created


async def find(tx: Transaction, job_uid: str, number: int) -> Attempt | None:
    """One attempt of a job."""
    query = sa.select(*_COLUMNS).where(attempts.c.job_uid == job_uid, attempts.c.number == number)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else made(Attempt, row)


async def by_token(tx: Transaction, token_hash: str) -> Attempt | None:
    """The attempt that a launch token belongs to."""
    row = (await tx.execute(sa.select(*_COLUMNS).where(attempts.c.token_hash == token_hash))).one_or_none()
    return None if row is None else made(Attempt, row)


async def by_secret(tx: Transaction, secret_hash: str, *, lock: bool = False) -> tuple[Job, Attempt] | None:
    """The attempt that a secret belongs to, with its job; `lock` keeps others from changing them."""
    query = _LOCK_BY_SECRET if lock else _BY_SECRET
    row = (await tx.execute(query, {"secret_hash": secret_hash})).one_or_none()
    if row is None:
        return None
    width = len(jobs.COLUMNS)
    return made(Job, row[:width]), made(Attempt, row[width:])


async def active(tx: Transaction) -> Sequence[str]:
    """The uids of the jobs that have something to run."""
    query = sa.select(job_rows.c.uid).where(job_rows.c.state.in_(ACTIVE), OPEN).order_by(job_rows.c.number)
    return (await tx.scalars(query)).all()


async def of_jobs(tx: Transaction, uids: Sequence[str]) -> list[Present | Damaged]:
    """Those of the jobs that exist, each with its present attempt, None before the first.

    They are read some at a time, so that nobody else waits for long.
    """
    found: list[Present | Damaged] = []
    for some in in_batches(uids, _AT_ONCE):
        rows = await tx.execute(_PRESENT.where(job_rows.c.uid.in_(some)))
        found += [damage.read(row, _present) for row in rows]
    return found


def _present(row: Sequence[Any]) -> Present:
    width = len(jobs.COLUMNS)
    return made(Job, row[:width]), None if row[width] is None else made(Attempt, row[width : width + len(_COLUMNS)])


async def change(tx: Transaction, attempt: Attempt, **values: object) -> None:
    """Write columns of an attempt; the caller holds the lock of its job."""
    await tx.execute(_CHANGE, {"of_job": attempt.job_uid, "of_number": attempt.number, **values})


async def launched(tx: Transaction, attempt: Attempt, now: datetime) -> None:
    """Remember that an attempt was launched, unless that is known."""
    first = sa.func.coalesce(attempts.c.launched_at, sa.literal(now, UtcDateTime))
    await tx.execute(_CHANGE.values(launched_at=first), {"of_job": attempt.job_uid, "of_number": attempt.number})


async def release(tx: Transaction, attempt: Attempt, incarnation: str) -> None:
    """Let another worker take up an attempt, from the beginning of what it says; the former one is nobody any more.

    Only one of that incarnation may, if there is one.
    """
    nobody = {"worker_id": None, "secret_hash": None, "started_at": None, "worked_seconds": 0.0}
    await change(tx, attempt, **nobody, incarnation=incarnation, worker_sequence=0, stalled=False, publishing=False)


async def count(tx: Transaction, attempt: Attempt, seconds: float) -> None:
    """Write for how long an attempt's worker has worked, unless it has another one or has ended."""
    same = attempts.c.worker_id == sa.bindparam("of_worker"), attempts.c.ended_at.is_(None)
    values = {"of_job": attempt.job_uid, "of_number": attempt.number, "of_worker": attempt.worker_id}
    await tx.execute(_CHANGE.where(*same), {**values, "worked_seconds": seconds})


async def keep_artifact(tx: Transaction, job_uid: str, attempt: int, artifact: Artifact) -> None:
    """Remember a verified upload, in the place of an older one of that role."""
    await tx.execute(sa.delete(artifacts).where(*_role(job_uid, attempt, artifact.role)))
    values = {"job_uid": job_uid, "attempt": attempt, "role": artifact.role, "artifact": artifact}
    await insert_ignore(tx, artifacts, values)


async def kept_artifacts(tx: Transaction, job_uid: str, attempt: int) -> dict[str, Artifact]:
    """The verified uploads of an attempt by role."""
    query = sa.select(artifacts.c.artifact).where(artifacts.c.job_uid == job_uid, artifacts.c.attempt == attempt)
    found: sa.ScalarResult[Artifact] = await tx.scalars(query)
    return {artifact.role: artifact for artifact in found}


async def event_files(tx: Transaction, job_uid: str) -> list[Artifact]:
    """The files of TensorBoard's events that workers of a job uploaded, in the order in which they are read."""
    query = sa.select(artifacts.c.artifact).where(artifacts.c.job_uid == job_uid, artifacts.c.role.startswith(EVENTS))
    return list(await tx.scalars(query.order_by(artifacts.c.attempt, artifacts.c.role)))


async def drop_artifacts(tx: Transaction, job_uid: str, attempt: int, roles: Sequence[str]) -> None:
    """Forget uploads."""
    condition = (artifacts.c.job_uid == job_uid) & (artifacts.c.attempt == attempt) & artifacts.c.role.in_(roles)
    await tx.execute(sa.delete(artifacts).where(condition))


async def keep_checkpoint(tx: Transaction, checkpoint: Checkpoint) -> None:
    """Remember a complete checkpoint; the newest of those that were the best when they were made has the mark."""
    best = checkpoint.best
    if best:
        place = sa.tuple_(checkpoints.c.attempt, checkpoints.c.epoch)
        marked = sa.and_(checkpoints.c.job_uid == checkpoint.job_uid, checkpoints.c.best)
        later = sa.select(checkpoints.c.epoch).where(marked, place > (checkpoint.attempt, checkpoint.epoch))
        # A newer one may have arrived before it.
        best = (await tx.execute(later.limit(1))).first() is None
        if best:
            await tx.execute(sa.update(checkpoints).where(marked).values(best=False))
    await drop_checkpoint(tx, checkpoint)
    values = {column.name: getattr(checkpoint, column.name) for column in fields(Checkpoint)} | {"best": best}
    await insert_ignore(tx, checkpoints, values)


async def drop_checkpoint(tx: Transaction, checkpoint: Checkpoint) -> None:
    """Forget a checkpoint."""
    same = (checkpoints.c.job_uid == checkpoint.job_uid) & (checkpoints.c.attempt == checkpoint.attempt)
    await tx.execute(sa.delete(checkpoints).where(same, checkpoints.c.epoch == checkpoint.epoch))


async def list_checkpoints(tx: Transaction, job_uid: str) -> Sequence[Checkpoint]:
    """The complete checkpoints of a job, newest first."""
    query = sa.select(*_CHECKPOINT_COLUMNS).where(checkpoints.c.job_uid == job_uid)
    rows = await tx.execute(query.order_by(checkpoints.c.attempt.desc(), checkpoints.c.epoch.desc()))
    return [made(Checkpoint, row) for row in rows]


async def drop_all(tx: Transaction, job_uid: str) -> None:
    """Forget the attempts of a job with all that they completed."""
    for table in (attempts, artifacts, checkpoints):
        await tx.execute(sa.delete(table).where(table.c.job_uid == job_uid))


def _role(job_uid: str, attempt: int, role: str) -> tuple[sa.ColumnElement[bool], ...]:
    return artifacts.c.job_uid == job_uid, artifacts.c.attempt == attempt, artifacts.c.role == role
