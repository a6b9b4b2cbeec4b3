"""Annotation, dataset and inference in one process over PostgreSQL and S3: `python -m tests.faults.services`.

What the replicas of the trainer need beside them, and what a user does not aim at.
"""

import asyncio

from bloomery_annotation.app import AnnotationApp
from bloomery_annotation.settings import AnnotationSettings
from bloomery_dataset.app import DatasetApp
from bloomery_dataset.settings import DatasetSettings
from bloomery_inference.app import InferenceApp
from bloomery_inference.settings import InferenceSettings
from bloomery_kit.auth import OwnerToken
from bloomery_kit.server import ServiceHost, options_from, run_until_signal
from bloomery_kit.service import App, begin
from bloomery_kit.settings import load_settings


async def main() -> None:
    settings = begin(AnnotationSettings)
    host = ServiceHost(options_from(settings), authenticator=OwnerToken(settings.token.get_secret_value()))
    apps: list[App] = [
        await AnnotationApp.open(settings, draining=host.draining),
        await DatasetApp.open(load_settings(DatasetSettings), draining=host.draining),
        await InferenceApp.open(load_settings(InferenceSettings), draining=host.draining),
    ]
    for app in apps:
        app.register(host)

    async def stop() -> None:
        for app in apps:
            await app.close()

    for app in apps:
        await app.start()
    await run_until_signal(host, on_stop=stop)


if __name__ == "__main__":
    asyncio.run(main())
