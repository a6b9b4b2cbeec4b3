"""Disks: that are full, and that are to keep what is put there."""

import errno
import os
import sqlite3
from pathlib import Path

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# A quota that is used up is a failed write to SQLite, and so is a full disk where it makes the index of a journal.
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)


def is_full(error: BaseException | None) -> bool:
    """Whether a file or an SQLite database could not be written because its disk or its quota is used up."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) in _FULL
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def settle(folder: Path) -> None:
    """Let what was put into a folder, or renamed there, be there after a crash of the machine, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
