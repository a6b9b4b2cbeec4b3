"""Which bytes a project has, and what they show."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import Blob
from bloomery_annotation.store.tables import BLOBS, IMPORT_FILES
from bloomery_kit.database import Transaction, insert_ignore
from bloomery_vision.findings import Finding, Severity

_B = BLOBS.c
_CHUNK = 5_000


async def known(tx: Transaction, project_uid: str, digests: Collection[str]) -> dict[str, Blob]:
    """Those of `digests` that the project has."""
    wanted, found = list(digests), {}
    for start in range(0, len(wanted), _CHUNK):
        part = wanted[start : start + _CHUNK]
        rows = await tx.execute(sa.select(BLOBS).where(_B.project_uid == project_uid, _B.digest.in_(part)))
        found.update({row.digest: _blob(row) for row in rows})
    return found


async def of_import(tx: Transaction, import_uid: str, after: str, size: int) -> dict[str, Blob]:
    """The files of an import by path, those behind the path `after`, in its order."""
    files = IMPORT_FILES.c
    joined = sa.and_(_B.project_uid == files.project_uid, _B.digest == files.digest)
    query = sa.select(files.path, BLOBS).join(BLOBS, joined)
    query = query.where(files.import_uid == import_uid, files.path > after).order_by(files.path).limit(size)
    return {row.path: _blob(row) for row in await tx.execute(query)}


async def keep(tx: Transaction, project_uid: str, blobs: Iterable[Blob], now: datetime) -> int:
    """Record checked blobs; return how many were new."""
    return await insert_ignore(tx, BLOBS, [_row(project_uid, blob, now) for blob in blobs])


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
    }


def _blob(row: sa.Row[Any]) -> Blob:
    problem = None
    if row.problem_code:
        problem = Finding(row.problem_code, Severity.ERROR, row.problem_message, row.problem_hint)
    return Blob(row.digest, row.size_bytes, row.media_type, row.width, row.height, problem)
