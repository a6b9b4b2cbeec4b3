# ruff: noqa: N818 - errors are named after the codes that they become.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from bloomery_kit.errors._sizes import MESSAGE_BYTES, clip, fitting

_LISTED = 100


@dataclass(frozen=True)
class FieldViolation:
    """A bad field of a request: its dotted path, and what would make it right."""

    field: str
    description: str


@dataclass(frozen=True)
class PreconditionViolation:
    """A state that forbids the call: its kind (UPPER_SNAKE), the resource it concerns, and how to fix it."""

    type: str
    subject: str
    description: str


class BloomeryError(Exception):
    """Base of every error that the domain raises on purpose; its message is for people."""

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, *, reason: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})

    def details(self) -> list[Message]:
        """Messages of `google.rpc` that follow ErrorInfo in the status."""
        return []


class InvalidArgument(BloomeryError):
    """The request is wrong whatever the state of the system."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(
        self, violations: Sequence[FieldViolation], reason: str = "INVALID_ARGUMENT", *, unlisted: int = 0
    ) -> None:
        texts = [f"{v.field}: {v.description}" for v in violations]
        super().__init__("; ".join([*texts, f"and {unlisted} more"] if unlisted else texts), reason=reason)
        self.violations = tuple(violations)
        self._unlisted = unlisted

    def details(self) -> list[Message]:
        """BadRequest with all violations, or those that fit and how many more there are."""
        violation = error_details_pb2.BadRequest.FieldViolation
        fields = [violation(field=clip(v.field), description=clip(v.description)) for v in self.violations]
        listed = fitting(fields, lambda left: violation(description=f"and {left} more"), unlisted=self._unlisted)
        return [error_details_pb2.BadRequest(field_violations=listed)]


class Violations:
    """Collects bad fields, so that one error lists all of them; of very many it keeps the first 100 and the count."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []
        self._unlisted = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, field: str, description: str) -> None:
        """Record that `field` (a dotted path) is wrong and how to fix it."""
        if len(self._found) < _LISTED:
            self._found.append(FieldViolation(clip(field), clip(description)))
        else:
            self._unlisted += 1

    def raise_if_any(self) -> None:
        """Raise InvalidArgument with everything recorded so far."""
        if self._found:
            raise InvalidArgument(self._found, unlisted=self._unlisted)


class _ResourceError(BloomeryError):
    def __init__(self, message: str, *, reason: str, resource_type: str, name: str) -> None:
        super().__init__(message, reason=reason, metadata={"resource_type": resource_type, "name": clip(name)})
        self.resource_type = resource_type
        self.name = clip(name)

    def details(self) -> list[Message]:
        """ResourceInfo."""
        return [
            error_details_pb2.ResourceInfo(
                resource_type=self.resource_type, resource_name=self.name, description=clip(self.message)
            )
        ]


class NotFound(_ResourceError):
    """There is no such resource, or the caller may not know that there is."""

    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, resource_type: str, name: str, hint: str = "") -> None:
        message = f"{resource_type} {clip(name)} does not exist" + (f"; {hint}" if hint else "")
        super().__init__(message, reason="NOT_FOUND", resource_type=resource_type, name=name)


class AlreadyExists(_ResourceError):
    """The name is taken."""

    code = grpc.StatusCode.ALREADY_EXISTS

    def __init__(self, resource_type: str, name: str) -> None:
        message = f"{resource_type} {clip(name)} exists already"
        super().__init__(message, reason="ALREADY_EXISTS", resource_type=resource_type, name=name)


class FailedPrecondition(BloomeryError):
    """The request is well formed, but the system is in a state that forbids it."""

    code = grpc.StatusCode.FAILED_PRECONDITION

    def __init__(self, reason: str, message: str, violations: Sequence[PreconditionViolation] = ()) -> None:
        super().__init__(message, reason=reason)
        self.violations = tuple(violations) or (PreconditionViolation(reason, "", message),)

    def details(self) -> list[Message]:
        """PreconditionFailure with all violations, or those that fit and how many more there are."""
        violation = error_details_pb2.PreconditionFailure.Violation
        all_of_them = [
            # As much as of the message, which the description is where there is no other.
            violation(type=v.type, subject=clip(v.subject), description=clip(v.description, MESSAGE_BYTES))
            for v in self.violations
        ]
        return [
            error_details_pb2.PreconditionFailure(
                violations=fitting(all_of_them, lambda left: violation(description=f"and {left} more"))
            )
        ]


class Aborted(BloomeryError):
    """The caller lost a race: it should read again and repeat."""

    code = grpc.StatusCode.ABORTED

    def __init__(self, reason: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, reason=reason, metadata=metadata)


class EtagMismatch(Aborted):
    """Somebody else changed the resource since the caller read it."""

    def __init__(self, name: str, *, given: str, actual: str) -> None:
        super().__init__(
            "ETAG_MISMATCH",
            f"{name} was changed since it was read; read it again and re-apply the change",
            {"name": name, "given": given, "actual": actual},
        )


class OutOfRange(BloomeryError):
    """A cursor outside the log; `oldest` and `newest` are the sequences that the log still holds."""

    code = grpc.StatusCode.OUT_OF_RANGE

    def __init__(self, reason: str, message: str, oldest: int, newest: int) -> None:
        metadata = {"oldest_sequence": str(oldest), "newest_sequence": str(newest)}
        super().__init__(message, reason=reason, metadata=metadata)
        self.oldest = oldest
        self.newest = newest


class _RetryableError(BloomeryError):
    def __init__(self, reason: str, message: str, retry_after: float | None) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after

    def details(self) -> list[Message]:
        """RetryInfo where waiting helps."""
        if self.retry_after is None:
            return []
        delay = Duration()
        delay.FromMilliseconds(round(self.retry_after * 1000))
        return [error_details_pb2.RetryInfo(retry_delay=delay)]


class ResourceExhausted(_RetryableError):
    """A limit is reached; `retry_after` is in seconds, None where waiting does not help."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(reason, message, retry_after)

    def details(self) -> list[Message]:
        """QuotaFailure, then RetryInfo where waiting helps."""
        violation = error_details_pb2.QuotaFailure.Violation(subject=self.reason, description=self.message)
        return [error_details_pb2.QuotaFailure(violations=[violation]), *super().details()]


class Unavailable(_RetryableError):
    """A part that the call needs is down for now; `retry_after` is in seconds."""

    code = grpc.StatusCode.UNAVAILABLE

    def __init__(self, reason: str, message: str, retry_after: float | None = 1.0) -> None:
        super().__init__(reason, message, retry_after)


class Unauthenticated(BloomeryError):
    """No credentials, or ones that prove nothing."""

    code = grpc.StatusCode.UNAUTHENTICATED

    def __init__(self, message: str = "valid credentials are required", reason: str = "UNAUTHENTICATED") -> None:
        super().__init__(message, reason=reason)


class PermissionDenied(BloomeryError):
    """The caller is known and not allowed."""

    code = grpc.StatusCode.PERMISSION_DENIED

    def __init__(self, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, reason="PERMISSION_DENIED", metadata=metadata)


class Internal(BloomeryError):
    """Our fault; the message must be safe to show."""

    code = grpc.StatusCode.INTERNAL

    def __init__(self, message: str, reason: str = "INTERNAL") -> None:
        super().__init__(message, reason=reason)
