"""Giving back what models and versions held of the services to the left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import grpc

from bloomery.annotation import v1 as annotation
from bloomery.dataset import v1 as dataset
from bloomery_inference.model import Cleanup
from bloomery_inference.names import PROJECT
from bloomery_kit.tasks import at_once

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub
    from bloomery.dataset.v1.dataset_service_pb2_grpc import DatasetServiceAsyncStub


class Releasing:
    """Releases projects and dataset versions; each may be repeated."""

    def __init__(self, datasets: DatasetServiceAsyncStub, annotations: AnnotationServiceAsyncStub) -> None:
        self._datasets = datasets
        self._annotations = annotations

    async def release(self, cleanup: Cleanup) -> None:
        """Give back what is named there, if anything; one that is gone is fine. Raise what the neighbours raise."""
        try:
            if PROJECT.matches(cleanup.resource):
                request = annotation.ReleaseReferenceRequest(resource=cleanup.resource, holder=cleanup.holder)
                await self._annotations.ReleaseReference(request)
            elif cleanup.resource:
                await self._datasets.ReleaseReference(
                    dataset.ReleaseReferenceRequest(resource=cleanup.resource, holder=cleanup.holder)
                )
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise

    async def release_at_once(self, left: Iterable[Cleanup]) -> None:
        """Give back what can be before a deletion is answered, so that it can be deleted next; the rest goes later."""
        async with at_once("give back what models held"):
            for cleanup in left:
                await self.release(cleanup)
