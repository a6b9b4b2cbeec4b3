"""Uploads: signed to a staging key, or in parts, read once to check and to look at them, then kept by their digest.

The bytes that are kept are the very ones that were checked: a signed URL stays valid for a while, so the staging key
may change under us. A crash anywhere leaves a state from which the same call goes on.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from bloomery_annotation import metrics, room
from bloomery_annotation.contents import is_row
from bloomery_annotation.inspecting import check, checked, inspect, mismatch
from bloomery_annotation.model import Blob, Project
from bloomery_annotation.names import blob_key, hex_of, staging_key
from bloomery_annotation.scratch import scratch
from bloomery_annotation.store import blobs, projects
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import (
    BloomeryError,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
    ResourceExhausted,
)
from bloomery_kit.objects import Content, ObjectStore, SignedRequest
from bloomery_kit.quotas import UNLIMITED, Quotas
from bloomery_kit.times import Clock, utc_now
from bloomery_kit.uploads import Upload, drop_staged, sign_upload, staged
from bloomery_vision.cores import usable_cores
from bloomery_vision.findings import Finding

Outcomes = dict[str, Blob | BloomeryError]
"""What becomes of blobs, by digest."""
_IN_MEMORY = 8 << 20
_RECORDED_AT_ONCE = 50
_NOTED_EVERY = timedelta(days=1)
"""How exactly it is noted when a blob was last asked for."""


class DiskGuard:
    """Refuses uploads that would leave too little space on a disk."""

    def __init__(
        self,
        folder: Path | None,
        reserved: int,
        *,
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._folder, self._reserved, self._free = folder, reserved, free

    def check(self, wanted: int) -> None:
        """Raise ResourceExhausted DISK_LOW unless `wanted` more bytes fit. Where no folder is known, they do."""
        if not wanted or self._folder is None or self._free(self._folder) - wanted >= self._reserved:
            return
        message = f"the server's disk has too little space left for {wanted} bytes more; free some and repeat"
        raise ResourceExhausted("DISK_LOW", message)


class Uploads:
    """Takes blobs into projects, `at_once` at the same time; as many images as there are cores are looked at."""

    def __init__(
        self,
        db: Database,
        objects: ObjectStore,
        disk: DiskGuard,
        *,
        url_seconds: int,
        at_once: int,
        clock: Clock = utc_now,
        quotas: Quotas = UNLIMITED,
    ) -> None:
        self._quotas = quotas
        self._db, self._objects, self._disk, self._clock = db, objects, disk, clock
        self._expires = timedelta(seconds=url_seconds)
        self._slots = asyncio.Semaphore(at_once)
        self._looking = asyncio.Semaphore(usable_cores())

    async def prepare(
        self, project_id: str, wanted: Sequence[Blob], *, unsigned_up_to: int = -1, in_parts: bool = False
    ) -> list[tuple[str, Upload]]:
        """Each blob that the project lacks, once for each digest, signed where it has more bytes than that.

        Raises:
            ResourceExhausted: DISK_LOW, QUOTA_EXCEEDED.
        """
        project, there = await self._known(project_id, wanted)
        missing = {blob.digest: blob.size_bytes for blob in wanted if blob.digest not in there}
        if missing:
            room.check_bytes(project, await self._quotas.of(project_id), sum(missing.values()))
        uploads = [
            (digest, await self._sign(project, digest, size, in_parts) if size > unsigned_up_to else Upload(room=size))
            for digest, size in missing.items()
        ]
        self._disk.check(sum(upload.room for _, upload in uploads))
        return uploads

    async def complete(self, project_id: str, wanted: Sequence[Blob]) -> list[BloomeryError | None]:
        """Keep uploaded blobs; for each the reason why it is not kept, or None."""
        project, there = await self._known(project_id, wanted)
        new = list({blob.digest: blob for blob in wanted if blob.digest not in there}.values())
        outcomes: Outcomes = {**await self._refused(project, new)}
        new = [blob for blob in new if blob.digest not in outcomes]
        # What a caller with a short deadline has waited for is not lost.
        for start in range(0, len(new), _RECORDED_AT_ONCE):
            outcomes |= await self._take_some(project, new[start : start + _RECORDED_AT_ONCE])
        return [await self._result(project, blob, outcomes.get(blob.digest)) for blob in wanted]

    async def take(self, project_id: str, contents: Sequence[tuple[str, bytes]]) -> list[BloomeryError | None]:
        """Keep small blobs, given by digest and bytes; for each the reason why it is not kept, or None.

        Raises:
            ResourceExhausted: DISK_LOW.
        """
        async with self._slots:
            return await self._take_together(project_id, contents)

    async def _take_together(
        self, project_id: str, contents: Sequence[tuple[str, bytes]]
    ) -> list[BloomeryError | None]:
        project, there = await self._known(project_id, [Blob(digest, len(data)) for digest, data in contents])
        new = {digest: data for digest, data in contents if digest not in there}
        too_many = await self._refused(project, [Blob(digest, len(data)) for digest, data in new.items()])
        new = {digest: data for digest, data in new.items() if digest not in too_many}
        self._disk.check(sum(map(len, new.values())))
        outcomes = await self._look_at(new)

        rows = {blob.digest: new[blob.digest] for blob in _kept(outcomes) if is_row(blob)}

        async def bring(target: Project) -> Outcomes:
            good = {
                blob_key(target.uid, blob.digest): Content(new[blob.digest], blob.media_type)
                for blob in _kept(outcomes)
                if blob.digest not in rows
            }
            await self._objects.put_all(good)
            return outcomes

        _, outcomes = await self._keep(project, bring, rows)
        refused = {digest: one for digest, one in outcomes.items() if isinstance(one, BloomeryError)}
        return [too_many.get(digest) or refused.get(digest) for digest, _ in contents]

    async def _look_at(self, contents: Mapping[str, bytes]) -> Outcomes:
        """What blobs in memory are, a part of them on each core."""
        waiting, cores = list(contents.items()), usable_cores()
        parts = [waiting[start::cores] for start in range(cores)]

        async def look(part: Sequence[tuple[str, bytes]]) -> Outcomes:
            async with self._looking:
                return await asyncio.to_thread(lambda: {digest: checked(digest, data) for digest, data in part})

        found = await asyncio.gather(*map(look, parts))
        return {digest: one for part in found for digest, one in part.items()}

    async def sign_download(self, project: Project, digest: str, file_name: str) -> SignedRequest:
        """A GET request for a kept blob."""
        url = await self._objects.sign_get(blob_key(project.uid, digest), expires=self._expires, filename=file_name)
        return SignedRequest(url, self._clock() + self._expires)

    async def _known(self, project_id: str, wanted: Sequence[Blob]) -> tuple[Project, dict[str, Blob]]:
        """The project, and what it has of the wanted, which is not collected before whoever asks has used it."""
        digests = [blob.digest for blob in wanted]
        now = self._clock()
        async with self._db.read() as tx:
            project = await projects.find(tx, project_id)
            there = await blobs.known(tx, project.uid, digests)
            old = await blobs.asked_for_before(tx, project.uid, there.keys(), now - _NOTED_EVERY)
        if old:
            async with self._locked(project) as (tx, _):
                await blobs.touch(tx, project.uid, old, now)
                there = await blobs.known(tx, project.uid, digests)
        return project, there

    async def _sign(self, project: Project, digest: str, size: int, in_parts: bool) -> Upload:
        staging = staging_key(project.uid, digest)
        return await sign_upload(self._objects, staging, size, expires=self._expires, in_parts=in_parts)

    async def _take_some(self, project: Project, new: Sequence[Blob]) -> Outcomes:
        async def bring(target: Project) -> Outcomes:
            taken = await asyncio.gather(*(self._take(target, blob) for blob in new))
            return {blob.digest: outcome for blob, outcome in zip(new, taken, strict=True)}

        project, outcomes = await self._keep(project, bring, {})
        await self._clean(project, new, outcomes)
        return outcomes

    async def _keep(
        self, project: Project, bring: Callable[[Project], Awaitable[Outcomes]], rows: Mapping[str, bytes]
    ) -> tuple[Project, Outcomes]:
        """Record what `bring` puts into the store, and `rows` themselves; the project as it is then."""
        while True:
            outcomes = await bring(project)
            current = await self._record(project, outcomes, rows) if _kept(outcomes) else project
            if current.sweeps == project.sweeps:
                _count(outcomes)
                return project, outcomes
            # Blobs were collected meanwhile, perhaps these: bring them again, they still lie where they came from.
            project = current

    async def _take(self, project: Project, wanted: Blob) -> Blob | BloomeryError:
        async with self._slots, AsyncExitStack() as stack:
            try:
                source = await self._fetch(staging_key(project.uid, wanted.digest), wanted, stack)
                async with self._looking:
                    found = await asyncio.to_thread(inspect, source)
                check(wanted, found)
                await self._objects.put(blob_key(project.uid, found.digest), source, content_type=found.media_type)
            except NotFound:
                return blob_missing([wanted.digest])
            except BloomeryError as refusal:
                return refusal
            return found

    async def _fetch(self, staging: str, wanted: Blob, stack: AsyncExitStack) -> bytes | Path:
        """What lies at a staging key, no more than was announced: a client of S3 may PUT gigabytes there."""
        sources, size = await staged(self._objects, staging, wanted.size_bytes)
        if not sources:
            raise blob_missing([wanted.digest])
        if size != wanted.size_bytes:
            raise mismatch(wanted, f"{size} bytes")
        chunks = self._read(sources, size)
        if size <= _IN_MEMORY:
            return b"".join([chunk async for chunk in chunks])
        path = stack.enter_context(scratch()) / hex_of(wanted.digest)
        with await asyncio.to_thread(path.open, "wb") as file:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
        return path

    async def _read(self, sources: Sequence[str], size: int) -> AsyncIterator[bytes]:
        # Each may have grown since.
        left = size
        for source in sources:
            async for chunk in self._objects.open(source, length=left):
                left -= len(chunk)
                yield chunk

    async def _refused(self, project: Project, new: Sequence[Blob]) -> Mapping[str, BloomeryError]:
        return room.refused(project, await self._quotas.of(project.id), new) if new else {}

    async def _record(self, project: Project, outcomes: Outcomes, rows: Mapping[str, bytes]) -> Project:
        """Record blobs, unless some were collected since `project` was read; the project as it is now.

        Those for which others took the room meanwhile become refusals.
        """
        limits = await self._quotas.of(project.id)
        async with self._locked(project) as (tx, current):
            if current.sweeps != project.sweeps:
                return current
            taken = _kept(outcomes)
            if going := await blobs.going_of(tx, project.uid, [blob.digest for blob in taken]):
                # Whoever collected them may have died after their bytes went, and before that was recorded.
                await blobs.drop(tx, project.uid, going)
                await projects.count_sweep(tx, project)
                return await projects.find(tx, project.id)
            there = await blobs.known(tx, project.uid, [blob.digest for blob in taken])
            if late := room.refused(current, limits, [blob for blob in taken if blob.digest not in there]):
                # Removed here, they would be missed by whoever has brought the same ones and records them next.
                await blobs.refuse(tx, project.uid, [blob for blob in taken if blob.digest in late], self._clock())
                outcomes |= late
            taken, contents = _kept(outcomes), {digest: rows[digest] for digest in rows if digest not in late}
            if taken:
                await blobs.keep(tx, project.uid, taken, self._clock(), contents)
            return current

    @asynccontextmanager
    async def _locked(self, project: Project) -> AsyncIterator[tuple[Transaction, Project]]:
        """A transaction in which nobody else writes in the project, and the project as it is now."""
        async with self._db.write() as tx:
            current = await projects.lock(tx, project.id)
            if current.uid != project.uid:
                raise NotFound("project", project.name, "it was deleted, and another one has its id now")
            yield tx, current

    async def _clean(self, project: Project, new: Sequence[Blob], outcomes: Outcomes) -> None:
        done = [blob for blob in new if isinstance(outcomes[blob.digest], Blob | InvalidArgument)]
        staging = [(staging_key(project.uid, blob.digest), blob.size_bytes) for blob in done]
        await asyncio.gather(*(drop_staged(self._objects, key, size) for key, size in staging))

    async def _result(
        self, project: Project, wanted: Blob, outcome: Blob | BloomeryError | None
    ) -> BloomeryError | None:
        if isinstance(outcome, FailedPrecondition):
            # Another call may have kept it, and emptied the staging key, since we looked.
            async with self._db.read() as tx:
                return None if await blobs.known(tx, project.uid, [wanted.digest]) else outcome
        return outcome if isinstance(outcome, BloomeryError) else None


def _kept(outcomes: Outcomes) -> list[Blob]:
    return [outcome for outcome in outcomes.values() if isinstance(outcome, Blob)]


def blob_missing(digests: Sequence[str]) -> FailedPrecondition:
    """The error for blobs that the project lacks."""
    violations = [PreconditionViolation("BLOB_MISSING", digest, "upload it first") for digest in digests]
    shown = ", ".join(digests[:3]) + (", ..." if len(digests) > 3 else "")
    return FailedPrecondition("BLOB_MISSING", f"{len(digests)} blobs are not uploaded: {shown}", violations)


def unusable_image(field: str, problem: Finding) -> InvalidArgument:
    """The error for a blob that is not an image that can be used."""
    return InvalidArgument([FieldViolation(field, f"{problem.message}; {problem.hint}")], reason=problem.code)


def _count(outcomes: Outcomes) -> None:
    for outcome in outcomes.values():
        if isinstance(outcome, Blob):
            metrics.UPLOADS.labels("kept").inc()
            metrics.UPLOAD_BYTES.inc(outcome.size_bytes)
        else:
            metrics.UPLOADS.labels("refused").inc()
