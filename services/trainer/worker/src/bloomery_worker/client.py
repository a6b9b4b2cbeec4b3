"""The worker's side of WorkerService: the attempt's secret, and patience with a service that is away."""

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from bloomery.common.v1 import SignedRequest
from bloomery.training.v1 import (
    ArtifactTarget,
    ArtifactUpload,
    CompleteArtifactUploadsRequest,
    CompletedArtifact,
    FinishAttemptRequest,
    JobEvent,
    PrepareArtifactUploadsRequest,
    ReadImagesRequest,
    ReadImagesResponse,
    ReportProgressRequest,
    ReportProgressResponse,
    SignInputsRequest,
    StartAttemptRequest,
    StartAttemptResponse,
    SuggestShapesRequest,
    SuggestShapesResponse,
    WorkerServiceStub,
)
from bloomery_worker.failures import TrustError
from bloomery_worker.retrying import Policy, again, at_most, for_a_while

if TYPE_CHECKING:
    from bloomery.training.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

T = TypeVar("T")

_AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_FAULTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
_FAULT_TRIES = 8
_DISTRUST = re.compile("SSL_ERROR_SSL|security handshaker|Hostname Verification|not in peer certificate")
_DISTRUST_SECONDS = 60.0
_NOT_OURS = frozenset({grpc.StatusCode.ABORTED, grpc.StatusCode.UNAUTHENTICATED})
_CALL_SECONDS = 30.0
_OPTIONS = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Where all trainers were replaced, the new ones' addresses would be looked up after 30 s only.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


class FencedError(Exception):
    """The attempt is no longer the job's: stop, publish nothing."""


def may_pass(problem: grpc.aio.AioRpcError) -> bool:
    """Whether the same call may succeed later."""
    return problem.code() in _AWAY | _FAULTS


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats a call for as long as the service is away, and a few times where it is at fault.

    Raises:
        FencedError: as the call does.
        grpc.aio.AioRpcError: for every other answer.
    """
    return await again(call, at_most(_FAULT_TRIES, _is_fault, _is_away), Policy())


def _is_away(problem: Exception) -> bool:
    return isinstance(problem, grpc.aio.AioRpcError) and problem.code() in _AWAY


def _is_distrust(problem: Exception) -> bool:
    """Whether no connection comes about because of certificates, which may be mended or being replaced."""
    return _is_away(problem) and bool(_DISTRUST.search(str(problem)))


def _is_fault(problem: Exception) -> bool:
    return isinstance(problem, grpc.aio.AioRpcError) and problem.code() in _FAULTS


class WorkerClient:
    """Calls on behalf of one attempt. Every method raises FencedError when the attempt is no longer the job's."""

    def __init__(self, target: str, *, root_certificates: Path | None = None) -> None:
        """`root_certificates` is a PEM file that may change. Raises TrustError where it cannot be read."""
        self._target, self._file = target, root_certificates
        self._channels: list[grpc.aio.Channel] = []
        self._secret = ""
        self._trusted: bytes | None = None
        if self._file is not None:
            try:
                self._trusted = self._file.read_bytes()
            except OSError as problem:
                raise TrustError(str(problem)) from problem
        self._connect()

    def _connect(self) -> None:
        if self._trusted is None:
            channel = grpc.aio.insecure_channel(self._target, options=_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(self._trusted)
            channel = grpc.aio.secure_channel(self._target, credentials, options=_OPTIONS)
        self._channels.append(channel)
        self._stub_now = WorkerServiceStub(channel)

    @property
    def _stub(self) -> "WorkerServiceAsyncStub":
        """Of a channel that trusts what is trusted now: authorities are exchanged while an attempt goes on."""
        if self._file is not None:
            with suppress(OSError):
                if (trusted := self._file.read_bytes()) != self._trusted:
                    self._trusted = trusted
                    self._connect()
        return self._stub_now

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            await channel.close()

    async def start(self, request: StartAttemptRequest) -> StartAttemptResponse:
        """Binds this process to its attempt, however long the service is away. Raises TrustError too."""
        worth = for_a_while(_DISTRUST_SECONDS, _is_distrust, at_most(_FAULT_TRIES, _is_fault, _is_away))
        try:
            answer = await again(
                lambda: self._call(self._stub.StartAttempt(request, timeout=_CALL_SECONDS)), worth, Policy()
            )
        except grpc.aio.AioRpcError as problem:
            if _is_distrust(problem):
                raise TrustError(problem.details() or "") from problem
            raise
        self._secret = answer.secret
        return answer

    async def report(
        self, first_sequence: int, events: Sequence[JobEvent], *, phase: str, stalled: bool
    ) -> ReportProgressResponse:
        """Reports once; the caller repeats."""
        request = ReportProgressRequest(first_sequence=first_sequence, events=events, phase=phase, stalled=stalled)
        return await self._call(self._stub.ReportProgress(request, timeout=_CALL_SECONDS, metadata=self._metadata()))

    async def sign_inputs(self, keys: Sequence[str]) -> Sequence[SignedRequest]:
        """Downloads for keys, in their order."""
        request = SignInputsRequest(logical_keys=keys)
        answer = await patiently(
            lambda: self._call(self._stub.SignInputs(request, timeout=_CALL_SECONDS, metadata=self._metadata()))
        )
        return answer.gets

    async def prepare_uploads(self, uploads: Sequence[ArtifactUpload]) -> Sequence[ArtifactTarget]:
        """Where to put files, in their order."""
        request = PrepareArtifactUploadsRequest(uploads=uploads, in_parts=True)
        answer = await patiently(
            lambda: self._call(
                self._stub.PrepareArtifactUploads(request, timeout=_CALL_SECONDS, metadata=self._metadata())
            )
        )
        return answer.targets

    async def complete_uploads(self, uploads: Sequence[ArtifactUpload]) -> Sequence[CompletedArtifact]:
        """What became of uploaded files, in their order. The service reads them, so it may take a while."""
        request = CompleteArtifactUploadsRequest(uploads=uploads)
        answer = await patiently(
            lambda: self._call(
                self._stub.CompleteArtifactUploads(request, timeout=10 * _CALL_SECONDS, metadata=self._metadata())
            )
        )
        return answer.results

    async def list_images(self, after: str) -> ReadImagesResponse:
        """Some of the images of the job's project that it works on, behind `after`."""
        request = ReadImagesRequest(after=after)
        return await patiently(
            lambda: self._call(self._stub.ReadImages(request, timeout=2 * _CALL_SECONDS, metadata=self._metadata()))
        )

    async def suggest(self, request: SuggestShapesRequest) -> SuggestShapesResponse:
        """Saves suggestions, however long the service is away."""
        return await patiently(
            lambda: self._call(self._stub.SuggestShapes(request, timeout=2 * _CALL_SECONDS, metadata=self._metadata()))
        )

    async def finish(self, request: FinishAttemptRequest) -> None:
        """Ends the attempt, however long the service is away."""
        await patiently(
            lambda: self._call(self._stub.FinishAttempt(request, timeout=_CALL_SECONDS, metadata=self._metadata()))
        )

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._secret}"),)

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as problem:
            if problem.code() in _NOT_OURS:
                raise FencedError(problem.details() or "the attempt was superseded") from problem
            raise
