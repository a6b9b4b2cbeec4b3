"""Which bytes a project has, and what they show."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import NOT_SENT, Blob
from bloomery_annotation.store import projects
from bloomery_annotation.store.keys import one_of
from bloomery_annotation.store.tables import ASSETS, BLOB_CONTENTS, BLOBS, IMPORT_FILES
from bloomery_kit.database import Transaction, insert_missing
from bloomery_vision.findings import Finding, Severity

_B = BLOBS.c
_C = BLOB_CONTENTS.c
_FACTS = (
    *(_B.digest, _B.size_bytes, _B.media_type, _B.width, _B.height),
    *(_B.problem_code, _B.problem_message, _B.problem_hint),
)
_CHUNK = 5_000


async def known(tx: Transaction, project_uid: str, digests: Collection[str]) -> dict[str, Blob]:
    """Those of `digests` that the project has, without those that are being collected."""
    where = (_B.project_uid == project_uid, one_of(_B.digest, digests), _B.going.is_(False))
    return {row.digest: _blob(row) for row in await tx.execute(sa.select(*_FACTS).where(*where))}


async def asked_for_before(tx: Transaction, project_uid: str, digests: Collection[str], time: datetime) -> list[str]:
    """Those of `digests` that nobody has asked for since a time."""
    found: list[str] = []
    for part in _parts(digests):
        where = (_B.project_uid == project_uid, _B.digest.in_(part), _B.use_time < time)
        found += (await tx.execute(sa.select(_B.digest).where(*where))).scalars()
    return found


async def touch(tx: Transaction, project_uid: str, digests: Collection[str], now: datetime) -> None:
    """Note that somebody counts on these blobs, which spares them for a while; those that are going go on."""
    for part in _parts(digests):
        where = (_B.project_uid == project_uid, _B.digest.in_(part), _B.going.is_(False))
        await tx.execute(sa.update(BLOBS).where(*where).values(use_time=now))


async def of_import(tx: Transaction, import_uid: str, after: str, size: int) -> dict[str, Blob]:
    """The files of an import by path, those behind the path `after`, in its order; of files not sent an empty blob."""
    files = IMPORT_FILES.c
    joined = sa.and_(_B.project_uid == files.project_uid, _B.digest == files.digest, _B.going.is_(False))
    query = sa.select(files.path, BLOBS).join(BLOBS, joined, isouter=True)
    query = query.where(
        files.import_uid == import_uid, files.path > after, sa.or_(_B.digest.is_not(None), files.digest == "")
    )
    rows = await tx.execute(query.order_by(files.path).limit(size))
    return {row.path: _blob(row) if row.digest else NOT_SENT for row in rows}


async def unused(tx: Transaction, project_uid: str, after: str, before: datetime, size: int) -> tuple[list[str], str]:
    """Those of the next `size` blobs behind a digest that no asset ever was and nobody asked for since `before`.

    The second is the last digest that was looked at, empty at the end.
    """
    used = sa.exists().where(ASSETS.c.project_uid == _B.project_uid, ASSETS.c.digest == _B.digest)
    query = sa.select(_B.digest, sa.and_(_B.use_time < before, ~used).label("unused"))
    query = query.where(_B.project_uid == project_uid, _B.digest > after).order_by(_B.digest).limit(size)
    rows = (await tx.execute(query)).all()
    return [row.digest for row in rows if row.unused], rows[-1].digest if rows else ""


async def mark_going(tx: Transaction, project_uid: str, digests: Collection[str], before: datetime) -> None:
    """Let those of `digests` that are still unused count as missing, in a locked project."""
    used = sa.exists().where(ASSETS.c.project_uid == _B.project_uid, ASSETS.c.digest == _B.digest)
    for part in _parts(digests):
        where = (_B.project_uid == project_uid, _B.digest.in_(part), _B.use_time < before, ~used, _B.going.is_(False))
        marked = await tx.execute(sa.update(BLOBS).where(*where).values(going=True).returning(_B.size_bytes))
        await projects.count_bytes(tx, project_uid, -sum(marked.scalars()))


async def going(tx: Transaction, project_uid: str, after: str, size: int) -> list[Blob]:
    """Some of the blobs that are being collected, those behind a digest."""
    query = sa.select(BLOBS).where(_B.project_uid == project_uid, _B.going.is_(True), _B.digest > after)
    return [_blob(row) for row in await tx.execute(query.order_by(_B.digest).limit(size))]


async def going_of(tx: Transaction, project_uid: str, digests: Collection[str]) -> list[str]:
    """Those of `digests` that are being collected."""
    where = (_B.project_uid == project_uid, _B.digest.in_(digests), _B.going.is_(True))
    return list((await tx.execute(sa.select(_B.digest).where(*where))).scalars())


async def drop(tx: Transaction, project_uid: str, digests: Collection[str]) -> None:
    """Forget blobs that were being collected and are gone, and those of their bytes that lie here."""
    await tx.execute(sa.delete(BLOB_CONTENTS).where(_C.project_uid == project_uid, _C.digest.in_(digests)))
    await tx.execute(sa.delete(BLOBS).where(_B.project_uid == project_uid, _B.digest.in_(digests)))


async def contents(tx: Transaction, project_uid: str, digests: Collection[str]) -> dict[str, bytes]:
    """The bytes of those of `digests` whose bytes lie here."""
    where = (_C.project_uid == project_uid, one_of(_C.digest, digests))
    return {row.digest: row.content for row in await tx.execute(sa.select(_C.digest, _C.content).where(*where))}


async def keep(
    tx: Transaction, project_uid: str, blobs: Sequence[Blob], now: datetime, contents: Mapping[str, bytes]
) -> None:
    """Record checked blobs in a locked project, none of which is being collected, with the bytes of some by digest."""
    there = await known(tx, project_uid, [blob.digest for blob in blobs])
    added = {blob.digest: blob.size_bytes for blob in blobs if blob.digest not in there}
    await projects.count_bytes(tx, project_uid, sum(added.values()))
    await insert_missing(tx, BLOBS, [_row(project_uid, blob, now) for blob in blobs])
    rows = [{"project_uid": project_uid, "digest": digest, "content": data} for digest, data in contents.items()]
    await insert_missing(tx, BLOB_CONTENTS, rows)
    where = (_B.project_uid == project_uid, _B.digest.in_([blob.digest for blob in blobs]))
    await tx.execute(sa.update(BLOBS).where(*where).values(use_time=now))


async def refuse(tx: Transaction, project_uid: str, blobs: Sequence[Blob], now: datetime) -> None:
    """Record blobs that a locked project lacks and may not have, so that their bytes are collected."""
    await insert_missing(tx, BLOBS, [_row(project_uid, blob, now) | {"going": True} for blob in blobs])


def _row(project_uid: str, blob: Blob, now: datetime) -> dict[str, object]:
    problem = blob.problem or Finding("", Severity.ERROR, "")
    return {
        "project_uid": project_uid,
        "digest": blob.digest,
        "size_bytes": blob.size_bytes,
        "media_type": blob.media_type,
        "width": blob.width,
        "height": blob.height,
        "problem_code": problem.code,
        "problem_message": problem.message,
        "problem_hint": problem.hint,
        "create_time": now,
        "use_time": now,
        "going": False,
    }


def _parts(digests: Collection[str]) -> Iterator[list[str]]:
    wanted = list(digests)
    return (wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK))


def _blob(row: sa.Row[Any]) -> Blob:
    problem = None
    if row.problem_code:
        problem = Finding(row.problem_code, Severity.ERROR, row.problem_message, row.problem_hint)
    return Blob(row.digest, row.size_bytes, row.media_type, row.width, row.height, problem)
