"""Model directories on the local disk: fetched once, checked by digest, complete or absent."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bloomery_kit.errors import Internal
from bloomery_kit.names import new_uid

if TYPE_CHECKING:
    from bloomery_inference.model import Artifact, Variant
    from bloomery_kit.objects import ObjectStore

_HALF_FETCHED_SECONDS = 86_400.0
"""Age from which what was not fetched to the end is nobody's any more."""


class ModelCache:
    """A disposable cache of variants' directories; the least recently used leave when they take more than `limit`."""

    def __init__(self, objects: ObjectStore, root: Path, *, limit: int) -> None:
        self._objects = objects
        self._root = root
        self._limit = limit
        self._readers: Counter[str] = Counter()
        # Nothing leaves between the look for a directory and its use.
        self._removing = asyncio.Lock()

    def of(self, variant: Variant) -> VariantFiles:
        """The files of a READY variant, fetched when they are asked for."""
        return VariantFiles(self, variant)

    @asynccontextmanager
    async def open(self, variant: Variant) -> AsyncIterator[Path]:
        """The directory of a READY variant, which stays. Raise Internal if a file is not what was recorded."""
        self._readers[variant.uid] += 1
        try:
            yield await self._fetched(variant)
        finally:
            self._readers[variant.uid] -= 1

    async def forget(self, variant: Variant) -> None:
        """Let the next one who asks for a variant fetch it anew."""
        async with self._removing:
            await asyncio.to_thread(remove, self._root / variant.uid)

    async def _fetched(self, variant: Variant) -> Path:
        target = self._root / variant.uid
        async with self._removing:
            if await asyncio.to_thread(_touch, target):
                return target
        staging = self._root / f".{variant.uid}.{new_uid()}"
        try:
            for artifact in variant.result.artifacts:
                await self._fetch_file(artifact, staging)
            await asyncio.to_thread(_publish, staging, target)
        finally:
            await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
        async with self._removing:
            await asyncio.to_thread(_make_room, self._root, self._limit, frozenset(+self._readers))
        return target

    async def _fetch_file(self, artifact: Artifact, staging: Path) -> None:
        path = staging / inside(artifact.file_name)
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        await self._objects.download(artifact.logical_key, path)
        digest = await asyncio.to_thread(digest_of, path)
        if digest != artifact.digest:
            raise Internal(f"{artifact.logical_key} has the digest {digest} instead of {artifact.digest}")


@dataclass(frozen=True)
class VariantFiles:
    """The files of one variant, as a runtime asks for them."""

    cache: ModelCache
    variant: Variant

    def directory(self) -> AbstractAsyncContextManager[Path]:
        """See ModelFiles."""
        return self.cache.open(self.variant)


def remove(folder: Path) -> None:
    """Remove a folder at once for whoever looks for it, though that takes a while."""
    leaving = folder.with_name(f".{folder.name}.{new_uid()}")
    with suppress(FileNotFoundError):
        folder.rename(leaving)
    shutil.rmtree(leaving, ignore_errors=True)


def _make_room(root: Path, limit: int, in_use: Collection[str]) -> None:
    folders = list(root.iterdir())
    kept = [folder for folder in folders if not folder.name.startswith(".")]
    for folder in folders:
        # Another one that arrives or leaves may have been renamed meanwhile.
        with suppress(FileNotFoundError):
            if folder not in kept and time.time() - folder.stat().st_mtime > _HALF_FETCHED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
    sizes = {folder: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in kept}
    total = sum(sizes.values())
    for folder in sorted(kept, key=lambda one: one.stat().st_mtime_ns):
        if total > limit and folder.name not in in_use:
            remove(folder)
            total -= sizes[folder]


def _touch(folder: Path) -> bool:
    try:
        os.utime(folder)
    except FileNotFoundError:
        return False
    return True


def inside(file_name: str) -> PurePosixPath:
    """A file's path inside a model directory. Raise Internal for one that leads out of it."""
    path = PurePosixPath(file_name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise Internal(f"a model's file is called {file_name!r}")
    return path


def _publish(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)
    except OSError:
        # Another prediction was first; its files have the same digests.
        if not target.is_dir():
            raise


def digest_of(path: Path) -> str:
    """`sha256:...` of a file's bytes."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
