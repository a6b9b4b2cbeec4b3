"""The annotation service in a process of its own: `python -m bloomery_annotation`."""

import asyncio

from bloomery_annotation.app import AnnotationApp
from bloomery_annotation.settings import AnnotationSettings
from bloomery_kit.auth import OwnerToken
from bloomery_kit.logging import setup_logging
from bloomery_kit.metrics import serve_metrics
from bloomery_kit.server import ServiceHost, options_from, run_until_signal
from bloomery_kit.settings import load_settings


async def main() -> None:
    """Read settings, wire, serve."""
    settings = load_settings(AnnotationSettings)
    setup_logging()
    if settings.metrics_port is not None:
        serve_metrics(settings.metrics_port)
    host = ServiceHost(options_from(settings), authenticator=OwnerToken(settings.token.get_secret_value()))
    app = await AnnotationApp.open(settings, draining=host.draining)
    app.register(host)
    await app.start()
    await run_until_signal(host, on_stop=app.close)


if __name__ == "__main__":
    asyncio.run(main())
