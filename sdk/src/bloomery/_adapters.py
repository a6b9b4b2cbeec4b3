"""Adapters: what a training has changed of its base, apart from it, and put on it again."""

import asyncio
import tempfile
from pathlib import Path

from bloomery._archive import file_name
from bloomery._files import Download
from bloomery._jobs import import_job
from bloomery._names import parent_of
from bloomery._results import unseen
from bloomery._session import Session
from bloomery.errors import FailedPrecondition, InvalidArgument
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training

ROLE = "adapter"
_BASE = "base.pt"


async def merge_job(
    session: Session, version: inference.ModelVersion, base: str | Path | None, model: str
) -> training.Job:
    """The job that puts a version's adapter on its base; the files are uploaded.

    Raises:
        FailedPrecondition: the version has no adapter.
        InvalidArgument: there is no such file.
    """
    if all(one.role != ROLE for one in version.artifacts):
        hint = "train one with method=lora"
        raise FailedPrecondition(f"{version.name} has no adapter: all of its weights were trained", hint=hint)
    project = parent_of(version.name, 2)
    with tempfile.TemporaryDirectory(prefix="bloomery-") as scratch:
        folder = Path(scratch) / "adapter"
        given = await _adapter(session, version, folder)
        if base is not None:
            await asyncio.to_thread(_place, Path(base), folder / _BASE)
            given = folder
        return await import_job(
            session,
            project,
            given,
            model=model or parent_of(version.name, 1),
            recipe=version.lineage.recipe.partition(" ")[0],
            task=None,
            parameters={},
        )


async def _adapter(session: Session, version: inference.ModelVersion, folder: Path) -> Path:
    """Writes the adapter into a folder."""
    request = inference.SignModelArtifactsRequest(name=version.name)
    signed = (await session.call(session.models.SignModelArtifacts, request)).artifacts
    [one] = [one for one in signed if one.artifact.role == ROLE]
    target = folder / file_name(one.artifact)
    await session.transfer.get_all([Download(one.get, target, one.artifact.digest)], unseen)
    return target


def _place(file: Path, target: Path) -> None:
    if not file.is_file():
        raise InvalidArgument(f"{file} is no file", hint="give the base weights that the adapter was trained on")
    target.symlink_to(file.resolve())
