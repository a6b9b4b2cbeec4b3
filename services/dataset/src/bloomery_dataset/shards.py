"""Manifests from the object store, kept on the local disk as long as there is room."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from bloomery_dataset.model import Blob, Version
from bloomery_kit.errors import Internal
from bloomery_kit.names import new_uid
from bloomery_kit.objects import ObjectStore
from bloomery_vision.manifest import ManifestIndex, ManifestShard


class ShardCache:
    """Files by digest in `folder`; the least recently used leave when they take more than `limit` bytes."""

    def __init__(self, objects: ObjectStore, folder: Path, *, limit: int, uid: Callable[[], str] = new_uid) -> None:
        self._objects = objects
        self._folder = folder
        self._limit = limit
        self._uid = uid

    async def index(self, version: Version) -> ManifestIndex:
        """The index of a READY version."""
        assert version.product is not None
        path = await self._fetch(version.product.manifest)
        return ManifestIndex.from_json(await asyncio.to_thread(path.read_bytes))

    async def shard(self, shard: ManifestShard) -> Path:
        """The file of a shard; open it before the next one is asked for."""
        return await self._fetch(Blob(shard.digest, shard.size_bytes, shard.logical_key))

    async def checkout(self, version: Version, folder: Path) -> tuple[ManifestIndex, list[Path]]:
        """The index, and the shards as links in `folder`, which must be on the same disk: they stay while it does."""
        index = await self.index(version)
        links = []
        for number, shard in enumerate(index.shards):
            links.append(folder / str(number))
            await asyncio.to_thread(links[-1].hardlink_to, await self.shard(shard))
        return index, links

    async def _fetch(self, blob: Blob) -> Path:
        path = self._folder / blob.digest.removeprefix("sha256:")
        if await asyncio.to_thread(_touch, path):
            return path
        # A name of its own: two readers may fetch the same one, and only a checked file gets the digest's name.
        arriving = self._folder / f"{path.name}.{self._uid()}"
        try:
            await self._objects.download(blob.logical_key, arriving)
            await asyncio.to_thread(_admit, arriving, path)
        finally:
            arriving.unlink(missing_ok=True)
        await asyncio.to_thread(self._make_room, path)
        return path

    def _make_room(self, keep: Path) -> None:
        found = [(file.stat().st_mtime_ns, file.stat().st_size, file) for file in self._folder.iterdir()]
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= self._limit:
                return
            if file != keep:
                file.unlink(missing_ok=True)
                total -= size


def _touch(path: Path) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _admit(arriving: Path, path: Path) -> None:
    with arriving.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != path.name:
        raise Internal("a part of the manifest is damaged in the object store", reason="MANIFEST_DAMAGED")
    arriving.replace(path)
