"""What all writers share: where things go, what they are called elsewhere, and which shapes a format cannot hold."""

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

from bloomery_vision.formats.model import ExportRow, FormatError
from bloomery_vision.formats.names import split_suffix
from bloomery_vision.geometry import Shape, Tag

Notes = Counter[str]
"""How many shapes were left out or changed, by reason."""

TABLE = "images.csv"
"""The table of an export's images, UTF-8 with a head, one image a line."""
TABLE_HEAD = ("image", "split", "original_name", "source_name", "source_id", "asset", "digest")


def image_path(row: ExportRow) -> str:
    """Where the image of a row lies in a YOLO or COCO export.

    Raises:
        FormatError: BAD_NAME where the file name is no relative path, or the split no single component of one.
    """
    return f"images/{component(row.split)}/{relative(row.file_name)}"


def component(name: str) -> str:
    """The name, if it is a single path component. Raises FormatError BAD_NAME otherwise."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise FormatError("BAD_NAME", f"{name!r} is not a plain file name", "rename the image")
    return name


def relative(name: str) -> str:
    """The name, if it is a path that stays below its folder. Raises FormatError BAD_NAME otherwise."""
    return "/".join(map(component, name.split("/")))


def stem_of(file_name: str) -> str:
    """A path without its ending: what a label file and its image have in common."""
    folders, slash, base = file_name.rpartition("/")
    return f"{folders}{slash}{split_suffix(base)[0]}"


def folded(path: str) -> str:
    """Equal for paths that are one file on some file system: whatever the case, and however accents are written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def table_line(*values: object) -> bytes:
    """A line of the table."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode()


def table_row(row: ExportRow) -> bytes:
    """The line of an image."""
    names = (row.original_name, row.source_name, row.source_id)
    return table_line(image_path(row), row.split, *names, row.asset, row.digest)


class Stems:
    """Refuses a second row of one stem in one split."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, str]] = set()

    def take(self, row: ExportRow) -> str:
        """The stem of a row's file name, with its folders. Raises FormatError DUPLICATE_NAME, BAD_NAME."""
        split, stem = component(row.split), stem_of(relative(row.file_name))
        key = (split, folded(stem))
        if key in self._taken:
            raise FormatError("DUPLICATE_NAME", f"two images in {split} are called {stem}", "rename one")
        self._taken.add(key)
        return stem


def placed(shapes: Iterable[Shape], notes: Notes, *, crowds: bool = False) -> Iterator[Shape]:
    """The shapes that have a place on the image; the others are noted."""
    for shape in shapes:
        if isinstance(shape.geometry, Tag):
            notes["tag left out"] += 1
        elif shape.crowd and not crowds:
            notes["crowd left out"] += 1
        else:
            yield shape
