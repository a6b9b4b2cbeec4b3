"""`python -m bloomery_trainer`: the trainer in a process of its own."""

import asyncio
from dataclasses import replace

from bloomery_kit.auth import OwnerToken
from bloomery_kit.credentials import owner_tokens
from bloomery_kit.server import ServiceHost, options_from, run_until_signal
from bloomery_kit.service import begin
from bloomery_trainer.app import TrainerApp
from bloomery_trainer.settings import TrainerSettings


async def main() -> None:
    """Read settings, wire, serve."""
    settings = begin(TrainerSettings)
    options = options_from(settings)
    authenticator = OwnerToken(owner_tokens(settings))
    host = ServiceHost(options, authenticator=authenticator)
    worker_options = replace(options, bind=settings.worker_bind, port=settings.worker_port, health_port=None)
    workers = ServiceHost(worker_options, authenticator=authenticator, draining=host.draining)
    app = await TrainerApp.open(settings, draining=host.draining)
    app.register(host)
    app.register_worker(workers)
    await workers.start()
    await app.start()

    async def stop() -> None:
        await workers.drain()
        await app.close()

    await run_until_signal(host, on_stop=stop)


if __name__ == "__main__":
    asyncio.run(main())
