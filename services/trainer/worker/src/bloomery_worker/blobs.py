"""Transfers of bytes by digest, checked."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx

from bloomery_worker.failures import TransferError

CHUNK = 1 << 20
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)


class WrongBytesError(TransferError):
    """The bytes that came are not those that were asked for."""


class GoneError(TransferError):
    """Nothing lies there."""


def http_client() -> httpx.AsyncClient:
    """The client for signed requests. It follows no redirects: a signature is good for one place."""
    return httpx.AsyncClient(timeout=_TIMEOUT, limits=httpx.Limits(max_connections=16))


def digest_of(path: Path) -> str:
    """The digest of a file, as "sha256:..."."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


async def download(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], *, digest: str, target: Path
) -> None:
    """Gets bytes into `target` and checks them; a target that is wrong does not stay.

    Raises:
        TransferError: the server refused or the connection broke.
        GoneError: nothing lies there.
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


async def upload(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], source: Path, *, offset: int = 0, size: int
) -> None:
    """Puts `size` bytes of a file, from `offset` on.

    Raises:
        TransferError: the server refused or the connection broke.
    """
    sized = {**headers, "content-length": str(size)}
    try:
        _check(await client.put(url, headers=sized, content=_chunks(source, offset, size)))
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


async def _chunks(source: Path, offset: int, size: int) -> AsyncIterator[bytes]:
    stream = await asyncio.to_thread(source.open, "rb")
    with stream:
        stream.seek(offset)
        while chunk := await asyncio.to_thread(stream.read, min(CHUNK, offset + size - stream.tell())):
            yield chunk


def _check(answer: httpx.Response) -> None:
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise GoneError("the object store has no such object")
    if not answer.is_success:
        raise TransferError(f"the object store answered {answer.status_code} {answer.reason_phrase}")
