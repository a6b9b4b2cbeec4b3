"""Bytes to and from the object store, by signed requests."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from bloomery import errors
from bloomery._concurrency import together
from bloomery._files import Download, File, digest_of, part_of, refuse_other
from bloomery._requests import Attempt
from bloomery._results import Progress, Step
from bloomery.common.v1 import SignedRequest
from bloomery.errors import BloomeryError

_CHUNK = 1 << 20
_TIMEOUT = httpx.Timeout(10.0, read=120.0, write=120.0, pool=None)
_SILENCE = 10.0
"""What an attempt counts that ended in silence, in seconds: a store that never answers is not asked for an hour."""
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


class Transfer:
    """Puts and gets files in parallel, again and again where that may help. Belongs to one event loop.

    The pauses between the attempts at one file, and attempts without an answer, count at most `patience` seconds.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]],
        pause: Callable[[int, BloomeryError], float | None],
        patience: float,
        turns: asyncio.Semaphore,
        at_once: int,
    ) -> None:
        self._sleep = sleep
        self._pause = pause
        self._patience = patience
        self._turns = turns
        # A proxy of the environment does not reach this machine's own server.
        own = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
        limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
        self._http = httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, mounts=own)
        self._closed = False
        self._attempts: set[Attempt] = set()

    async def close(self) -> None:
        """Break off what is under way, and give the connections back."""
        self._closed = True
        await asyncio.gather(*(attempt.close() for attempt in self._attempts))
        await self._http.aclose()

    async def put(self, file: File, request: SignedRequest, *, offset: int = 0, size: int | None = None) -> None:
        """Upload a file, or `size` bytes of it from `offset` on.

        Raises:
            InvalidArgument: DIGEST_MISMATCH: it has fewer bytes than when it was measured.
            TransferFailed: it did not get through.
            ClientClosed: the client was closed.
        """
        length = file.size if size is None else size
        headers = httpx.Headers(dict(request.headers))
        headers["content-length"] = str(length)

        async def send(attempt: Attempt) -> None:
            # Closed here: a request that breaks off leaves its iterator where it was.
            with await asyncio.to_thread(file.path.open, "rb") as opened:
                content = _chunks(opened, offset, length)
                reply = await self._http.put(
                    request.url, content=content, headers=headers, extensions=attempt.extensions
                )
            _check(reply, file.path.name)

        await self._insist(send)

    async def get(self, request: SignedRequest, target: Path, digest: str) -> bool:
        """Download to `target`, which appears complete or not at all; say whether anything had to travel.

        Raises:
            DigestMismatch: other bytes than those of `digest` arrived.
            TransferFailed: they did not get through.
            ClientClosed: the client was closed.
        """
        if await asyncio.to_thread(_holds, target, digest):
            return False
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        await self._insist(lambda attempt: self._receive(attempt, request, target, digest))
        return True

    async def get_all(self, wanted: Sequence[Download], progress: Progress) -> list[Path]:
        """Download all and return where they are; raises what `get` does."""
        done = 0

        async def fetch(one: Download) -> None:
            nonlocal done
            await self.get(one.request, one.target, one.digest)
            done += 1
            progress(Step("downloading", done, len(wanted)))

        await together(fetch(one) for one in wanted)
        return [one.target for one in wanted]

    async def _receive(self, attempt: Attempt, request: SignedRequest, target: Path, digest: str) -> None:
        part_path = part_of(target)
        headers = dict(request.headers)
        try:
            with await asyncio.to_thread(part_path.open, "wb") as part:
                async with self._http.stream(
                    "GET", request.url, headers=headers, extensions=attempt.extensions
                ) as reply:
                    _check(reply, target.name)
                    received = hashlib.sha256()
                    async for chunk in reply.aiter_bytes(_CHUNK):
                        await asyncio.to_thread(_take, part, received, chunk)
            refuse_other(received, digest, target.name)
            await asyncio.to_thread(part_path.replace, target)
        finally:
            await asyncio.to_thread(part_path.unlink, missing_ok=True)

    async def _insist(self, once: Callable[[Attempt], Coroutine[Any, Any, None]]) -> None:
        waited, attempt = 0.0, 1
        while True:
            try:
                async with self._turns:
                    return await self._try(once)
            except httpx.TransportError as error:
                failure = errors.Unavailable(f"{type(error).__name__}: {error}")
                # Not what it took: an attempt at a large file may take long.
                waited += _SILENCE if isinstance(error, httpx.TimeoutException) else 0.0
            except errors.Unavailable as error:
                failure = error
            pause = self._pause(attempt, failure)
            if pause is None or (waited := waited + pause) > self._patience:
                raise errors.TransferFailed(f"the object store cannot be reached: {failure.message}")
            await self._sleep(pause)
            attempt += 1

    async def _try(self, once: Callable[[Attempt], Coroutine[Any, Any, None]]) -> None:
        if self._closed:
            raise errors.ClientClosed
        attempt = Attempt()
        self._attempts.add(attempt)
        try:
            await attempt.run(once(attempt))
        finally:
            self._attempts.discard(attempt)


def _check(reply: httpx.Response, what: str) -> None:
    if reply.is_success:
        return
    message = f"{what}: the object store answered {reply.status_code} {reply.reason_phrase}"
    if reply.status_code in _PASSING:
        after = reply.headers.get("retry-after", "")
        raise errors.Unavailable(message, retry_after=float(after) if after.isdecimal() else None)
    raise errors.TransferFailed(message, reason="REFUSED", hint="repeat: the signed request may have expired")


async def _chunks(opened: BinaryIO, offset: int, size: int) -> AsyncIterator[bytes]:
    """As many bytes as were announced: what a file has grown by since belongs to another one."""
    opened.seek(offset)
    left = size
    while chunk := await asyncio.to_thread(opened.read, min(_CHUNK, left)):
        left -= len(chunk)
        yield chunk
    if left:
        message = f"{opened.name} changed while it was sent"
        raise errors.InvalidArgument(message, reason="DIGEST_MISMATCH", hint="repeat once nothing writes to it")


def _take(part: BinaryIO, received: "hashlib._Hash", chunk: bytes) -> None:
    part.write(chunk)
    received.update(chunk)


def _holds(path: Path, digest: str) -> bool:
    return path.is_file() and digest_of(path) == digest
