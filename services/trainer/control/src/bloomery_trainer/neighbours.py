"""What the trainer asks of the services to its left, as the service itself and not as the caller."""

from dataclasses import dataclass

import grpc

from bloomery.annotation import v1 as annotation
from bloomery.annotation.v1 import AnnotationServiceStub, GetProjectRequest
from bloomery.common.v1 import Problem
from bloomery.dataset.v1 import (
    AcquireReferenceRequest,
    DatasetServiceStub,
    DatasetVersion,
    GetDatasetVersionRequest,
    ReleaseReferenceRequest,
)
from bloomery.training.v1 import SuggestShapesRequest
from bloomery_kit.auth import Principal, Role
from bloomery_kit.clients import neighbour
from bloomery_kit.context import principal_var
from bloomery_trainer.model import Artifact, Job, ProjectImages, Task
from bloomery_trainer.settings import TrainerSettings

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""What a call ends with where nobody answers."""
_GET_PROJECT = "bloomery.annotation.v1.AnnotationService/GetProject"
_GET_VERSION = "bloomery.dataset.v1.DatasetService/GetDatasetVersion"
# The reconciler repeats what it asks for, so it need not wait long.
_REPEATED_SECONDS = 5.0
_IMAGES_SECONDS = 30.0


@dataclass(frozen=True)
class DatasetFacts:
    """A dataset version: its name with its number, what it is for, its manifest and classes.

    `unready` is empty for a READY one, else what to do until it is. `warnings` is what the dataset service says of it,
    and `relative_sides` are its deciles of the sizes of objects; `images` are those of its training part.
    `crops` is true where they were cut out of images of the project.
    """

    name: str
    dataset_id: str
    task: Task
    manifest: Artifact
    classes: tuple[str, ...]
    unready: str
    warnings: tuple[Problem, ...] = ()
    relative_sides: tuple[float, ...] = ()
    images: int = 0
    crops: bool = False


class Neighbours:
    """Channels to the annotation and dataset services."""

    def __init__(self, settings: TrainerSettings) -> None:
        self._channels = [
            neighbour(settings.annotation_target, settings, retryable=(_GET_PROJECT,)),
            neighbour(settings.dataset_target, settings, retryable=(_GET_VERSION,)),
        ]
        self._annotation = AnnotationServiceStub(self._channels[0])
        self._dataset = DatasetServiceStub(self._channels[1])

    async def project(self, project: str) -> annotation.Project:
        """`projects/{project}` with its uid and its sequence. Raise the neighbour's NOT_FOUND."""
        return await self._annotation.GetProject(GetProjectRequest(name=project))

    async def project_uid(self, project: str) -> str:
        """The uid of `projects/{project}`. Raise the neighbour's NOT_FOUND."""
        return (await self.project(project)).uid

    async def images(self, project: str, images: ProjectImages, after: str) -> annotation.StreamAnnotationSetsResponse:
        """Some of these images, behind the asset's id `after`; its own `after` is empty at the end."""
        request = annotation.StreamAnnotationSetsRequest(
            parent=project, read_sequence=images.read_sequence, after=after, filter=images.filter
        )
        call = self._annotation.StreamAnnotationSets(request, timeout=_IMAGES_SECONDS)
        try:
            async for found in call:
                return found
        finally:
            call.cancel()
        return annotation.StreamAnnotationSetsResponse()

    async def filter_problem(self, project: str, images: ProjectImages) -> str:
        """What is wrong with the filter of some images; empty for nothing."""
        try:
            await self.images(project, images, "")
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return (error.details() or "").removeprefix("filter: ")
        return ""

    async def hold_project(self, project: str, uid: str, holder: str, title: str) -> bool:
        """Keep a project from being deleted; False where there is none with that uid any more. Idempotent."""
        request = annotation.AcquireReferenceRequest(resource=project, uid=uid, holder=holder, title=title)
        try:
            await self._annotation.AcquireReference(request, timeout=_REPEATED_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def release_project(self, project: str, holder: str) -> None:
        """Give it back; one that is gone is fine. Idempotent."""
        request = annotation.ReleaseReferenceRequest(resource=project, holder=holder)
        try:
            await self._annotation.ReleaseReference(request, timeout=_REPEATED_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise

    async def suggest(self, job: Job, request: SuggestShapesRequest) -> annotation.SaveSuggestionsResponse:
        """Save what a job's model sees, for who created it. Raise what the neighbour raises. Idempotent."""
        suggestions = [annotation.Suggestion(digest=one.digest, shapes=one.shapes) for one in request.images]
        wanted = annotation.SaveSuggestionsRequest(
            parent=job.project, model_version=job.spec.model_version, run=job.uid, suggestions=suggestions
        )
        project = job.project.removeprefix("projects/")
        principal_var.set(Principal(job.creator, Role.UNSPECIFIED, {project: Role.ANNOTATOR}))
        return await self._annotation.SaveSuggestions(wanted)

    async def dataset(self, name: str) -> DatasetFacts | None:
        """A dataset version, None if there is none of that name."""
        try:
            version = await self._dataset.GetDatasetVersion(GetDatasetVersionRequest(name=name))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        manifest = version.manifest
        return DatasetFacts(
            name=version.name,
            dataset_id=version.name.split("/")[3],
            task=Task(version.spec.task),
            manifest=Artifact(
                "manifest",
                manifest.digest,
                manifest.size_bytes,
                manifest.media_type,
                "index.json",
                manifest.logical_key,
            ),
            classes=tuple(version.classes),
            unready=_unready(version),
            warnings=tuple(version.warnings),
            relative_sides=tuple(version.statistics.relative_sides),
            images=sum(one.image_count for one in version.statistics.splits if one.split == "train"),
            crops=version.spec.HasField("crops"),
        )

    async def hold(self, dataset_version: str, holder: str, title: str) -> None:
        """Keep a version from being deleted; `title` is what people call the holder. Idempotent."""
        request = AcquireReferenceRequest(resource=dataset_version, holder=holder, title=title)
        await self._dataset.AcquireReference(request, timeout=_REPEATED_SECONDS)

    async def release(self, dataset_version: str, holder: str) -> None:
        """Give it back. Idempotent."""
        request = ReleaseReferenceRequest(resource=dataset_version, holder=holder)
        await self._dataset.ReleaseReference(request, timeout=_REPEATED_SECONDS)

    async def close(self) -> None:
        """Close the channels."""
        for each in self._channels:
            await each.close()


def _unready(version: DatasetVersion) -> str:
    if version.state == DatasetVersion.STATE_READY:
        return ""
    failed = version.state == DatasetVersion.STATE_FAILED
    return f"its building failed: {version.error.message}" if failed else "wait until it is READY"
