"""What may be done later: forgetting tokens that ended long ago."""

from datetime import UTC, datetime, timedelta

from bloomery_access.store import tokens
from bloomery_kit.database import Database
from bloomery_kit.database_clock import read_clock

LOOP = "access housekeeping"
_REMEMBER = timedelta(days=30)
_AT_ONCE = 1000


class Housekeeper:
    """Any number of replicas may do this at once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def tidy(self) -> None:
        """Do all that is left to do."""
        gone = _AT_ONCE
        while gone == _AT_ONCE:
            async with self._db.write() as tx:
                before = datetime.fromtimestamp(await read_clock(tx), UTC) - _REMEMBER
                gone = await tokens.forget(tx, before=before, limit=_AT_ONCE)
