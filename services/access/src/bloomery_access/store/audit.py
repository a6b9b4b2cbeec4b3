"""What people did, as other services told it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bloomery_access.model import AuditFilter
from bloomery_access.store.tables import AUDIT_LOG
from bloomery_kit.database import Transaction, insert_missing

_A = AUDIT_LOG.c
UNFINISHED, FAILED = "UNFINISHED", "FAILED"
Place = tuple[datetime, str]
"""An entry's time and uid, by which they are ordered."""
_PERHAPS_DONE = ("OK", "", "CANCELLED", "DEADLINE_EXCEEDED", "UNKNOWN", "UNAVAILABLE", "INTERNAL")
"""Outcomes of calls whose work may have been done, as its end came before their answer."""


async def record(tx: Transaction, rows: Sequence[dict[str, object]]) -> None:
    """Keep entries that are not there, and give those that are there without an outcome theirs."""
    await insert_missing(tx, AUDIT_LOG, rows)
    ended = {str(row["uid"]): row for row in rows if row["code"]}
    # Looked for after the insertion, which waits for whoever inserts the same entry at the moment.
    query = sa.select(_A.uid).where(_A.uid.in_(ended), _A.code == "")
    open_ones: Sequence[str] = (await tx.execute(query)).scalars().all()
    for uid in open_ones:
        found = {name: ended[uid][name] for name in ("code", "reason", "resource", "project", "project_uid")}
        await tx.execute(sa.update(AUDIT_LOG).where(_A.uid == uid, _A.code == "").values(found))


async def page(tx: Transaction, wanted: AuditFilter, after: Place | None, size: int) -> Sequence[sa.Row[Any]]:
    """Entries, newest first, after the place `after`."""
    query = sa.select(AUDIT_LOG).where(*_conditions(wanted))
    if after is not None:
        query = query.where(sa.tuple_(_A.time, _A.uid) < sa.tuple_(*after))
    return (await tx.execute(query.order_by(_A.time.desc(), _A.uid.desc()).limit(size))).all()


async def begun(tx: Transaction, project: str, uid: str) -> datetime | None:
    """When a project was made; where that is not known, when one of its name was last deleted, as far as that may be.

    None where neither is known.
    """
    was_made = (_A.project == project, _A.project_uid == uid, _A.method.endswith("/CreateProject"))
    made: datetime | None = await tx.scalar(sa.select(sa.func.min(_A.time, type_=_A.time.type)).where(*was_made))
    if made is not None:
        return made
    was_deleted = (_A.project == project, _A.method.endswith("/DeleteProject"), _A.code.in_(_PERHAPS_DONE))
    ended: datetime | None = await tx.scalar(sa.select(sa.func.max(_A.time, type_=_A.time.type)).where(*was_deleted))
    return ended + timedelta(microseconds=1) if ended else None


async def forget(tx: Transaction, *, before: datetime, limit: int) -> int:
    """Drop some of the oldest entries, older than `before`; how many there were."""
    old = sa.select(_A.uid).where(_A.time < before).order_by(_A.time).limit(limit)
    return (await tx.execute(sa.delete(AUDIT_LOG).where(_A.uid.in_(old)))).rowcount


def _conditions(wanted: AuditFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.project:
        conditions.append(_A.project == wanted.project)
    if wanted.start is not None:
        conditions.append(_A.time >= wanted.start)
    if wanted.end is not None:
        conditions.append(_A.time < wanted.end)
    if wanted.subject:
        conditions.append(_A.subject == wanted.subject)
    if wanted.method.startswith("/"):
        conditions.append(_A.method == wanted.method)
    elif wanted.method:
        conditions.append(_A.method.endswith(f"/{wanted.method}", autoescape=True))
    if wanted.outcome == FAILED:
        conditions.append(_A.code.not_in(("OK", "")))
    elif wanted.outcome:
        conditions.append(_A.code == ("" if wanted.outcome == UNFINISHED else wanted.outcome))
    return conditions
