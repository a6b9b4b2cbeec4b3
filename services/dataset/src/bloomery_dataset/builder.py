"""Builds versions in the background, one after another; any number of replicas may do so at once.

A build is claimed by a lease that is renewed while it runs. Every move of it asks for that lease in the same statement,
so that a replica that was asleep cannot touch what another one has taken over.
"""

import asyncio
import errno
import logging
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import grpc

from bloomery_dataset import metrics
from bloomery_dataset.annotations import BROKEN
from bloomery_dataset.build import BuildRun, Progress, Sources
from bloomery_dataset.housekeeping import CLEANUPS
from bloomery_dataset.model import Build, Failure, Plan, Product
from bloomery_dataset.store import builds, versions
from bloomery_dataset.store.builds import LeaseLost
from bloomery_kit.database import Database
from bloomery_kit.errors import BloomeryError, FailedPrecondition, NotFound, Unavailable, error_info, to_status
from bloomery_kit.feeds import Notifier
from bloomery_kit.names import new_uid
from bloomery_kit.times import Clock, utc_now

BUILDS = "builds"
"""Key of the notifier that wakes the builder."""
_ATTEMPTS = 5
_RETRY = timedelta(seconds=5)
_POLL_SECONDS = 5.0
_REPORT_SECONDS = 0.5
_log = logging.getLogger("bloomery.dataset.builder")


class Builder:
    """Claims builds and brings them to an end. `folder` takes what is written on the way."""

    def __init__(
        self,
        db: Database,
        sources: Sources,
        *,
        changed: Notifier,
        folder: Path,
        lease: timedelta,
        clock: Clock = utc_now,
        uid: Callable[[], str] = new_uid,
    ) -> None:
        self._db = db
        self._sources = sources
        self._changed = changed
        self._folder = folder
        self._lease = lease
        self._clock = clock
        self._uid = uid

    async def run(self) -> None:
        """Build whatever there is to build, until cancelled."""
        with self._changed.subscribe(BUILDS) as wake:
            while True:
                try:
                    worked = await self.build_next()
                except Exception:  # noqa: BLE001
                    _log.exception("the builder stumbled")
                    worked = False
                if not worked:
                    await wake.wait(_POLL_SECONDS)

    async def build_next(self) -> bool:
        """Take the oldest build that waits to its end; False where none waits."""
        now = self._clock()
        async with self._db.write() as tx:
            build = await builds.claim(
                tx, lease=self._uid(), until=now + self._lease, now=now, horizon=now + 2 * self._lease + _RETRY
            )
        if build is None:
            return False
        try:
            await self._bring_to_an_end(build)
        finally:
            self._changed.notify(build.version.uid)
            self._changed.notify(CLEANUPS)
        return True

    async def _bring_to_an_end(self, build: Build) -> None:
        try:
            with metrics.BUILD_SECONDS.time():
                product = await self._build(build)
                async with self._db.write() as tx:
                    version = await builds.finish(tx, build, product, self._clock())
            metrics.BUILDS.labels("ready" if version.uid == build.version.uid else "reused").inc()
            metrics.BUILD_IMAGES.inc(version.item_count)
            _log.info("built", extra={"version": version.name, "images": version.item_count})
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(build, retry_after=timedelta(0)))
            raise
        except LeaseLost:
            await self._tidy(build)
        except Exception as error:  # noqa: BLE001
            await self._settle(build, error)

    async def _build(self, build: Build) -> Product:
        if build.attempts > _ATTEMPTS:
            raise FailedPrecondition("BUILD_CRASHED", f"the build was started {_ATTEMPTS} times and never ended")
        progress = Progress()
        work = asyncio.create_task(self._work(build, progress))
        beat = asyncio.create_task(self._keep(build, progress))
        try:
            done, _ = await asyncio.wait({work, beat}, return_when=asyncio.FIRST_COMPLETED)
            return await (work if work in done else beat)
        finally:
            work.cancel()
            beat.cancel()
            await asyncio.gather(work, beat, return_exceptions=True)

    async def _work(self, build: Build, progress: Progress) -> Product:
        plan = await self._plan(build)
        prefix = f"{build.version.prefix}/{build.lease}"
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as folder:
            run = BuildRun(
                build.version, plan, sources=self._sources, folder=Path(folder), prefix=prefix, progress=progress
            )
            return await run.run()

    async def _plan(self, build: Build) -> Plan:
        version, annotations = build.version, self._sources.annotations
        await annotations.hold(version.spec.project, version.holder)
        if version.plan:
            return version.plan
        project = await annotations.project(version.spec.project)
        if project.uid != version.project_uid:
            raise NotFound("project", f"projects/{version.project}", "it was deleted and its id used again")
        # After the sequence, so that all labels of that moment's shapes are there, but those deleted since.
        plan = Plan(project.sequence, await annotations.labels(version.spec.project))
        async with self._db.write() as tx:
            return await builds.plan(tx, build, plan, item_count=project.asset_count, now=self._clock())

    async def _keep(self, build: Build, progress: Progress) -> Product:
        """Renew the lease and report progress for ever. Raises LeaseLost."""
        told, renewed = 0, self._clock()
        while True:
            await asyncio.sleep(min(_REPORT_SECONDS, self._lease.total_seconds() / 3))
            now = self._clock()
            if progress.done == told and abs(now - renewed) < self._lease / 3:
                continue
            told, renewed = progress.done, now
            async with self._db.write() as tx:
                await builds.renew(tx, build, until=now + self._lease, done_count=told, now=now)
            self._changed.notify(build.version.uid)

    async def _settle(self, build: Build, error: Exception) -> None:
        if _passes(error):
            _log.warning("build interrupted", extra={"version": build.version.name, "error": error})
            await self._give_back(build, retry_after=_RETRY)
            return
        failure = _failure(error)
        _log.log(
            logging.ERROR if failure.reason == "INTERNAL" else logging.WARNING,
            "build failed",
            extra={"version": build.version.name, "reason": failure.reason, "error": failure.message},
            exc_info=error if failure.reason == "INTERNAL" else None,
        )
        try:
            async with self._db.write() as tx:
                await builds.fail(tx, build, failure, self._clock())
            metrics.BUILDS.labels("failed").inc()
        except LeaseLost:
            await self._tidy(build)

    async def _give_back(self, build: Build, *, retry_after: timedelta) -> None:
        metrics.BUILDS.labels("interrupted").inc()
        async with self._db.write() as tx:
            await builds.release(tx, build, until=self._clock() + retry_after)

    async def _tidy(self, build: Build) -> None:
        """Where the version was deleted under the build, give up what the build took since."""
        metrics.BUILDS.labels("lost").inc()
        _log.info("build lost", extra={"version": build.version.name})
        async with self._db.write() as tx:
            try:
                await versions.by_uid(tx, build.version.uid)
            except NotFound:
                await versions.leave_cleanup(tx, build.version)


def _passes(error: Exception) -> bool:
    """Whether the cause goes away by itself."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in BROKEN
    return isinstance(error, Unavailable)


def _failure(error: Exception) -> Failure:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure("DISK_FULL", "the disk of the dataset service is full; free some space and build again")
    if isinstance(error, (BloomeryError, grpc.aio.AioRpcError)):
        status = to_status(error)
        return Failure(error_info(status).reason, status.message)
    return Failure("INTERNAL", "the build failed for a reason that is ours; the log of the dataset service says more")
