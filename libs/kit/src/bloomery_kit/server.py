"""A gRPC server that hosts servicers: interceptors, health, reflection, and a drain that ends watches cleanly."""

import asyncio
import gc
import logging
import signal
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bloomery_kit import reflection
from bloomery_kit.audit import AuditLayers, AuditLog
from bloomery_kit.auth import Authenticator
from bloomery_kit.certificates import note_own
from bloomery_kit.clients import DEFAULT_MESSAGE_BYTES, METADATA_BYTES
from bloomery_kit.interceptors import Limits, server_interceptors
from bloomery_kit.loops import Loops
from bloomery_kit.metrics import SERVICE_READY, measure_loop_lag
from bloomery_kit.pipeline import Pipeline
from bloomery_kit.rotating import LOOK_SECONDS, look_at_all, rotating
from bloomery_kit.rotating import LOOP as CREDENTIALS
from bloomery_kit.settings import ServiceSettings

S = TypeVar("S")
ReadyCheck = Callable[[], Awaitable[None]]
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_STALE_AFTER = 3
"""Intervals of checks, each of which takes one at most, after which what was last heard counts no more."""
_COLLECT_AFTER = 50_000
_LARGEST_PIECE = (32 << 20) - (1 << 16)
"""Bytes, a little less than what glibc counts at most (M_MMAP_THRESHOLD of mallopt(3))."""
_log = logging.getLogger("bloomery.server")


@dataclass(frozen=True)
class ServerOptions:
    """How a server listens and when it gives up; all times in seconds.

    `credentials` makes what a server speaks TLS with: one of its own for each.
    """

    bind: str = "127.0.0.1"
    port: int = 0
    health_port: int | None = None
    credentials: Callable[[], grpc.ServerCredentials] | None = None
    reflection: bool = False
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES
    limits: Limits = field(default_factory=Limits)
    keepalive_time: float = 60
    keepalive_timeout: float = 20
    connection_age: float = 15 * 60
    # Longer than the life of any watch, so that an old connection ends only when its watches did.
    connection_grace: float = 16 * 60
    ready_interval: float = 5
    drain_wait: float = 3
    drain_grace: float = 20


def options_from(settings: ServiceSettings) -> ServerOptions:
    """The options that a service's settings ask for."""
    credentials = None
    if settings.tls_certificate and settings.tls_key:
        credentials = _tls(settings.tls_certificate, settings.tls_key)
    return ServerOptions(
        bind=settings.bind,
        port=settings.port,
        health_port=settings.health_port,
        credentials=credentials,
        reflection=settings.reflection,
    )


class ServiceHost:
    """One grpc.aio server and the servicers on it.

    `draining` is set when the server is about to go: handlers of watches wait on it and end their streams.
    """

    def __init__(
        self, options: ServerOptions, *, authenticator: Authenticator, draining: asyncio.Event | None = None
    ) -> None:
        self.options = options
        self.draining = draining or asyncio.Event()
        self.port = 0
        self.health_port: int | None = None
        self._services: list[str] = []
        self._checks: dict[str, ReadyCheck | None] = {}
        self._audit = AuditLayers()
        self._health = health.aio.HealthServicer()
        self._doubt: asyncio.Task[None] | None = None
        self._server = grpc.aio.server(
            interceptors=server_interceptors(authenticator, options.limits, self._audit),
            options=_channel_options(options),
        )
        self._probes = grpc.aio.server(interceptors=[Pipeline(())]) if options.health_port is not None else None
        self.loops = Loops()
        self.loops.add("health", self._keep_checking, 0.0)
        self.loops.add("event loop lag", measure_loop_lag, 0.0)
        self.loops.add(CREDENTIALS, look_at_all, LOOK_SECONDS)

    def add(
        self,
        register: Callable[[S, grpc.aio.Server], Any],
        servicer: S,
        service_name: str,
        *,
        ready: ReadyCheck | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        """Host a servicer: `register` is the generated `add_XServicer_to_server`, `service_name` its full name.

        `ready` raises while the service cannot do its work; its health follows. What people change goes into `audit`.
        """
        if audit is not None:
            self._audit.add(service_name, audit)
        register(servicer, self._server)
        self._services.append(service_name)
        self.watch(service_name, ready)

    def watch(self, name: str, ready: ReadyCheck | None) -> None:
        """Tell the health of what has no servicer here, as that of a service is told."""
        self._checks[name] = ready

    async def start(self) -> int:
        """Listen and return the bound port. Raise OSError if the address is taken."""
        self._add_infrastructure()
        self.port = self._listen(self._server, self.options.port, self.options.credentials)
        if self._probes is not None:
            self.health_port = self._listen(self._probes, self.options.health_port or 0, None)
        await self._check_all()
        for server in filter(None, (self._probes, self._server)):
            await server.start()
        self.loops.start()
        _log.info("serving", extra={"port": self.port, "services": ", ".join(self._checks)})
        return self.port

    async def drain(self, grace: float | None = None) -> None:
        """Leave: NOT_SERVING, let clients notice, end watches, then at most `grace` seconds for calls in flight.

        Cancelling it stops the server at once.
        """
        try:
            await self._health.enter_graceful_shutdown()
            await asyncio.sleep(self.options.drain_wait)
            self.draining.set()
            await self._server.stop(self.options.drain_grace if grace is None else grace)
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Stop at once, breaking calls in flight."""
        await self._server.stop(0)
        if self._probes is not None:
            await self._probes.stop(0)
        await self.loops.close()
        if self._doubt is not None:
            self._doubt.cancel()

    def _add_infrastructure(self) -> None:
        for server in filter(None, (self._server, self._probes)):
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self.options.reflection:
            reflection.serve(self._server, (*self._services, health.SERVICE_NAME))

    def _listen(
        self, server: grpc.aio.Server, port: int, credentials: Callable[[], grpc.ServerCredentials] | None
    ) -> int:
        address = f"{self.options.bind}:{port}"
        try:
            bound = server.add_secure_port(address, credentials()) if credentials else server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error
        return bound

    async def _keep_checking(self) -> None:
        await asyncio.sleep(self.options.ready_interval)
        await self._check_all()

    async def _check_all(self) -> None:
        # Services of one application have one check; without the host's own loops no answer is to be relied on.
        checks = list({self._check_loops, *filter(None, self._checks.values())})
        ready = dict(zip(checks, await asyncio.gather(*map(self._is_ready, checks)), strict=True))
        fit = ready[self._check_loops]
        for name, check in {"": None, **self._checks}.items():
            await self._tell(name, is_ready=fit and (check is None or ready[check]))
        if self._doubt is not None:
            self._doubt.cancel()
        self._doubt = asyncio.create_task(self._turn_away())

    async def _check_loops(self) -> None:
        self.loops.check_ready()

    async def _turn_away(self) -> None:
        """Say NOT_SERVING unless the next check comes in time: a loop that has ended or hangs cannot say so itself."""
        await asyncio.sleep((_STALE_AFTER - 1) * self.options.ready_interval)
        # Where the whole process was stopped the check is only late, and comes before this is over.
        await asyncio.sleep(self.options.ready_interval)
        _log.error("nothing checks the health any more; restart this replica")
        for name in ("", *self._checks):
            await self._tell(name, is_ready=False)

    async def _tell(self, name: str, *, is_ready: bool) -> None:
        await self._health.set(name, _SERVING if is_ready else _NOT_SERVING)
        if name:
            SERVICE_READY.labels(name).set(is_ready)

    async def _is_ready(self, check: ReadyCheck) -> bool:
        try:
            async with asyncio.timeout(self.options.ready_interval):
                await check()
        except Exception as error:  # noqa: BLE001
            names = ", ".join(name for name, known in self._checks.items() if known == check) or "all"
            # The time that is given for an answer ends without a word.
            reason = str(error) or f"no answer within {self.options.ready_interval:g} s"
            _log.warning("not ready", extra={"services": names, "error": reason})
            return False
        return True


class Served(Protocol):
    """What can be started and drained: a ServiceHost, or several that belong together."""

    async def start(self) -> int:
        """Listen and return the port."""

    async def drain(self) -> None:
        """Leave without breaking a call."""


async def run_until_signal(host: Served, *, on_stop: Callable[[], Awaitable[None]] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, drain, then give up what else the process holds; a second signal cuts it short."""
    stop, now = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        _log.info("stopping on %s", number.name)
        (now if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        await host.start()
        _prepare_memory()
        await stop.wait()
        await _unless(now, host.drain())
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if on_stop is not None:
            await on_stop()


def _prepare_memory() -> None:
    # What the start made stays to the end: the collector need not look through all of it again and again.
    gc.collect()
    gc.freeze()
    # Work makes many objects and hardly any cycles: at the default of 700 collecting takes a fifth of an import.
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    # glibc keeps twice as much freed memory as the largest piece that came and went. Of what a message of 4 MiB takes
    # it keeps too little, and getting that again, page by page, takes four times as long as writing the message.
    bytearray(_LARGEST_PIECE)


async def _unless(cut: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    task, wait = asyncio.create_task(work), asyncio.create_task(cut.wait())
    await asyncio.wait({task, wait}, return_when=asyncio.FIRST_COMPLETED)
    for pending in (task, wait):
        pending.cancel()
        with suppress(asyncio.CancelledError):
            await pending


def _tls(certificate: Path, key: Path) -> Callable[[], grpc.ServerCredentials]:
    def read(key_content: bytes, chain: bytes) -> grpc.ServerCertificateConfiguration:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise ValueError(f"{certificate} and {key} are no certificate and its key") from error
        note_own(chain)
        return grpc.ssl_server_certificate_configuration([(key_content, chain)])

    served = rotating("certificate", read, key, certificate)

    def credentials() -> grpc.ServerCredentials:
        first, changed = served.follow()
        # Asked at every handshake, so that one that was exchanged needs no restart. To be told the same again would
        # make gRPC prepare all handshakes anew, which those under way do not survive.
        return grpc.dynamic_ssl_server_credentials(first, changed)  # type: ignore[arg-type]

    return credentials


def _channel_options(options: ServerOptions) -> list[tuple[str, int]]:
    def milliseconds(seconds: float) -> int:
        return round(seconds * 1000)

    return [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", options.max_message_bytes),
        ("grpc.keepalive_time_ms", milliseconds(options.keepalive_time)),
        ("grpc.keepalive_timeout_ms", milliseconds(options.keepalive_timeout)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", milliseconds(options.keepalive_timeout)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_connection_age_ms", milliseconds(options.connection_age)),
        ("grpc.max_connection_age_grace_ms", milliseconds(options.connection_grace)),
        ("grpc.so_reuseport", 0),
        # The roles of a caller in a thousand projects pass from service to service.
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
    ]
