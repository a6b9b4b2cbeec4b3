"""Errors as HTTP answers: `{"error": category, "message": ..., "details": [...], "retry_possible": bool}`."""

from collections.abc import Sequence

import grpc
from google.protobuf.json_format import MessageToDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from bloomery_kit.errors import BloomeryError, Internal, ResourceExhausted, Unavailable, to_status

# As google.api's HTTP mapping has it (google/rpc/code.proto), for every code that an error has.
STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_INSUFFICIENT_STORAGE = 507


def on_domain_error(_request: Request, error: Exception) -> JSONResponse:
    """The answer to an error that the domain raised."""
    assert isinstance(error, BloomeryError)
    retry_after = error.retry_after if isinstance(error, (ResourceExhausted, Unavailable)) else None
    answer = problem(
        STATUS[error.code] if error.reason != "DISK_FULL" else _INSUFFICIENT_STORAGE,
        category=error.code.name,
        message=error.message,
        details=[MessageToDict(detail) for detail in to_status(error).details],
        retry_possible=retry_after is not None,
    )
    if retry_after is not None:
        answer.headers["retry-after"] = str(max(1, round(retry_after)))
    return answer


def on_http_error(_request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that no route takes."""
    assert isinstance(error, HTTPException)
    category = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "INVALID_ARGUMENT")
    answer = problem(error.status_code, category=category, message=error.detail)
    answer.headers.update(error.headers or {})
    return answer


def on_bug(request: Request, _error: Exception) -> JSONResponse:
    """The answer to an error that nobody foresaw; what it was is in the server's log only."""
    return on_domain_error(request, Internal("the server made a mistake; its log says more"))


def problem(
    status: int, *, category: str, message: str, details: Sequence[object] = (), retry_possible: bool = False
) -> JSONResponse:
    """An answer with the one body that all errors have."""
    body = {"error": category, "message": message, "details": list(details), "retry_possible": retry_possible}
    return JSONResponse(body, status)
