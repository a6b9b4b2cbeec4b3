"""The records of one COCO file, sorted by image in a temporary database on disk."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple, Self


class Image(NamedTuple):
    """An image record: its id, its JSON text, and whether an earlier one has the same id."""

    id: str | None
    text: str
    repeated: bool


class Annotation(NamedTuple):
    """An annotation record: its id, its JSON text, and whether an earlier one has the same id."""

    id: str | None
    text: str
    repeated: bool


_SCHEMA = """
CREATE TABLE image (row INTEGER PRIMARY KEY, id TEXT, text TEXT NOT NULL);
CREATE TABLE annotation (row INTEGER PRIMARY KEY, image TEXT, id TEXT, text TEXT NOT NULL);
CREATE INDEX image_by_id ON image (id);
CREATE INDEX annotation_by_image ON annotation (image);
CREATE INDEX annotation_by_id ON annotation (id);
"""
_IMAGES = """
SELECT id, text, EXISTS (SELECT 1 FROM image AS earlier WHERE earlier.id = image.id AND earlier.row < image.row)
FROM image ORDER BY row
"""
_ANNOTATIONS = """
SELECT id, text, EXISTS (
  SELECT 1 FROM annotation AS earlier WHERE earlier.id = annotation.id AND earlier.row < annotation.row
)
FROM annotation WHERE image = ? ORDER BY row
"""
_ORPHANS = """
SELECT image, count(*) FROM annotation WHERE image IS NULL OR image NOT IN (SELECT id FROM image WHERE id IS NOT NULL)
GROUP BY image ORDER BY min(row)
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

    def clear(self) -> None:
        """Forgets the file before."""
        self._database.executescript("DELETE FROM image; DELETE FROM annotation")

    def add_image(self, identifier: str | None, text: str) -> None:
        """Keeps an image record."""
        self._database.execute("INSERT INTO image (id, text) VALUES (?, ?)", (identifier, text))

    def add_annotation(self, image: str | None, identifier: str | None, text: str) -> None:
        """Keeps an annotation record."""
        self._database.execute("INSERT INTO annotation (image, id, text) VALUES (?, ?, ?)", (image, identifier, text))

    def images(self) -> Iterator[Image]:
        """The image records in the order of the file."""
        for identifier, text, repeated in self._database.execute(_IMAGES):
            yield Image(identifier, text, bool(repeated))

    def annotations_of(self, image: Image) -> Iterator[Annotation]:
        """The annotations of an image in the order of the file."""
        for identifier, text, repeated in self._database.execute(_ANNOTATIONS, (image.id,)):
            yield Annotation(identifier, text, bool(repeated))

    def orphans(self) -> Iterator[tuple[str | None, int]]:
        """The ids of images that annotations name and no record has, with the number of annotations."""
        yield from self._database.execute(_ORPHANS)
