"""Where the image of a prediction comes from: the request itself, or an asset of the model's project."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import grpc

from bloomery.annotation.v1 import GetAssetRequest, GetProjectRequest
from bloomery_inference.names import ASSET, PROJECT
from bloomery_inference.question import ImageContent, RawImage
from bloomery_kit.errors import FieldViolation, InvalidArgument, NotFound
from bloomery_kit.objects import ObjectStore

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub

T = TypeVar("T")
_NO_BLOB = "must be sha256: and 64 hex digits, or a URL that this server has signed, of a blob of the model's project"


class ImageSource:
    """Reads images of at most `max_bytes` bytes; raw ones may have as many as a message carries."""

    def __init__(self, annotations: AnnotationServiceAsyncStub, objects: ObjectStore, *, max_bytes: int) -> None:
        self._annotations = annotations
        self._objects = objects
        self._max_bytes = max_bytes

    async def find(self, project: str, *, image: bytes, asset: str, blob: str) -> ImageContent:
        """What to predict on, one of the three.

        Raise InvalidArgument for too many bytes, another project's asset, or what is no blob of the project; NotFound.
        """
        if blob:
            return await self._stored(project, blob)
        if not asset:
            return self.given(image)
        if ASSET.parse(asset, "asset")["project"] != project:
            text = f"must belong to the model's project, {PROJECT.format(project=project)}"
            raise InvalidArgument([FieldViolation("asset", text)])
        try:
            found = await self._annotations.GetAsset(GetAssetRequest(name=asset))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise NotFound("asset", asset) from error
            raise
        self._check_size("asset", found.size_bytes)
        key = f"{await self._uid(project)}/{found.digest.partition(':')[2]}"
        return ImageContent(found.size_bytes, partial(self._objects.get, key))

    async def _stored(self, project: str, blob: str) -> ImageContent:
        uid = await self._uid(project)
        key = f"{uid}/{blob.removeprefix('sha256:')}" if blob.startswith("sha256:") else self._objects.key_of(blob)
        if key is None or not re.fullmatch(f"{uid}/[0-9a-f]{{64}}", key):
            raise InvalidArgument([FieldViolation("blob", _NO_BLOB)])
        found = await self._objects.stat(key)
        if found is None:
            raise NotFound("blob", blob)
        self._check_size("blob", found.size)
        return ImageContent(found.size, partial(self._objects.get, key))

    async def _uid(self, project: str) -> str:
        request = GetProjectRequest(name=PROJECT.format(project=project))
        return (await self._annotations.GetProject(request)).uid

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
