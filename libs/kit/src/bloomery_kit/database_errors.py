"""What a database's driver says, as typed errors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import exc

from bloomery_kit.disks import is_full
from bloomery_kit.errors import BloomeryError, Internal, ResourceExhausted, Unavailable

# Each SQLSTATE of PostgreSQL stands for itself; SQLite has only its words.
_DISK_FULL = ("53100",)
_READ_ONLY = ("25006", "readonly database")
_LOCKED = ("55P03", "40001", "40P01", "is locked")
_CORRUPT = ("XX001", "XX002", "malformed", "not a database")
_DOWN = ("08", "25P03", "57", "53", "unable to open")


@contextmanager
def typed_errors(*, connecting: bool = False) -> Iterator[None]:
    """Let what a driver raises inside the block out as a typed error, and whatever the caller raised as it is."""
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError) as error:
        translated = _translated(error) or (unreachable() if connecting else None)
        if translated is None:
            raise
        raise translated from error
    except OSError as error:
        # Drivers let a refused connection through as it is; inside a transaction it comes from the caller's own work.
        if not connecting:
            raise
        raise unreachable() from error


def _translated(error: Exception) -> BloomeryError | None:
    if isinstance(error, exc.TimeoutError):
        return Unavailable("DATABASE_BUSY", "all connections to the database are in use")
    if not isinstance(error, exc.DBAPIError) or isinstance(error, exc.IntegrityError):
        return None
    state = getattr(error.orig, "sqlstate", None)
    said = str(state or error.orig)

    def is_any(marks: Sequence[str]) -> bool:
        return any(said.startswith(mark) if state else mark in said for mark in marks)

    if is_any(_DISK_FULL) or is_full(error.orig):
        return ResourceExhausted("DISK_FULL", "the database has no space left; free some and repeat")
    if is_any(_READ_ONLY):
        return read_only()
    if is_any(_LOCKED):
        return Unavailable("DATABASE_LOCKED", "another transaction was in the way")
    if is_any(_CORRUPT):
        return Internal("the database is damaged; restore it from a backup", reason="DATABASE_CORRUPT")
    return unreachable() if error.connection_invalidated or is_any(_DOWN) else None


def unreachable() -> Unavailable:
    """The error for a database that does not answer."""
    return Unavailable("DATABASE_UNAVAILABLE", "the database cannot be reached")


def read_only() -> Unavailable:
    """The error for a database that only answers what is read."""
    return Unavailable("DATABASE_READ_ONLY", "the database takes no writes for now")
