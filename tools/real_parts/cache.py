"""Folders that are built once and shared by every checkout on the machine."""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path


def cache_root() -> Path:
    """Return the cache's folder: `BLOOMERY_CACHE`, or `bloomery` in the user's own cache folder."""
    if explicit := os.environ.get("BLOOMERY_CACHE"):
        return Path(explicit).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bloomery"


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """Return the cached folder `name` (with its content's version); `build` fills an empty one where it is missing.

    Processes that ask at the same time wait for one build. A build that fails or is killed leaves nothing behind that
    a later call would take for the finished folder.
    """
    folder = cache_root() / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            partial = folder.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            print(f"installing {name}, once for this machine", file=sys.stderr, flush=True)
            build(partial)
            partial.rename(folder)
    return folder
