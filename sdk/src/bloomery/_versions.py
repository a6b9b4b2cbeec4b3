"""Dataset and model versions as messages."""

from bloomery import errors
from bloomery._names import DATASET_VERSION
from bloomery._resolve import Resolver
from bloomery._session import Session
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference

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
