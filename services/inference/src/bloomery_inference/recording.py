"""Recording a result as a model version or variant, or refusing it.

Whoever has a result takes it from where it was, the feed or the parked ones, in the transaction that writes what
becomes of it: so a crash or a second replica neither loses it nor records it twice.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

import grpc

from bloomery.dataset.v1 import AcquireReferenceRequest
from bloomery.training.v1 import FeedItem, JobKind
from bloomery_inference.convert import sources_of
from bloomery_inference.deletion import hold_of
from bloomery_inference.holding import Holding
from bloomery_inference.model import Artifact, Cleanup, Model, ModelVersion, VersionContent
from bloomery_inference.names import MODEL, VERSION, parse_selector
from bloomery_inference.results import made_variants, model_uid, variant_result, version_content, version_uid
from bloomery_inference.store import cleanups, evaluations, models, results, variants
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import BloomeryError, FailedPrecondition, InvalidArgument, NotFound, to_status
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub
    from bloomery.dataset.v1.dataset_service_pb2_grpc import DatasetServiceAsyncStub

Take = Callable[[Transaction], Awaitable[bool]]
"""Takes a result from where it was; False where somebody else did."""
_VERSIONS = frozenset({JobKind.JOB_KIND_TRAIN, JobKind.JOB_KIND_IMPORT})
"""Kinds of job that make a model version."""
_NONSENSE = (TypeError, ValueError, InvalidArgument, NotFound)
_log = logging.getLogger("bloomery.inference")


def is_hopeless(error: Exception) -> bool:
    """Whether a result makes no sense, so that another try would end as this one."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return isinstance(error, _NONSENSE)


def reason_of(error: Exception) -> str:
    """Why a result is not recorded, for people."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) if isinstance(error, BloomeryError | ValueError | TypeError) else to_status(error).message


class Recorder:
    """Writes what becomes of results."""

    def __init__(
        self,
        db: Database,
        *,
        datasets: DatasetServiceAsyncStub,
        annotations: AnnotationServiceAsyncStub,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._holding = Holding(db, annotations)
        self._datasets = datasets
        self._clock = clock

    async def record(self, item: FeedItem, take: Take, *, again: bool = False) -> None:
        """Record one result; one that was recorded before changes nothing. `again` where it was tried before.

        Raise FailedPrecondition RESULT_UNREADABLE for one that the trainer cannot read.
        """
        if item.unreadable:
            raise FailedPrecondition("RESULT_UNREADABLE", f"the trainer cannot read it: {item.unreadable}")
        content = version_content(item) if item.result.kind in _VERSIONS else None
        model = await self._model_of(item) if content else None
        if model:
            await self._holding.acquire(model, item.job.project_uid)
        held = _hold_of(item)
        if held:
            await self._acquire(item, held)
        async with self._db.write() as tx:
            if await take(tx):
                await self._write(tx, item, content, model)
                if again and content:
                    # Before, there may have been no model of this name, and one of its own was to be made.
                    await self._leave_project(tx, item)
            await _leave_unneeded(tx, item, model, held)

    async def _model_of(self, item: FeedItem) -> Model:
        """The model that a result belongs to, or the one that it would make."""
        made = _made_by(item, self._clock())
        async with self._db.read() as tx:
            return await models.get_model(tx, made.project, made.id) or made

    async def _write(
        self, tx: Transaction, item: FeedItem, content: VersionContent | None, model: Model | None
    ) -> None:
        if content and model:
            await self._record_version(tx, item, content, model)
        elif item.result.kind == JobKind.JOB_KIND_OPTIMIZE:
            await self._record_variant(tx, item)
        elif item.result.kind == JobKind.JOB_KIND_EVALUATE:
            await self._record_evaluation(tx, item)

    async def _record_version(self, tx: Transaction, item: FeedItem, content: VersionContent, model: Model) -> None:
        if await models.is_recorded(tx, item.result.job_uid):
            return
        uid = version_uid(item.result.job_uid)
        made = _made_by(item, self._clock())
        owner = await models.ensure_model(tx, made, held=made.uid == model.uid)
        await models.insert_version(tx, uid=uid, model_uid=owner, content=content, now=self._clock())
        beside = made_variants(item)
        for one in beside:
            await variants.record(tx, uid, item.job.name, one, self._clock())
        await _leave_files(tx, item, [*content.artifacts, *(file for one in beside for file in one.result.artifacts)])

    async def _record_variant(self, tx: Transaction, item: FeedItem) -> None:
        result, failure = variant_result(item)
        made = None if failure else result
        # Not where it was deleted, or asked for again, while its job was at work.
        finished = await variants.finish(tx, item.job.name, result=made, reason=failure, now=self._clock())
        await _leave_files(tx, item, result.artifacts if finished and made else ())

    async def _record_evaluation(self, tx: Transaction, item: FeedItem) -> None:
        """Record what was measured of a version or a variant, but not of another one that has its name since."""
        if not VERSION.matches(item.job.model_version):
            return
        version = await models.get_version(tx, parse_selector(item.job.model_version))
        if version and _is_measured(version, item) and await models.lock_version(tx, version.uid):
            await evaluations.record(tx, version.uid, _variant_id(item), item, self._clock())

    async def refuse(self, item: FeedItem, error: Exception, take: Take) -> None:
        """Note that a result makes nothing, and why, and let go of what it has."""
        reason = reason_of(error)
        _log.error("a result is refused", extra={"job": item.job.name, "reason": reason}, exc_info=error)
        async with self._db.write() as tx:
            if not await take(tx):
                return
            await results.refuse(
                tx,
                job=item.job.name,
                job_uid=item.result.job_uid,
                sequence=item.result.sequence,
                reason=reason,
                now=self._clock(),
            )
            await _leave_files(tx, item, ())
            if held := _hold_of(item):
                await cleanups.leave(tx, held)
            if item.result.kind in _VERSIONS:
                await self._leave_project(tx, item)
            failure = f"RESULT_REFUSED: {reason}"
            await variants.finish(tx, item.job.name, result=None, reason=failure, now=self._clock())

    async def _leave_project(self, tx: Transaction, item: FeedItem) -> None:
        """Give back what was held for the model that a result would have made."""
        with suppress(*_NONSENSE):
            made = _made_by(item, self._clock())
            if not await models.is_there(tx, made.uid):
                await cleanups.leave(tx, hold_of(made))

    async def _acquire(self, item: FeedItem, held: Cleanup) -> None:
        # Before the version is recorded: a reference without a version is harmless, a version without its data is not.
        request = AcquireReferenceRequest(resource=held.resource, holder=held.holder, title=await self._title(item))
        try:
            await self._datasets.AcquireReference(request)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            _log.warning("the dataset version of a result is gone", extra={"job": item.job.name})

    async def _title(self, item: FeedItem) -> str:
        """How people will call the version: results are recorded one after another, so its number is known."""
        ids = MODEL.parse(item.job.model, "model")
        async with self._db.read() as tx:
            recorded = await models.find_version(tx, item.job.name, item.result.job_uid)
            number = recorded.number if recorded else await models.next_number(tx, ids["project"], ids["model"])
        return f"models/{ids['model']}@{number}"


def _is_measured(version: ModelVersion, item: FeedItem) -> bool:
    """Whether a job worked on the files of a version, or of the variant of it that it names."""
    if not item.job.model_variant:
        return item.job.base_artifact.digest in {one.digest for one in sources_of(version)}
    named = [one for one in version.variants if one.id == _variant_id(item)]
    made = {one.digest for variant in named for one in variant.result.artifacts}
    given = {one.digest for one in item.job.variant_artifacts}
    return bool(given) and given <= made


def _variant_id(item: FeedItem) -> str:
    return item.job.model_variant.rpartition("/")[2]


def _made_by(item: FeedItem, now: datetime) -> Model:
    """The model that a result makes where there is none of its name: each job another."""
    ids = MODEL.parse(item.job.model, "model")
    return Model(
        uid=model_uid(item.result.job_uid),
        project=ids["project"],
        id=ids["model"],
        display_name=ids["model"],
        labels={},
        create_time=now,
        update_time=now,
        revision=1,
        latest_version=0,
        project_uid=item.job.project_uid,
    )


def _hold_of(item: FeedItem) -> Cleanup | None:
    """What gives back the hold that the version of a result has on its data; what was imported comes from none."""
    if item.result.kind not in _VERSIONS or not item.job.dataset_version:
        return None
    holder = f"{item.job.model}/versions/{version_uid(item.result.job_uid)}"
    return Cleanup((), item.job.dataset_version, holder)


async def _leave_files(tx: Transaction, item: FeedItem, kept: Collection[Artifact]) -> None:
    """Let the files of a result go that are not `kept` here; as long as the job is there, they are its own."""
    known = {artifact.logical_key for artifact in kept}
    keys = tuple(one.logical_key for one in item.result.artifacts if one.logical_key not in known)
    if keys:
        await cleanups.leave(tx, Cleanup(keys, job=item.job.name, job_uid=item.result.job_uid))


async def _leave_unneeded(tx: Transaction, item: FeedItem, model: Model | None, held: Cleanup | None) -> None:
    """Give back what was held for what is not there: nobody else does where a result was taken by another replica."""
    # In this order: a result that is parked no more was recorded or let go before.
    if await results.is_parked(tx, item.result.sequence):
        return
    if model and not await models.is_there(tx, model.uid):
        await cleanups.leave(tx, hold_of(model))
    if held and not await models.has_version(tx, item.result.job_uid):
        await cleanups.leave(tx, held)
