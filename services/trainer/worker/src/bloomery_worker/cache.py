"""A cache of files by digest on disk that the workers of a machine share."""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import TextIO
from uuid import uuid4

_IN_USE = "in-use"
_RECENT_SECONDS = 3600.0


class BlobCache:
    """Files by digest. Several processes may use one folder: files appear whole and never change.

    What a process has pinned stays until the process ends, however that ends, or closes its cache.
    """

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._clock = clock
        self._pins: TextIO | None = None

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    def close(self) -> None:
        """Gives up what was pinned."""
        if self._pins is not None:
            Path(self._pins.name).unlink(missing_ok=True)
            self._pins.close()

    def path(self, digest: str) -> Path:
        """Where the bytes lie, or will."""
        name = digest.removeprefix("sha256:")
        return self._root / name[:2] / name

    def pin(self, digests: Iterable[str]) -> None:
        """Keeps these files, which need not be here yet, from being removed."""
        with self._alone():
            pins = self._pins = self._pins or self._new_pins()
            pins.writelines(f"{self.path(digest).name}\n" for digest in digests)
            pins.flush()

    def has(self, digest: str, size: int) -> bool:
        """Whether the bytes are here. They count as used now."""
        path = self.path(digest)
        try:
            if path.stat().st_size != size:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def new_file(self, digest: str) -> Path:
        """A place to write the bytes to, before `keep`."""
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f"{path.name}.{uuid4().hex}.part")

    def keep(self, part: Path, digest: str) -> Path:
        """Takes a complete file in."""
        return part.replace(self.path(digest))

    def evict(self, limit: int) -> int:
        """Removes the longest unused files above `limit` bytes and returns the bytes freed.

        None that is pinned, or was used within the last hour: downloads that are under way pin no name of theirs.
        """
        return self._remove(lambda used: used - limit)

    def make_room(self, size: int) -> int:
        """Removes the longest unused files, by the same rules, until `size` bytes are freed; returns how many were."""
        return self._remove(lambda _: size)

    def _remove(self, excess_of: Callable[[int], int]) -> int:
        with self._alone():
            files = sorted((status.st_mtime, status.st_size, path) for path, status in self._files())
            excess, freed = excess_of(sum(size for _, size, _ in files)), 0
            pinned = self._pinned()
            for used, size, path in files:
                if freed >= excess or used > self._clock() - _RECENT_SECONDS:
                    break
                if path.name not in pinned:
                    path.unlink(missing_ok=True)
                    freed += size
            return freed

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody pins while somebody removes."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _new_pins(self) -> TextIO:
        """A list that counts for as long as it is locked; the kernel lets go of it with the process."""
        path = self._root / _IN_USE / uuid4().hex
        path.parent.mkdir(exist_ok=True)
        pins = path.open("w", encoding="ascii")
        fcntl.flock(pins, fcntl.LOCK_EX)
        return pins

    def _pinned(self) -> set[str]:
        return {name for path in (self._root / _IN_USE).glob("*") for name in _names_on(path)}

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._root.glob("*/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                if S_ISREG(status.st_mode) and path.parent.name != _IN_USE:
                    yield path, status


def _names_on(path: Path) -> list[str]:
    """The names on a list; of one whose process has ended none, and the list goes."""
    try:
        with path.open(encoding="ascii") as pins:
            fcntl.flock(pins, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return []
    except BlockingIOError:
        return path.read_text(encoding="ascii").split()
    path.unlink(missing_ok=True)
    return []
