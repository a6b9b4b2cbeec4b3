"""Bytes by digest: a cache on disk that the workers of a machine share, and transfers that are checked."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO
from uuid import uuid4

import httpx

from bloomery_worker.failures import TransferError

CHUNK = 1 << 20
_IN_USE_SECONDS = 3600.0
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)


class WrongBytesError(TransferError):
    """The bytes that came are not those that were asked for."""


def http_client() -> httpx.AsyncClient:
    """The client for signed requests. It follows no redirects: a signature is good for one place."""
    return httpx.AsyncClient(timeout=_TIMEOUT, limits=httpx.Limits(max_connections=16))


def digest_of(path: Path) -> str:
    """The digest of a file, as "sha256:..."."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


class BlobCache:
    """Files by digest. Several processes may use one folder: files appear whole and never change."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._clock = clock

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    def path(self, digest: str) -> Path:
        """Where the bytes lie, or will."""
        name = digest.removeprefix("sha256:")
        return self._root / name[:2] / name

    def has(self, digest: str, size: int) -> bool:
        """Whether the bytes are here. They then stay for at least an hour."""
        path = self.path(digest)
        try:
            if path.stat().st_size != size:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def new_file(self, digest: str) -> Path:
        """A place to write the bytes to, before `keep`."""
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f"{path.name}.{uuid4().hex}.part")

    def keep(self, part: Path, digest: str) -> Path:
        """Takes a complete file in."""
        return part.replace(self.path(digest))

    def evict(self, limit: int) -> int:
        """Removes the longest unused files above `limit` bytes, but none of the last hour; returns the bytes freed."""
        files = sorted((status.st_mtime, status.st_size, path) for path, status in _files(self._root))
        excess = sum(size for _, size, _ in files) - limit
        freed = 0
        for used, size, path in files:
            if freed >= excess or used > self._clock() - _IN_USE_SECONDS:
                break
            path.unlink(missing_ok=True)
            freed += size
        return freed


def _files(root: Path) -> Iterable[tuple[Path, os.stat_result]]:
    for path in root.glob("*/*"):
        with suppress(FileNotFoundError):
            status = path.stat()
            if S_ISREG(status.st_mode):
                yield path, status


async def download(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], *, digest: str, target: Path
) -> None:
    """Gets bytes into `target` and checks them; a target that is wrong does not stay.

    Raises:
        TransferError: the server refused or the connection broke.
        WrongBytesError: the bytes are others.
    """
    seen = hashlib.sha256()
    try:
        async with client.stream("GET", url, headers=headers) as answer:
            _check(answer)
            with _whole(target) as stream:
                async for chunk in answer.aiter_bytes(CHUNK):
                    seen.update(chunk)
                    stream.write(chunk)
                if f"sha256:{seen.hexdigest()}" != digest:
                    raise WrongBytesError(f"the bytes are not those of {digest}")
    except httpx.HTTPError as problem:
        raise TransferError(f"{type(problem).__name__}: {problem}") from problem


async def upload(client: httpx.AsyncClient, url: str, headers: Mapping[str, str], source: Path) -> None:
    """Puts a file.

    Raises:
        TransferError: the server refused or the connection broke.
    """
    sized = {**headers, "content-length": str(_size(source))}
    try:
        _check(await client.put(url, headers=sized, content=_chunks(source)))
    except httpx.HTTPError as problem:
        raise TransferError(f"{type(problem).__name__}: {problem}") from problem


@contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    """A file that stays only when the block succeeds."""
    try:
        with target.open("wb") as stream:
            yield stream
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _size(path: Path) -> int:
    return path.stat().st_size


async def _chunks(source: Path) -> AsyncIterator[bytes]:
    stream = await asyncio.to_thread(source.open, "rb")
    with stream:
        while chunk := await asyncio.to_thread(stream.read, CHUNK):
            yield chunk


def _check(answer: httpx.Response) -> None:
    if not answer.is_success:
        raise TransferError(f"the object store answered {answer.status_code} {answer.reason_phrase}")
