"""Disks that are full."""

import errno
import sqlite3

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# A quota that is used up is a failed write to SQLite, and so is a full disk where it makes the index of a journal.
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)


def is_full(error: BaseException | None) -> bool:
    """Whether a file or an SQLite database could not be written because its disk or its quota is used up."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) in _FULL
    return isinstance(error, OSError) and error.errno in _NO_SPACE
