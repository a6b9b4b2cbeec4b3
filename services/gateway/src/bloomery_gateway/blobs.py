"""The folder object store behind its own signed URLs."""

from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response

from bloomery_gateway.problems import problem
from bloomery_kit.errors import FieldViolation, InvalidArgument, NotFound
from bloomery_kit.objects import FolderObjectStore, check_key


class BlobFile(FileResponse):
    """A blob, or the ranges of it that the client asks for."""

    chunk_size = 1 << 20


class Blobs:
    """Handlers for uploads and downloads of blobs in `store`, whose files lie under `root`."""

    def __init__(self, store: FolderObjectStore, root: Path) -> None:
        self._store = store
        self._root = root

    async def put(self, request: Request) -> Response:
        """Store the body under the key, where it has exactly the size that the URL was signed for."""
        key = request.path_params["key"]
        grant = self._store.verify("PUT", key, request.query_params)
        assert grant.size is not None
        _check_length(request, grant.size)
        try:
            await self._store.put(key, _exactly(request.stream(), grant.size))
        except ClientDisconnect:
            return problem(400, category="CANCELLED", message="the body ended before its size", retry_possible=True)
        return Response(status_code=204)

    async def get(self, request: Request) -> Response:
        """The blob; HEAD and ranges too."""
        key = request.path_params["key"]
        grant = self._store.verify(request.method, key, request.query_params)
        if await self._store.stat(key) is None:
            raise NotFound("blob", key)
        return BlobFile(
            self._root / check_key(key),
            # Blobs come from users: nothing here may be taken for a page.
            headers={"x-content-type-options": "nosniff"},
            media_type=None if grant.filename else "application/octet-stream",
            filename=grant.filename,
        )


def _check_length(request: Request, size: int) -> None:
    declared = request.headers.get("content-length")
    if declared is not None and declared != str(size):
        raise _wrong_size(size)


async def _exactly(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > size:
            raise _wrong_size(size)
        yield chunk
    if received != size:
        raise _wrong_size(size)


def _wrong_size(size: int) -> InvalidArgument:
    return InvalidArgument([FieldViolation("body", f"must have {size} bytes, as the URL says")], reason="WRONG_SIZE")
