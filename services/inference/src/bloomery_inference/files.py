"""Model directories on the local disk: fetched once, checked by digest, complete or absent."""

import asyncio
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bloomery_inference.model import Artifact, Variant
from bloomery_kit.errors import Internal
from bloomery_kit.names import new_uid
from bloomery_kit.objects import ObjectStore


class ModelCache:
    """A disposable cache of variants' directories; the least recently used leave when they take more than `limit`."""

    def __init__(self, objects: ObjectStore, root: Path, *, limit: int) -> None:
        self._objects = objects
        self._root = root
        self._limit = limit

    def of(self, variant: Variant) -> "VariantFiles":
        """The files of a READY variant, fetched when they are asked for."""
        return VariantFiles(self, variant)

    async def fetch(self, variant: Variant) -> Path:
        """The directory of a READY variant. Raise Internal if a file is not what was recorded."""
        target = self._root / variant.uid
        if await asyncio.to_thread(_touch, target):
            return target
        staging = self._root / f".{variant.uid}.{new_uid()}"
        try:
            for artifact in variant.result.artifacts:
                await self._fetch_file(artifact, staging)
            await asyncio.to_thread(_publish, staging, target)
        finally:
            await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
        await asyncio.to_thread(self._make_room, target)
        return target

    async def _fetch_file(self, artifact: Artifact, staging: Path) -> None:
        path = staging / _inside(artifact.file_name)
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        await self._objects.download(artifact.logical_key, path)
        digest = await asyncio.to_thread(_digest, path)
        if digest != artifact.digest:
            raise Internal(f"{artifact.logical_key} has the digest {digest} instead of {artifact.digest}")

    def _make_room(self, keep: Path) -> None:
        # Those that arrive begin with a dot.
        kept = [folder for folder in self._root.iterdir() if not folder.name.startswith(".")]
        sizes = {folder: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in kept}
        total = sum(sizes.values())
        for folder in sorted(kept, key=lambda one: one.stat().st_mtime_ns):
            if total <= self._limit:
                return
            if folder != keep:
                shutil.rmtree(folder, ignore_errors=True)
                total -= sizes[folder]


@dataclass(frozen=True)
class VariantFiles:
    """The files of one variant, as a runtime asks for them."""

    cache: ModelCache
    variant: Variant

    async def directory(self) -> Path:
        """See ModelFiles."""
        return await self.cache.fetch(self.variant)


def _touch(folder: Path) -> bool:
    try:
        os.utime(folder)
    except FileNotFoundError:
        return False
    return True


def _inside(file_name: str) -> PurePosixPath:
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


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
