"""The records of COCO files, sorted by image in a temporary database on disk."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple, Self


class Image(NamedTuple):
    """An image record.

    `file` is the number of its file, `path` the image that is meant (None where there is none), `name` and the size
    what the record says, and `repeated` whether an earlier record of the file has the same id.
    """

    file: int
    id: str | None
    path: str | None
    name: str | None
    width: int | None
    height: int | None
    repeated: bool


class Annotation(NamedTuple):
    """An annotation record: its id, its JSON text, and whether an earlier one of its file has the same id."""

    id: str | None
    text: str
    repeated: bool


_SCHEMA = """
CREATE TABLE image (
  row INTEGER PRIMARY KEY, file INTEGER NOT NULL, id TEXT, path TEXT, name TEXT, width INTEGER, height INTEGER
);
CREATE TABLE annotation (row INTEGER PRIMARY KEY, file INTEGER NOT NULL, image TEXT, id TEXT, text TEXT NOT NULL);
"""
_INDEXES = """
CREATE INDEX image_by_id ON image (file, id);
CREATE INDEX image_by_path ON image (path);
CREATE INDEX annotation_by_image ON annotation (file, image);
CREATE INDEX annotation_by_id ON annotation (file, id);
"""
_IMAGE = """
SELECT file, id, path, name, width, height, EXISTS (
  SELECT 1 FROM image AS earlier WHERE earlier.file = image.file AND earlier.id = image.id AND earlier.row < image.row
)
FROM image
"""
_ANNOTATIONS = """
SELECT id, text, EXISTS (
  SELECT 1 FROM annotation AS earlier
  WHERE earlier.file = annotation.file AND earlier.id = annotation.id AND earlier.row < annotation.row
)
FROM annotation WHERE file = ? AND image = ? ORDER BY row
"""
_ORPHANS = """
SELECT file, image, count(*) FROM annotation
WHERE image IS NULL OR NOT EXISTS (
  SELECT 1 FROM image WHERE image.file = annotation.file AND image.id = annotation.image
)
GROUP BY file, image ORDER BY min(row)
"""


class Tables:
    """Closes, and vanishes, at the end of its `with` block."""

    def __init__(self) -> None:
        # The empty name is a temporary file that SQLite deletes; a reader may go on in another thread between items.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def forget(self, file: int) -> None:
        """Drops the records of a file."""
        for table in ("image", "annotation"):
            self._database.execute(f"DELETE FROM {table} WHERE file = ?", (file,))  # noqa: S608 - two words of our own

    def add_image(self, image: Image) -> None:
        """Keeps an image record."""
        row = (image.file, *map(_text, (image.id, image.path, image.name)), image.width, image.height)
        self._database.execute("INSERT INTO image (file, id, path, name, width, height) VALUES (?, ?, ?, ?, ?, ?)", row)

    def add_annotation(self, file: int, image: str | None, identifier: str | None, text: str) -> None:
        """Keeps an annotation record."""
        row = (file, *map(_text, (image, identifier, text)))
        self._database.execute("INSERT INTO annotation (file, image, id, text) VALUES (?, ?, ?, ?)", row)

    def close_files(self) -> None:
        """To be called when all is added, before anything is read."""
        self._database.executescript(_INDEXES)

    def images(self) -> Iterator[Image]:
        """The image records in the order of the files."""
        return self._images(f"{_IMAGE} ORDER BY row")

    def of_path(self, path: str) -> list[Image]:
        """The records of one image."""
        return list(self._images(f"{_IMAGE} WHERE path = ? ORDER BY row", _text(path)))

    def annotations_of(self, image: Image) -> Iterator[Annotation]:
        """The annotations of an image record in the order of the file."""
        for identifier, text, repeated in self._database.execute(_ANNOTATIONS, (image.file, image.id)):
            yield Annotation(identifier, text, bool(repeated))

    def orphans(self) -> Iterator[tuple[int, str | None, int]]:
        """(file, id) of images that annotations name and no record has, with the number of annotations."""
        yield from self._database.execute(_ORPHANS)

    def _images(self, query: str, *values: str | None) -> Iterator[Image]:
        yield from map(Image._make, self._database.execute(query, values))


def _text(value: str | None) -> str | None:
    """The text with halves of characters, which JSON may hold and no database takes, replaced."""
    return value if value is None or value.isascii() else value.encode("utf-8", "replace").decode()
