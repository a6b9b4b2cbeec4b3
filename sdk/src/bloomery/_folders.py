"""What of a folder is sent to be imported, and what is not."""

import asyncio
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bloomery._archive import extract
from bloomery._images import SUFFIXES
from bloomery.errors import InvalidArgument

LABEL_SUFFIXES = frozenset({".data", ".json", ".labels", ".names", ".txt", ".xml", ".yaml", ".yml"})
"""Of the files that hold labels, or say how to read them; the server has the same list."""


@dataclass(frozen=True)
class Folder:
    """A folder whose files were counted: those that are sent, and those left alone by ending."""

    root: Path
    count: int
    skipped: Mapping[str, int]

    def files(self) -> Iterator[str]:
        """The files that are sent, by their path inside the folder, in the same order each time."""
        return (name for name, reason in _walk(self.root) if not reason)


def look(root: Path) -> Folder:
    """Count the files of a folder.

    Raises:
        InvalidArgument: there is no such folder, or nothing in it could be imported.
    """
    if not root.is_dir():
        raise InvalidArgument(f"{root} is neither a folder nor a zip file", hint="unpack other archives first")
    reasons = Counter(reason for _, reason in _walk(root))
    count = reasons.pop("", 0)
    if not count:
        raise InvalidArgument(f"{root} has no images or label files", hint="name a folder with images")
    return Folder(root, count, dict(sorted(reasons.items())))


@asynccontextmanager
async def unpacked(path: Path) -> AsyncIterator[Path]:
    """The folder itself; a zip file unpacked to a scratch folder.

    Raises:
        InvalidArgument: it is no zip file that can be read.
        TransferFailed: a member is a link, or would leave the folder.
    """
    if path.suffix.lower() != ".zip" or not await asyncio.to_thread(path.is_file):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="bloomery-") as scratch:
        try:
            await asyncio.to_thread(extract, path, Path(scratch))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            # RuntimeError is what zipfile has for a password.
            raise InvalidArgument(f"{path} cannot be unpacked: {error}", hint="name a folder instead") from None
        yield Path(scratch)


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    """The path of each file below a folder that is not hidden, and why it is not sent; empty for one that is."""
    for parent, folders, names in os.walk(root):
        here = Path(parent)
        inside = PurePosixPath(here.relative_to(root).as_posix())
        for folder in folders:
            if (here / folder).is_symlink():
                yield str(inside / folder), "links to folders"
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and (here / name).is_file():
                yield str(inside / name), _reason(name)


def _reason(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    try:
        name.encode()
    except UnicodeEncodeError:
        return "names that are not UTF-8"
    return "" if suffix in SUFFIXES | LABEL_SUFFIXES else suffix or "without ending"
