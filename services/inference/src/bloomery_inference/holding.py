"""A model keeps its project from being deleted, from its creation to its own deletion.

So nothing of a project outlives it unseen, to show again in another project that gets the same id.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc

from bloomery.annotation.v1 import AcquireReferenceRequest, GetProjectRequest
from bloomery_inference.deletion import forget_model, hold_of
from bloomery_inference.model import Model
from bloomery_inference.names import PROJECT
from bloomery_inference.store import cleanups, models
from bloomery_kit.database import Database
from bloomery_kit.errors import NotFound
from bloomery_kit.times import from_timestamp

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub

_CLOCKS = timedelta(hours=1)
"""What the clocks of services may differ by."""
_log = logging.getLogger("bloomery.inference")


class Holding:
    """Holds projects for models."""

    def __init__(self, db: Database, annotations: AnnotationServiceAsyncStub) -> None:
        self._db = db
        self._annotations = annotations

    async def acquire(self, model: Model, project_uid: str) -> None:
        """Hold the project of that uid for a model; may be repeated. Raise NotFound where it is gone."""
        project = PROJECT.format(project=model.project)
        request = AcquireReferenceRequest(resource=project, holder=model.holder, title=model.title, uid=project_uid)
        try:
            await self._annotations.AcquireReference(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            raise NotFound("project", project, "it was deleted, and its id perhaps used again") from error

    async def catch_up(self, model: Model) -> None:
        """Hold the project of a model that does not yet, and remember it; where it is gone, the model goes too."""
        try:
            uid = model.project_uid or await self._find_uid(model)
            await self.acquire(model, uid)
        except NotFound:
            await self._forget_orphan(model)
            return
        async with self._db.write() as tx:
            if not await models.note_held(tx, model.uid, uid):
                await cleanups.leave(tx, hold_of(model))

    async def _find_uid(self, model: Model) -> str:
        """The uid of the project in which a model was made that does not know it. Raise NotFound."""
        name = PROJECT.format(project=model.project)
        try:
            project = await self._annotations.GetProject(GetProjectRequest(name=name))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            raise NotFound("project", name) from error
        if from_timestamp(project.create_time) > model.create_time + _CLOCKS:
            raise NotFound("project", name, "there is another of this id now")
        return project.uid

    async def _forget_orphan(self, model: Model) -> None:
        async with self._db.write() as tx:
            if await models.lock_model(tx, model.project, model.id) != model.uid:
                return
            if any(version.content.lineage.dataset_version for version in await models.of_model(tx, model.uid)):
                # What it was made from holds the project as well, so that it cannot be gone.
                _log.error("the project of a model is said to be gone", extra={"model": model.holder})
                return
            await forget_model(tx, model)
        _log.info("a model goes after its project", extra={"model": model.holder})
