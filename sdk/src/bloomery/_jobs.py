"""Jobs as messages, before they are created."""

from collections.abc import Mapping

from google.protobuf.struct_pb2 import Struct

from bloomery.common.v1 import Artifact
from bloomery.errors import FailedPrecondition, InvalidArgument
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training

Parameter = float | str | bool | None


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
    """The file of a model version that jobs work on.

    Raises:
        FailedPrecondition: it has none.
    """
    for artifact in version.artifacts:
        if artifact.role == "checkpoint":
            return artifact
    raise FailedPrecondition(f"{version.name} has no checkpoint to work on")


def applied(
    kind: training.JobKind.ValueType,
    version: inference.ModelVersion,
    on: str | training.ProjectImages,
    *,
    gpus: int,
    variant: inference.ModelVariant | None = None,
    **parameters: Parameter,
) -> training.Job:
    """A job of the version's own recipe that applies it, or a variant of it, to a dataset version or to project images.

    Parameters that are None are left out.

    Raises:
        FailedPrecondition: the version has no checkpoint.
    """
    return training.Job(
        kind=kind,
        # Its lineage names the recipe with its version.
        recipe=version.lineage.recipe.partition(" ")[0],
        dataset_version=on if isinstance(on, str) else "",
        project_images=None if isinstance(on, str) else on,
        base_artifact=None if variant else checkpoint_of(version),
        model_version=version.name,
        model_variant=variant.name if variant else "",
        variant_artifacts=variant.artifacts if variant else (),
        parameters=struct({name: value for name, value in parameters.items() if value is not None}),
        resources=training.Resources(gpus=gpus),
    )
