"""Checked bytes by digest, wherever they are kept.

Small ones that are no images, which are label files, lie in the database with what is known of them: an object store
takes a file, and waits for its disk, for each. All others, and those that came by a request of their own, lie there.
"""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path

from bloomery_annotation.model import Blob
from bloomery_annotation.names import blob_key
from bloomery_annotation.store import blobs
from bloomery_kit.database import Database
from bloomery_kit.objects import ObjectStore

IN_DATABASE = 16 << 10
"""Bytes up to which a file that is no image lies in the database."""


def is_row(blob: Blob) -> bool:
    """Whether its bytes belong into the database."""
    return not blob.media_type and blob.size_bytes <= IN_DATABASE


class Contents:
    """Reads what projects have."""

    def __init__(self, db: Database, objects: ObjectStore) -> None:
        self._db, self._objects = db, objects

    async def get_all(self, project_uid: str, digests: Collection[str]) -> Mapping[str, bytes]:
        """Small blobs by digest. Raise what the object store raises for those that are not there."""
        async with self._db.read() as tx:
            found = await blobs.contents(tx, project_uid, digests)
        keys = {blob_key(project_uid, digest): digest for digest in digests if digest not in found}
        stored = await self._objects.get_all(keys) if keys else {}
        return found | {keys[key]: content for key, content in stored.items()}

    async def download(self, project_uid: str, digest: str, path: Path) -> None:
        """Write a blob to a file. Raise what the object store raises if it is not there."""
        async with self._db.read() as tx:
            found = await blobs.contents(tx, project_uid, [digest])
        if digest in found:
            await asyncio.to_thread(path.write_bytes, found[digest])
        else:
            await self._objects.download(blob_key(project_uid, digest), path)
