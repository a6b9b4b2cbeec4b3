"""The images of a build on disk, to be read again in other orders, so that memory holds none of them."""

import json
import pickle
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from bloomery_dataset.model import Image
from bloomery_dataset.naming import Named, file_name
from bloomery_dataset.selection import Kept
from bloomery_dataset.splits import PARTS, SplitItem
from bloomery_vision.geometry import Shape

UNASSIGNED = len(PARTS)
# A table for each order, sorted as it is filled: sorting afterwards would need room in a folder that is not ours.
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA cache_size = -65536;
CREATE TABLE images (number INTEGER PRIMARY KEY, content BLOB);
CREATE TABLE draws (place BLOB, grouped TEXT, number INTEGER, counts TEXT, PRIMARY KEY (place, grouped, number))
    WITHOUT ROWID;
CREATE TABLE ages (sequence INTEGER, id TEXT, number INTEGER, display_name TEXT, media_type TEXT,
    source_name TEXT, PRIMARY KEY (sequence, id)) WITHOUT ROWID;
CREATE TABLE stems (stem TEXT, part INTEGER, PRIMARY KEY (stem, part)) WITHOUT ROWID;
CREATE TABLE names (file_name TEXT, part INTEGER, number INTEGER, PRIMARY KEY (file_name, part)) WITHOUT ROWID;
BEGIN;
"""


class Spill:
    """A file of images, each with a number from 0 on, which may be read when all are in it. Use it in a `with`.

    Attributes:
        officials: The official split of each image as a number within PARTS, UNASSIGNED for none.
        has_shapes: Whether there is anything to learn from.
    """

    def __init__(self, path: Path) -> None:
        # The threads of a build take turns.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(_SCHEMA)
        self.officials = bytearray()
        self.has_shapes = False

    def __len__(self) -> int:
        return len(self.officials)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._db.close()

    def add(self, image: Image, kept: Kept, *, group: str, place: bytes) -> None:
        """Append an image with the shapes that are kept; `place` is where it stands in the draw of the split."""
        number = len(self.officials)
        self.officials.append(PARTS.index(image.official) if image.official in PARTS else UNASSIGNED)
        self.has_shapes |= bool(kept.counts)
        content = pickle.dumps((replace(image, shapes=None), group, kept.shapes), pickle.HIGHEST_PROTOCOL)
        self._insert("images", number, content)
        self._insert("draws", place, group, number, json.dumps(kept.counts))
        display_name, source_name = image.called
        self._insert("ages", image.sequence, image.id, number, display_name, image.media_type, source_name)

    def draw(self) -> Iterator[SplitItem]:
        """What splitting needs to know of all images, in the order of the draw."""
        for place, group, counts in self._db.execute(
            "SELECT place, grouped, counts FROM draws ORDER BY place, grouped, number"
        ):
            yield SplitItem(place, json.loads(counts), group)

    def drawn(self) -> Iterator[int]:
        """The numbers of all images, in the order of the draw."""
        for (number,) in self._db.execute("SELECT number FROM draws ORDER BY place, grouped, number"):
            yield number

    def named(self, parts: Sequence[int]) -> Iterator[tuple[str, int]]:
        """The file names of all images with their numbers, in the order of file names; to be asked once.

        A name comes once in each part; `parts` has that of each image.
        """
        ages = "SELECT number, id, display_name, media_type, source_name FROM ages ORDER BY sequence, id"
        for number, *named in self._db.execute(ages):
            take = partial(self._take, parts[number])
            self._insert("names", file_name(Named(*named), take), parts[number], number)
        yield from self._db.execute("SELECT file_name, number FROM names ORDER BY file_name, part")

    def read(self, number: int) -> tuple[Image, str, tuple[Shape, ...]]:
        """An image again, without shapes, with its group and the shapes that were kept."""
        (content,) = self._db.execute("SELECT content FROM images WHERE number = ?", (number,)).fetchone()
        image, group, shapes = pickle.loads(content)  # noqa: S301 - this process wrote the file
        return image, group, shapes

    def _take(self, part: int, stem: str) -> bool:
        return self._db.execute("INSERT OR IGNORE INTO stems VALUES (?, ?)", (stem, part)).rowcount == 1

    def _insert(self, table: str, *values: object) -> None:
        places = ", ".join("?" * len(values))
        self._db.execute(f"INSERT INTO {table} VALUES ({places})", values)  # noqa: S608 - names of ours
