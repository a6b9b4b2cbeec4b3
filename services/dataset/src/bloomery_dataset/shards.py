"""Manifests from the object store, kept on the local disk as long as there is room."""

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from bloomery_dataset.model import Blob, Version
from bloomery_kit.errors import Internal
from bloomery_kit.names import new_uid
from bloomery_kit.objects import ObjectStore
from bloomery_vision.manifest import ManifestIndex, ManifestShard, ShardReader

T = TypeVar("T")
_DIGEST_LENGTH = 64


class ShardCache:
    """Files by digest in `folder`; the least recently used leave when they take more than `limit` bytes.

    A file may leave as soon as nobody looks. So whoever needs one gets it opened or linked while no file can leave:
    an open file outlives its name.
    """

    def __init__(self, objects: ObjectStore, folder: Path, *, limit: int) -> None:
        self._objects = objects
        self._folder = folder
        self._limit = limit
        self._looking = asyncio.Lock()

    async def index(self, version: Version) -> ManifestIndex:
        """The index of a READY version."""
        assert version.product is not None
        return ManifestIndex.from_json(await self._use(version.product.manifest, Path.read_bytes))

    async def open(self, shard: ManifestShard, classes: Sequence[str]) -> ShardReader:
        """A reader of a shard, for the caller to close; `classes` are those of the index."""
        return await self._use(_blob(shard), lambda path: ShardReader(path, classes))

    async def checkout(self, version: Version, folder: Path) -> tuple[ManifestIndex, list[Path]]:
        """The index, and the shards as links in `folder`, which must be on the same disk: they stay while it does."""
        index = await self.index(version)
        links = [folder / str(number) for number in range(len(index.shards))]
        for link, shard in zip(links, index.shards, strict=True):
            await self._use(_blob(shard), link.hardlink_to)
        return index, links

    async def _use(self, blob: Blob, use: Callable[[Path], T]) -> T:
        path = self._folder / blob.digest.removeprefix("sha256:")
        async with self._looking:
            with suppress(FileNotFoundError):
                return await asyncio.to_thread(_use_again, path, use)
        # A name of its own: two readers may fetch the same one, and only a checked file gets the digest's name.
        arriving = self._folder / f"{path.name}.{new_uid()}"
        try:
            await self._objects.download(blob.logical_key, arriving)
            await asyncio.to_thread(_check, arriving, path.name)
            async with self._looking:
                return await asyncio.to_thread(self._admit, arriving, path, use)
        finally:
            arriving.unlink(missing_ok=True)

    def _admit(self, arriving: Path, path: Path, use: Callable[[Path], T]) -> T:
        used = use(arriving)
        arriving.replace(path)
        self._make_room(path)
        return used

    def _make_room(self, keep: Path) -> None:
        found = [(file.stat(), file) for file in self._folder.iterdir() if has_arrived(file)]
        total = sum(stat.st_size for stat, _ in found)
        for stat, file in sorted(found, key=lambda one: one[0].st_mtime_ns):
            if total <= self._limit:
                return
            if file != keep:
                file.unlink(missing_ok=True)
                total -= stat.st_size


def has_arrived(file: Path) -> bool:
    """Whether a file of a cache's folder is a whole one, and not part of one under way or left by a crash."""
    return len(file.name) == _DIGEST_LENGTH


def _blob(shard: ManifestShard) -> Blob:
    return Blob(shard.digest, shard.size_bytes, shard.logical_key)


def _use_again(path: Path, use: Callable[[Path], T]) -> T:
    os.utime(path)
    return use(path)


def _check(arriving: Path, digest: str) -> None:
    with arriving.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise Internal("a part of the manifest is damaged in the object store", reason="MANIFEST_DAMAGED")
