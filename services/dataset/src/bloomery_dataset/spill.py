"""The images of a build on disk, to be read again in another order, so that memory holds no shapes."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from bloomery_dataset.model import Image
from bloomery_dataset.naming import Named
from bloomery_dataset.selection import Kept
from bloomery_vision.geometry import Shape


@dataclass(frozen=True, slots=True)
class Entry:
    """What splitting and naming need to know of an image, and where the rest of it lies."""

    named: Named
    digest: str
    official: str
    group: str
    counts: Mapping[str, int]
    offset: int


class Spill:
    """A file of images in the order of arrival; `entries` stays in memory. Use it in a `with`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self.entries: list[Entry] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, image: Image, kept: Kept, *, group: str) -> None:
        """Append an image with the shapes that are kept."""
        named = Named(image.id, image.display_name.rpartition("/")[2], image.media_type, image.sequence)
        offset = self._file.tell()
        self.entries.append(Entry(named, image.digest, image.official, group, dict(kept.counts), offset))
        pickle.dump((replace(image, shapes=None), kept.shapes), self._file, pickle.HIGHEST_PROTOCOL)

    def read(self, entry: Entry) -> tuple[Image, tuple[Shape, ...]]:
        """An image again; adding is over when reading begins."""
        self._file.seek(entry.offset)
        image, shapes = pickle.load(self._file)  # noqa: S301 - this process wrote the file
        return image, shapes
