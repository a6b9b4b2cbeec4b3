"""Keeping what was uploaded: the bytes that are kept are the very ones that were checked.

A signed URL stays valid for a while, so the staging key may change under us. What is checked has therefore been moved
to a key that nobody was ever given, beside the staging one, so that whoever sweeps there removes what a crash leaves.
"""

from dataclasses import dataclass

from bloomery_kit.errors import FailedPrecondition, NotFound, PreconditionViolation
from bloomery_kit.names import new_uid
from bloomery_kit.objects import ObjectStore


@dataclass(frozen=True)
class Expected:
    """What was announced: "sha256:" and 64 hexadecimal digits, and the size in bytes."""

    digest: str
    size_bytes: int


async def keep_checked(objects: ObjectStore, staging: str, key: str, wanted: Expected) -> None:
    """Keep the blob at `staging` as `key`, whose name must hold the digest, once it is what was announced.

    A crash or a refusal leaves nothing under `key`; upload and call again. Of two calls at once one may find nothing.

    Raises:
        FailedPrecondition: BLOB_MISSING: nothing was uploaded; BLOB_DIFFERS: other bytes were, and are dropped.
    """
    found = await objects.stat(staging)
    if found is None:
        raise _refusal("BLOB_MISSING", wanted, "nothing was uploaded")
    if found.size != wanted.size_bytes:
        await objects.delete(staging)
        raise _refusal("BLOB_DIFFERS", wanted, f"{found.size} bytes arrived instead of {wanted.size_bytes}")
    private = f"{staging}.{new_uid()}"
    try:
        await objects.move(staging, private)
        digest, size = await objects.digest(private)
    except NotFound as error:
        raise _refusal("BLOB_MISSING", wanted, "nothing was uploaded") from error
    if (digest, size) != (wanted.digest, wanted.size_bytes):
        await objects.delete(private)
        raise _refusal("BLOB_DIFFERS", wanted, f"{size} bytes with the digest {digest} arrived")
    await objects.move(private, key)


def _refusal(reason: str, wanted: Expected, what: str) -> FailedPrecondition:
    violation = PreconditionViolation(reason, wanted.digest, f"{what}; upload it again")
    return FailedPrecondition(reason, f"{wanted.digest}: {what}; upload it again", [violation])
