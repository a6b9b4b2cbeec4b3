from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from bloomery_kit.errors import (
    Aborted,
    AlreadyExists,
    BloomeryError,
    EtagMismatch,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PreconditionViolation,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Violations,
    error_info,
    to_status,
)

D = TypeVar("D", bound=Message)


def detail(status: Status, kind: type[D]) -> D:
    found = [message for packed in status.details if packed.Unpack(message := kind())]
    assert len(found) == 1
    return found[0]


EVERY_ERROR = [
    (InvalidArgument([FieldViolation("a.b", "must be set")]), "INVALID_ARGUMENT", "BadRequest"),
    (NotFound("dataset", "projects/p/datasets/d"), "NOT_FOUND", "ResourceInfo"),
    (AlreadyExists("dataset", "projects/p/datasets/d"), "ALREADY_EXISTS", "ResourceInfo"),
    (FailedPrecondition("STILL_REFERENCED", "in use"), "FAILED_PRECONDITION", "PreconditionFailure"),
    (Aborted("ATTEMPT_SUPERSEDED", "another attempt runs"), "ABORTED", None),
    (EtagMismatch("projects/p", given='"a"', actual='"b"'), "ABORTED", None),
    (OutOfRange("EVENTS_TRUNCATED", "too old", 5, 9), "OUT_OF_RANGE", None),
    (ResourceExhausted("DISK_FULL", "no space"), "RESOURCE_EXHAUSTED", "QuotaFailure"),
    (Unavailable("DATABASE_UNAVAILABLE", "down"), "UNAVAILABLE", "RetryInfo"),
    (Unauthenticated(), "UNAUTHENTICATED", None),
    (PermissionDenied("no"), "PERMISSION_DENIED", None),
    (Internal("broken"), "INTERNAL", None),
]


@pytest.mark.parametrize(("error", "code", "kind"), EVERY_ERROR, ids=lambda value: type(value).__name__)
def test_every_error_has_its_code_an_error_info_first_and_the_details_of_its_kind(
    error: BloomeryError, code: str, kind: str | None
) -> None:
    status = to_status(error)
    kinds = [packed.TypeName().rpartition(".")[2] for packed in status.details]
    assert grpc.StatusCode[code].value[0] == status.code
    assert status.message == error.message
    assert kinds == ["ErrorInfo", *([kind] if kind else [])]
    assert error_info(status).domain == "bloomery.dev"
    assert error_info(status).reason == error.reason


def test_all_violations_arrive_in_one_error() -> None:
    violations = Violations()
    violations.add("task", "is required")
    violations.add("image.width", "must be positive")
    with pytest.raises(InvalidArgument) as caught:
        violations.raise_if_any()
    bad = detail(to_status(caught.value), error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("task", "is required"),
        ("image.width", "must be positive"),
    ]


def test_no_violations_raise_nothing() -> None:
    violations = Violations()
    violations.raise_if_any()
    assert not violations


def test_preconditions_name_subject_and_remedy() -> None:
    error = FailedPrecondition("BLOB_MISSING", "missing", [PreconditionViolation("BLOB", "sha256:0", "upload it")])
    failure = detail(to_status(error), error_details_pb2.PreconditionFailure)
    assert [(v.type, v.subject, v.description) for v in failure.violations] == [("BLOB", "sha256:0", "upload it")]


def test_a_cursor_error_tells_what_the_log_still_holds() -> None:
    metadata = error_info(to_status(OutOfRange("EVENTS_TRUNCATED", "too old", 5, 9))).metadata
    assert dict(metadata) == {"oldest_sequence": "5", "newest_sequence": "9"}


def test_retry_delay_is_in_the_status_only_where_waiting_helps() -> None:
    waits = to_status(ResourceExhausted("TOO_MANY_CALLS", "busy", 2.5))
    assert detail(waits, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 2500
    never = to_status(ResourceExhausted("DISK_FULL", "full"))
    assert not any(packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for packed in never.details)


def test_an_unknown_exception_says_nothing_but_a_log_id() -> None:
    status = to_status(ValueError("password is hunter2"))
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "hunter2" not in str(status)
    assert error_info(status).metadata["log_id"] in status.message


def test_a_status_fits_into_metadata_however_much_is_wrong() -> None:
    violations = [FieldViolation(f"items[{index}].name", "ü" * 500) for index in range(10_000)]
    status = to_status(InvalidArgument(violations))
    bad = detail(status, error_details_pb2.BadRequest)
    assert status.ByteSize() < 4096
    assert bad.field_violations[0].field == "items[0].name"
    assert bad.field_violations[-1].description == f"and {10_001 - len(bad.field_violations)} more"
    unmet = [PreconditionViolation("BLOB_MISSING", f"sha256:{index}", "ü" * 500) for index in range(1000)]
    assert to_status(FailedPrecondition("BLOB_MISSING", "ü" * 500, unmet)).ByteSize() < 4096


def neighbour_error(code: grpc.StatusCode, status: Status | None = None) -> grpc.aio.AioRpcError:
    pairs = [("grpc-status-details-bin", status.SerializeToString())] if status else []
    trailing = grpc.aio.Metadata(*pairs)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details=status.message if status else "why")


def test_a_neighbours_typed_error_passes_through() -> None:
    theirs = to_status(NotFound("asset", "projects/p/assets/a"))
    assert to_status(neighbour_error(grpc.StatusCode.NOT_FOUND, theirs)) == theirs


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_a_silent_neighbour_is_unavailable_and_worth_a_retry(code: grpc.StatusCode) -> None:
    status = to_status(neighbour_error(code))
    assert error_info(status).reason == "NEIGHBOUR_UNAVAILABLE"
    assert detail(status, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL])
def test_a_fault_between_neighbours_is_not_the_callers(code: grpc.StatusCode) -> None:
    assert to_status(neighbour_error(code, Status(code=code.value[0], message="inner"))).code == 13


def test_very_many_violations_are_counted_and_not_kept() -> None:
    violations = Violations()
    for number in range(20_000):
        violations.add(f"shapes[{number}].label", "is unknown; use one of " + "label, " * 1000)
    with pytest.raises(InvalidArgument) as caught:
        violations.raise_if_any()
    error = caught.value
    assert sum(len(v.field) + len(v.description) for v in error.violations) < 50_000
    assert len(error.message) < 50_000
    listed = to_status(error)
    detail = error_details_pb2.BadRequest()
    assert any(one.Unpack(detail) for one in listed.details)
    assert detail.field_violations[-1].description == f"and {20_000 - len(detail.field_violations) + 1} more"
