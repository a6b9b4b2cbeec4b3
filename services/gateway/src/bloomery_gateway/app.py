"""The gateway: an HTTP server inside a running event loop."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bloomery_gateway.blobs import Blobs
from bloomery_gateway.dates import Dated
from bloomery_gateway.metrics import Measured
from bloomery_gateway.problems import on_bug, on_domain_error, on_http_error
from bloomery_gateway.settings import GatewaySettings
from bloomery_kit.errors import BloomeryError, Unavailable
from bloomery_kit.objects import FolderObjectStore, open_object_store

_GRACE_SECONDS = 5


class GatewayApp:
    """The gateway's parts, wired. `port` is the bound port after `start`."""

    def __init__(self, settings: GatewaySettings, store: FolderObjectStore, draining: asyncio.Event) -> None:
        self.port = 0
        self._settings = settings
        self._store = store
        self._draining = draining
        self._server = _Server(
            uvicorn.Config(
                self.asgi(),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_SECONDS,
                date_header=False,
                server_header=False,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, settings: GatewaySettings, *, draining: asyncio.Event) -> Self:
        """Wire the gateway; `draining` is set when the process is about to go, and /healthz says so."""
        store = await asyncio.to_thread(open_object_store, settings.object_store)
        assert isinstance(store, FolderObjectStore), "the settings know no other kind"
        return cls(settings, store, draining)

    def asgi(self) -> Starlette:
        """The routes."""
        blobs = Blobs(self._store, self._settings.object_store.root)
        return Starlette(
            routes=[
                Route("/blobs/{key:path}", blobs.put, methods=["PUT"]),
                Route("/blobs/{key:path}", blobs.get, methods=["GET"]),
                Route("/healthz", self._healthz),
            ],
            middleware=[Middleware(Measured), Middleware(Dated)],
            exception_handlers={BloomeryError: on_domain_error, HTTPException: on_http_error, Exception: on_bug},
        )

    async def start(self) -> int:
        """Listen and return the port. Raise OSError if the address is taken."""
        listener = socket.create_server((self._settings.bind, self._settings.http_port))
        self.port = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve([listener]))
        return self.port

    async def drain(self) -> None:
        """Say that this gateway is about to go, finish the requests in flight, and stop."""
        self._draining.set()
        await self.close()

    async def close(self) -> None:
        """Finish the requests in flight, within seconds, and stop."""
        if self._serving is not None:
            self._server.leave.set()
            await self._serving

    async def _healthz(self, _request: Request) -> JSONResponse:
        if self._draining.is_set():
            raise Unavailable("DRAINING", "this gateway is about to stop")
        await self._store.check_ready()
        return JSONResponse({"status": "SERVING"})


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leave = asyncio.Event()

    async def main_loop(self) -> None:
        """Wait until it is time to leave; the library's own loop wakes ten times a second, for the date of answers."""
        await self.leave.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process that hosts the gateway minds its signals itself."""
        yield
