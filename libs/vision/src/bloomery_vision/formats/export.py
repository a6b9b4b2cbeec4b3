"""What all writers share: where things go, and which shapes have no place in a format."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from bloomery_vision.formats.model import ExportRow, FormatError
from bloomery_vision.geometry import Shape, Tag

Notes = Counter[str]
"""How many shapes were left out or changed, by reason."""


def image_path(row: ExportRow) -> str:
    """Where the image of a row lies in a YOLO or COCO export.

    Raises:
        FormatError: BAD_NAME where the file name or the split is no single path component.
    """
    return f"images/{component(row.split)}/{component(row.file_name)}"


def component(name: str) -> str:
    """The name, if it is a single path component. Raises FormatError BAD_NAME otherwise."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise FormatError("BAD_NAME", f"{name!r} is not a plain file name", "rename the image")
    return name


class Stems:
    """Refuses a second row of one stem in one folder."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, str]] = set()

    def take(self, row: ExportRow, *, folder: str) -> str:
        """The stem of a row's file name. Raises FormatError DUPLICATE_NAME, BAD_NAME."""
        component(row.split)
        stem = PurePosixPath(component(row.file_name)).stem
        key = (folder, stem.lower())
        if key in self._taken:
            raise FormatError("DUPLICATE_NAME", f"two images in {folder} are called {stem}", "rename one")
        self._taken.add(key)
        return stem


def placed(shapes: Iterable[Shape], notes: Notes, *, crowds: bool = False) -> Iterator[Shape]:
    """The shapes that have a place on the image; the others are noted."""
    for shape in shapes:
        if isinstance(shape.geometry, Tag):
            notes["TAG_LEFT_OUT"] += 1
        elif shape.crowd and not crowds:
            notes["CROWD_LEFT_OUT"] += 1
        else:
            yield shape
