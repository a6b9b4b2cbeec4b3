"""Entries on their way into the service's own database; calls at the same time share a transaction."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa
from prometheus_client import Counter

from bloomery_kit.audit._entries import ENTRIES, Entry, Outcome, stored
from bloomery_kit.database import Database, Transaction, insert_missing
from bloomery_kit.database_clock import read_clock
from bloomery_kit.feeds import Subscription
from bloomery_kit.metrics import REGISTRY

WRITTEN = Counter("bloomery_audit_entries_total", "Calls written into the audit log.", registry=REGISTRY)
DROPPED = Counter(
    "bloomery_audit_dropped_total",
    "Calls without the right credentials that were not written, as too many came.",
    registry=REGISTRY,
)
_REFUSALS_AT_ONCE = 100
_REFUSALS_PER_SECOND = 5.0
_REFUSALS_KEPT = 1000
"""In memory, while the database is away."""
_E = ENTRIES.c


@dataclass
class _Waiting:
    row: dict[str, object]
    settled: bool = False
    error: Exception | None = None


@dataclass
class _Bucket:
    """So many at once, and so many a second."""

    clock: Callable[[], float]
    left: float = _REFUSALS_AT_ONCE
    since: float = field(init=False)

    def __post_init__(self) -> None:
        self.since = self.clock()

    def take(self) -> bool:
        now = self.clock()
        self.left = min(_REFUSALS_AT_ONCE, self.left + max(0.0, now - self.since) * _REFUSALS_PER_SECOND)
        self.since = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class AuditLog:
    """The entries of one service; `news` wakes whoever delivers them."""

    def __init__(self, db: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.db = db
        self.news = Subscription()
        self._turn = asyncio.Lock()
        self._waiting: list[_Waiting] = []
        self._refused: list[dict[str, object]] = []
        self._ended: list[Outcome] = []
        self._bucket = _Bucket(clock)

    async def begin(self, entry: Entry) -> None:
        """Keep the entry of a call whose work has not begun. Whoever comes while another writes is written together.

        Raise Unavailable or ResourceExhausted where the database cannot keep it: then nothing may be done either.
        """
        mine = _Waiting(_row(entry, code=""))
        self._waiting.append(mine)
        try:
            async with self._turn:
                if not mine.settled:
                    await self._write()
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)
        if mine.error is not None:
            raise mine.error
        WRITTEN.inc()

    def end(self, outcome: Outcome) -> None:
        """Note how a call ended; it is written soon, with the next call or by whoever delivers."""
        self._ended.append(outcome)
        self.news.wake()

    def refuse(self, entry: Entry, outcome: Outcome) -> None:
        """Note a call that was refused for its credentials, unless too many come; nobody waits for it."""
        if not self._bucket.take():
            DROPPED.inc()
            return
        self._refused.append(_row(entry, code=outcome.code, reason=outcome.reason))
        self.news.wake()

    async def flush(self) -> None:
        """Write what was noted. Raise Unavailable or ResourceExhausted; it is kept for the next time then."""
        async with self._turn:
            if self._ended or self._refused:
                await self._write()

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        ended, self._ended = self._ended, []
        refused, self._refused = self._refused, []
        try:
            # On the disk no later than what the call itself writes, which comes after it into the same log.
            async with self.db.write(lazily=True) as tx:
                await _store(tx, [one.row for one in waiting] + refused, ended)
        except BaseException as error:
            self._ended = ended + self._ended
            self._keep_refused(refused)
            if isinstance(error, Exception):
                _settle(waiting, error)
            else:
                self._waiting = waiting + self._waiting
            raise
        _settle(waiting, None)

    def _keep_refused(self, rows: list[dict[str, object]]) -> None:
        together = rows + self._refused
        self._refused = together[:_REFUSALS_KEPT]
        DROPPED.inc(len(together) - len(self._refused))


def _settle(waiting: list[_Waiting], error: Exception | None) -> None:
    for one in waiting:
        one.settled, one.error = True, error


def _row(entry: Entry, *, code: str, reason: str = "") -> dict[str, object]:
    return entry.row() | {"code": code, "reason": stored(reason), "told": False}


async def _store(tx: Transaction, rows: list[dict[str, object]], ended: list[Outcome]) -> None:
    now = await read_clock(tx)
    # One that was cancelled as it was committed comes again.
    await insert_missing(tx, ENTRIES, [row | {"time": now} for row in rows])
    for outcome in ended:
        values = {"code": outcome.code, "reason": stored(outcome.reason)}
        found = {name: getattr(outcome, name) for name in ("resource", "project", "project_uid")}
        values |= {name: stored(text) for name, text in found.items() if text}
        await tx.execute(sa.update(ENTRIES).where(_E.uid == outcome.uid).values(values))
