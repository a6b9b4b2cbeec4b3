"""The trainer put together: what it opens, registers, runs and closes."""

import asyncio
from functools import partial
from pathlib import Path

import grpc

from bloomery.training.v1 import add_JobServiceServicer_to_server, add_WorkerServiceServicer_to_server
from bloomery_kit.access import access_channel
from bloomery_kit.audit import Auditing
from bloomery_kit.credentials import database_passwords, owner_tokens
from bloomery_kit.database import Database
from bloomery_kit.errors import Unavailable
from bloomery_kit.leases import Lease
from bloomery_kit.loops import Loops
from bloomery_kit.migrations import check_schema, migrate
from bloomery_kit.objects import open_object_store
from bloomery_kit.quotas import Quotas
from bloomery_kit.server import ServiceHost
from bloomery_trainer.core import Core
from bloomery_trainer.feed import LOOP as FEED
from bloomery_trainer.feed import EventFeed
from bloomery_trainer.housekeeping import LOOP as HOUSEKEEPING
from bloomery_trainer.housekeeping import Housekeeping
from bloomery_trainer.installed import recipe_texts
from bloomery_trainer.launcher import Launcher, Phase
from bloomery_trainer.launcher.kubernetes.launcher import KubernetesLauncher
from bloomery_trainer.launcher.process import ProcessLauncher
from bloomery_trainer.leadership import Leadership
from bloomery_trainer.neighbours import Neighbours
from bloomery_trainer.recipes import Catalogue
from bloomery_trainer.reconcile import LOOP as RECONCILE
from bloomery_trainer.reconcile import Reconciler
from bloomery_trainer.service import JobService
from bloomery_trainer.settings import KubernetesLauncherSettings, TrainerSettings
from bloomery_trainer.streams import Streams
from bloomery_trainer.worker_service import WorkerService

JOB_SERVICE = "bloomery.training.v1.JobService"
WORKER_SERVICE = "bloomery.training.v1.WorkerService"
SCHEMA = "training"
_LEASE = "lease"
_NEWS = "news"
_NEWS_PAUSE = 0.2
_FOLLOWER_PAUSE = 5.0
"""Who does not lead has nothing to hear, and looks whether it leads by now."""
_STOP_POLL = 0.2
_WATCH_POLL = 0.2
MIGRATIONS = Path(__file__).parent / "migrations"


class WorkerPort:
    """Where workers find the trainer: as set, or the bound port of the host that serves them."""

    def __init__(self, given: str | None) -> None:
        self._given = given
        self.host: ServiceHost | None = None

    def target(self) -> str:
        """`host:port`. Raise Unavailable until the port is open."""
        if self._given:
            return self._given
        if self.host is None or not self.host.port:
            raise Unavailable("WORKER_PORT_CLOSED", "the port of the workers is not open yet")
        return f"127.0.0.1:{self.host.port}"


class TrainerApp:
    """One trainer: its servicers, and the loops beside them."""

    def __init__(
        self,
        core: Core,
        worker_port: "WorkerPort",
        draining: asyncio.Event,
        *,
        access: grpc.aio.Channel | None = None,
    ) -> None:
        self.core = core
        self.leadership = Leadership(core)
        self.reconciler = Reconciler(core)
        self._audit = Auditing("trainer", core.db, access)
        self._access = access
        self.loops = Loops()
        self._worker_port = worker_port
        self._draining = draining
        housekeeping = Housekeeping(core)
        self.loops.add(FEED, core.feed.turn, 0.0)
        self.loops.add(_LEASE, self.leadership.campaign, core.settings.policy.lease_renew)
        self.loops.add(RECONCILE, partial(self.leadership.lead, self.reconciler.run_pass), self.reconciler.pause)
        self.loops.add(_NEWS, partial(self.leadership.lead, self._hear), self._pause_news)
        self.loops.add(HOUSEKEEPING, partial(self.leadership.lead, housekeeping.run), housekeeping.pause)
        self._audit.add_to(self.loops)

    @classmethod
    async def open(
        cls, settings: TrainerSettings, *, draining: asyncio.Event, launcher: Launcher | None = None
    ) -> "TrainerApp":
        """Open what `settings` name and bring the schema up to date. Raise Unavailable, CatalogueError.

        `launcher` stands in for the one that the settings name.
        """
        catalogue = Catalogue.load(await recipe_texts(settings))
        db = Database.connect(settings.database_url, SCHEMA, passwords=database_passwords(settings))
        await migrate(db, MIGRATIONS)
        worker_port = WorkerPort(settings.worker_target)
        access = access_channel(settings)
        core = Core(
            settings=settings,
            db=db,
            objects=open_object_store(settings.object_store),
            catalogue=catalogue,
            neighbours=Neighbours(settings),
            launcher=launcher or _launcher(settings),
            feed=EventFeed(db, poll=settings.watch_poll or (None if db.is_sqlite else _WATCH_POLL)),
            worker_target=worker_port.target,
            owner_tokens=owner_tokens(settings),
            quotas=Quotas(access),
        )
        return cls(core, worker_port, draining, access=access)

    def register(self, host: ServiceHost) -> None:
        """Host JobService."""
        servicer = JobService(self.core, Streams(self.core, self._draining))
        host.add(
            add_JobServiceServicer_to_server, servicer, JOB_SERVICE, ready=self._check_ready, audit=self._audit.log
        )

    def register_worker(self, host: ServiceHost) -> None:
        """Host WorkerService, on a port that only workers reach."""
        self._worker_port.host = host
        host.add(add_WorkerServiceServicer_to_server, WorkerService(self.core), WORKER_SERVICE, ready=self._check_ready)

    async def start(self) -> None:
        """Begin to reconcile and to feed watches; jobs are launched once the worker's port is open."""
        self.loops.start()

    async def stop_jobs(self) -> None:
        """Let every worker save a checkpoint and end; their jobs go on when a trainer starts again."""
        await self._stop_leading()
        launcher, grace = self.core.launcher, self.core.settings.policy.pause_grace
        while running := [thing for thing in await launcher.observe() if thing.phase is not Phase.ENDED]:
            for thing in running:
                await launcher.stop(thing.job_uid, thing.attempt, grace=grace)
            await asyncio.sleep(_STOP_POLL)

    async def close(self) -> None:
        """Give up the lease and close what was opened; workers go on."""
        await self._stop_leading()
        await self.loops.close()
        await self.core.launcher.close()
        await self.core.neighbours.close()
        await self._audit.close()
        if self._access is not None:
            await self._access.close()
        await self.core.db.close()

    async def _stop_leading(self) -> None:
        await self.loops.close(_LEASE, RECONCILE, _NEWS, HOUSEKEEPING)
        await self.leadership.give_up()

    async def _pause_news(self) -> None:
        await asyncio.sleep(_NEWS_PAUSE if self.leadership.lease else _FOLLOWER_PAUSE)

    async def _hear(self, _lease: Lease) -> None:
        await self.core.launcher.follow(self.core.moved.set)

    async def _check_ready(self) -> None:
        self.loops.check_ready()
        await check_schema(self.core.db, MIGRATIONS)
        await self.core.objects.check_ready()


def _launcher(settings: TrainerSettings) -> Launcher:
    chosen = settings.launcher
    return KubernetesLauncher(chosen) if isinstance(chosen, KubernetesLauncherSettings) else ProcessLauncher(chosen)
