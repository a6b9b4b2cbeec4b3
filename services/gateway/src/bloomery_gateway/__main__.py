"""The gateway as a process of its own: `python -m bloomery_gateway`."""

import asyncio

from bloomery_gateway.app import GatewayApp
from bloomery_gateway.settings import GatewaySettings
from bloomery_kit.logging import setup_logging
from bloomery_kit.metrics import serve_metrics
from bloomery_kit.server import run_until_signal
from bloomery_kit.settings import load_settings


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    if settings.metrics_port is not None:
        serve_metrics(settings.metrics_port)
    await run_until_signal(await GatewayApp.open(settings, draining=asyncio.Event()))


def main() -> None:
    """Read the settings and serve."""
    setup_logging()
    asyncio.run(serve(load_settings(GatewaySettings)))


if __name__ == "__main__":
    main()
