"""What predictions name again and again, read once for as long as nothing is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from bloomery_kit.database import Database

T = TypeVar("T")
_LIMIT = 1000
"""Names that are remembered."""


class Remembered(Generic[T]):
    """What `read` says of names; it is asked each time where other processes write to the database too."""

    def __init__(self, db: Database, read: Callable[[str], Awaitable[T]]) -> None:
        self._db = db
        self._read = read
        self._writes = db.writes
        self._known: dict[str, T] = {}

    async def get(self, name: str) -> T:
        """What is known of a name; what `read` raises passes."""
        before = self._db.writes
        if before is None:
            return await self._read(name)
        if before != self._writes or len(self._known) >= _LIMIT:
            self._known, self._writes = {}, before
        if name not in self._known:
            found = await self._read(name)
            if before != self._db.writes:
                return found
            self._known[name] = found
        return self._known[name]
