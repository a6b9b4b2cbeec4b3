"""Typed errors of the domain and their translation to `google.rpc.Status`.

    BloomeryError
    ├── InvalidArgument         bad fields: every violation at once
    ├── NotFound                unknown resource
    ├── AlreadyExists           the name is taken
    ├── FailedPrecondition      wrong state, something missing, still referenced
    ├── Aborted                 lost a race: read again, then repeat
    │   └── EtagMismatch
    ├── OutOfRange              a cursor outside the log
    ├── ResourceExhausted       quota, load or disk
    ├── Unavailable             a part is down or draining: repeat later
    ├── Unauthenticated         no or bad credentials
    ├── PermissionDenied        not allowed
    └── Internal                our fault

Domain code raises these; the server's error layer turns them into a status. Nobody else sets a code.
"""

from bloomery_kit.errors._status import DOMAIN, error_info, to_status
from bloomery_kit.errors._types import (
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
)

__all__ = [
    "DOMAIN",
    "Aborted",
    "AlreadyExists",
    "BloomeryError",
    "EtagMismatch",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "PreconditionViolation",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Violations",
    "error_info",
    "to_status",
]
