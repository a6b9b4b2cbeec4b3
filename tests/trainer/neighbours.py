"""The services to the trainer's left, as small as its tests need them."""

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.rpc.status_pb2 import Status

from bloomery.annotation import v1 as annotation
from bloomery.annotation.v1 import AnnotationServiceServicer, GetProjectRequest, Project
from bloomery.common.v1 import Artifact, Reference
from bloomery.dataset.v1 import (
    AcquireReferenceRequest,
    DatasetServiceServicer,
    DatasetVersion,
    GetDatasetVersionRequest,
    ReleaseReferenceRequest,
)
from bloomery.vision.v1 import TASK_TYPE_DETECT
from bloomery_kit.context import current_principal
from bloomery_kit.errors import FieldViolation, InvalidArgument, NotFound, Unavailable

PROJECT_UID = "a" * 32
DATASET = "projects/cells/datasets/cells-v/versions/1"


def ready_version(name: str = DATASET) -> DatasetVersion:
    version = DatasetVersion(name=name, uid="v", version=1, state=DatasetVersion.STATE_READY, classes=["rbc", "wbc"])
    version.spec.task = TASK_TYPE_DETECT
    key = f"{PROJECT_UID}/datasets/v/index.json"
    version.manifest.CopyFrom(Artifact(digest="sha256:" + "0" * 64, size_bytes=2, logical_key=key))
    return version


class Annotation(AnnotationServiceServicer):
    def __init__(self) -> None:
        self.uid = PROJECT_UID
        self.holders: set[str] = set()
        self.titles: dict[str, str] = {}
        self.faults: dict[str, Exception] = {}
        self.asked = 0
        self.down = False
        self.suggested: list[annotation.SaveSuggestionsRequest] = []
        self.suggested_for: list[str] = []
        self.streamed: list[annotation.StreamAnnotationSetsRequest] = []
        self.images: list[annotation.Asset] = []

    async def SaveSuggestions(
        self, request: annotation.SaveSuggestionsRequest, context: Any
    ) -> annotation.SaveSuggestionsResponse:
        if self.down:
            raise Unavailable("DOWN", "not now")
        self.suggested.append(request)
        self.suggested_for.append(current_principal().subject)
        results = [Status() for _ in request.suggestions]
        return annotation.SaveSuggestionsResponse(
            results=results, shape_count=3, unknown_classes={"zebra": 1}, unusable_count=2, annotation_set="m-1"
        )

    async def StreamAnnotationSets(
        self, request: annotation.StreamAnnotationSetsRequest, context: Any
    ) -> AsyncIterator[annotation.StreamAnnotationSetsResponse]:
        """One image a message, of those with ids behind `after`."""
        self.streamed.append(request)
        if request.filter == "wrong":
            raise InvalidArgument([FieldViolation("filter", "must be something else")])
        left = [one for one in self.images if one.name.rpartition("/")[2] > request.after]
        for asset in left:
            item = annotation.AssetAnnotations(asset=asset)
            after = asset.name.rpartition("/")[2]
            yield annotation.StreamAnnotationSetsResponse(read_sequence=7, items=[item], after=after)
        if not left:
            yield annotation.StreamAnnotationSetsResponse(read_sequence=7)

    async def GetProject(self, request: GetProjectRequest, context: Any) -> Project:
        if request.name not in ("projects/cells", "projects/other"):
            raise NotFound("project", request.name)
        return Project(name=request.name, uid=self.uid, sequence=7)

    async def AcquireReference(self, request: annotation.AcquireReferenceRequest, context: Any) -> Reference:
        self.asked += 1
        if self.down:
            raise Unavailable("DOWN", "not now")
        if fault := self.faults.get(request.title):
            raise fault
        if request.uid != self.uid:
            raise NotFound("project", request.resource)
        self.holders.add(request.holder)
        self.titles[request.holder] = request.title
        return Reference(resource=request.resource, holder=request.holder)

    async def ReleaseReference(self, request: annotation.ReleaseReferenceRequest, context: Any) -> Empty:
        if self.down:
            raise Unavailable("DOWN", "not now")
        self.holders.discard(request.holder)
        return Empty()


class Datasets(DatasetServiceServicer):
    def __init__(self) -> None:
        self.versions = {DATASET: ready_version()}
        self.holders: set[tuple[str, str]] = set()
        self.titles: dict[str, str] = {}
        self.down = False

    async def GetDatasetVersion(self, request: GetDatasetVersionRequest, context: Any) -> DatasetVersion:
        if request.name not in self.versions:
            raise NotFound("dataset version", request.name)
        return self.versions[request.name]

    async def AcquireReference(self, request: AcquireReferenceRequest, context: Any) -> Reference:
        if self.down:
            raise Unavailable("DOWN", "not now")
        if request.resource not in self.versions:
            raise NotFound("dataset version", request.resource)
        self.holders.add((request.resource, request.holder))
        self.titles[request.holder] = request.title
        return Reference(resource=request.resource, holder=request.holder)

    async def ReleaseReference(self, request: ReleaseReferenceRequest, context: Any) -> Empty:
        if self.down:
            raise Unavailable("DOWN", "not now")
        self.holders.discard((request.resource, request.holder))
        return Empty()
