"""Uploads and downloads of bytes."""

import math
from collections.abc import Sequence
from pathlib import PurePosixPath

from bloomery.annotation.v1 import (
    BlobInfo,
    CompleteUploadsRequest,
    CompleteUploadsResponse,
    PrepareUploadsRequest,
    PrepareUploadsResponse,
    SignDownloadsRequest,
    SignDownloadsResponse,
    SignedDownload,
    UploadBlobsRequest,
    UploadBlobsResponse,
    UploadResult,
)
from bloomery_annotation import checks, convert
from bloomery_annotation.model import Asset, Blob, Project
from bloomery_annotation.names import ASSET, PROJECT
from bloomery_annotation.service.base import Methods
from bloomery_annotation.store import assets
from bloomery_kit.errors import BloomeryError, NotFound, Violations
from bloomery_kit.signed import signed_message

MAX_TOGETHER = 8 << 20
"""Bytes of the blobs of one call."""
MAX_IN_PARTS = 100
"""Blobs of one call that may all have many parts: an answer has its limit."""


class UploadMethods(Methods):
    """The rpcs of uploads and downloads."""

    async def PrepareUploads(self, request: PrepareUploadsRequest, _context: object) -> PrepareUploadsResponse:
        """See the contract."""
        most = MAX_IN_PARTS if request.in_parts else checks.MAX_BATCH
        project_id, blobs = self._check_blobs(request.parent, request.blobs, most=most)
        # With 0 an empty blob gets a request like all others.
        unsigned_up_to = request.unsigned_up_to_bytes or -1
        missing = await self._parts.uploads.prepare(
            project_id, blobs, unsigned_up_to=unsigned_up_to, in_parts=request.in_parts
        )
        return PrepareUploadsResponse(missing=[convert.upload_target(digest, upload) for digest, upload in missing])

    async def CompleteUploads(self, request: CompleteUploadsRequest, _context: object) -> CompleteUploadsResponse:
        """See the contract."""
        project_id, blobs = self._check_blobs(request.parent, request.blobs)
        outcomes = await self._parts.uploads.complete(project_id, blobs)
        return CompleteUploadsResponse(results=_results(blobs, outcomes))

    async def UploadBlobs(self, request: UploadBlobsRequest, _context: object) -> UploadBlobsResponse:
        """See the contract."""
        infos = [BlobInfo(digest=blob.digest, size_bytes=len(blob.content)) for blob in request.blobs]
        project_id, blobs = self._check_blobs(request.parent, infos, together=MAX_TOGETHER)
        contents = [(blob.digest, blob.content) for blob in request.blobs]
        outcomes = await self._parts.uploads.take(project_id, contents)
        return UploadBlobsResponse(results=_results(blobs, outcomes))

    async def SignDownloads(self, request: SignDownloadsRequest, _context: object) -> SignDownloadsResponse:
        """See the contract."""
        ids = _check_assets(request)
        async with self._read(request.parent) as (tx, project):
            found = {asset.id: asset for asset in await assets.known(tx, project, ids)}
        return SignDownloadsResponse(downloads=[await self._sign(project, found.get(id_), id_) for id_ in ids])

    async def _sign(self, project: Project, asset: Asset | None, asset_id: str) -> SignedDownload:
        if asset is None:
            refusal: NotFound = assets.missing(project.id, asset_id)
            return SignedDownload(asset=refusal.name, status=convert.status(refusal))
        file_name = PurePosixPath(asset.display_name).name or asset.id
        get = await self._parts.uploads.sign_download(project, asset.digest, file_name)
        return SignedDownload(asset=asset.name, get=signed_message(get), status=convert.status(None))

    def _check_blobs(
        self,
        parent: str,
        blobs: Sequence[BlobInfo],
        *,
        most: int = checks.MAX_BATCH,
        together: float = math.inf,
    ) -> tuple[str, list[Blob]]:
        violations = Violations()
        ids = PROJECT.check(parent, "parent", violations)
        checks.batch(len(blobs), "blobs", violations, most)
        for number, blob in enumerate(blobs[: checks.MAX_BATCH]):
            checks.digest(blob.digest, f"blobs[{number}].digest", violations)
            if not 0 <= blob.size_bytes <= self._parts.max_blob_bytes:
                limit = f"must be from 0 to {self._parts.max_blob_bytes} bytes, not {blob.size_bytes}"
                violations.add(f"blobs[{number}].size_bytes", limit)
        if (total := sum(blob.size_bytes for blob in blobs)) > together:
            violations.add(
                "blobs", f"have {total} bytes together; at most {together} fit, so send them in several calls"
            )
        violations.raise_if_any()
        assert ids is not None
        return ids["project"], [Blob(blob.digest, blob.size_bytes) for blob in blobs]


def _results(blobs: Sequence[Blob], outcomes: Sequence[BloomeryError | None]) -> list[UploadResult]:
    return [
        UploadResult(digest=blob.digest, status=convert.status(outcome))
        for blob, outcome in zip(blobs, outcomes, strict=True)
    ]


def _check_assets(request: SignDownloadsRequest) -> list[str]:
    violations = Violations()
    parent = PROJECT.check(request.parent, "parent", violations)
    checks.batch(len(request.assets), "assets", violations)
    found = []
    for number, name in enumerate(request.assets[: checks.MAX_BATCH]):
        ids = ASSET.check(name, f"assets[{number}]", violations)
        if ids and parent and ids["project"] != parent["project"]:
            violations.add(f"assets[{number}]", f"{name} is of another project than {request.parent}")
        found.append(ids["asset"] if ids else "")
    violations.raise_if_any()
    return found
