"""Puts files into the attempt's folder of the object store, by digest, until the service has checked and kept them."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import ArtifactTarget, ArtifactUpload
from bloomery_worker.blobs import digest_of, upload
from bloomery_worker.client import WorkerClient
from bloomery_worker.failures import TransferError
from bloomery_worker.messages import FileNote

PAGE = 100
PARALLEL = 4


@dataclass(frozen=True, slots=True)
class _Local:
    path: Path
    upload: ArtifactUpload


class Uploads:
    """Uploads files, and again what did not arrive, for up to `patience` seconds a page."""

    def __init__(
        self,
        client: WorkerClient,
        http: httpx.AsyncClient,
        *,
        patience: float = 1800.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._http = client, http
        self._patience, self._sleep, self._clock = patience, sleep, clock
        self._slots = asyncio.Semaphore(PARALLEL)

    async def send(self, files: Sequence[FileNote]) -> list[Artifact]:
        """Uploads files and returns them as the service keeps them, in their order.

        Raises:
            TransferError: they did not arrive for too long.
        """
        local = await asyncio.to_thread(lambda: [_describe(file) for file in files])
        kept: dict[str, Artifact] = {}
        for start in range(0, len(local), PAGE):
            kept |= await self._page(local[start : start + PAGE])
        return [kept[one.upload.artifact.role] for one in local]

    async def _page(self, local: Sequence[_Local]) -> dict[str, Artifact]:
        deadline, pause = self._clock() + self._patience, 0.5
        kept: dict[str, Artifact] = {}
        left = local
        while True:
            problem = await self._once(left, kept)
            left = [one for one in left if one.upload.artifact.role not in kept]
            if not left:
                return kept
            if self._clock() + pause > deadline:
                raise TransferError(f"{left[0].path.name} could not be uploaded: {problem}")
            await self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, hides nothing
            pause = min(pause * 2, 30.0)

    async def _once(self, local: Sequence[_Local], kept: dict[str, Artifact]) -> str:
        """Tries each file once, adds what is kept, and returns what went wrong."""
        uploads = [one.upload for one in local]
        targets = await self._client.prepare_uploads(uploads)
        pairs = zip(local, targets, strict=True)
        problems = [said for said in await asyncio.gather(*(self._put(*pair) for pair in pairs)) if said]
        for result in await self._client.complete_uploads(uploads):
            if result.status.code == 0:
                kept[result.artifact.role] = result.artifact
            else:
                problems.append(result.status.message)
        return problems[0] if problems else ""

    async def _put(self, local: _Local, target: ArtifactTarget) -> str:
        if target.present:
            return ""
        async with self._slots:
            try:
                await upload(self._http, target.put.url, dict(target.put.headers), local.path)
            except TransferError as problem:
                return str(problem)
        return ""


def _describe(file: FileNote) -> _Local:
    path = Path(file.path)
    artifact = Artifact(
        digest=digest_of(path),
        size_bytes=path.stat().st_size,
        media_type=file.media_type,
        role=file.role,
        file_name=file.file_name,
    )
    return _Local(path, ArtifactUpload(artifact=artifact))
