"""Annotation, dataset and inference in one process over PostgreSQL and S3: `python -m tests.faults.services [trainer]`.

What the replicas of the trainer need beside them, and what a user does not aim at; all services, where the trainer is
wanted too.
"""

import asyncio
import sys
from dataclasses import replace

from bloomery_annotation.app import AnnotationApp
from bloomery_annotation.settings import AnnotationSettings
from bloomery_dataset.app import DatasetApp
from bloomery_dataset.settings import DatasetSettings
from bloomery_inference.app import MESSAGE_BYTES, InferenceApp
from bloomery_inference.settings import InferenceSettings
from bloomery_kit.auth import OwnerToken
from bloomery_kit.credentials import owner_tokens
from bloomery_kit.server import ServiceHost, options_from, run_until_signal
from bloomery_kit.service import App, begin
from bloomery_kit.settings import load_settings
from bloomery_trainer.app import TrainerApp
from bloomery_trainer.settings import TrainerSettings


async def main() -> None:
    settings = begin(AnnotationSettings)
    authenticator = OwnerToken(owner_tokens(settings))
    options = replace(options_from(settings), max_message_bytes=MESSAGE_BYTES)
    host = ServiceHost(options, authenticator=authenticator)
    apps: list[App] = [
        await AnnotationApp.open(settings, draining=host.draining),
        await DatasetApp.open(load_settings(DatasetSettings), draining=host.draining),
        await InferenceApp.open(load_settings(InferenceSettings), draining=host.draining),
    ]
    workers: ServiceHost | None = None
    if "trainer" in sys.argv:
        own = load_settings(TrainerSettings)
        trainer = await TrainerApp.open(own, draining=host.draining)
        workers = ServiceHost(
            replace(options, port=own.worker_port), authenticator=authenticator, draining=host.draining
        )
        trainer.register_worker(workers)
        apps.append(trainer)
        await workers.start()
    for app in apps:
        app.register(host)

    async def stop() -> None:
        if workers is not None:
            await workers.drain()
        for app in apps:
            await app.close()

    for app in apps:
        await app.start()
    await run_until_signal(host, on_stop=stop)


if __name__ == "__main__":
    asyncio.run(main())
