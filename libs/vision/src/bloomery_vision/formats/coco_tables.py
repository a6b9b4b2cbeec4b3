"""The records of COCO files, sorted by image in a temporary database on disk."""

import marshal
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

from bloomery_vision.formats.coco_objects import Kept, Record, key_of, worth_keeping
from bloomery_vision.formats.model import FormatError


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


Annotation = tuple[int, str | None, Kept]
"""An annotation record: its number, its id, and what is worth keeping of it."""

_SCHEMA = """
CREATE TABLE image (
  row INTEGER PRIMARY KEY, file INTEGER NOT NULL, id TEXT, path TEXT, name TEXT, width INTEGER, height INTEGER
);
CREATE TABLE annotations (
  row INTEGER PRIMARY KEY, file INTEGER NOT NULL, image TEXT, count INTEGER NOT NULL, records BLOB NOT NULL
);
CREATE TABLE identifier (number INTEGER PRIMARY KEY, file INTEGER NOT NULL, id TEXT NOT NULL);
"""
_INDEXES = (
    "CREATE INDEX image_by_id ON image (file, id)",
    "CREATE INDEX image_by_path ON image (path)",
    "CREATE INDEX annotations_by_image ON annotations (file, image)",
)
_REPEATED_IDS = (
    """
    CREATE TABLE repeated AS
      SELECT file, id, min(number) AS first FROM identifier GROUP BY file, id HAVING count(*) > 1
    """,
    "CREATE INDEX repeated_by_id ON repeated (file, id)",
)
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
        # Never committed: a statement outside of a transaction costs more by itself than what it does.
        self._database.execute("BEGIN")
        self._number = 0
        self._highest: dict[int, float] = {}
        self._some_repeated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def forget(self, file: int) -> None:
        """Drops the records of a file."""
        for table in ("image", "annotations"):
            self._database.execute(f"DELETE FROM {table} WHERE file = ?", (file,))  # noqa: S608 - two words of our own

    def add_images(self, images: Iterable[Image]) -> None:
        """Keeps image records."""
        rows = ((one.file, *map(_text, (one.id, one.path, one.name)), one.width, one.height) for one in images)
        self._database.executemany(
            "INSERT INTO image (file, id, path, name, width, height) VALUES (?, ?, ?, ?, ?, ?)", rows
        )

    def add_annotations(self, file: int, records: Sequence[Record]) -> None:
        """Keeps annotation records. Raises FormatError BROKEN_FILE where one is nested too deeply."""
        of_image: defaultdict[str | None, list[Annotation]] = defaultdict(list)
        highest = self._highest.get(file, -1)
        for number, record in enumerate(records, self._number):
            identifier = record.get("id")
            highest = identifier if type(identifier) is int and identifier > highest else math.inf
            row = number, _text(key_of(identifier)), worth_keeping(record)
            of_image[key_of(record.get("image_id"))].append(row)
        self._number += len(records)
        self._highest[file] = highest
        self._database.executemany(
            "INSERT INTO annotations (file, image, count, records) VALUES (?, ?, ?, ?)",
            ((file, _text(image), len(rows), _packed(rows)) for image, rows in of_image.items()),
        )

    def close_files(self) -> None:
        """To be called when all is added, before anything is read."""
        for statement in _INDEXES:
            self._database.execute(statement)
        # Where each id is higher than the one before it, none is there twice.
        for file in (file for file, highest in self._highest.items() if highest == math.inf):
            self._note_ids(file)
        for statement in _REPEATED_IDS:
            self._database.execute(statement)
        (self._some_repeated,) = self._database.execute("SELECT count(*) > 0 FROM repeated").fetchone()

    def unplaced(self) -> Iterator[Image]:
        """The image records that mean no image, in the order of the files."""
        return self._images(f"{_IMAGE} WHERE path IS NULL ORDER BY row")

    def of_path(self, path: str) -> list[Image]:
        """The records of one image."""
        return list(self._images(f"{_IMAGE} WHERE path = ? ORDER BY row", _text(path)))

    def annotations_of(self, image: Image) -> list[Annotation]:
        """The annotations of an image record in the order of the file."""
        packed = self._database.execute(_ANNOTATIONS, (image.file, image.id))
        return [one for (records,) in packed for one in marshal.loads(records)]  # noqa: S302 - written by ourselves

    def repeated(self, image: Image, annotations: Iterable[Annotation]) -> list[str | None]:
        """The ids of an image's annotations that an earlier one of their file has."""
        if not self._some_repeated:
            return []
        return [one for number, one, _ in annotations if self._is_repeated(image.file, one, number)]

    def orphans(self) -> Iterator[tuple[int, str | None, int]]:
        """(file, id) of images that annotations name and no record has, with the number of annotations."""
        yield from self._database.execute(_ORPHANS)

    def _note_ids(self, file: int) -> None:
        for (rows,) in self._database.execute("SELECT records FROM annotations WHERE file = ?", (file,)):
            self._database.executemany(
                "INSERT INTO identifier (number, file, id) VALUES (?, ?, ?)",
                ((number, file, one) for number, one, _ in marshal.loads(rows) if one),  # noqa: S302 - our own
            )

    def _is_repeated(self, file: int, identifier: str | None, number: int) -> bool:
        (found,) = self._database.execute(_REPEATED, (file, identifier, number)).fetchone()
        return bool(found)

    def _images(self, query: str, *values: str | None) -> Iterator[Image]:
        yield from map(Image._make, self._database.execute(query, values))


def _packed(rows: list[Annotation]) -> bytes:
    try:
        return marshal.dumps(rows)
    except ValueError:
        # Newer decoders of JSON take what nests deeper than it can be written.
        raise FormatError("BROKEN_FILE", "an annotation is nested too deeply", "write the file again") from None


def _text(value: str | None) -> str | None:
    """The text with halves of characters, which JSON may hold and no database takes, replaced."""
    return value if value is None or value.isascii() else value.encode("utf-8", "replace").decode()
