"""`python -m bloomery_inference`: the inference service in a process of its own."""

import asyncio
from dataclasses import replace

from bloomery_inference.app import InferenceApp
from bloomery_inference.settings import InferenceSettings
from bloomery_kit.auth import OwnerToken
from bloomery_kit.logging import setup_logging
from bloomery_kit.metrics import serve_metrics
from bloomery_kit.server import ServiceHost, options_from, run_until_signal
from bloomery_kit.settings import load_settings

MESSAGE_BYTES = 64 << 20


async def main() -> None:
    """Read settings, wire, serve."""
    settings = load_settings(InferenceSettings)
    setup_logging()
    if settings.metrics_port is not None:
        serve_metrics(settings.metrics_port)
    options = replace(options_from(settings), max_message_bytes=MESSAGE_BYTES)
    host = ServiceHost(options, authenticator=OwnerToken(settings.token.get_secret_value()))
    app = await InferenceApp.open(settings, draining=host.draining)
    app.register(host)
    await app.start()
    await run_until_signal(host, on_stop=app.close)


if __name__ == "__main__":
    asyncio.run(main())
