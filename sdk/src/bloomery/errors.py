# ruff: noqa: N818 - the errors of the server are named after the codes of its answers.
"""Errors that the client raises.

BloomeryError                  message, reason, hint, details
├── InvalidArgument            the request is wrong: .violations says all that is
│   └── AmbiguousName          a short name fits several resources: .matches
├── NotFound
├── AlreadyExists
├── FailedPrecondition         a state forbids it: .violations says which and how to change it
├── Conflict                   somebody else was first: read again and repeat
├── OutOfRange                 a cursor outside of a log
├── ResourceExhausted          a limit is reached
├── Unavailable                a part is down; the client has repeated the call as long as it may
│   └── ServerNotFound         no server runs, or nobody knows where
├── ClientClosed               the client was closed before
├── Unauthenticated
├── PermissionDenied
├── Internal                   the server's fault
├── Unsupported                the server is of another version, which does not know the call
├── WorkFailed                 the call worked, the work did not: .resource
│   ├── ImportFailed
│   ├── BuildFailed
│   ├── DeployFailed
│   ├── JobFailed
│   └── OptimizeFailed
└── TransferFailed             bytes did not get through
    └── DigestMismatch         other bytes arrived than were promised
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "AlreadyExists",
    "AmbiguousName",
    "BloomeryError",
    "BuildFailed",
    "ClientClosed",
    "Conflict",
    "DeployFailed",
    "DigestMismatch",
    "FailedPrecondition",
    "ImportFailed",
    "Internal",
    "InvalidArgument",
    "JobFailed",
    "NotFound",
    "OptimizeFailed",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "ServerNotFound",
    "TransferFailed",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "Violation",
    "WorkFailed",
]


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong: a field's dotted path or a resource, and how to put it right."""

    where: str
    description: str


class BloomeryError(Exception):
    """Base of all errors of the client.

    Attributes:
        message: what happened, for people.
        reason: stable code in upper snake case, such as "NOT_READY".
        hint: what to do about it, for people; may be empty.
        details: facts about it by name, such as "oldest_sequence".
        retry_after: seconds after which the server says that a repeat may work; None where it says nothing.
        attempts: how many times the call was tried.
    """

    reason = "UNKNOWN"
    hint = ""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        hint: str = "",
        details: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.reason
        self.hint = hint or self.hint
        self.details = dict(details or {})
        self.retry_after = retry_after
        self.attempts = 1


class _Violated(BloomeryError):
    violations: tuple[Violation, ...] = ()


class InvalidArgument(_Violated):
    """The request is wrong whatever the state of the server; `violations` lists all that is wrong with it."""

    reason = "INVALID_ARGUMENT"


class AmbiguousName(InvalidArgument):
    """A short name fits several resources, or none was given where there are several; `matches` has their names."""

    reason = "AMBIGUOUS_NAME"
    hint = "name the project with --project or BLOOMERY_PROJECT, or give the full name"

    def __init__(self, what: str, matches: Sequence[str], *, hint: str = "") -> None:
        super().__init__(f"{what} is ambiguous: {', '.join(matches)}", hint=hint)
        self.matches = tuple(matches)


class NotFound(BloomeryError):
    """There is no such resource."""

    reason = "NOT_FOUND"


class AlreadyExists(BloomeryError):
    """The name is taken."""

    reason = "ALREADY_EXISTS"
    hint = "choose another id, or use what is there"


class FailedPrecondition(_Violated):
    """The state of a resource forbids the call; `violations` says which and how to change it."""

    reason = "FAILED_PRECONDITION"


class Conflict(BloomeryError):
    """Somebody else was first."""

    reason = "ABORTED"
    hint = "read it again and re-apply the change"


class OutOfRange(BloomeryError):
    """A cursor outside of what the log holds."""

    reason = "OUT_OF_RANGE"


class ResourceExhausted(BloomeryError):
    """A limit is reached, such as disk space or the number of waiting jobs."""

    reason = "RESOURCE_EXHAUSTED"


class Unavailable(BloomeryError):
    """A part that the call needs is down; it was repeated as long as the client's timeouts allow."""

    reason = "UNAVAILABLE"
    hint = "look whether the server runs, then repeat"


class ServerNotFound(Unavailable):
    """No server answers, or it is not known where it is."""

    reason = "SERVER_NOT_FOUND"
    hint = "start one with `bloomery up`, or name one with BLOOMERY_ENDPOINT"


class ClientClosed(BloomeryError):
    """A handle outlived its client."""

    reason = "CLIENT_CLOSED"
    hint = "use handles before the client is closed, or read them again from a new one"

    def __init__(self) -> None:
        super().__init__("the client is closed")


class Unauthenticated(BloomeryError):
    """The token is missing or wrong."""

    reason = "UNAUTHENTICATED"
    hint = "set BLOOMERY_TOKEN to one that holds; `bloomery up` writes its own into server.json of its data folder"


class PermissionDenied(BloomeryError):
    """The token does not allow the call."""

    reason = "PERMISSION_DENIED"
    hint = "ask an administrator for the role that it needs"


class Internal(BloomeryError):
    """The server's fault."""

    reason = "INTERNAL"
    hint = "the server's log has more"


class Unsupported(BloomeryError):
    """The server does not know the call."""

    reason = "UNIMPLEMENTED"
    hint = "client and server are of different versions: `bloomery version` shows both"


class WorkFailed(BloomeryError):
    """The call worked but the work that it started did not; `resource` is the full name of what failed."""

    def __init__(self, message: str, *, resource: str, reason: str = "", hint: str = "") -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.resource = resource


class ImportFailed(WorkFailed):
    """An import ended FAILED or CANCELLED."""

    reason = "IMPORT_FAILED"


class BuildFailed(WorkFailed):
    """A dataset version ended FAILED."""

    reason = "BUILD_FAILED"


class JobFailed(WorkFailed):
    """A job ended FAILED or CANCELLED."""

    reason = "JOB_FAILED"


class DeployFailed(WorkFailed):
    """What a deployment is to serve cannot be loaded."""

    reason = "DEPLOY_FAILED"


class OptimizeFailed(WorkFailed):
    """A variant ended FAILED: it could not be made, or gives other answers than the original."""

    reason = "OPTIMIZE_FAILED"


class TransferFailed(BloomeryError):
    """Bytes did not get to or from the object store, however often it was tried."""

    reason = "TRANSFER_FAILED"
    hint = "repeat: only what is missing travels again"


class DigestMismatch(TransferFailed):
    """The bytes that arrived are not those that were promised."""

    reason = "DIGEST_MISMATCH"
