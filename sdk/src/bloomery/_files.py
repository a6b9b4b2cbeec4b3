"""Files on this machine, known by their content."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bloomery import errors
from bloomery.common.v1 import SignedRequest


@dataclass(frozen=True)
class File:
    """A file on this machine, known by its content: `digest` is `sha256:...`, the size in bytes."""

    path: Path
    digest: str
    size: int


@dataclass(frozen=True)
class Download:
    """Bytes to get, where to put them, and the digest that they must have."""

    request: SignedRequest
    target: Path
    digest: str


def digest_of(path: Path) -> str:
    """`sha256:...` of a file's bytes."""
    with path.open("rb") as opened:
        return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"


def write_checked(path: Path, content: bytes, digest: str) -> None:
    """Write bytes to a file, which appears complete or not at all.

    Raises:
        DigestMismatch: they are others than those of `digest`.
    """
    refuse_other(hashlib.sha256(content), digest, path.name)
    write_whole(path, content)


def write_whole(path: Path, content: bytes) -> None:
    """Write bytes to a file, which appears complete or not at all: what `replacing` does, for thousands of files."""
    # Texts: paths made of paths take longer than all else here, but for the disk.
    folder = os.path.dirname(path)  # noqa: PTH120
    part = f"{folder}/{_part_name()}" if folder else _part_name()
    try:
        with open(part, "xb", buffering=0) as file:  # noqa: PTH123
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
        os.replace(part, path)  # noqa: PTH105
    except BaseException as problem:
        with suppress(FileNotFoundError):
            os.unlink(part)  # noqa: PTH108
        _rename(problem, part, path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden file to write to, which takes the name of `path` at the end; what had it stays where it is linked."""
    part = part_of(path)
    try:
        yield part
        part.replace(path)
    except BaseException as problem:
        part.unlink(missing_ok=True)
        _rename(problem, str(part), path)
        raise


def _rename(problem: BaseException, part: str, path: Path) -> None:
    """Let a problem with a hidden file name the one that was meant."""
    if isinstance(problem, OSError) and problem.filename is not None and str(problem.filename) == part:
        problem.filename = str(path)
        if problem.filename2 is not None:
            # None in its place would be shown.
            del problem.filename2


def part_of(path: Path) -> Path:
    """A hidden file beside another one, for its bytes until it is whole."""
    return path.with_name(_part_name())


def _part_name() -> str:
    # Without the name of the file, which may be as long as names can be.
    return f".{uuid.uuid4().hex}.part"


def refuse_other(received: "hashlib._Hash", digest: str, name: str) -> None:
    """Raise DigestMismatch where a file has other bytes than those of its digest."""
    if f"sha256:{received.hexdigest()}" != digest:
        raise errors.DigestMismatch(f"{name}: other bytes arrived than {digest}")
