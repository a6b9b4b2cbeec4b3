"""A dataset keeps its project from being deleted, from its creation to its own deletion.

So nothing of a project outlives it unseen, to show again in another project that gets the same id.
"""

import logging
from contextlib import suppress
from datetime import timedelta

import grpc

from bloomery_dataset.annotations import Annotations
from bloomery_dataset.model import Dataset
from bloomery_dataset.store import datasets, versions
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import NotFound
from bloomery_kit.idempotency import forget_answers

_CLOCKS = timedelta(hours=1)
"""What the clocks of services may differ by."""
_log = logging.getLogger("bloomery.dataset")


class Holding:
    """Holds projects for datasets."""

    def __init__(self, db: Database, annotations: Annotations) -> None:
        self._db = db
        self._annotations = annotations

    async def hold(self, dataset: Dataset) -> bool:
        """Hold a dataset's project, and remember it; may be repeated. Raise what the annotation service raises.

        False: the project is gone, and so is the dataset now.
        """
        try:
            uid = dataset.project_uid or await self._find_uid(dataset)
            await self._annotations.hold(dataset.project, dataset.holder, dataset.title, uid=uid)
        except (NotFound, grpc.aio.AioRpcError) as error:
            if isinstance(error, grpc.aio.AioRpcError) and error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            await self._forget_orphan(dataset)
            return False
        async with self._db.write() as tx:
            if not await datasets.note_held(tx, dataset.uid, uid):
                await versions.leave_cleanup(tx, dataset)
        return True

    async def _find_uid(self, dataset: Dataset) -> str:
        """The uid of the project in which a dataset was made that does not know it. Raise NotFound."""
        project = await self._annotations.project(dataset.project)
        if project.create_time > dataset.create_time + _CLOCKS:
            raise NotFound("project", f"projects/{dataset.project}", "there is another of this id now")
        return project.uid

    async def _forget_orphan(self, dataset: Dataset) -> None:
        async with self._db.write() as tx:
            with suppress(NotFound):
                found = await datasets.lock(tx, dataset.project, dataset.dataset)
                if found.latest_version:
                    # Its versions hold the project as well, so that it cannot be gone.
                    _log.error("the project of a dataset is said to be gone", extra={"dataset": dataset.name})
                elif found.uid == dataset.uid:
                    _log.info("a dataset goes after its project", extra={"dataset": dataset.name})
                    await forget(tx, found)
                    await forget_answers(tx, f"projects/{dataset.project}")


async def forget(tx: Transaction, dataset: Dataset) -> None:
    """Delete a locked dataset with its versions; what they held is given back later."""
    for version in await versions.lock_all(tx, dataset):
        await versions.delete(tx, version)
    await versions.leave_cleanup(tx, dataset)
    await datasets.delete(tx, dataset.uid)
    await forget_answers(tx, dataset.name)
