"""All services over PostgreSQL and S3 in one process, as a cluster has them, with workers as local processes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery_access.app import AccessApp
from bloomery_access.settings import AccessSettings
from bloomery_annotation.app import AnnotationApp
from bloomery_annotation.settings import AnnotationSettings
from bloomery_dataset.app import DatasetApp
from bloomery_dataset.settings import DatasetSettings
from bloomery_inference.app import InferenceApp
from bloomery_inference.settings import InferenceSettings
from bloomery_kit.server import ServerOptions, ServiceHost
from bloomery_kit.service import App
from bloomery_kit.settings import S3StoreSettings
from bloomery_trainer.app import TrainerApp
from bloomery_trainer.settings import Policy, TrainerSettings
from real_parts.process import free_port

TOKEN = "another"


@dataclass(frozen=True)
class Separate:
    """Where the services are."""

    endpoint: str
    trainer: TrainerApp


@asynccontextmanager
async def separate(folder: Path, database_url: str, store: S3StoreSettings) -> AsyncIterator[Separate]:
    """The services over a database and a bucket."""
    draining = asyncio.Event()
    shared: Mapping[str, Any] = {"database_url": database_url, "object_store": store, "token": TOKEN}
    access = await AccessApp.open(AccessSettings(**shared), draining=draining)
    host, workers = (
        ServiceHost(
            ServerOptions(bind="127.0.0.1", port=port, drain_wait=0.1, drain_grace=1),
            authenticator=access.authenticator,
            draining=draining,
        )
        for port in (free_port(), 0)
    )
    target = f"127.0.0.1:{host.options.port}"
    launcher: Any = {"jobs_dir": folder / "jobs", "cache_dir": folder / "worker"}
    policy = Policy(reconcile_interval=0.2, retry_delay=0.1)
    trainer = await TrainerApp.open(
        TrainerSettings(**shared, annotation_target=target, dataset_target=target, launcher=launcher, policy=policy),
        draining=draining,
    )
    apps: list[App] = [
        access,
        await AnnotationApp.open(AnnotationSettings(**shared), draining=draining),
        await DatasetApp.open(
            DatasetSettings(**shared, annotation_target=target, cache_dir=folder / "dataset"), draining=draining
        ),
        trainer,
        await InferenceApp.open(
            InferenceSettings(
                **shared,
                annotation_target=target,
                dataset_target=target,
                trainer_target=target,
                cache_dir=folder / "models",
            ),
            draining=draining,
        ),
    ]
    try:
        for app in apps:
            app.register(host)
        trainer.register_worker(workers)
        await workers.start()
        await host.start()
        for app in apps:
            await app.start()
        yield Separate(target, trainer)
    finally:
        await asyncio.gather(host.drain(), workers.drain())
        for app in reversed(apps):
            await app.close()
