"""Keeping what people and workers uploaded, once it is what they announced."""

import asyncio
from weakref import WeakValueDictionary

from bloomery_kit.errors import FailedPrecondition, NotFound
from bloomery_kit.objects import ObjectStore
from bloomery_kit.uploads import Expected, keep_checked
from bloomery_trainer.model import Artifact


class Keeper:
    """Moves uploads to where nobody can write; of two calls for one file the second finds what the first has kept."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def keep(self, staging: str, key: str, wanted: Artifact) -> None:
        """Keep the blob at `staging` as `key`. Raise FailedPrecondition BLOB_MISSING or BLOB_DIFFERS."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            try:
                await keep_checked(self._objects, staging, key, Expected(wanted.digest, wanted.size_bytes))
            except FailedPrecondition as error:
                # It may have been kept before, by another call, or by a server that died right after.
                if error.reason != "BLOB_MISSING" or not await self._is_kept(key, wanted):
                    raise

    async def _is_kept(self, key: str, wanted: Artifact) -> bool:
        try:
            return await self._objects.digest(key) == (wanted.digest, wanted.size_bytes)
        except NotFound:
            return False
