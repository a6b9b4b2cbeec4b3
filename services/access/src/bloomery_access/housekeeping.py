"""What may be done later: forgetting tokens that ended, old entries of the audit log, and limits of what is gone."""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from bloomery_access.store import audit, quotas, tokens
from bloomery_kit.database import Database, Transaction
from bloomery_kit.database_clock import read_clock
from bloomery_kit.loops import guarded

LOOP = "access housekeeping"
_REMEMBER = timedelta(days=30)
_AT_ONCE = 1000


class Forget(Protocol):
    """Drops some of the oldest rows, and says how many there were."""

    def __call__(self, tx: Transaction, *, before: datetime, limit: int) -> Awaitable[int]:
        """Drop at most `limit`, all older than `before`."""


class Housekeeper:
    """Any number of replicas may do this at once."""

    def __init__(self, db: Database, *, audit_days: float) -> None:
        self._db = db
        self._audited = timedelta(days=audit_days)

    async def tidy(self) -> None:
        """Do all that is left to do; what cannot be done now stays for the next time and holds up nothing else."""
        with guarded(LOOP):
            await self._forget(tokens.forget, _REMEMBER)
        with guarded(LOOP):
            await self._forget(audit.forget, self._audited)
        with guarded(LOOP):
            async with self._db.write() as tx:
                await quotas.forget_unknown(tx)

    async def _forget(self, forget: Forget, age: timedelta) -> None:
        gone = _AT_ONCE
        while gone == _AT_ONCE:
            async with self._db.write() as tx:
                before = datetime.fromtimestamp(await read_clock(tx), UTC) - age
                gone = await forget(tx, before=before, limit=_AT_ONCE)
