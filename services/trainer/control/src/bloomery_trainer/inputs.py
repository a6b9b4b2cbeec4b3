"""Files that people bring for jobs to work on: uploaded by digest, checked, and kept while a job may need them."""

import re
from dataclasses import replace
from datetime import timedelta

from bloomery_kit.database import Transaction
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation, ResourceExhausted, Violations
from bloomery_kit.fields import check_text
from bloomery_kit.uploads import Upload, sign_upload
from bloomery_trainer.core import Core
from bloomery_trainer.keeping import Keeper
from bloomery_trainer.model import Artifact, Job
from bloomery_trainer.store import inputs

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ROLE = "input"
_GONE = "it was never completed, or no job has used it for too long"


class Inputs:
    """Takes such files into the folders of their projects."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._keeper = Keeper(core.objects)

    async def prepare(self, project: str, wanted: Artifact, *, in_parts: bool) -> Upload:
        """What is to be sent of the file, if anything. Raise InvalidArgument, ResourceExhausted DISK_LOW."""
        self._check(wanted)
        project_uid = await self._core.neighbours.project_uid(project)
        async with self._core.db.write() as tx:
            kept = await inputs.announce(tx, project_uid, wanted.digest, self._core.clock())
        if kept and await self._core.objects.stat(inputs.key(project_uid, wanted.digest)) is not None:
            return Upload()
        upload = await sign_upload(
            self._core.objects,
            inputs.staging_key(project_uid, wanted.digest),
            wanted.size_bytes,
            expires=timedelta(seconds=self._core.settings.signed_seconds),
            in_parts=in_parts,
        )
        await self._check_space(upload.room)
        return upload

    async def complete(self, project: str, wanted: Artifact) -> Artifact:
        """Check and keep the file. Raise FailedPrecondition INPUT_MISSING where nothing, or something else, arrived."""
        self._check(wanted)
        project_uid = await self._core.neighbours.project_uid(project)
        key, staged = inputs.key(project_uid, wanted.digest), inputs.staging_key(project_uid, wanted.digest)
        try:
            await self._keeper.keep(staged, key, wanted)
        except FailedPrecondition as error:
            violation = PreconditionViolation("INPUT_MISSING", wanted.digest, "upload it again")
            raise FailedPrecondition("INPUT_MISSING", error.message, [violation]) from error
        async with self._core.db.write() as tx:
            await inputs.keep(tx, project_uid, wanted.digest, self._core.clock())
        return replace(wanted, role=ROLE, logical_key=key)

    async def _check_space(self, wanted: int) -> None:
        free = await self._core.launcher.free_bytes()
        if free is not None and free - wanted < self._core.settings.min_free_bytes:
            raise ResourceExhausted("DISK_LOW", f"the server's disk has {free >> 20} MiB left; free some space")

    def _check(self, wanted: Artifact) -> None:
        violations = Violations()
        if not _DIGEST.fullmatch(wanted.digest):
            violations.add("artifact.digest", "must be sha256: and 64 hexadecimal digits")
        most = self._core.settings.max_input_bytes
        if not 0 < wanted.size_bytes <= most:
            violations.add("artifact.size_bytes", f"must be between 1 and {most}")
        check_text(wanted.file_name, "artifact.file_name", violations)
        check_text(wanted.media_type, "artifact.media_type", violations)
        violations.raise_if_any()


async def missing(core: Core, artifact: Artifact, project_uid: str) -> str:
    """Why a file of a project is not there; empty where it is."""
    if inputs.is_key(project_uid, artifact.logical_key):
        async with core.db.read() as tx:
            return "" if await inputs.is_kept(tx, project_uid, artifact.digest) else _GONE
    there = await core.objects.stat(artifact.logical_key) is not None
    return "" if there else "it was deleted, as with the model version that it belonged to"


async def use(core: Core, tx: Transaction, job: Job) -> None:
    """Keep the uploaded files that a new job works on from being removed. Raise FailedPrecondition INPUT_MISSING."""
    for file in job.spec.files:
        uploaded = inputs.is_key(job.project_uid, file.logical_key)
        if uploaded and not await inputs.use(tx, job.project_uid, file.digest, core.clock()):
            raise missing_error(file.digest, _GONE)


def missing_error(digest: str, what: str) -> FailedPrecondition:
    """The error for a file that is not there."""
    fix = "upload it again, or name another one"
    violation = PreconditionViolation("INPUT_MISSING", digest, fix)
    return FailedPrecondition("INPUT_MISSING", f"the file is not there ({what}); {fix}", [violation])
