"""Folders for what is written on the way, in the machine's folder for temporary files.

Each is locked for as long as its process lives, so that what a killed one left can be told from what is in use, be it
by another server of the machine.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_PREFIX = "bloomery-annotation-"


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder, which is deleted at the end."""
    with ExitStack() as stack:
        folder = _entered(stack)
        while not folder.exists():
            # A sweep locked it first and took it for one that was left.
            folder = _entered(stack)
        yield folder


def sweep() -> None:
    """Delete the folders of processes that have ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), _opened(folder) as found:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _entered(stack: ExitStack) -> Path:
    name = stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX))
    with suppress(FileNotFoundError):
        fcntl.flock(stack.enter_context(_opened(name)), fcntl.LOCK_EX)
    return Path(name)


@contextmanager
def _opened(folder: str | Path) -> Iterator[int]:
    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield found
    finally:
        os.close(found)
