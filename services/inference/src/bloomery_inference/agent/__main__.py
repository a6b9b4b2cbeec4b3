"""`python -m bloomery_inference.agent`: keeps the models of the serving plan loaded in the Triton server beside it."""

import asyncio
import logging

from bloomery_inference.agent.app import AgentApp
from bloomery_inference.agent.settings import AgentSettings
from bloomery_kit import tracing
from bloomery_kit.auth import OwnerToken
from bloomery_kit.credentials import owner_tokens
from bloomery_kit.logging import setup_logging
from bloomery_kit.metrics import serve_metrics
from bloomery_kit.server import ServerOptions, ServiceHost, run_until_signal
from bloomery_kit.settings import load_settings


async def serve(settings: AgentSettings) -> None:
    """Work until SIGTERM or SIGINT."""
    tracing.start(settings.tracing, "bloomery-inference-agent")
    if settings.metrics_port is not None:
        serve_metrics(settings.metrics_port)
    # There is nothing to drain but answers about the health.
    options = ServerOptions(bind=settings.bind, port=settings.port, drain_wait=0, drain_grace=1)
    host = ServiceHost(options, authenticator=OwnerToken(owner_tokens(settings)))
    app = await AgentApp.open(settings)
    app.register(host)
    await app.start()
    await run_until_signal(host, on_stop=app.close)


if __name__ == "__main__":
    setup_logging()
    # A line for each file that is fetched tells no more than what is reported.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(serve(load_settings(AgentSettings)))
