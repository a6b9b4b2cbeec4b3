"""Checkpoints: complete ones only, of which a job keeps the last two, the best, and some between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from bloomery.training.v1 import CheckpointSaved
from bloomery_kit.database import Transaction
from bloomery_kit.errors import NotFound
from bloomery_kit.names import Pattern
from bloomery_trainer import metrics
from bloomery_trainer.core import Core
from bloomery_trainer.model import Artifact, Attempt, Checkpoint, CheckpointFile, Job
from bloomery_trainer.store import attempts, jobs

WEIGHTS = "weights.pt"
"""The file of a checkpoint that trainings start from; one without it can only be gone on from by its own job."""
BEST, LAST = "best", "last"
"""Ids of checkpoints beside the numbers of epochs."""
_NAME = "projects/{project}/jobs/{job}/checkpoints/{checkpoint}"
_BY_EPOCH, _BY_ID = Pattern(_NAME, numbers=frozenset({"checkpoint"})), Pattern(_NAME)
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


def is_name(text: str) -> bool:
    """Whether a text is the name of a checkpoint."""
    return _BY_EPOCH.matches(text) or _BY_ID.matches(text)


def ids_of(name: str, field: str = "name") -> dict[str, str]:
    """The ids in the name of a checkpoint. Raise InvalidArgument naming `field`."""
    return (_BY_EPOCH if _BY_EPOCH.matches(name) else _BY_ID).parse(name, field)


async def named(tx: Transaction, job: Job, checkpoint_id: str) -> Checkpoint:
    """The checkpoint of a number of epochs, the best or the last one. Raise NotFound with those that there are."""
    found = distinct(await attempts.list_checkpoints(tx, job.uid))
    for checkpoint in found:
        if checkpoint_id in (str(checkpoint.epoch), LAST) or (checkpoint_id == BEST and checkpoint.best):
            return checkpoint
    there = ", ".join(f"{each.epoch}{' (best)' * each.best}" for each in found) or "none"
    raise NotFound("checkpoint", f"{job.name}/checkpoints/{checkpoint_id}", f"there are {there}")


async def weights(core: Core, project: str, job_id: str, checkpoint_id: str) -> tuple[Checkpoint, Artifact | None]:
    """A checkpoint, and its file to start a training from. Raise NotFound."""
    async with core.db.read() as tx:
        found = await named(tx, await jobs.get(tx, project, job_id), checkpoint_id)
    return found, next((file.artifact for file in found.files if file.path == WEIGHTS), None)


def distinct(found: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Of a job's checkpoints, newest first, one for each epoch: the newest, where attempts have repeated it."""
    return list({checkpoint.epoch: checkpoint for checkpoint in reversed(found)}.values())[::-1]


def superfluous(found: Sequence[Checkpoint], *, every: int = 0, keep: int = 0) -> list[Checkpoint]:
    """Of a job's checkpoints, newest first, those that are not kept.

    The last two are, the best, and of those at each `every`-th epoch (none for 0) the newest `keep` (all for 0).
    """
    between = [checkpoint for checkpoint in found if every and checkpoint.epoch % every == 0]
    needed = {*found[:_KEPT], *between[: keep or None]}
    return [checkpoint for checkpoint in found if not checkpoint.best and checkpoint not in needed]


async def prune(core: Core, job: Job) -> None:
    """Forget and delete what is not kept; rows go first, as a checkpoint without its bytes is worse than a leftover."""
    async with core.db.write() as tx:
        found = await attempts.list_checkpoints(tx, job.uid)
        dropped = superfluous(found, every=_number(job, "save_every"), keep=_number(job, "keep"))
        for checkpoint in dropped:
            await attempts.drop_checkpoint(tx, checkpoint)
            roles = [file.artifact.role for file in checkpoint.files]
            roles.append(f"checkpoint-manifest/{checkpoint.epoch}")
            await attempts.drop_artifacts(tx, job.uid, checkpoint.attempt, roles)
    for checkpoint in dropped:
        for key in (checkpoint.manifest_key, *(file.artifact.logical_key for file in checkpoint.files)):
            await core.objects.delete(key)


def _number(job: Job, parameter: str) -> int:
    """A parameter of a recipe that has it; 0 otherwise."""
    given = job.spec.effective_parameters.get(parameter, 0)
    return int(given) if isinstance(given, int | float) else 0


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
