"""All services in one process: one gRPC server for people, one for workers, the gateway beside them."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bloomery_access.app import AccessApp
from bloomery_access.settings import AccessSettings
from bloomery_annotation.app import AnnotationApp
from bloomery_annotation.settings import AnnotationSettings
from bloomery_dataset.app import DatasetApp
from bloomery_dataset.settings import DatasetSettings
from bloomery_gateway.app import GatewayApp
from bloomery_gateway.settings import GatewaySettings
from bloomery_inference.app import MESSAGE_BYTES, InferenceApp
from bloomery_inference.settings import InferenceSettings
from bloomery_kit import leases
from bloomery_kit.auth import OwnerToken
from bloomery_kit.callers import AccessNeighbour, KnownCallers
from bloomery_kit.metrics import serve_metrics
from bloomery_kit.server import ServerOptions, ServiceHost
from bloomery_kit.service import App
from bloomery_kit.settings import FolderStoreSettings, NeighbourSettings
from bloomery_server.beside import TritonBeside
from bloomery_server.folder import DataFolder, Identity
from bloomery_trainer.app import TrainerApp
from bloomery_trainer.settings import Policy, TrainerSettings

_LOOPBACK = "127.0.0.1"
# There are no other replicas whose commits would have to be looked for.
_RARELY = 60.0


class EmbeddedServer:
    """Bloomery on one machine. Listens on loopback only; everything that lasts lies in the data folder."""

    def __init__(
        self,
        folder: DataFolder,
        identity: Identity,
        *,
        stop_jobs: bool,
        on_ready: Callable[[], None],
        on_trouble: Callable[[str], None],
        triton: Path | None = None,
    ) -> None:
        self._folder = folder
        self._identity = identity
        self._stop_jobs = stop_jobs
        self._on_ready = on_ready
        self._on_trouble = on_trouble
        self._draining = asyncio.Event()
        self._access = AccessNeighbour(
            f"{_LOOPBACK}:{identity.port}", NeighbourSettings(token=SecretStr(identity.token))
        )
        self._callers = KnownCallers(OwnerToken(identity.token), self._access)
        self._host = self._service_host(identity.port)
        self._worker_host = self._service_host(identity.worker_port)
        self.apps: list[App] = []
        self._gateway: GatewayApp | None = None
        self._trainer: TrainerApp | None = None
        self._stop_metrics: Callable[[], None] | None = None
        self._triton = triton

    async def start(self) -> int:
        """Open every service and listen; the port for clients. The server announces itself in the folder last."""
        settings = Wiring(self._folder.root, self._identity)
        self._gateway = await GatewayApp.open(settings.gateway(), draining=self._draining)
        await self._gateway.start()
        self._trainer = await TrainerApp.open(settings.trainer(), draining=self._draining)
        self.apps = [
            await AccessApp.open(settings.access(), draining=self._draining),
            await AnnotationApp.open(settings.annotation(), draining=self._draining),
            await DatasetApp.open(settings.dataset(), draining=self._draining),
            self._trainer,
            await InferenceApp.open(settings.inference(), draining=self._draining),
        ]
        if self._triton is not None:
            self.apps.append(TritonBeside(self._triton, self._folder.root, self._identity, self._on_trouble))
        await asyncio.to_thread(self._folder.keep_room, settings.databases())
        # The folder is ours alone, so whoever led here before is gone.
        async with self._trainer.core.db.write() as tx:
            await leases.free_all(tx)
        for app in self.apps:
            app.register(self._host)
        self._trainer.register_worker(self._worker_host)
        await self._worker_host.start()
        port = await self._host.start()
        for app in self.apps:
            await app.start()
        self._stop_metrics = serve_metrics(self._identity.metrics_port, _LOOPBACK)
        self._folder.announce(self._identity)
        self._on_ready()
        return port

    async def drain(self) -> None:
        """End watches with their cursors and finish the calls in flight. Jobs keep running unless asked otherwise."""
        if self._stop_jobs and self._trainer is not None:
            await self._trainer.stop_jobs()
        await asyncio.gather(self._host.drain(), self._worker_host.drain())

    async def close(self) -> None:
        """Give everything back."""
        for app in reversed(self.apps):
            await app.close()
        await self._access.close()
        if self._gateway is not None:
            await self._gateway.close()
        if self._stop_metrics is not None:
            await asyncio.to_thread(self._stop_metrics)

    def _service_host(self, port: int) -> ServiceHost:
        options = ServerOptions(
            bind=_LOOPBACK,
            port=port,
            reflection=True,
            max_message_bytes=MESSAGE_BYTES,
            # Nothing routes to a single process: there is no balancer to wait for.
            ready_interval=15,
            drain_wait=0.1,
            drain_grace=5,
        )
        return ServiceHost(options, authenticator=self._callers, draining=self._draining)


class Wiring:
    """The settings of every service for one data folder."""

    def __init__(self, root: Path, identity: Identity) -> None:
        self._root = root
        self._identity = identity
        self._target = f"{_LOOPBACK}:{identity.port}"

    def databases(self) -> list[Path]:
        """The files of all services' tables."""
        return [self._database(service) for service in ("access", "annotation", "dataset", "trainer", "inference")]

    def gateway(self) -> GatewaySettings:
        """Signed blob URLs."""
        return GatewaySettings(object_store=self._object_store(), bind=_LOOPBACK, http_port=self._identity.http_port)

    def access(self) -> AccessSettings:
        """Tokens, members, and the issuer that the environment names."""
        return AccessSettings(**self._common("access"))

    def annotation(self) -> AnnotationSettings:
        """Projects, images, annotations."""
        return AnnotationSettings(**self._common("annotation"), import_poll_seconds=_RARELY)

    def dataset(self) -> DatasetSettings:
        """Dataset versions."""
        return DatasetSettings(
            **self._common("dataset"),
            annotation_target=self._target,
            cache_dir=self._root / "cache" / "dataset",
            build_poll_seconds=_RARELY,
        )

    def trainer(self) -> TrainerSettings:
        """Jobs, with workers as local processes."""
        return TrainerSettings(
            **self._common("trainer"),
            annotation_target=self._target,
            dataset_target=self._target,
            worker_target=f"{_LOOPBACK}:{self._identity.worker_port}",
            launcher={"jobs_dir": self._root / "jobs", "cache_dir": self._root / "cache" / "worker"},  # type: ignore[arg-type]
            policy=Policy(idle_interval=_RARELY, lease_renew=_RARELY, lease_term=3 * _RARELY),
        )

    def inference(self) -> InferenceSettings:
        """Models and predictions."""
        return InferenceSettings(
            **self._common("inference"),
            annotation_target=self._target,
            dataset_target=self._target,
            trainer_target=self._target,
            cache_dir=self._root / "cache" / "models",
            replica_id="local",
            plan_poll=_RARELY,
        )

    def _common(self, service: str) -> Mapping[str, Any]:
        return {
            "database_url": f"sqlite+aiosqlite:///{self._database(service)}",
            "object_store": self._object_store(),
            "token": self._identity.token,
            "access_target": self._target,
        }

    def _database(self, service: str) -> Path:
        return self._root / f"{service}.db"

    def _object_store(self) -> FolderStoreSettings:
        return FolderStoreSettings(
            root=self._root / "blobs",
            base_url=f"http://{_LOOPBACK}:{self._identity.http_port}",
            signing_key=SecretStr(self._identity.signing_key),
        )
