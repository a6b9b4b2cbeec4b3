"""Where the image of a prediction comes from: the request itself, or an asset of the model's project."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from bloomery.annotation.v1 import GetAssetRequest, GetProjectRequest
from bloomery_inference.model import ImageContent, RawImage
from bloomery_inference.names import ASSET, PROJECT
from bloomery_kit.errors import FieldViolation, InvalidArgument
from bloomery_kit.objects import ObjectStore

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub

T = TypeVar("T")


class ImageSource:
    """Reads images of at most `max_bytes` bytes; raw ones may have as many as a message carries."""

    def __init__(self, annotations: AnnotationServiceAsyncStub, objects: ObjectStore, *, max_bytes: int) -> None:
        self._annotations = annotations
        self._objects = objects
        self._max_bytes = max_bytes

    async def find(self, project: str, *, image: bytes, asset: str) -> ImageContent:
        """What to predict on. Raise InvalidArgument for too many bytes or another project's asset."""
        if not asset:
            return self.given(image)
        if ASSET.parse(asset, "asset")["project"] != project:
            text = f"must belong to the model's project, {PROJECT.format(project=project)}"
            raise InvalidArgument([FieldViolation("asset", text)])
        found = await self._annotations.GetAsset(GetAssetRequest(name=asset))
        self._check_size("asset", found.size_bytes)
        owner = await self._annotations.GetProject(GetProjectRequest(name=PROJECT.format(project=project)))
        key = f"{owner.uid}/{found.digest.partition(':')[2]}"
        return ImageContent(found.size_bytes, partial(self._objects.get, key))

    def given(self, image: bytes) -> ImageContent:
        """An encoded image that a request brings. Raise InvalidArgument IMAGE_TOO_LARGE."""
        self._check_size("image", len(image))
        return ImageContent(len(image), partial(_given, image))

    def _check_size(self, field: str, size: int) -> None:
        if size > self._max_bytes:
            text = f"has {size} bytes, at most {self._max_bytes} are taken; send a smaller image"
            raise InvalidArgument([FieldViolation(field, text)], reason="IMAGE_TOO_LARGE")


def raw(image: RawImage) -> ImageContent:
    """An image that a request brings as pixels."""
    return ImageContent(len(image.rgb), partial(_given, image))


async def _given(image: T) -> T:
    return image
