"""Uploads: how their bytes come, and keeping them: the bytes that are kept are the very ones that were checked.

A large file may come in parts, each a blob of its own beside the staging key. What is there already is found by the
names of those blobs alone, so that any replica, and a client that begins again, goes on where the last one stopped.
Parts are joined only when all are there with their sizes, and what was joined is checked as a whole.

A signed URL stays valid for a while, so staged blobs may change under us. What is checked has therefore been moved, or
joined, to a key that nobody was ever given, beside the staging one, so that whoever sweeps there removes what a crash
leaves.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from bloomery_kit.errors import BloomeryError, FailedPrecondition, NotFound, PreconditionViolation
from bloomery_kit.names import new_uid
from bloomery_kit.objects import ObjectStore, SignedRequest

PARTED_BYTES = 16 << 20
"""Larger files come in parts, where the client takes them."""
_PART_BYTES = 8 << 20
_MOST_PARTS = 64
"""Parts of very large files are larger, so that an answer that lists them stays small."""


@dataclass(frozen=True)
class Expected:
    """What was announced: "sha256:" and 64 hexadecimal digits, and the size in bytes."""

    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Part:
    """A part of a file, in bytes: where it begins, how long it is, and a PUT for it."""

    offset: int
    size: int
    put: SignedRequest


@dataclass(frozen=True)
class Upload:
    """How a file is to be brought: by one PUT, or by these parts, the others being there."""

    put: SignedRequest | None = None
    parts: Sequence[Part] = ()
    room: int = 0
    """Bytes that the object store must have free for it: what is to come, and parts once more, joined."""


async def sign_upload(objects: ObjectStore, staging: str, size: int, *, expires: timedelta, in_parts: bool) -> Upload:
    """Sign what is to be sent of a file; with `in_parts` a large one has parts."""
    if not (in_parts and size > PARTED_BYTES):
        return Upload(await objects.sign_put(staging, size=size, expires=expires), room=size)
    there = {blob.key: blob.size async for blob in objects.list(f"{staging}.")}
    parts = [
        Part(offset, length, await objects.sign_put(key, size=length, expires=expires))
        for key, offset, length in _parts(staging, size)
        if there.get(key) != length
    ]
    return Upload(parts=parts, room=size + sum(part.size for part in parts))


async def staged(objects: ObjectStore, staging: str, size: int) -> tuple[Sequence[str], int]:
    """The keys where the bytes of an upload lie, in their order, and how many bytes; no keys where some are missing."""
    whole = await objects.stat(staging)
    if whole is not None and whole.size == size:
        return [staging], size
    if size > PARTED_BYTES:
        there = {blob.key: blob.size async for blob in objects.list(f"{staging}.")}
        parts = _parts(staging, size)
        if all(there.get(key) == length for key, _, length in parts):
            return [key for key, _, _ in parts], size
    return ([staging], whole.size) if whole is not None else ((), 0)


async def drop_staged(objects: ObjectStore, staging: str, size: int) -> None:
    """Remove what is staged of an upload, and what a crash left while it was kept; what is gone is fine."""
    beside = [blob.key async for blob in objects.list(f"{staging}.")] if size > PARTED_BYTES else []
    await asyncio.gather(*(objects.delete(key) for key in (staging, *beside)))


async def keep_checked(objects: ObjectStore, staging: str, key: str, wanted: Expected) -> None:
    """Keep the upload at `staging` as `key`, whose name must hold the digest, once it is what was announced.

    A crash or a refusal leaves nothing under `key`; upload and call again. Of two calls at once one may find nothing.

    Raises:
        FailedPrecondition: BLOB_MISSING: nothing, or not all, was uploaded; BLOB_DIFFERS: other bytes were, and are
            dropped.
    """
    sources, found = await staged(objects, staging, wanted.size_bytes)
    if not sources:
        raise _refusal("BLOB_MISSING", wanted, "nothing was uploaded, or not all of it")
    if found != wanted.size_bytes:
        await objects.delete(staging)
        raise _refusal("BLOB_DIFFERS", wanted, f"{found} bytes arrived instead of {wanted.size_bytes}")
    try:
        async with _taken(objects, sources, f"{staging}.{new_uid()}") as private:
            digest, size = await objects.digest(private)
            right = (digest, size) == (wanted.digest, wanted.size_bytes)
            if right:
                await objects.move(private, key)
    except NotFound as error:
        raise _refusal("BLOB_MISSING", wanted, "nothing was uploaded, or not all of it") from error
    if len(sources) > 1:
        await drop_staged(objects, staging, wanted.size_bytes)
    if not right:
        raise _refusal("BLOB_DIFFERS", wanted, f"{size} bytes with the digest {digest} arrived")


@asynccontextmanager
async def _taken(objects: ObjectStore, sources: Sequence[str], private: str) -> AsyncIterator[str]:
    """The bytes under a key of ours, of which nothing is left in the end."""
    taking = asyncio.create_task(_take(objects, sources, private))
    try:
        # Whoever gives up waiting does not end the thread that writes: what it writes is there only when it has ended.
        await asyncio.shield(taking)
        yield private
    finally:
        await asyncio.gather(taking, return_exceptions=True)
        with suppress(BloomeryError):
            await objects.delete(private)


async def _take(objects: ObjectStore, sources: Sequence[str], private: str) -> None:
    if len(sources) == 1:
        await objects.move(sources[0], private)
    else:
        await objects.join(sources, private)


def _parts(staging: str, size: int) -> Sequence[tuple[str, int, int]]:
    """Key, offset and length of each part. The key says where it belongs, however files were divided when it came."""
    step = max(_PART_BYTES, -(-size // _MOST_PARTS))
    places = [(offset, min(step, size - offset)) for offset in range(0, size, step)]
    return [(f"{staging}.{offset}-{length}", offset, length) for offset, length in places]


def _refusal(reason: str, wanted: Expected, what: str) -> FailedPrecondition:
    violation = PreconditionViolation(reason, wanted.digest, f"{what}; upload it again")
    return FailedPrecondition(reason, f"{wanted.digest}: {what}; upload it again", [violation])
