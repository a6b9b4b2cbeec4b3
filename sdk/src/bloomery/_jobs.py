"""Jobs as messages, before they are created."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from google.protobuf.struct_pb2 import Struct

from bloomery._foreign import as_one_file, recipe_for
from bloomery._means import Means
from bloomery._session import Session
from bloomery._upload import upload_input
from bloomery.common.v1 import Artifact
from bloomery.errors import FailedPrecondition, InvalidArgument
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training

Parameter = float | str | bool | None
Images: TypeAlias = str | training.ProjectImages | training.FolderImages
"""What a job works on: a dataset version by its full name, images of the project, or those of a folder."""


def struct(values: Mapping[str, Parameter]) -> Struct:
    """Parameters as a message.

    Raises:
        InvalidArgument: one is of a type that no parameter has.
    """
    made = Struct()
    for name, value in values.items():
        try:
            made[name] = value
        except ValueError:
            kind = type(value).__name__
            raise InvalidArgument(f"{name} must be a number, a text or a boolean, not of type {kind}") from None
    return made


def checkpoint_of(version: inference.ModelVersion) -> Artifact:
    """The file of a model version that trainings start from.

    Raises:
        FailedPrecondition: it has none.
    """
    for artifact in version.artifacts:
        if artifact.role == "checkpoint":
            return artifact
    hint = "start from a version that was trained here, or imported as a .pt file"
    raise FailedPrecondition(f"{version.name} has no checkpoint to train from", hint=hint)


def source_of(version: inference.ModelVersion) -> Artifact:
    """The file of a model version that jobs apply: its checkpoint, or the ONNX file as which it was imported.

    Raises:
        FailedPrecondition: it has neither.
    """
    checkpoints = [one for one in version.artifacts if one.role == "checkpoint"]
    own = (variant for variant in version.variants if variant.job == version.lineage.job)
    models = [one for variant in own for one in variant.artifacts if one.role.endswith("/model.onnx")]
    for artifact in checkpoints or models:
        return artifact
    raise FailedPrecondition(f"{version.name} has no file to work on")


async def import_job(
    session: Session,
    project: str,
    path: Path,
    *,
    model: str,
    recipe: str | None,
    task: str | None,
    parameters: Mapping[str, Parameter],
) -> training.Job:
    """The job that imports a file or folder, which is uploaded.

    Raises:
        InvalidArgument: there is nothing to import, or it is not said how.
        TransferFailed: the object store cannot be reached.
    """
    source = await asyncio.to_thread(path.resolve)
    reader = recipe_for(source, task, recipe)
    with tempfile.TemporaryDirectory(prefix="bloomery-") as scratch:
        file = await asyncio.to_thread(as_one_file, source, Path(scratch))
        artifact = await upload_input(session, project, file)
    return training.Job(
        kind=training.JOB_KIND_IMPORT,
        recipe=reader,
        base=source.name,
        base_artifact=artifact,
        model=model if "/" in model else f"{project}/models/{model}",
        parameters=struct(parameters),
    )


def applied(
    kind: training.JobKind.ValueType,
    version: inference.ModelVersion,
    on: Images,
    how: Means,
    *,
    gpus: int,
    **parameters: Parameter,
) -> training.Job:
    """A job that applies a version to images.

    Parameters that are None are left out.

    Raises:
        FailedPrecondition: the version has no file to work on.
    """
    variant = how.variant
    return training.Job(
        kind=kind,
        recipe=how.recipe,
        dataset_version=on if isinstance(on, str) else "",
        project_images=on if isinstance(on, training.ProjectImages) else None,
        folder_images=on if isinstance(on, training.FolderImages) else None,
        base_artifact=None if variant else source_of(version),
        model_version=version.name,
        model_variant=variant.name if variant else "",
        variant_artifacts=variant.artifacts if variant else (),
        parameters=struct({name: value for name, value in parameters.items() if value is not None}),
        resources=training.Resources(gpus=gpus),
    )
