"""Whose turn it is where several replicas read parts of one import: each saves its own once all before is saved."""

from collections.abc import Iterator
from contextlib import suppress

from bloomery_annotation.store import import_parts
from bloomery_annotation.store.import_parts import Progress
from bloomery_annotation.store.imports import Claim
from bloomery_kit.database import Database
from bloomery_kit.errors import BloomeryError
from bloomery_kit.names import new_uid


class Turns:
    """Parts of `size` of the images at `places`, each promised for `term` seconds to whoever takes it."""

    def __init__(self, db: Database, claim: Claim, places: range, *, size: int, term: float) -> None:
        self._db, self._claim, self.stop = db, claim, places.stop
        self._size, self._term = size, term
        self._holder = new_uid()

    async def progress(self) -> Progress:
        """How far the import is. Raise LeaseLost."""
        async with self._db.read() as tx:
            return await import_parts.progress(tx, self._claim)

    async def take(self, *, ahead: bool) -> range | None:
        """The places that are not saved of a part that nobody reads: the next one to save, or any behind if `ahead`.

        Raise LeaseLost.
        """
        while True:
            async with self._db.read() as tx:
                place = (await import_parts.progress(tx, self._claim)).place
                number = await import_parts.first_free(tx, self._claim, self._numbers(place, ahead), self._term)
            if number is None:
                return None
            async with self._db.write() as tx:
                is_taken = await import_parts.take(tx, self._claim, number, self._holder, self._term)
            if is_taken:
                start = number * self._size
                return range(max(place, start), min(start + self._size, self.stop))

    async def forget(self, part: range) -> None:
        """All of a part is saved: nobody asks for it any more."""
        async with self._db.write() as tx:
            await import_parts.forget(tx, self._claim, part.start // self._size)

    async def leave(self) -> None:
        """Let others read what this one has taken; if that cannot be told, it runs out."""
        with suppress(BloomeryError):
            async with self._db.write() as tx:
                await import_parts.leave(tx, self._claim, self._holder)

    def _numbers(self, place: int, ahead: bool) -> Iterator[int]:
        first = place // self._size
        return iter(range(first, -(-self.stop // self._size) if ahead else first + 1))
