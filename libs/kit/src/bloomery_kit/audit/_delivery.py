"""Entries on their way to the access service, the oldest first; they are removed here once they are there."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import sqlalchemy as sa
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import Gauge

from bloomery.access.v1 import AuditEntry
from bloomery_kit.audit._entries import ENTRIES
from bloomery_kit.audit._log import AuditLog
from bloomery_kit.database import Transaction
from bloomery_kit.database_clock import read_clock
from bloomery_kit.metrics import REGISTRY

WAITING = Gauge(
    "bloomery_audit_waiting_entries",
    "Calls that the access service has not been told of, by service; rises while it cannot be reached.",
    ("service",),
    registry=REGISTRY,
)
Deliver = Callable[[Sequence[AuditEntry]], Awaitable[object]]
_BATCH = 200
_SOON_SECONDS = 1.0
_LATEST_SECONDS = 60.0
_FORGOTTEN_SECONDS = 24 * 3600.0
"""After so long a call without an outcome will get none: the process that served it has ended."""
_E = ENTRIES.c


class Delivery:
    """Tells `deliver` of the entries of a service; several replicas may do it at once, and tell it twice."""

    def __init__(self, service: str, log: AuditLog, deliver: Deliver) -> None:
        self._log, self._deliver = log, deliver
        self._waiting = WAITING.labels(service)

    async def run(self) -> None:
        """Deliver all that is there. Raise what the database or `deliver` raises; nothing is lost of it."""
        await self._log.flush()
        try:
            while await self._deliver_some():
                pass
        finally:
            await self._count()

    async def pause(self) -> None:
        """Wait for news, and then a moment for more of them."""
        if await self._log.news.wait(_LATEST_SECONDS):
            await asyncio.sleep(_SOON_SECONDS)

    async def _deliver_some(self) -> bool:
        async with self._log.db.read() as tx:
            query = sa.select(ENTRIES).where(sa.or_(_E.code != "", _E.told.is_(False)))
            rows = (await tx.execute(query.order_by(_E.time, _E.uid).limit(_BATCH))).all()
        if rows:
            await self._deliver([_message(row) for row in rows])
        async with self._log.db.write(lazily=True) as tx:
            await _remove(tx, rows)
        return len(rows) == _BATCH

    async def _count(self) -> None:
        async with self._log.db.read() as tx:
            waiting = sa.select(sa.func.count()).where(sa.or_(_E.code != "", _E.told.is_(False)))
            self._waiting.set(await tx.scalar(waiting) or 0)


async def _remove(tx: Transaction, rows: Sequence[sa.Row[Any]]) -> None:
    over = [row.uid for row in rows if row.code]
    open_ones = [row.uid for row in rows if not row.code]
    await tx.execute(sa.delete(ENTRIES).where(_E.uid.in_(over)))
    await tx.execute(sa.update(ENTRIES).where(_E.uid.in_(open_ones)).values(told=True))
    old = await read_clock(tx) - _FORGOTTEN_SECONDS
    await tx.execute(sa.delete(ENTRIES).where(_E.told.is_(True), _E.code == "", _E.time < old))


def _message(row: sa.Row[Any]) -> AuditEntry:
    time = Timestamp()
    time.FromNanoseconds(round(row.time * 1e6) * 1000)
    texts = {name: getattr(row, name) for name in _TEXTS}
    return AuditEntry(time=time, code=row.code, reason=row.reason, **texts)


_TEXTS = (
    *("uid", "subject", "authentication", "method", "resource", "project", "project_uid"),
    *("request_id", "trace_id", "address", "forwarded_for", "summary"),
)
