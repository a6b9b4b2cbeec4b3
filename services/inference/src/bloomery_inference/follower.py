"""Follows the trainer's results and records what is a model's: a version for each TRAIN or IMPORT, and variants.

The feed is read from the last sequence that was recorded. Recording one result and moving the cursor are one
transaction, so that a crash or a second replica neither loses a result nor records it twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc

from bloomery.dataset.v1 import AcquireReferenceRequest
from bloomery.training.v1 import FeedItem, GetJobRequest, JobKind, JobState, WatchJobResultsRequest
from bloomery_inference import store
from bloomery_inference.model import Variant, VersionContent
from bloomery_inference.names import MODEL
from bloomery_inference.results import variant_result, version_content, version_uid
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import BloomeryError
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    from bloomery.dataset.v1.dataset_service_pb2_grpc import DatasetServiceAsyncStub
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

FEED = "job-results"
_VERSIONS = frozenset({JobKind.JOB_KIND_TRAIN, JobKind.JOB_KIND_IMPORT})
"""Kinds of job that make a model version."""
_log = logging.getLogger("bloomery.inference")
_CREATION_GRACE = timedelta(minutes=1)


class Follower:
    """Two loops: the feed of results, and the fate of jobs that end without one."""

    def __init__(
        self,
        db: Database,
        *,
        jobs: JobServiceAsyncStub,
        datasets: DatasetServiceAsyncStub,
        pending_interval: float,
        results_retry: float,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._jobs = jobs
        self._datasets = datasets
        self._pending_interval = pending_interval
        self._results_retry = results_retry
        self._clock = clock

    async def run(self) -> None:
        """Follow until cancelled; every failure is logged and tried again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again("results", self.follow_results, self._results_retry))
            group.create_task(self._again("pending variants", self.settle_pending, self._pending_interval))

    async def follow_results(self) -> None:
        """Record results until the trainer ends the stream."""
        async with self._db.read() as tx:
            sequence = await store.feed_sequence(tx, FEED)
        async for message in self._jobs.WatchJobResults(WatchJobResultsRequest(after_sequence=sequence)):
            if message.HasField("item"):
                await self.record(message.item)

    async def record(self, item: FeedItem) -> None:
        """Record one result. A result that was recorded before changes nothing."""
        kind = item.result.kind
        content = _content(item) if kind in _VERSIONS else None
        # What was imported comes from no data.
        if content and item.job.dataset_version:
            await self._hold_dataset(item)
        async with self._db.write() as tx:
            if not await store.advance_feed(tx, FEED, item.result.sequence):
                return
            if content:
                await self._record_version(tx, item, content)
            elif kind == JobKind.JOB_KIND_OPTIMIZE:
                await store.finish_variant(tx, item.job.name, result=variant_result(item), reason="", now=self._clock())

    async def _record_version(self, tx: Transaction, item: FeedItem, content: VersionContent) -> None:
        ids = MODEL.parse(item.job.model, "model")
        model_uid = await store.ensure_model(tx, ids["project"], ids["model"], self._clock())
        uid = version_uid(item.result.job_uid)
        await store.insert_version(tx, uid=uid, model_uid=model_uid, content=content, now=self._clock())

    async def settle_pending(self) -> None:
        """End the variants whose jobs ended without a result."""
        async with self._db.read() as tx:
            pending = await store.pending_variants(tx)
        for variant in pending:
            reason = await self._end_of(variant)
            if reason:
                async with self._db.write() as tx:
                    await store.finish_variant(tx, variant.job, result=None, reason=reason, now=self._clock())

    async def _end_of(self, variant: Variant) -> str:
        """Why a PENDING variant will not come, or nothing while it may."""
        try:
            job = await self._jobs.GetJob(GetJobRequest(name=variant.job))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            # It is created a moment after the variant was asked for.
            fresh = self._clock() - variant.update_time < _CREATION_GRACE
            return "" if fresh else f"{variant.job} does not exist; ask for the variant again"
        if job.state == JobState.JOB_STATE_FAILED:
            return f"{job.reason.code}: {job.reason.message} {job.reason.hint}".strip()
        return f"{variant.job} was cancelled" if job.state == JobState.JOB_STATE_CANCELLED else ""

    async def _hold_dataset(self, item: FeedItem) -> None:
        # Before the version is recorded: a reference without a version is harmless, a version without its data is not.
        holder = f"{item.job.model}/versions/{version_uid(item.result.job_uid)}"
        request = AcquireReferenceRequest(resource=item.job.dataset_version, holder=holder)
        try:
            await self._datasets.AcquireReference(request)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            _log.warning("the dataset version of a result is gone", extra={"job": item.job.name})

    async def _again(self, what: str, work: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            try:
                await work()
            except (grpc.aio.AioRpcError, BloomeryError) as error:
                _log.warning("will try again", extra={"what": what, "error": error})
            except Exception:  # noqa: BLE001
                _log.exception("will try again", extra={"what": what})
            await asyncio.sleep(pause)


def _content(item: FeedItem) -> VersionContent | None:
    try:
        return version_content(item)
    except (TypeError, ValueError):
        # One recipe's mistake must not keep the models of all others waiting.
        _log.exception("a result says nothing that makes a model version", extra={"job": item.job.name})
        return None
