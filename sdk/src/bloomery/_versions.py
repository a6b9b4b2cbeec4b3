"""Dataset and model versions as messages."""

from bloomery import errors
from bloomery._names import DATASET_VERSION, parent_of
from bloomery._resolve import Resolver
from bloomery._session import Session
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference

_COMPARE_SECONDS = 600.0
RECORDING_PAUSE = 0.5
"""Seconds between two looks for what is recorded soon after a job is over."""


async def get_dataset_version(session: Session, name: str) -> dataset.DatasetVersion:
    """Read a version by its full name."""
    return await session.call(session.datasets.GetDatasetVersion, dataset.GetDatasetVersionRequest(name=name))


async def find_dataset_version(session: Session, project: str, text: str) -> dataset.DatasetVersion:
    """Read a version by its full name, or by a short form in a project."""
    return await get_dataset_version(session, await Resolver(session, project).find(DATASET_VERSION, text))


async def get_model_version(session: Session, name: str) -> inference.ModelVersion:
    """Read a version by its full name."""
    return await session.call(session.models.GetModelVersion, inference.GetModelVersionRequest(name=name))


async def ready_variant(session: Session, version: str, variant: str) -> inference.ModelVariant:
    """Read a variant of a model version by the version's full name and its own id.

    Raises:
        NotFound: there is no such variant.
        FailedPrecondition: it is not READY.
    """
    request = inference.GetModelVariantRequest(name=f"{version}/variants/{variant}")
    found = await session.call(session.models.GetModelVariant, request)
    if found.state != inference.ModelVariant.STATE_READY:
        raise errors.FailedPrecondition(f"{found.name} is not ready", hint="`bloomery optimize` makes it")
    return found


async def get_card(session: Session, name: str) -> inference.ModelCard:
    """Read the card of a model version by its full name."""
    return await session.call(session.models.GetModelCard, inference.GetModelCardRequest(name=name))


async def preview_deletion(session: Session, name: str) -> inference.ModelDeletion:
    """What would go with a model or a version by its full name."""
    request = inference.PreviewModelDeletionRequest(name=name)
    return await session.call(session.models.PreviewModelDeletion, request)


async def compare_data(
    session: Session, before: inference.ModelCard, after: inference.ModelCard
) -> dataset.CompareDatasetVersionsResponse | None:
    """In what the dataset versions of two cards differ; None where they are one, are not there, or of two projects."""
    name, other = before.dataset_version.name, after.dataset_version.name
    if not name or not other or name == other or parent_of(name, 2) != parent_of(other, 2):
        return None
    request = dataset.CompareDatasetVersionsRequest(name=name, other=other)
    return await session.call(session.datasets.CompareDatasetVersions, request, seconds=_COMPARE_SECONDS)


async def recorded_version(session: Session, job: str, job_uid: str, patience: float) -> inference.ModelVersion:
    """The version that a finished TRAIN or IMPORT job made, which is recorded soon after: within `patience` seconds.

    Raises:
        NotFound: it was not recorded.
    """
    request = inference.FindModelVersionRequest(job=job, job_uid=job_uid)
    deadline = session.clock() + patience
    while True:
        try:
            return await session.call(session.models.FindModelVersion, request)
        except errors.NotFound:
            if session.clock() > deadline:
                raise
        await session.sleep(RECORDING_PAUSE)
