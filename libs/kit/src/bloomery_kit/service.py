"""A service in a process of its own: settings, logs and metrics, one server, until a signal."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Protocol, TypeVar

from bloomery_kit import tracing
from bloomery_kit.auth import Authenticator
from bloomery_kit.callers import authenticator_of
from bloomery_kit.clients import DEFAULT_MESSAGE_BYTES
from bloomery_kit.logging import setup_logging
from bloomery_kit.loops import Loops
from bloomery_kit.metrics import serve_metrics
from bloomery_kit.server import ServiceHost, options_from, run_until_signal
from bloomery_kit.settings import ServiceSettings, load_settings

S_contra = TypeVar("S_contra", bound=ServiceSettings, contravariant=True)
S = TypeVar("S", bound=ServiceSettings)


class App(Protocol):
    """A service's parts, in the order in which they are used once they are open, and its background work."""

    loops: Loops

    def register(self, host: ServiceHost) -> None:
        """Put the servicers on a server."""

    async def start(self) -> None:
        """Begin the work in the background."""

    async def close(self) -> None:
        """Give everything back."""


class Open(Protocol[S_contra]):
    """Opens what the settings name; `draining` is set when the process is about to go."""

    def __call__(self, settings: S_contra, *, draining: asyncio.Event) -> Awaitable[App]:
        """Raise Unavailable if something cannot be reached."""


def begin(kind: type[S]) -> S:
    """The settings of this process, whose logs, metrics and traces begin. Exit with the names of all that are wrong."""
    settings = load_settings(kind)
    setup_logging()
    tracing.start(settings.tracing, kind.__module__.partition(".")[0].replace("_", "-"))
    if settings.metrics_port is not None:
        serve_metrics(settings.metrics_port)
    return settings


async def serve(kind: type[S], open_app: Open[S], *, max_message_bytes: int = DEFAULT_MESSAGE_BYTES) -> None:
    """Read settings of this kind, and serve one app until SIGTERM or SIGINT.

    An app that has an `authenticator` tells itself who is let in; any other one asks access.
    """
    settings = begin(kind)
    options = replace(options_from(settings), max_message_bytes=max_message_bytes)
    draining = asyncio.Event()
    app = await open_app(settings, draining=draining)
    authenticator: Authenticator = getattr(app, "authenticator", None) or authenticator_of(settings)
    host = ServiceHost(options, authenticator=authenticator, draining=draining)
    app.register(host)
    await app.start()
    await run_until_signal(host, on_stop=app.close)
