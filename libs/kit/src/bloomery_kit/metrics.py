"""The process's metrics, under the names that public gRPC dashboards expect; seconds and bytes, no ids in labels."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from threading import Event, Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from bloomery_kit.errors import BloomeryError

_STOP_SECONDS = 5.0
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
_BUILD = Gauge("bloomery_build_info", "1, under the version that runs.", ("version",), registry=REGISTRY)
_BUILD.labels(version("bloomery-kit")).set(1)
SERVICE_READY = Gauge(
    "bloomery_service_ready",
    "1 for a service that can do its work, as its health says.",
    ("service",),
    registry=REGISTRY,
)

_METHOD = ("grpc_type", "grpc_service", "grpc_method")
STARTED = Counter("grpc_server_started_total", "Calls begun.", _METHOD, registry=REGISTRY)
HANDLED = Counter("grpc_server_handled_total", "Calls ended.", (*_METHOD, "grpc_code"), registry=REGISTRY)
RECEIVED = Counter("grpc_server_msg_received_total", "Messages from clients.", _METHOD, registry=REGISTRY)
SENT = Counter("grpc_server_msg_sent_total", "Messages to clients.", _METHOD, registry=REGISTRY)
HANDLING = Histogram(
    "grpc_server_handling_seconds",
    "Time from the first byte to the status, of calls that answer once.",
    _METHOD,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
STREAMING = Histogram(
    "grpc_server_stream_seconds",
    "Life of calls that answer with a stream, watches above all.",
    _METHOD,
    buckets=(0.1, 1, 10, 60, 300, 600, 900, 1200),
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("bloomery_grpc_inflight_rpcs", "Calls being served.", ("grpc_type",), registry=REGISTRY)
REJECTED = Counter("bloomery_grpc_rejected_total", "Calls refused unserved.", ("reason",), registry=REGISTRY)
REJECTED.labels("in_flight")
AUTH_FAILURES = Counter("bloomery_auth_failures_total", "Calls not let in.", ("reason",), registry=REGISTRY)
LOOP_LAG = Histogram(
    "bloomery_event_loop_lag_seconds",
    "How late the event loop wakes a sleeper.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
    registry=REGISTRY,
)


class OfMethod:
    """What is measured of the calls of one method."""

    def __init__(self, method: str, arity: str) -> None:
        _, service, name = method.split("/")
        labels = (arity, service, name)
        self.started = STARTED.labels(*labels)
        self.in_flight = IN_FLIGHT.labels(arity)
        self.received = RECEIVED.labels(*labels)
        self.sent = SENT.labels(*labels)
        self.seconds = (HANDLING if arity == "unary" else STREAMING).labels(*labels)
        self.handled = cache(lambda code: HANDLED.labels(*labels, code))
        """Those that ended with a code."""


of_method = cache(OfMethod)
"""The measurements of a method ("/package.Service/Method") of an arity; only methods that are served come here."""

_CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
DATABASE_SECONDS = Histogram(
    "bloomery_database_transaction_seconds",
    "Life of transactions by kind (read, write), and by the code of the error that ended them.",
    ("kind", "code"),
    buckets=_CALL_BUCKETS,
    registry=REGISTRY,
)
OBJECT_STORE_SECONDS = Histogram(
    "bloomery_object_store_call_seconds",
    "Time of single calls to the store (folder, s3), by the code of the error that they ended with.",
    ("store", "code"),
    buckets=_CALL_BUCKETS,
    registry=REGISTRY,
)


@contextmanager
def timed(seconds: Histogram, label: str, *, clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    """Observe how long the block takes under `label` and the code of what it raises."""
    start, code = clock(), "OK"
    try:
        yield
    except BaseException as error:
        code = error.code.name if isinstance(error, BloomeryError) else type(error).__name__
        raise
    finally:
        seconds.labels(label, code).observe(clock() - start)


async def measure_loop_lag(every: float = 4.0, *, clock: Callable[[], float] = time.perf_counter) -> None:
    """Observe once how late the loop wakes a sleeper after `every` seconds."""
    start = clock()
    await asyncio.sleep(every)
    LOOP_LAG.observe(max(0.0, clock() - start - every))


def serve_metrics(port: int, host: str = "0.0.0.0") -> Callable[[], None]:  # noqa: S104
    """Serve the registry over HTTP from a thread of its own; call the result to stop."""
    server = make_server(host, port, make_wsgi_app(REGISTRY), ThreadingWSGIServer, handler_class=_Silent)
    stopping = Event()

    def serve() -> None:
        # Waits for requests only: the server's own way to be stopped is to look twice a second whether it should.
        while not stopping.is_set():
            server.handle_request()

    def stop() -> None:
        stopping.set()
        with suppress(OSError):
            socket.create_connection((host, server.server_port), _STOP_SECONDS).close()
        thread.join(_STOP_SECONDS)
        server.server_close()

    thread = Thread(target=serve, daemon=True, name="metrics")
    thread.start()
    return stop


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are no news."""
