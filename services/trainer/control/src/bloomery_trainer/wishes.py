"""What people ask for: a job, or changes of one."""

from collections.abc import Mapping
from dataclasses import dataclass

from bloomery_kit.etags import etag_of
from bloomery_trainer.model import Artifact, Job, Kind, ProjectImages, Resources


@dataclass(frozen=True)
class Wish:
    """A job as its creator describes it."""

    project: str
    job_id: str
    display_name: str
    labels: Mapping[str, str]
    kind: Kind | None
    recipe: str
    parameters: Mapping[str, object]
    dataset_version: str
    base: str
    base_artifact: Artifact | None
    model: str
    model_version: str
    resources: Resources
    deadline_seconds: int
    priority: int
    group: str
    suggest: bool = False
    model_variant: str = ""
    variant_artifacts: tuple[Artifact, ...] = ()
    images: ProjectImages | None = None
    archives: tuple[Artifact, ...] | None = None


@dataclass(frozen=True)
class Changes:
    """New values of what people may edit; None leaves a value as it is."""

    display_name: str | None = None
    labels: Mapping[str, str] | None = None
    priority: int | None = None


def etag(job: Job) -> str:
    """Changes with everything that people may edit."""
    labels = [part for item in sorted(job.labels.items()) for part in item]
    return etag_of(job.uid, job.display_name, job.priority, *labels)
