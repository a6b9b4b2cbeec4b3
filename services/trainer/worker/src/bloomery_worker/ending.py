"""The end of an attempt: publishing what it made, or saying why there is nothing."""

import asyncio
import logging
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TypeAlias

import grpc
import grpc.aio
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from bloomery.training.v1 import (
    AttemptFailure,
    AttemptStopped,
    AttemptSuccess,
    FinishAttemptRequest,
    Reason,
)
from bloomery_worker.client import WorkerClient
from bloomery_worker.failures import Failure, TransferError, classify
from bloomery_worker.messages import ResultNote
from bloomery_worker.reporter import Reporter
from bloomery_worker.termination import ExitCode, LastWords
from bloomery_worker.uploads import Uploads

PUBLISH_TRIES = 3
_PACKAGE = "bloomery-worker"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failed:
    """The work cannot be done."""

    failure: Failure
    log_tail: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Stopped:
    """The work ended on request. `epoch` epochs are in the last checkpoint."""

    epoch: int


Ended: TypeAlias = ResultNote | Failed | Stopped


def with_energy(ended: Ended, joules: float | None) -> Ended:
    """Adds what the machine took for it to a result; None where that could not be read."""
    if not isinstance(ended, ResultNote) or joules is None:
        return ended
    return replace(ended, details={**ended.details, "energy_joules": joules})


class Conclusion:
    """Tells the service how an attempt ended. Every method raises FencedError."""

    def __init__(self, client: WorkerClient, uploads: Uploads, reporter: Reporter, *, patience: float) -> None:
        self._client, self._uploads, self._reporter = client, uploads, reporter
        self._patience = patience

    async def conclude(self, ended: Ended, *, epoch: int) -> LastWords:
        """Ends the attempt. `epoch` epochs are in the last checkpoint that arrived."""
        match ended:
            case ResultNote():
                return await self._succeed(ended, epoch)
            case Failed():
                return await self._fail(ended, epoch)
            case Stopped():
                return await self._stop(epoch)

    async def _succeed(self, result: ResultNote, epoch: int) -> LastWords:
        """Publishes. However long the service is away, the work of hours is worth the wait."""
        self._reporter.enter("publishing")
        for left in reversed(range(PUBLISH_TRIES)):
            try:
                success = await self._upload(result)
                await self._reporter.flush()
                await self._client.finish(FinishAttemptRequest(success=success))
                break
            except TransferError as problem:
                return await self._fail(Failed(classify(problem)), epoch)
            except grpc.aio.AioRpcError as problem:
                _LOG.warning("the result was refused: %s %s", problem.code().name, problem.details())
                if not left:
                    return await self._refused(problem, epoch)
        return LastWords(ExitCode.FINISHED, finished=True, epoch=epoch)

    async def _refused(self, problem: grpc.aio.AioRpcError, epoch: int) -> LastWords:
        if problem.code() is grpc.StatusCode.FAILED_PRECONDITION:
            # A cancellation that won the race leaves nothing to publish.
            return await self._stop(epoch)
        return await self._fail(Failed(classify(problem)), epoch)

    async def _upload(self, result: ResultNote) -> AttemptSuccess:
        artifacts = await self._uploads.send(result.files)
        details = Struct()
        ParseDict(result.details, details)
        return AttemptSuccess(
            artifacts=artifacts,
            metrics=result.metrics,
            details=details,
            # By this the trainer knows names that it has not heard of from wrong ones.
            versions={**result.versions, _PACKAGE: version(_PACKAGE)},
            model=result.model,
            variants=result.variants,
        )

    async def _fail(self, failed: Failed, epoch: int) -> LastWords:
        reason = Reason(
            code=failed.failure.code,
            message=failed.failure.message,
            hint=failed.failure.hint,
            retriable=failed.failure.retriable,
        )
        failure = AttemptFailure(reason=reason, log_tail=failed.log_tail, exit_code=failed.exit_code)
        finished = await self._say(FinishAttemptRequest(failure=failure))
        code = ExitCode.RETRIABLE if failed.failure.retriable else ExitCode.USER_ERROR
        return LastWords(code, finished, failed.failure, epoch)

    async def _stop(self, epoch: int) -> LastWords:
        finished = await self._say(FinishAttemptRequest(stopped=AttemptStopped(epoch=epoch)))
        return LastWords(ExitCode.STOPPED, finished, epoch=epoch)

    async def _say(self, request: FinishAttemptRequest) -> bool:
        """Whether the service has heard it in time; if not, the termination file says it."""
        try:
            async with asyncio.timeout(self._patience):
                await self._reporter.flush()
                await self._client.finish(request)
        except (TimeoutError, grpc.aio.AioRpcError) as problem:
            _LOG.warning("the service has not heard of the end: %s", problem)
            return False
        return True
