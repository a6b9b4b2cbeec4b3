"""The connection that all handles of a client share: stubs, token, repeats and timeouts."""

import asyncio
import os
import random
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from bloomery import errors
from bloomery._address import Address
from bloomery._concurrency import unbroken
from bloomery._status import from_rpc_error
from bloomery.access.v1 import AccessServiceStub, AuditServiceStub, QuotaServiceStub
from bloomery.annotation.v1 import AnnotationServiceStub
from bloomery.dataset.v1 import DatasetServiceStub
from bloomery.errors import BloomeryError
from bloomery.inference.v1 import DeploymentServiceStub, ModelServiceStub, PredictionServiceStub
from bloomery.training.v1 import JobServiceStub

if TYPE_CHECKING:
    from bloomery._transfer import Transfer

Request = TypeVar("Request")
Reply = TypeVar("Reply")

_TRANSFERS = 16
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_INLINE_IMAGE_BYTES = 64 << 20
_VERSION = "x-bloomery-version"
"""Key of the metadata in which each answer tells the server's version."""


class _PageRequest(Protocol):
    page_token: str


class _Page(Protocol):
    next_page_token: str


PageRequestT = TypeVar("PageRequestT", bound=_PageRequest)
PageT = TypeVar("PageT", bound=_Page)


@dataclass(frozen=True)
class Timeouts:
    """How long the client waits, all in seconds."""

    attempt: float = 30.0
    """For the answer of one attempt of a call."""
    total: float = 60.0
    """For all attempts of a call together, pauses included.

    Of the attempts at a file the pauses between them count, and ten seconds for each that ended in silence.
    """
    contact: float = 3.0
    """For the first answer of all: a server that does not run is reported soon."""
    silence: float = 45.0
    """For the next message of a watch, which comes every 15 s at least; then the watch is opened again."""
    outage: float = 600.0
    """For a watch to get through again."""


class Session:
    """A channel with its stubs. Belongs to the event loop that it was made in."""

    def __init__(
        self,
        address: Address,
        *,
        timeouts: Timeouts | None = None,
        transfers: int = 0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.address = address
        self.timeouts = timeouts or Timeouts()
        self._transfers = transfers or _TRANSFERS
        self.turns = asyncio.Semaphore(self._transfers)
        """Of those that move bytes at the same time."""
        self.sleep = sleep
        self.clock = clock
        self._jitter = jitter
        self._new_id = new_id
        self.server_version: str | None = None
        """What the first answer said; None before it."""
        self._reached = False
        self._closed = False
        self._metadata = (("authorization", f"Bearer {address.token}"),) if address.token else ()
        self._channel = _channel(address)
        self.access = AccessServiceStub(self._channel)
        self.annotation = AnnotationServiceStub(self._channel)
        self.datasets = DatasetServiceStub(self._channel)
        self.jobs = JobServiceStub(self._channel)
        self.models = ModelServiceStub(self._channel)
        self.predictions = PredictionServiceStub(self._channel)
        self.deployments = DeploymentServiceStub(self._channel)
        self.audit = AuditServiceStub(self._channel)
        self.quotas = QuotaServiceStub(self._channel)

    @cached_property
    def transfer(self) -> "Transfer":
        """Moves bytes to and from the object store."""
        # Imported here: most commands move no bytes by HTTP, and its library takes a tenth of a second.
        from bloomery._transfer import Transfer

        return Transfer(
            sleep=self.sleep,
            pause=self.pause,
            patience=self.timeouts.total,
            turns=self.turns,
            at_once=self._transfers,
        )

    async def close(self) -> None:
        """Give the connections back."""
        self._closed = True
        await unbroken(asyncio.create_task(self._give_back()))

    async def _give_back(self) -> None:
        if "transfer" in self.__dict__:
            await self.transfer.close()
        await self._channel.close()

    async def call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Reply]",
        request: Request,
        *,
        seconds: float | None = None,
    ) -> Reply:
        """Call a unary rpc and repeat it while that may help.

        Only what is idempotent goes through here: reads, and changes that carry a `request_id`, which is filled in
        once, so that all attempts show the same. `seconds` is the time that one attempt may take.

        Raises:
            ClientClosed: `close` was called before.
            BloomeryError: the kind that belongs to the status of the last attempt.
        """
        self._check_open()
        self._identify(request)
        started, attempt = self.clock(), 1
        while True:
            try:
                pending = method(request, timeout=seconds or self.timeouts.attempt, metadata=self._metadata)
                reply = await pending
            except grpc.aio.AioRpcError as error:
                failure = self.failure(error)
                failure.attempts = attempt
                pause = self.pause(attempt, failure)
                if pause is None or self.clock() - started + pause > self._budget(seconds):
                    raise self._explained(failure) from None
            else:
                self._reached = True
                if self.server_version is None:
                    self.server_version = _version(await pending.trailing_metadata())
                return reply
            await self.sleep(pause)
            attempt += 1

    async def once(self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Reply]", request: Request) -> Reply:
        """Call a unary rpc that would do it twice, once. Raises what `call` raises."""
        self._check_open()
        try:
            return await method(request, timeout=self.timeouts.attempt, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._explained(self.failure(error)) from None

    async def delete(self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Empty]", request: Request) -> None:
        """Call an rpc that deletes. A repeat that finds nothing has succeeded before: its first answer was lost."""
        try:
            await self.call(method, request)
        except errors.NotFound as error:
            if error.attempts == 1:
                raise

    async def pages(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[PageRequestT, PageT]", request: PageRequestT
    ) -> AsyncGenerator[PageT, None]:
        """Read a listing page by page; `request` is changed on the way."""
        while True:
            page = await self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def stream(
        self, method: "grpc.aio.UnaryStreamMultiCallable[Request, Reply]", request: Request
    ) -> AsyncGenerator[Reply, None]:
        """Open a server stream once and yield its messages until it ends.

        Raises:
            Unavailable: the stream broke, or nothing came for longer than the server may be silent.
            BloomeryError: the kind that belongs to the stream's status.
        """
        self._check_open()
        call = method(request, metadata=self._metadata)
        try:
            messages = aiter(call)
            while True:
                async with asyncio.timeout(self.timeouts.silence):
                    message = await anext(messages, None)
                if message is None:
                    return
                self._reached = True
                yield message
        except grpc.aio.AioRpcError as error:
            raise self.failure(error) from None
        except TimeoutError:
            raise errors.Unavailable(f"the stream was silent for {self.timeouts.silence:.0f} s") from None
        finally:
            call.cancel()

    def exchange(
        self, method: "grpc.aio.StreamStreamMultiCallable[Request, Reply]"
    ) -> "grpc.aio.StreamStreamCall[Request, Reply]":
        """Open a stream of both sides once. Raises ClientClosed."""
        self._check_open()
        return method(metadata=self._metadata)

    def failure(self, error: grpc.aio.AioRpcError) -> BloomeryError:
        """The client's error for a failed call, from which it also learns whether a server is there at all."""
        failure = from_rpc_error(error)
        self._reached |= not isinstance(failure, errors.Unavailable) or failure.reason != errors.Unavailable.reason
        return failure

    def pause(self, attempt: int, failure: BloomeryError) -> float | None:
        """Seconds until the next attempt; None where no repeat may help. The server's word beats our own schedule."""
        if failure.retry_after is not None:
            # "At once" for ever would ask without a pause and, where only pauses count, without an end.
            return max(_FIRST_PAUSE, failure.retry_after)
        if not isinstance(failure, errors.Unavailable):
            return None
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempt - 1, 10)) * (0.5 + self._jitter() / 2)

    def patience(self) -> float:
        """Seconds for which a watch tries to get through."""
        return self.timeouts.outage if self._reached else self.timeouts.contact

    def _check_open(self) -> None:
        if self._closed:
            raise errors.ClientClosed

    def _budget(self, seconds: float | None) -> float:
        if not self._reached:
            return self.timeouts.contact
        return max(self.timeouts.total, seconds or 0.0)

    def _explained(self, failure: BloomeryError) -> BloomeryError:
        if self._reached or not isinstance(failure, errors.Unavailable):
            return failure
        return errors.ServerNotFound(f"no server answers at {self.address.endpoint}: {failure.message}")

    def _identify(self, request: object) -> None:
        if isinstance(request, Message) and getattr(request, "request_id", None) == "":
            request.request_id = self._new_id()  # type: ignore[attr-defined]


def _version(metadata: grpc.aio.Metadata) -> str:
    found = metadata.get(_VERSION, "")
    return found if isinstance(found, str) else found.decode()


def _channel(address: Address) -> grpc.aio.Channel:
    near = is_loopback(address.endpoint)
    options: list[tuple[str, int]] = [
        ("grpc.max_receive_message_length", _INLINE_IMAGE_BYTES),
        ("grpc.max_send_message_length", _INLINE_IMAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 200),
        # For which an attempt to connect lasts at least: from afar, with TLS, a fifth of a second is too short.
        ("grpc.min_reconnect_backoff_ms", 200 if near else 5_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.keepalive_time_ms", 60_000),
        # Channels of one process would share a connection, and with it the pause that another one's failures have left.
        ("grpc.use_local_subchannel_pool", 1),
        # A proxy of the environment does not reach this machine's own server.
        ("grpc.enable_http_proxy", 0 if near else 1),
    ]
    if address.tls:
        return grpc.aio.secure_channel(address.endpoint, _credentials(), options=options)
    return grpc.aio.insecure_channel(address.endpoint, options=options)


def _credentials() -> grpc.ChannelCredentials:
    """TLS that trusts whom the requests for files trust too: SSL_CERT_FILE, else the authorities that gRPC brings."""
    path = os.environ.get("SSL_CERT_FILE")
    if not path:
        return grpc.ssl_channel_credentials()
    try:
        return grpc.ssl_channel_credentials(Path(path).read_bytes())
    except OSError as error:
        reason = f"SSL_CERT_FILE, the authorities that are trusted, cannot be read: {error}"
        raise errors.ServerNotFound(reason, hint="name a PEM file, or none") from None


def is_loopback(endpoint: str) -> bool:
    """Whether an endpoint is on this machine."""
    return endpoint.rpartition(":")[0].strip("[]") in {"localhost", "127.0.0.1", "::1"}
