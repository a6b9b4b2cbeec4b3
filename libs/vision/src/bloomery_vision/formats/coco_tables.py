"""The records of COCO files, sorted by image in a temporary database on disk."""

import marshal
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """An annotation record: its id, what is worth keeping of it, and whether an earlier one of its file has the id."""

    id: str | None
    record: Mapping[str, object]
    repeated: bool


_SCHEMA = """
CREATE TABLE image (
  row INTEGER PRIMARY KEY, file INTEGER NOT NULL, id TEXT, path TEXT, name TEXT, width INTEGER, height INTEGER
);
CREATE TABLE annotations (
  row INTEGER PRIMARY KEY, file INTEGER NOT NULL, image TEXT, count INTEGER NOT NULL, records BLOB NOT NULL
);
CREATE TABLE identifier (number INTEGER PRIMARY KEY, file INTEGER NOT NULL, id TEXT NOT NULL);
"""
_INDEXES = """
CREATE INDEX image_by_id ON image (file, id);
CREATE INDEX image_by_path ON image (path);
CREATE INDEX annotations_by_image ON annotations (file, image);
CREATE TABLE repeated AS
  SELECT file, id, min(number) AS first FROM identifier GROUP BY file, id HAVING count(*) > 1;
CREATE INDEX repeated_by_id ON repeated (file, id);
"""
_IMAGE = """
SELECT file, id, path, name, width, height, EXISTS (
  SELECT 1 FROM image AS earlier WHERE earlier.file = image.file AND earlier.id = image.id AND earlier.row < image.row
)
FROM image
"""
_ANNOTATIONS = "SELECT records FROM annotations WHERE file = ? AND image = ? ORDER BY row"
_REPEATED = "SELECT count(*) FROM repeated WHERE file = ? AND id = ? AND first < ?"
_ORPHANS = """
SELECT file, image, sum(count) FROM annotations
WHERE image IS NULL OR NOT EXISTS (
  SELECT 1 FROM image WHERE image.file = annotations.file AND image.id = annotations.image
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
        self._number = 0
        self._some_repeated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def forget(self, file: int) -> None:
        """Drops the records of a file."""
        for table in ("image", "annotations", "identifier"):
            self._database.execute(f"DELETE FROM {table} WHERE file = ?", (file,))  # noqa: S608 - words of our own

    def add_images(self, images: Iterable[Image]) -> None:
        """Keeps image records."""
        rows = ((one.file, *map(_text, (one.id, one.path, one.name)), one.width, one.height) for one in images)
        self._database.executemany(
            "INSERT INTO image (file, id, path, name, width, height) VALUES (?, ?, ?, ?, ?, ?)", rows
        )

    def add_annotations(
        self, file: int, annotations: Sequence[tuple[str | None, str | None, Mapping[str, object]]]
    ) -> None:
        """Keeps annotation records, each given as the id of its image, its own, and what is worth keeping of it."""
        of_image: defaultdict[str | None, list[tuple[int, str | None, Mapping[str, object]]]] = defaultdict(list)
        for number, (image, identifier, record) in enumerate(annotations, self._number):
            of_image[image].append((number, _text(identifier), record))
        self._number += len(annotations)
        self._database.executemany(
            "INSERT INTO annotations (file, image, count, records) VALUES (?, ?, ?, ?)",
            ((file, _text(image), len(records), marshal.dumps(records)) for image, records in of_image.items()),
        )
        self._database.executemany(
            "INSERT INTO identifier (number, file, id) VALUES (?, ?, ?)",
            (
                (number, file, identifier)
                for records in of_image.values()
                for number, identifier, _ in records
                if identifier
            ),
        )

    def close_files(self) -> None:
        """To be called when all is added, before anything is read."""
        self._database.executescript(_INDEXES)
        (self._some_repeated,) = self._database.execute("SELECT count(*) > 0 FROM repeated").fetchone()

    def unplaced(self) -> Iterator[Image]:
        """The image records that mean no image, in the order of the files."""
        return self._images(f"{_IMAGE} WHERE path IS NULL ORDER BY row")

    def of_path(self, path: str) -> list[Image]:
        """The records of one image."""
        return list(self._images(f"{_IMAGE} WHERE path = ? ORDER BY row", _text(path)))

    def annotations_of(self, image: Image) -> list[Annotation]:
        """The annotations of an image record in the order of the file."""
        return [
            Annotation(identifier, record, self._some_repeated and self._is_repeated(image.file, identifier, number))
            for (records,) in self._database.execute(_ANNOTATIONS, (image.file, image.id))
            for number, identifier, record in marshal.loads(records)  # noqa: S302 - written by ourselves
        ]

    def orphans(self) -> Iterator[tuple[int, str | None, int]]:
        """(file, id) of images that annotations name and no record has, with the number of annotations."""
        yield from self._database.execute(_ORPHANS)

    def _is_repeated(self, file: int, identifier: str | None, number: int) -> bool:
        (found,) = self._database.execute(_REPEATED, (file, identifier, number)).fetchone()
        return bool(found)

    def _images(self, query: str, *values: str | None) -> Iterator[Image]:
        yield from map(Image._make, self._database.execute(query, values))


def _text(value: str | None) -> str | None:
    """The text with halves of characters, which JSON may hold and no database takes, replaced."""
    return value if value is None or value.isascii() else value.encode("utf-8", "replace").decode()
