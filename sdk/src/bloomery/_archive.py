"""Files of the server's choice, kept inside of a folder of the caller's."""

import asyncio
import shutil
import stat
import threading
import zipfile
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from bloomery._concurrency import unbroken
from bloomery._files import replacing, write_whole
from bloomery._names import id_of
from bloomery.common.v1 import Artifact
from bloomery.errors import FailedPrecondition, InvalidArgument, TransferFailed

_AT_ONCE = 1 << 20
"""A file of so many bytes is read whole, a larger one bit by bit."""
_WINDOWS = frozenset({0, 10, 11, 14})
"""What zip files call the systems on which a backslash separates folders."""


def inside(folder: Path, name: str) -> Path:
    """The path of `name` below `folder`.

    Raises:
        TransferFailed: the name would leave the folder.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name or not parts:
        raise TransferFailed(f"{name!r} would be written outside of {folder}", reason="UNSAFE_NAME")
    return folder.joinpath(*parts)


@dataclass(frozen=True)
class Found:
    """What a folder holds, by paths in it: its files, and the folders in it."""

    files: AbstractSet[str] = frozenset()
    folders: AbstractSet[str] = frozenset()

    def foreign(self, written: set[str]) -> set[str]:
        """What does not belong beside what is written, or lies as a folder where a file is written."""
        return {*(self.files - written), *(self.folders & written)}


def found_below(folder: Path) -> Found:
    """What lies below a folder, but for caches and what is hidden or in hidden folders.

    A download that broke off left hidden files behind, training on an export leaves caches beside the labels, and
    looking at it in a notebook hidden folders.

    Raises:
        InvalidArgument: it is a file.
        FailedPrecondition: it holds a link, behind which something else would be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidArgument(f"{folder} is a file", hint="give a folder, which is made where it does not exist")
    files: set[str] = set()
    folders: set[str] = set()
    links: set[str] = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if not _is_left_behind(name):
            kind = links if path.is_symlink() else folders if path.is_dir() else files
            kind.add(name.as_posix())
    if links:
        raise _occupied(f"{folder} holds links, behind which nothing is written: {_some(links)}")
    return Found(files, folders)


def _is_left_behind(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts) or path.suffix == ".cache"


def refuse_foreign(folder: Path, foreign: set[str]) -> None:
    """Refuse a folder that holds something else than what is written to it.

    Raises:
        FailedPrecondition: it does.
    """
    if foreign:
        raise _occupied(f"{folder} holds files that do not belong to what is written there: {_some(foreign)}")


def _occupied(message: str) -> FailedPrecondition:
    return FailedPrecondition(message, reason="FOLDER_NOT_EMPTY", hint="take an empty folder")


def _some(names: set[str]) -> str:
    return f"{min(names)} and {len(names) - 1} more" if len(names) > 1 else min(names)


def members(archive: Path) -> set[str]:
    """The names of the files in a zip."""
    with zipfile.ZipFile(archive) as opened:
        return {name for _, name in _files(opened)}


def _files(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
    """The files of a zip with their names; older programs for Windows separate folders by backslashes."""
    names = [
        (member, member.filename.replace("\\", "/") if member.create_system in _WINDOWS else member.filename)
        for member in archive.infolist()
    ]
    return [(member, name) for member, name in names if not name.endswith("/")]


def file_name(artifact: Artifact) -> str:
    """What to call an artifact's file: its own name, which may have folders, else the last part of its role."""
    return artifact.file_name or id_of(artifact.role)


async def extract(archive: Path, folder: Path) -> None:
    """Write the files of a zip below `folder`. Nothing is written where one would leave the folder.

    Whoever is called off waits for the file that is under way, so that nothing is written any more afterwards.

    Raises:
        TransferFailed: a member is a link or would leave the folder.
    """
    left = threading.Event()
    await unbroken(asyncio.create_task(asyncio.to_thread(_extract, archive, folder, left)), left.set)


def _extract(archive: Path, folder: Path, left: threading.Event) -> None:
    with zipfile.ZipFile(archive) as opened:
        targets = [(member, inside(folder, name)) for member, name in _files(opened)]
        for member, _ in targets:
            if stat.S_ISLNK(member.external_attr >> 16):
                raise TransferFailed(f"{member.filename!r} is a link", reason="UNSAFE_NAME")
        # Folders of nothing too; the folder itself has a name in some.
        named = (name for name in opened.namelist() if name.endswith("/") and name.strip("./"))
        folders = {inside(folder, name) for name in named}
        for parent in folders | {target.parent for _, target in targets}:
            parent.mkdir(parents=True, exist_ok=True)
        for member, target in targets:
            if left.is_set():
                return
            _write(opened, member, target)


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    if member.file_size <= _AT_ONCE:
        write_whole(target, archive.read(member))
        return
    with archive.open(member) as source, replacing(target) as part, part.open("wb") as sink:
        shutil.copyfileobj(source, sink)
