"""What a worker is given when it begins an attempt."""

from collections.abc import Sequence
from dataclasses import dataclass

from bloomery_kit.objects import SignedRequest
from bloomery_trainer.core import Core
from bloomery_trainer.holding import own
from bloomery_trainer.model import Artifact, Attempt, Checkpoint, Job
from bloomery_trainer.recipes import Recipe
from bloomery_trainer.signing import signed


@dataclass(frozen=True)
class Input:
    """An object and a request that reads it."""

    artifact: Artifact
    get: SignedRequest


@dataclass(frozen=True)
class Start:
    """Everything that a worker needs; `resume` is a checkpoint with its files signed in the same order."""

    secret: str
    job: Job
    recipe: Recipe
    attempt: Attempt
    manifest: Input | None
    base: Input | None
    variant: tuple[Input, ...]
    archives: tuple[Input, ...]
    resume: Checkpoint | None
    resume_files: tuple[Input, ...]


async def start_of(core: Core, job: Job, attempt: Attempt, resume: Checkpoint | None, secret: str) -> Start:
    """All that a worker needs for an attempt that goes on from `resume`, or begins anew."""
    spec = job.spec
    return Start(
        secret=secret,
        job=job,
        recipe=core.catalogue.get(spec.recipe),
        attempt=attempt,
        manifest=await _input(core, spec.manifest) if spec.manifest else None,
        base=await _input(core, own(job, spec.base_artifact)) if spec.base_artifact else None,
        variant=await _inputs(core, [own(job, file) for file in spec.variant_artifacts]),
        archives=await _inputs(core, [own(job, file) for file in spec.archives]),
        resume=resume,
        resume_files=await _inputs(core, [file.artifact for file in resume.files] if resume else ()),
    )


async def _inputs(core: Core, artifacts: Sequence[Artifact]) -> tuple[Input, ...]:
    return tuple([await _input(core, artifact) for artifact in artifacts])


async def _input(core: Core, artifact: Artifact) -> Input:
    return Input(artifact, await signed(core, artifact.logical_key))
