"""Uploads of workers: signed into a staging folder, and kept where nobody can write."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from google.rpc import status_pb2

from bloomery_kit.errors import FailedPrecondition, ResourceExhausted, Violations, to_status
from bloomery_kit.uploads import Upload, sign_upload
from bloomery_trainer.core import Core
from bloomery_trainer.keeping import Keeper
from bloomery_trainer.model import Artifact, Attempt, Job
from bloomery_trainer.store import attempts
from bloomery_trainer.tenure import current

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ROLE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_ROLE_LENGTH = 200
_AT_ONCE = 4


@dataclass(frozen=True)
class Target:
    """How to bring a file; None where its bytes are kept already."""

    role: str
    upload: Upload | None


class Uploads:
    """What a worker makes on its way into the object store."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._keeper = Keeper(core.objects)

    async def prepare(self, secret: str, uploads: Sequence[Artifact], *, in_parts: bool) -> list[Target]:
        """Sign what is to be sent of each upload. Raise InvalidArgument, ResourceExhausted DISK_LOW."""
        _check(uploads)
        job, attempt = await self._current(secret)
        async with self._core.db.read() as tx:
            kept = await attempts.kept_artifacts(tx, job.uid, attempt.number)
        targets = [await self._target(job, attempt, upload, kept.get(upload.role), in_parts) for upload in uploads]
        await self._check_space(sum(target.upload.room for target in targets if target.upload is not None))
        return targets

    async def complete(self, secret: str, uploads: Sequence[Artifact]) -> list[Artifact | status_pb2.Status]:
        """Check and keep each upload; one that is missing or wrong becomes a status."""
        _check(uploads)
        job, attempt = await self._current(secret)
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def keep(upload: Artifact) -> Artifact | status_pb2.Status:
            async with at_once:
                try:
                    return await self._keep(secret, job, attempt, upload)
                except FailedPrecondition as error:
                    return to_status(error)

        return list(await asyncio.gather(*map(keep, uploads)))

    async def _current(self, secret: str) -> tuple[Job, Attempt]:
        async with self._core.db.read() as tx:
            return await current(tx, secret)

    async def _check_space(self, wanted: int) -> None:
        free = await self._core.launcher.free_bytes()
        if free is not None and free < wanted:
            message = f"the server's disk has {free >> 20} MiB left, and {-(-wanted >> 20)} are needed"
            raise ResourceExhausted("DISK_LOW", message, 60.0)

    async def _target(
        self, job: Job, attempt: Attempt, upload: Artifact, kept: Artifact | None, in_parts: bool
    ) -> Target:
        if kept is not None and (kept.digest, kept.size_bytes) == (upload.digest, upload.size_bytes):
            return Target(upload.role, None)
        expires = timedelta(seconds=self._core.settings.signed_seconds)
        staging = _staging(job, attempt, upload)
        signed = await sign_upload(self._core.objects, staging, upload.size_bytes, expires=expires, in_parts=in_parts)
        return Target(upload.role, signed)

    async def _keep(self, secret: str, job: Job, attempt: Attempt, upload: Artifact) -> Artifact:
        wanted = replace(upload, logical_key=_key(job, str(attempt.number), upload))
        async with self._core.db.read() as tx:
            kept = (await attempts.kept_artifacts(tx, job.uid, attempt.number)).get(upload.role)
        if kept == wanted:
            return kept
        try:
            await self._keeper.keep(_staging(job, attempt, upload), wanted.logical_key, upload)
        except FailedPrecondition as error:
            raise FailedPrecondition("ARTIFACT_MISSING", f"{upload.role}: {error.message}") from error
        async with self._core.db.write() as tx:
            await current(tx, secret, lock=True)
            await attempts.keep_artifact(tx, job.uid, attempt.number, wanted)
        return wanted


def _key(job: Job, folder: str, upload: Artifact) -> str:
    # The digest at the end lets a role be the folder of others, and bytes that were verified are never replaced.
    return f"{job.prefix}/{folder}/{upload.role}/{upload.digest.removeprefix('sha256:')}"


def _staging(job: Job, attempt: Attempt, upload: Artifact) -> str:
    return _key(job, f"staging/{attempt.number}", upload)


def _check(uploads: Sequence[Artifact]) -> None:
    violations = Violations()
    if len(uploads) > 100:
        violations.add("uploads", "must be at most 100")
    for index, upload in enumerate(uploads):
        if not _ROLE.fullmatch(upload.role) or len(upload.role) > _ROLE_LENGTH:
            violations.add(f"uploads[{index}].artifact.role", "must be a relative path of letters, digits and ._-")
        if not _DIGEST.fullmatch(upload.digest):
            violations.add(f"uploads[{index}].artifact.digest", "must be sha256: and 64 hexadecimal digits")
        if upload.size_bytes < 0:
            violations.add(f"uploads[{index}].artifact.size_bytes", "must not be negative")
    if len({upload.role for upload in uploads}) < len(uploads):
        violations.add("uploads", "must have different roles")
    violations.raise_if_any()
