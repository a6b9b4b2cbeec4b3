"""Credentials in files: what they say is read again when they change, so that to exchange one needs no restart.

Every server looks at all files of its process. A file that cannot be used is refused, and what was there before holds.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from prometheus_client import Counter

from bloomery_kit.certificates import note_authorities
from bloomery_kit.loops import guarded
from bloomery_kit.metrics import REGISTRY

T = TypeVar("T")
LOOP = "credentials"
LOOK_SECONDS = 5.0
RELOADS = Counter(
    "bloomery_credential_reloads_total",
    "Credentials whose files have changed, by kind, and whether they were loaded or refused.",
    ("kind", "outcome"),
    registry=REGISTRY,
)
_log = logging.getLogger("bloomery.credentials")


class Rotating(Generic[T]):
    """What one file says, or several together; call it for what they said when they last were usable."""

    def __init__(self, kind: str, read: Callable[..., T], *paths: Path) -> None:
        """`read` makes the value of what the files contain. Raise ValueError where it cannot, OSError without files."""
        self._kind, self._read, self._paths = kind, read, paths
        self._looking = Lock()
        contents = [path.read_bytes() for path in paths]
        self._value = read(*contents)
        self._seen: Sequence[bytes] | str = contents

    def __call__(self) -> T:
        """What they said when they last were usable."""
        return self._value

    def follow(self) -> tuple[T, Callable[[], T | None]]:
        """What they say, and whom to ask for what else they have said since one last asked: None for nothing else."""
        told = first = self._value

        def changed() -> T | None:
            nonlocal told
            if (value := self._value) is told:
                return None
            told = value
            return value

        return first, changed

    def look(self) -> None:
        """Take what the files say now."""
        with self._looking:
            seen = self._see()
            # One may have been read before, the other after all were exchanged: the next look sees both.
            if seen == self._seen or seen != self._see():
                return
            try:
                if isinstance(seen, str):
                    self._tell("refused", seen)
                else:
                    self._value = self._read(*seen)
                    self._tell("loaded", "")
            except ValueError as error:
                self._tell("refused", str(error))
            # Not where reading met trouble of another kind: the next look tries again.
            self._seen = seen

    def _see(self) -> Sequence[bytes] | str:
        """What is in the files, or why that cannot be told."""
        try:
            return [path.read_bytes() for path in self._paths]
        except OSError as error:
            return str(error)

    def _tell(self, outcome: str, why: str) -> None:
        RELOADS.labels(self._kind, outcome).inc()
        about = {"kind": self._kind, "files": ", ".join(map(str, self._paths))}
        if why:
            _log.error("credentials refused; those from before hold", extra={**about, "error": why})
        else:
            _log.info("credentials loaded", extra=about)


_FILES: WeakValueDictionary[tuple[str, tuple[Path, ...]], Rotating[Any]] = WeakValueDictionary()
"""Of each file one, however many use it, so that a change is counted once."""


def rotating(kind: str, read: Callable[..., T], *paths: Path) -> Rotating[T]:
    """The files of a kind of credential in this process. Raise ValueError where they cannot be used."""
    known = _FILES.get((kind, paths))
    if known is None:
        known = _FILES[kind, paths] = Rotating(kind, read, *paths)
    return known


async def look_at_all() -> None:
    """Look at every file that this process uses."""
    for files in list(_FILES.values()):
        with guarded(LOOP):
            await asyncio.to_thread(files.look)


def lines(content: bytes) -> tuple[str, ...]:
    """Secrets, one a line: the first is shown to others, all are accepted. Raise ValueError where there is none."""
    found = tuple(filter(None, (line.strip() for line in content.decode().splitlines())))
    if not found:
        raise ValueError("the file is empty")
    return found


def authorities(content: bytes) -> bytes:
    """PEM certificates of authorities. Raise ValueError where they are none."""
    try:
        note_authorities(content)
    except ValueError as error:
        raise ValueError("there is no certificate in the file") from error
    return content
