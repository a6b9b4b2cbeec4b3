"""The annotation service as a neighbour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import grpc

from bloomery.annotation.v1 import (
    AcquireReferenceRequest,
    AssetAnnotations,
    GetProjectRequest,
    ListLabelsRequest,
    ReleaseReferenceRequest,
    StreamAnnotationSetsRequest,
    StreamAnnotationSetsResponse,
)
from bloomery.annotation.v1 import Label as LabelMessage
from bloomery_dataset.model import Image, Label, Project
from bloomery_kit.errors import Unavailable
from bloomery_kit.times import from_timestamp
from bloomery_vision.messages import shape_value

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub

_PAGE = 1000
_TRIES = 5
"""Broken streams in a row that brought nothing."""
BROKEN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""What a neighbour answers that is not there for the moment."""


class Annotations:
    """Reads projects. Errors of the neighbour propagate as grpc.aio.AioRpcError, its silence as Unavailable."""

    def __init__(
        self,
        stub: AnnotationServiceAsyncStub,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        idle_seconds: float = 120.0,
    ) -> None:
        self._stub = stub
        self._sleep = sleep
        self._idle_seconds = idle_seconds

    async def project(self, project: str) -> Project:
        """The project as it is now."""
        found = await self._stub.GetProject(GetProjectRequest(name=f"projects/{project}"))
        return Project(found.uid, from_timestamp(found.create_time), found.asset_count, found.sequence)

    async def labels(self, project: str) -> tuple[Label, ...]:
        """All labels, in the order of their creation."""
        found: list[Label] = []
        request = ListLabelsRequest(parent=f"projects/{project}", page_size=_PAGE)
        while True:
            page = await self._stub.ListLabels(request)
            found += map(_label, page.labels)
            request.page_token = page.next_page_token
            if not request.page_token:
                return tuple(found)

    async def hold(self, project: str, holder: str, title: str, *, uid: str) -> None:
        """Keep the project of this `uid` from being deleted; `title` is how people call the holder, and may change.

        NOT_FOUND where it is gone, also where another has its id now.
        """
        request = AcquireReferenceRequest(resource=f"projects/{project}", holder=holder, title=title, uid=uid)
        await self._stub.AcquireReference(request)

    async def release(self, project: str, holder: str) -> None:
        """Give the project back; one that is gone is fine."""
        try:
            await self._stub.ReleaseReference(ReleaseReferenceRequest(resource=f"projects/{project}", holder=holder))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise

    async def images(self, project: str, read_sequence: int) -> AsyncIterator[list[Image]]:
        """All images with their shapes at a moment, in chunks; a stream that breaks goes on where it was."""
        request = StreamAnnotationSetsRequest(parent=f"projects/{project}", read_sequence=read_sequence)
        failures = 0
        while True:
            try:
                async for items in self._stream(request):
                    failures = 0
                    yield items
                    request.after = items[-1].id
                return
            except (grpc.aio.AioRpcError, Unavailable) as error:
                failures += 1
                if failures == _TRIES or (isinstance(error, grpc.aio.AioRpcError) and error.code() not in BROKEN):
                    raise
            await self._sleep(0.1 * 2**failures)

    async def _stream(self, request: StreamAnnotationSetsRequest) -> AsyncIterator[list[Image]]:
        call = self._stub.StreamAnnotationSets(request)
        try:
            responses = aiter(call)
            while response := await self._next(responses):
                if items := await asyncio.to_thread(_images, response):
                    yield items
        finally:
            call.cancel()

    async def _next(
        self, responses: AsyncIterator[StreamAnnotationSetsResponse]
    ) -> StreamAnnotationSetsResponse | None:
        # In a task of its own: the stream makes an error of its own of a cancellation.
        following = asyncio.ensure_future(anext(responses, None))
        try:
            await asyncio.wait({following}, timeout=self._idle_seconds)
            if following.done():
                return following.result()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        raise Unavailable("ANNOTATION_SILENT", f"the annotation service has said nothing for {self._idle_seconds:g} s")


def _label(message: LabelMessage) -> Label:
    return Label(message.name.rpartition("/")[2], message.display_name, message.supercategory, message.source_id)


def _images(response: StreamAnnotationSetsResponse) -> list[Image]:
    return [_image(item) for item in response.items]


def _image(item: AssetAnnotations) -> Image:
    asset = item.asset
    shapes = None
    if item.HasField("annotation_set"):
        shapes = tuple(shape for message in item.annotation_set.shapes if (shape := shape_value(message)))
    return Image(
        asset=asset.name,
        digest=asset.digest,
        size_bytes=asset.size_bytes,
        media_type=asset.media_type,
        width=asset.width,
        height=asset.height,
        display_name=asset.display_name,
        official=asset.split,
        labels=dict(asset.labels),
        sequence=asset.sequence,
        shapes=shapes,
        source_name=asset.source_name,
        source_id=asset.source_id,
    )
