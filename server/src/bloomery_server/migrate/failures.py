"""What went wrong below, as the command line tells errors."""

from sqlalchemy.exc import DBAPIError

from bloomery import errors as told
from bloomery_kit import errors

_HINTS = {
    "DATABASE_UNAVAILABLE": "check BLOOMERY_DATABASE_URL, and that the database can be reached from here",
    "OBJECT_STORE_UNAVAILABLE": "check BLOOMERY_OBJECT_STORE__ENDPOINT and __BUCKET, and that it can be reached",
    "OBJECT_STORE_DENIED": "check BLOOMERY_OBJECT_STORE__ACCESS_KEY and __SECRET_KEY: they must read, write and list",
    "DISK_FULL": "make room, and repeat the same command: it goes on from where it stopped",
}
_AGAIN = "repeat the same command: it goes on from where it stopped"


def as_told(error: errors.BloomeryError | DBAPIError) -> told.BloomeryError:
    """The error with what to do about it."""
    if isinstance(error, DBAPIError):
        hint = "the role of BLOOMERY_DATABASE_URL must own the database, as that of the services does"
        return told.FailedPrecondition(f"the database refuses: {error.orig}", reason="DATABASE_REFUSED", hint=hint)
    match error:
        case errors.Unavailable():
            kind: type[told.BloomeryError] = told.Unavailable
        case errors.ResourceExhausted():
            kind = told.ResourceExhausted
        case errors.NotFound():
            kind = told.NotFound
        case _:
            kind = told.Internal
    return kind(error.message, reason=error.reason, hint=_HINTS.get(error.reason, _AGAIN))
