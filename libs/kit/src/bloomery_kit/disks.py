"""Disks that are full."""

import errno
import sqlite3

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException) -> bool:
    """Whether a file, or a private SQLite database, could not be written because its disk or its quota is used up."""
    if isinstance(error, sqlite3.Error):
        # A quota that is used up is a failed write to it.
        return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
    return isinstance(error, OSError) and error.errno in NO_SPACE
