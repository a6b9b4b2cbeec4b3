"""Files that processes print into, for as long as a job takes."""

import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

LARGEST = 64 << 20
"""Bytes of such a file."""
KEPT = 4 << 20
"""Bytes of its end that stay."""

OWN = Path("/proc/self/fd/2")
"""Where this process prints its own log."""


def shorten(path: Path) -> None:
    """Leaves the end of a log that has become too large, in the same file, which its writers have open to append to.

    What is printed at that moment may be lost.
    """
    with suppress(FileNotFoundError):
        status = path.stat()
        if S_ISREG(status.st_mode) and status.st_size > LARGEST:
            _cut(path)


def _cut(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        end = os.pread(descriptor, KEPT, os.fstat(descriptor).st_size - KEPT)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, end[end.find(b"\n") + 1 :])
    finally:
        os.close(descriptor)
