"""Where files to be read come from: a folder, memory, an archive, or whatever a service brings."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

from bloomery_vision.formats.model import FormatError
from bloomery_vision.images import probe

Size = tuple[int, int]


class Source(Protocol):
    """Named files."""

    def names(self) -> Sequence[str]:
        """The relative POSIX path of each file, in a stable order."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The content of one of them, from its beginning. The caller closes it."""
        ...

    def image_size(self, name: str) -> Size:
        """(width, height) of an image after its EXIF orientation. Raises ImageError where it cannot be read."""
        ...

    def orientation(self, name: str) -> int:
        """The EXIF orientation of an image, 1 to 8. Raises ImageError where it cannot be read."""
        ...


class FolderSource:
    """The files under a folder, without hidden ones."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def names(self) -> Sequence[str]:
        """Sorted. Symbolic links are followed, but for those to a folder that they lie in and those to nothing."""
        return sorted(_files(self._folder, "", ()))

    def open(self, name: str) -> BinaryIO:
        """Raises OSError where the file is gone."""
        return (self._folder / name).open("rb")

    def image_size(self, name: str) -> Size:
        """Reads the image's head."""
        return _size(self._folder / name)

    def orientation(self, name: str) -> int:
        """Reads the image's head."""
        return probe(self._folder / name, verify=False).orientation


class MappingSource:
    """Files in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def names(self) -> Sequence[str]:
        """Sorted."""
        return sorted(self._files)

    def open(self, name: str) -> BinaryIO:
        """A new stream over the bytes."""
        return io.BytesIO(self._files[name])

    def image_size(self, name: str) -> Size:
        """Reads the image's head."""
        return _size(self._files[name])

    def orientation(self, name: str) -> int:
        """Reads the image's head."""
        return probe(self._files[name], verify=False).orientation


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """What an archive may hold before it is taken for a bomb. Sizes in bytes, unpacked."""

    entries: int = 5_000_000
    entry_size: int = 8 << 30
    total_size: int = 1 << 40
    ratio: int = 1000


class ZipSource:
    """The files in a zip archive, read where they lie: nothing is unpacked.

    Raises:
        FormatError: NOT_A_ZIP; ZIP_LIMIT where it announces more than the limits allow. What an entry holds beyond what
            it announces is an error of `zipfile` while it is read.
    """

    def __init__(self, stream: BinaryIO, *, limits: ZipLimits | None = None) -> None:
        try:
            self._archive = zipfile.ZipFile(stream)
        except zipfile.BadZipFile as problem:
            raise FormatError("NOT_A_ZIP", str(problem), "upload the archive again") from problem
        self._entries = {entry.filename: entry for entry in self._archive.infolist() if _wanted(entry)}
        _check(list(self._entries.values()), limits or ZipLimits())

    def names(self) -> Sequence[str]:
        """Sorted, without hidden files and without paths that leave the archive."""
        return sorted(self._entries)

    def open(self, name: str) -> BinaryIO:
        """A stream that unpacks as it is read."""
        return cast("BinaryIO", self._archive.open(self._entries[name]))

    def image_size(self, name: str) -> Size:
        """Reads the image's head."""
        with self.open(name) as stream:
            return _size(stream)

    def orientation(self, name: str) -> int:
        """Reads the image's head."""
        with self.open(name) as stream:
            return probe(stream, verify=False).orientation


def _files(folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if _is(entry.is_dir):
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/", (*above, real))
            elif _is(entry.is_file):
                yield f"{prefix}{entry.name}"


def _is(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError:
        # A link that leads to itself.
        return False


def _size(source: bytes | Path | BinaryIO) -> Size:
    info = probe(source, verify=False)
    return info.width, info.height


def _wanted(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.filename)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not (entry.is_dir() or hidden or path.is_absolute() or "\\" in entry.filename)


def _check(entries: list[zipfile.ZipInfo], limits: ZipLimits) -> None:
    total = sum(entry.file_size for entry in entries)
    if len(entries) > limits.entries or total > limits.total_size:
        raise FormatError("ZIP_LIMIT", f"the archive holds {len(entries)} files, {total} bytes", "split it")
    for entry in entries:
        if entry.file_size > max(limits.ratio * entry.compress_size, 1 << 20) or entry.file_size > limits.entry_size:
            message = f"{entry.filename} unpacks from {entry.compress_size} to {entry.file_size} bytes"
            raise FormatError("ZIP_LIMIT", message, "leave it out of the archive")
