"""Builds versions in the background, one after another; any number of replicas may do so at once.

A build is done under a lease that is renewed while it runs. Every move of it is fenced by that lease, so that a replica
that was asleep cannot touch what another one has taken over.
"""

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import grpc

from bloomery_dataset import metrics
from bloomery_dataset.annotations import BROKEN
from bloomery_dataset.build import LOOP, BuildRun, Progress, Sources
from bloomery_dataset.housekeeping import CLEANUPS
from bloomery_dataset.model import Build, Failure, Plan, Product, Version
from bloomery_dataset.origins import OfProject, OfVersion, Origin, source_deleted
from bloomery_dataset.store import builds, versions
from bloomery_kit import leases
from bloomery_kit.database import Database, Transaction
from bloomery_kit.disks import is_full
from bloomery_kit.errors import (
    BloomeryError,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    Unavailable,
    error_info,
    to_status,
)
from bloomery_kit.feeds import Notifier
from bloomery_kit.leases import LeaseLost
from bloomery_kit.loops import guarded, through_outages
from bloomery_kit.names import new_uid
from bloomery_kit.tasks import beside
from bloomery_kit.times import Clock, utc_now

BUILDS = "builds"
"""Key of the notifier that says that there is something to build."""
_ATTEMPTS = 5
_REST_SECONDS = 5.0
_REPORT_SECONDS = 0.5
_LEAVE_SECONDS = 5.0
_log = logging.getLogger("bloomery.dataset.builder")
T = TypeVar("T")


class Builder:
    """Claims builds and brings them to an end. `folder` takes what is written on the way, `lease` is in seconds."""

    def __init__(
        self,
        db: Database,
        sources: Sources,
        *,
        changed: Notifier,
        folder: Path,
        lease: float,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._sources = sources
        self._changed = changed
        self._folder = folder
        self._lease = lease
        self._clock = clock
        self._holder = new_uid()

    async def build_all(self) -> None:
        """Build whatever there is to build."""
        while await self.build_next():
            pass

    async def build_next(self) -> bool:
        """Take the oldest build that waits to its end; False where none waits."""
        build = await self._claim()
        if build is None:
            return False
        try:
            await self._bring_to_an_end(build)
        finally:
            self._changed.notify(build.version.uid)
            self._changed.notify(CLEANUPS)
        return True

    async def _claim(self) -> Build | None:
        async with self._db.read() as tx:
            waiting = await builds.waiting(tx, term=self._lease)
        for uid in waiting:
            with guarded(LOOP, let=(Unavailable,), version_uid=uid):
                async with self._db.write() as tx:
                    if build := await builds.claim(tx, uid, holder=self._holder, term=self._lease):
                        return build
        return None

    async def _bring_to_an_end(self, build: Build) -> None:
        try:
            await self._end(build)
        except LeaseLost:
            await self._tidy(build)
        except asyncio.CancelledError:
            await asyncio.shield(self._leave(build))
            raise

    async def _end(self, build: Build) -> None:
        try:
            with metrics.BUILD_SECONDS.time():
                product = await self._build(build)
                version = await self._write(
                    build, lambda tx: builds.finish(tx, build, product, self._clock()), outages=(Unavailable,)
                )
            metrics.BUILDS.labels("ready" if version.uid == build.version.uid else "reused").inc()
            metrics.BUILD_IMAGES.inc(version.item_count)
            _log.info("built", extra={"version": version.name, "images": version.item_count})
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001
            await self._settle(build, error)

    async def _write(
        self,
        build: Build,
        write: Callable[[Transaction], Awaitable[T]],
        *,
        outages: tuple[type[Exception], ...] = (Unavailable, ResourceExhausted),
    ) -> T:
        """Write how a try ended, whenever the database is back. Raises LeaseLost once another replica builds it."""

        async def once() -> T:
            async with self._db.write() as tx:
                return await write(tx)

        return await through_outages(LOOP, once, outages=outages, version=build.version.name)

    async def _build(self, build: Build) -> Product:
        if build.attempts > _ATTEMPTS:
            raise FailedPrecondition("BUILD_CRASHED", f"whoever built it crashed {_ATTEMPTS} times")
        progress = Progress()
        return await beside(self._work(build, progress), self._keep(build, progress))

    async def _work(self, build: Build, progress: Progress) -> Product:
        version, objects = build.version, self._sources.objects
        await self._sources.annotations.hold(
            version.spec.project, version.holder, version.title, uid=version.project_uid
        )
        origin = await self._origin(version)
        plan = version.plan or await self._plan(build, origin)
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as folder:
            run = BuildRun(version, plan, origin, objects=objects, folder=Path(folder), progress=progress)
            return await run.run()

    async def _origin(self, version: Version) -> Origin:
        crops = version.spec.crops
        if not (crops and crops.version_uid):
            return OfProject(self._sources.annotations, version.spec.project)
        try:
            async with self._db.read() as tx:
                return OfVersion(self._sources.cache, await versions.by_uid(tx, crops.version_uid))
        except NotFound:
            raise source_deleted(crops.version) from None

    async def _plan(self, build: Build, origin: Origin) -> Plan:
        plan, count = await origin.plan()
        async with self._db.write() as tx:
            return await builds.plan(tx, build, plan, item_count=count, now=self._clock())

    async def _keep(self, build: Build, progress: Progress) -> Product:
        """Renew the lease and report progress for ever. Raises LeaseLost.

        A database that is away for a moment costs nothing: until the term is over nobody else has the lease.
        """
        clock = asyncio.get_running_loop().time
        told, renewed = 0, clock()
        while True:
            await asyncio.sleep(min(_REPORT_SECONDS, self._lease / 3))
            if progress.done == told and clock() - renewed < self._lease / 3:
                continue
            with guarded(LOOP, let=(LeaseLost,), version=build.version.name):
                async with self._db.write() as tx:
                    await leases.renew(tx, build.lease, self._lease)
                    if progress.done != told:
                        await builds.report(tx, build, done_count=progress.done, now=self._clock())
                told, renewed = progress.done, clock()
                self._changed.notify(build.version.uid)

    async def _settle(self, build: Build, error: Exception) -> None:
        if _passes(error):
            _log.warning("build interrupted", extra={"version": build.version.name, "error": error})
            await self._give_back(build, rest=_REST_SECONDS)
            asyncio.get_running_loop().call_later(_REST_SECONDS, self._changed.notify, BUILDS)
            return
        failure = failure_of(error)
        _log.log(
            logging.ERROR if failure.reason == "INTERNAL" else logging.WARNING,
            "build failed",
            extra={"version": build.version.name, "reason": failure.reason, "error": failure.message},
            exc_info=error if failure.reason == "INTERNAL" else None,
        )
        await self._write(build, lambda tx: builds.fail(tx, build, failure, self._clock()))
        metrics.BUILDS.labels("failed").inc()

    async def _give_back(self, build: Build, *, rest: float) -> None:
        metrics.BUILDS.labels("interrupted").inc()
        await self._write(build, lambda tx: builds.release(tx, build, rest=rest))

    async def _leave(self, build: Build) -> None:
        """Give the build back at the stop of this replica, which does not wait long for a database that is away."""
        with suppress(LeaseLost, TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._give_back(build, rest=0.0)

    async def _tidy(self, build: Build) -> None:
        """Where the version was deleted under the build, give up what the build took since."""
        metrics.BUILDS.labels("lost").inc()
        _log.info("build lost", extra={"version": build.version.name})

        async def tidy(tx: Transaction) -> None:
            if await versions.is_there(tx, build.version):
                await builds.uncount(tx, build)
            else:
                await versions.leave_cleanup(tx, build.version)

        await self._write(build, tidy)


def _passes(error: Exception) -> bool:
    """Whether the cause goes away by itself."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in BROKEN
    return isinstance(error, Unavailable)


def failure_of(error: Exception) -> Failure:
    """What a build that met an error fails with."""
    if is_full(error):
        return Failure("DISK_FULL", "the disk of the dataset service is full; free some space and build again")
    if isinstance(error, (BloomeryError, grpc.aio.AioRpcError)):
        status = to_status(error)
        return Failure(error_info(status).reason, status.message)
    return Failure("INTERNAL", "the build failed for a reason that is ours; the log of the dataset service says more")
