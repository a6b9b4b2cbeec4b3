"""Puts files into the attempt's folder of the object store, by digest, until the service has checked and kept them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from bloomery.common.v1 import Artifact, UploadPart
from bloomery.training.v1 import ArtifactTarget, ArtifactUpload
from bloomery_worker.blobs import digest_of, upload
from bloomery_worker.client import WorkerClient
from bloomery_worker.failures import TransferError
from bloomery_worker.messages import FileNote
from bloomery_worker.retrying import Policy, again

PAGE = 100
PARALLEL = 4
POLICY = Policy(patience=1800.0, first=0.5, longest=30.0)
"""For a page of files, from the first that gets lost, and from each time that fewer do."""


@dataclass(frozen=True, slots=True)
class _Local:
    path: Path
    upload: ArtifactUpload


class Uploads:
    """Uploads files, and again what did not arrive."""

    def __init__(self, client: WorkerClient, http: httpx.AsyncClient) -> None:
        self._client, self._http = client, http
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
        kept: dict[str, Artifact] = {}
        lost: list[int] = []

        def further() -> bool:
            return len(lost) > 1 and lost[-1] < min(lost[:-1])

        await again(lambda: self._once(local, kept, lost), _is_transfer, POLICY, further=further)
        return kept

    async def _once(self, local: Sequence[_Local], kept: dict[str, Artifact], lost: list[int]) -> None:
        """Tries once each file that is not kept yet; adds those that are, and how many files or parts got lost.

        Raises:
            TransferError: a file is not kept.
        """
        left = [one for one in local if one.upload.artifact.role not in kept]
        uploads = [one.upload for one in left]
        targets = await self._client.prepare_uploads(uploads)
        pairs = zip(left, targets, strict=True)
        problems = [said for told in await asyncio.gather(*(self._put(*pair) for pair in pairs)) for said in told]
        lost.append(len(problems))
        for result in await self._client.complete_uploads(uploads):
            if result.status.code == 0:
                kept[result.artifact.role] = result.artifact
            else:
                problems.append(result.status.message)
        missing = next((one.path.name for one in left if one.upload.artifact.role not in kept), None)
        if missing is not None:
            raise TransferError(f"{missing} could not be uploaded: {problems[0] if problems else 'it was not kept'}")

    async def _put(self, local: _Local, target: ArtifactTarget) -> list[str]:
        """Sends a file, or the parts that are not there; returns what is wrong with each that did not get through."""
        whole = [UploadPart(put=target.put, size_bytes=local.upload.artifact.size_bytes)]
        parts = whole if target.HasField("put") else target.parts
        return [*filter(None, await asyncio.gather(*(self._put_part(local.path, part) for part in parts)))]

    async def _put_part(self, path: Path, part: UploadPart) -> str:
        async with self._slots:
            try:
                await upload(
                    self._http,
                    part.put.url,
                    dict(part.put.headers),
                    path,
                    offset=part.offset,
                    size=part.size_bytes,
                )
            except TransferError as problem:
                return str(problem)
        return ""


def _is_transfer(problem: Exception) -> bool:
    return isinstance(problem, TransferError)


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
