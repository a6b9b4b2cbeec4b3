"""From `google.rpc.Status` to the client's errors."""

from collections.abc import Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status.rpc_status import from_call

from bloomery import errors
from bloomery.errors import BloomeryError, Violation

M = TypeVar("M", bound=Message)

_ERRORS: dict[grpc.StatusCode, type[BloomeryError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.OUT_OF_RANGE: errors.OutOfRange,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    # The client's own deadline of one attempt: the server is there but does not answer.
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.Unavailable,
    # A server that stops resets the streams of calls that it cannot finish.
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.INTERNAL: errors.Internal,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unsupported,
}
# A proxy ends or resets the streams of a server that died, which gRPC names as a server's own faults: of these a server
# says more than a message.
_BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
_BREAKS = ("Stream removed", "RST_STREAM")
_CODES = {code.value[0]: code for code in grpc.StatusCode}

_LOOK = {
    "project": "`bloomery project list` shows what there is",
    "dataset": "`bloomery dataset list` shows what there is",
    "dataset version": "`bloomery dataset versions DATASET` shows what there is",
    "label": "`bloomery labels list` shows what there is",
    "job": "`bloomery jobs list` shows what there is",
    "recipe": "`bloomery recipes list` shows what there is",
    "deployment": "`bloomery deploy list` shows what there is",
    "annotation set": "`bloomery annotations show IMAGE` shows what there is",
} | dict.fromkeys(
    ("model", "model version"),
    "`bloomery models list` shows what there is, `bloomery jobs list` what may still be in the making",
)
"""What to do about a resource that is not there, by its type."""


def from_rpc_error(error: grpc.aio.AioRpcError) -> BloomeryError:
    """The client's error for a failed call."""
    try:
        status = from_call(error)  # type: ignore[arg-type]  # declared for blocking calls, reads what both have
    except ValueError:
        status = None
    if status is None:
        status = status_pb2.Status(code=error.code().value[0], message=error.details() or error.code().name)
        if error.code() in _BROKEN and any(word in status.message for word in _BREAKS):
            return errors.Unavailable(status.message)
    return from_status(status)


def from_status(status: status_pb2.Status) -> BloomeryError:
    """The client's error for a status that is not OK, be it a call's or an item's. Unknown details are ignored."""
    kind = _ERRORS.get(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), BloomeryError)
    info = _detail(status, error_details_pb2.ErrorInfo)
    retry = _detail(status, error_details_pb2.RetryInfo)
    error = kind(
        status.message,
        reason=info.reason if info else "",
        details=info.metadata if info else None,
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )
    if isinstance(error, errors.InvalidArgument | errors.FailedPrecondition):
        error.violations = _violations(status)
    if isinstance(error, errors.FailedPrecondition):
        # The message says what is the case, the violations say what to do; some say the same.
        said = dict.fromkeys(v.description for v in error.violations if v.description not in error.message)
        error.hint = "; ".join(said)
    if isinstance(error, errors.NotFound):
        error.hint = _LOOK.get(error.details.get("resource_type", ""), "")
    if error.hint in error.message:
        error.hint = ""
    return error


def _violations(status: status_pb2.Status) -> tuple[Violation, ...]:
    request = _detail(status, error_details_pb2.BadRequest) or error_details_pb2.BadRequest()
    state = _detail(status, error_details_pb2.PreconditionFailure) or error_details_pb2.PreconditionFailure()
    return (
        *(Violation(v.field, v.description) for v in request.field_violations),
        *(Violation(v.subject or v.type, v.description) for v in state.violations),
    )


def _detail(status: status_pb2.Status, kind: Callable[[], M]) -> M | None:
    found = kind()
    return next((found for detail in status.details if detail.Unpack(found)), None)
