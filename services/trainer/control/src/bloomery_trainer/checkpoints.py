"""Checkpoints: complete ones only, the last two and the best of a job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from bloomery.training.v1 import CheckpointSaved
from bloomery_kit.errors import NotFound
from bloomery_trainer import metrics
from bloomery_trainer.core import Core
from bloomery_trainer.model import Artifact, Attempt, Checkpoint, CheckpointFile, Job
from bloomery_trainer.store import attempts

_KEPT = 2
_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Verdict:
    """What became of an announced checkpoint: it is kept, or ignored because of `problem`."""

    checkpoint: Checkpoint | None
    problem: str = ""


async def examine(core: Core, job: Job, attempt: Attempt, event: CheckpointSaved) -> Verdict:
    """Compare an announced checkpoint with what was uploaded; one that is not whole is ignored."""
    if not event.logical_key.startswith(f"{job.prefix}/{attempt.number}/"):
        return Verdict(None, "its manifest lies outside of the attempt's folder")
    async with core.db.read() as tx:
        kept = await attempts.kept_artifacts(tx, job.uid, attempt.number)
    manifest = kept.get(f"checkpoint-manifest/{event.epoch}")
    if manifest is None or manifest.logical_key != event.logical_key or manifest.size_bytes > _MANIFEST_BYTES:
        return Verdict(None, "its manifest was not uploaded")
    try:
        content = await core.objects.get(event.logical_key)
        files = _files(from_json(content), event.epoch, kept)
    except (NotFound, ValueError, KeyError, TypeError) as error:
        return Verdict(None, f"its manifest does not hold: {error}")
    checkpoint = Checkpoint(job.uid, attempt.number, event.epoch, files, event.logical_key, event.best, core.clock())
    metrics.CHECKPOINT_BYTES.inc(checkpoint.size_bytes)
    return Verdict(checkpoint)


async def newest_whole(core: Core, job_uid: str) -> tuple[Checkpoint | None, list[Checkpoint]]:
    """The newest checkpoint whose bytes are still what they were, and the newer ones that were damaged."""
    async with core.db.read() as tx:
        found = await attempts.list_checkpoints(tx, job_uid)
    damaged: list[Checkpoint] = []
    for checkpoint in found:
        if await _is_whole(core, checkpoint):
            return checkpoint, damaged
        damaged.append(checkpoint)
    return None, damaged


def superfluous(found: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Of a job's checkpoints, newest first, those that are neither the last two nor the best."""
    return [checkpoint for checkpoint in found[_KEPT:] if not checkpoint.best]


async def prune(core: Core, job: Job) -> None:
    """Forget and delete what is not kept; rows go first, as a checkpoint without its bytes is worse than a leftover."""
    async with core.db.write() as tx:
        dropped = superfluous(await attempts.list_checkpoints(tx, job.uid))
        for checkpoint in dropped:
            await attempts.drop_checkpoint(tx, checkpoint)
            roles = [file.artifact.role for file in checkpoint.files]
            roles.append(f"checkpoint-manifest/{checkpoint.epoch}")
            await attempts.drop_artifacts(tx, job.uid, checkpoint.attempt, roles)
    for checkpoint in dropped:
        for key in (checkpoint.manifest_key, *(file.artifact.logical_key for file in checkpoint.files)):
            await core.objects.delete(key)


def _files(manifest: Mapping[str, object], epoch: int, kept: Mapping[str, Artifact]) -> tuple[CheckpointFile, ...]:
    entries = manifest["files"]
    if manifest.get("epoch") != epoch or not isinstance(entries, list) or not entries:
        raise ValueError("no files, or another epoch")
    files = []
    for entry in entries:
        artifact = kept.get(f"checkpoint/{epoch}/{entry['path']}")
        if artifact is None or (artifact.digest, artifact.size_bytes) != (entry["digest"], entry["size_bytes"]):
            raise ValueError(f"{entry['path']} was not uploaded as it says")
        files.append(CheckpointFile(str(entry["path"]), artifact))
    return tuple(files)


async def _is_whole(core: Core, checkpoint: Checkpoint) -> bool:
    for file in checkpoint.files:
        try:
            found = await core.objects.digest(file.artifact.logical_key)
        except NotFound:
            return False
        if found != (file.artifact.digest, file.artifact.size_bytes):
            return False
    return True
