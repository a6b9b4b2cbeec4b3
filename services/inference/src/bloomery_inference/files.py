"""Model directories on the local disk: fetched once, checked by digest, complete or absent."""

import asyncio
import hashlib
import shutil
import uuid
from pathlib import Path, PurePosixPath

from bloomery_inference.model import Artifact, Variant
from bloomery_kit.errors import Internal
from bloomery_kit.objects import ObjectStore


class ModelFiles:
    """A disposable cache of variants' directories."""

    def __init__(self, objects: ObjectStore, root: Path) -> None:
        self._objects = objects
        self._root = root

    async def fetch(self, variant: Variant) -> Path:
        """The directory of a READY variant. Raise Internal if a file is not what was recorded."""
        target = self._root / variant.uid
        if await asyncio.to_thread(target.is_dir):
            return target
        staging = self._root / f".{variant.uid}.{uuid.uuid4().hex}"
        try:
            for artifact in variant.result.artifacts:
                await self._fetch_file(artifact, staging)
            await asyncio.to_thread(_publish, staging, target)
        finally:
            await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
        return target

    async def _fetch_file(self, artifact: Artifact, staging: Path) -> None:
        path = staging / _inside(artifact.file_name)
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        await self._objects.download(artifact.logical_key, path)
        digest = await asyncio.to_thread(_digest, path)
        if digest != artifact.digest:
            raise Internal(f"{artifact.logical_key} has the digest {digest} instead of {artifact.digest}")


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
