import uuid
from collections.abc import Sequence

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from bloomery_kit.errors._sizes import MESSAGE_BYTES, clip
from bloomery_kit.errors._types import BloomeryError, Internal, Unavailable

DOMAIN = "bloomery.dev"


def to_status(error: BaseException) -> status_pb2.Status:
    """The status that a client sees for `error`: ErrorInfo first, then the details of its kind.

    An error from a neighbour's rpc keeps its status where the caller can act on it. Anything unknown becomes INTERNAL
    with a fresh `log_id` in the metadata and none of its own text.
    """
    if isinstance(error, grpc.aio.AioRpcError):
        return _relayed(error)
    if isinstance(error, BloomeryError):
        return _status(error, error.details())
    if isinstance(error, NotImplementedError):
        return status_pb2.Status(code=grpc.StatusCode.UNIMPLEMENTED.value[0], message="this method is not served here")
    log_id = uuid.uuid4().hex
    masked = Internal(f"internal error; the log has more under {log_id}")
    masked.metadata["log_id"] = log_id
    return _status(masked, [])


def error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo of `status`; an empty one if it has none."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            break
    return info


def _status(error: BloomeryError, details: Sequence[Message]) -> status_pb2.Status:
    status = status_pb2.Status(code=error.code.value[0], message=clip(error.message, MESSAGE_BYTES))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    for detail in (info, *details):
        status.details.add().Pack(detail)
    return status


_OUR_FAULT = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DATA_LOSS,
    }
)
_PASSING = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.OK}
)


def _relayed(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    if error.code() in _OUR_FAULT:
        return to_status(RuntimeError(error.details()))
    packed = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if isinstance(packed, bytes):
        return status_pb2.Status.FromString(packed)
    if error.code() in _PASSING:
        return to_status(Unavailable("NEIGHBOUR_UNAVAILABLE", "a service that this call needs does not answer"))
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")
