"""What of a folder is sent to be imported, and what is not."""

import asyncio
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bloomery._archive import extract, members
from bloomery._images import SUFFIXES
from bloomery.errors import InvalidArgument, NotFound, TransferFailed

LABEL_SUFFIXES = frozenset({".csv", ".data", ".json", ".labels", ".names", ".pbtxt", ".txt", ".xml", ".yaml", ".yml"})
"""Of the files that hold labels, or say how to read them; the server has the same list."""


@dataclass(frozen=True)
class Folder:
    """A folder whose files were counted: those that are images or may hold labels, and the others by ending."""

    root: Path
    count: int
    skipped: Mapping[str, int]

    def files(self) -> Iterator[str]:
        """The images and label files, by their path inside the folder, in the same order each time."""
        return (name for name, reason in _walk(self.root) if not reason)

    def others(self) -> Iterator[str]:
        """The other files, of which the server is told the names."""
        return (name for name, reason in _walk(self.root) if reason and reason not in UNTOLD)


_NOT_UTF8 = "names that are not UTF-8"
_BACKSLASH = "names with a backslash"
UNTOLD = frozenset({_NOT_UTF8, _BACKSLASH})
"""Reasons for which the server is not told of files: no message, or no path, holds their names."""


def untold(skipped: Mapping[str, int]) -> Mapping[str, int]:
    """Of the files that are not sent, by reason, those that the server is not even told of."""
    return {reason: count for reason, count in skipped.items() if reason in UNTOLD}


def is_label_file(name: str) -> bool:
    """Whether a file may hold labels, by its ending."""
    return _suffix(name) in LABEL_SUFFIXES


def look(root: Path, given: Path) -> Folder:
    """Count the files of a folder, or of what was unpacked from the `given` zip file.

    Raises:
        NotFound: there is nothing of that name.
        InvalidArgument: it is no folder, or nothing in it could be imported.
    """
    if not root.exists():
        raise NotFound(f"there is no {given}", hint="name a folder, or a zip file of one")
    if not root.is_dir():
        raise InvalidArgument(f"{given} is neither a folder nor a zip file", hint="unpack other archives first")
    reasons = Counter(reason for _, reason in _walk(root))
    count = reasons.pop("", 0)
    if not count:
        raise InvalidArgument(f"{given} has no images or label files", hint="name a folder with images")
    return Folder(root, count, dict(sorted(reasons.items())))


def refuse_untold(folder: Folder, given: Path, hint: str = "rename the files") -> None:
    """Refuse a folder of which the server cannot be told all names.

    Raises:
        InvalidArgument: there are such names.
    """
    if left := untold(folder.skipped):
        told = ", ".join(f"{count} {reason}" for reason, count in left.items())
        raise InvalidArgument(f"{given} has {told}", hint=hint)


@asynccontextmanager
async def unpacked(path: Path) -> AsyncIterator[Path]:
    """The folder itself; a zip file unpacked to a scratch folder.

    Raises:
        InvalidArgument: it is no zip file that can be read, or a member is a link or would leave the folder.
    """
    if path.suffix.lower() != ".zip" or not await asyncio.to_thread(path.is_file):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="bloomery-") as scratch:
        try:
            await asyncio.to_thread(_refuse_clashes, path)
            await extract(path, Path(scratch))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            # RuntimeError is what zipfile has for a password.
            raise InvalidArgument(f"{path} cannot be unpacked: {error}", hint="name a folder instead") from None
        except TransferFailed as error:
            message = f"{path} cannot be unpacked: {error.message.replace(scratch, 'its folder')}"
            raise InvalidArgument(message, reason=error.reason, hint="name a folder instead") from None
        yield Path(scratch)


def _refuse_clashes(path: Path) -> None:
    """Raises BadZipFile where a file of a zip has the name of a folder in it."""
    files = set(map(PurePosixPath, members(path)))
    folders = {folder for near in {file.parent for file in files} for folder in (near, *near.parents)}
    if clashes := files & folders:
        raise zipfile.BadZipFile(f"{min(clashes)} is a file and a folder in it")


def _walk(folder: Path, prefix: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The path of each file below a folder that is not hidden, and why it is not sent; empty for one that is.

    Links are followed, but for those to a folder that they lie in and those to nothing.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        if _is(entry.is_dir):
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", (*above, real))
        elif _is(entry.is_file):
            yield f"{prefix}{entry.name}", _reason(f"{prefix}{entry.name}")


def _is(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError:
        # A link that leads to itself.
        return False


def _reason(name: str) -> str:
    suffix = _suffix(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        return _NOT_UTF8
    if "\\" in name:
        return _BACKSLASH
    return "" if suffix in SUFFIXES | LABEL_SUFFIXES else suffix or "without ending"


def _suffix(name: str) -> str:
    # A path would say the same in more time, and this is asked thrice for each file.
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return "" if suffix == "." else suffix
