"""Uploaded files by project and digest: whether they are checked, and when somebody last asked for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from bloomery_kit.database import Transaction, compare_and_set, insert_ignore
from bloomery_trainer.store.tables import inputs


@dataclass(frozen=True)
class Input:
    """A row."""

    project_uid: str
    digest: str
    kept: bool
    use_time: datetime


def key(project_uid: str, digest: str) -> str:
    """Where the checked bytes lie."""
    return f"{project_uid}/inputs/{digest.removeprefix('sha256:')}"


def staging_key(project_uid: str, digest: str) -> str:
    """Where they are put before they are checked."""
    return f"{project_uid}/inputs/staging/{digest.removeprefix('sha256:')}"


def is_key(project_uid: str, logical_key: str) -> bool:
    """Whether an object is an uploaded file of a project."""
    return logical_key.startswith(key(project_uid, ""))


async def announce(tx: Transaction, project_uid: str, digest: str, now: datetime) -> bool:
    """Write that a file is wanted, and return whether it is kept already."""
    row = {"project_uid": project_uid, "digest": digest, "kept": False, "use_time": now}
    if await insert_ignore(tx, inputs, row):
        return False
    await compare_and_set(tx, inputs, *_same(project_uid, digest), values={"use_time": now})
    return await is_kept(tx, project_uid, digest)


async def is_kept(tx: Transaction, project_uid: str, digest: str) -> bool:
    """Whether the bytes are there and right."""
    return bool(await tx.scalar(sa.select(inputs.c.kept).where(*_same(project_uid, digest))))


async def keep(tx: Transaction, project_uid: str, digest: str, now: datetime) -> None:
    """Write that the bytes are there and right."""
    row = {"project_uid": project_uid, "digest": digest, "kept": True, "use_time": now}
    if not await insert_ignore(tx, inputs, row):
        values = {"kept": True, "use_time": now}
        await compare_and_set(tx, inputs, *_same(project_uid, digest), values=values)


async def use(tx: Transaction, project_uid: str, digest: str, now: datetime) -> bool:
    """Write that a job works on a file; False where it is not kept."""
    return await compare_and_set(tx, inputs, *_same(project_uid, digest), inputs.c.kept, values={"use_time": now})


async def unused_since(tx: Transaction, moment: datetime, after: Input | None, limit: int) -> Sequence[Input]:
    """Files that nobody has asked for since a moment, the oldest first, past `after`."""
    query = sa.select(inputs).where(inputs.c.use_time < moment)
    if after is not None:
        query = query.where(sa.tuple_(*_ORDER) > sa.tuple_(after.use_time, after.project_uid, after.digest))
    rows = await tx.execute(query.order_by(*_ORDER).limit(limit))
    return [Input(row.project_uid, row.digest, row.kept, row.use_time) for row in rows]


async def drop(tx: Transaction, seen: Input) -> bool:
    """Forget a file; False where somebody has asked for it since it was seen."""
    unchanged = (*_same(seen.project_uid, seen.digest), inputs.c.use_time == seen.use_time)
    return (await tx.execute(sa.delete(inputs).where(*unchanged))).rowcount == 1


_ORDER = (inputs.c.use_time, inputs.c.project_uid, inputs.c.digest)


def _same(project_uid: str, digest: str) -> tuple[sa.ColumnElement[bool], ...]:
    return inputs.c.project_uid == project_uid, inputs.c.digest == digest
