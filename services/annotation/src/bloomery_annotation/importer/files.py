"""The files of one import, in a database of its own on disk: memory does not grow with their number."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Self

from bloomery_annotation.model import Blob
from bloomery_vision.findings import Finding, Severity
from bloomery_vision.formats.lookup import is_image
from bloomery_vision.formats.packed import Names

SMALL = 1 << 20
"""Bytes up to which a file is read whole."""

_SCHEMA = """
CREATE TABLE file (
  path TEXT PRIMARY KEY, digest TEXT, size INTEGER, media_type TEXT, width INTEGER, height INTEGER,
  code TEXT, message TEXT, hint TEXT, hidden INTEGER, label INTEGER, picture INTEGER,
  clash INTEGER DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX file_by_digest ON file (digest, path);
CREATE TABLE image (digest TEXT PRIMARY KEY, path TEXT) WITHOUT ROWID;
CREATE TABLE asked (digest TEXT PRIMARY KEY, path TEXT) WITHOUT ROWID;
CREATE TABLE annotated (digest TEXT PRIMARY KEY, path TEXT, shapes INTEGER) WITHOUT ROWID;
"""
_ADD = """
INSERT INTO file (path, digest, size, media_type, width, height, code, message, hint, hidden, label, picture)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET clash = 1 WHERE digest <> excluded.digest
"""
_FIND = "SELECT digest, size, media_type, width, height, code, message, hint FROM file WHERE path = ?"
_REPEATED = """
SELECT count(*), min(path) FROM file WHERE picture AND EXISTS (
  SELECT 1 FROM file AS earlier WHERE earlier.digest = file.digest AND earlier.path < file.path AND earlier.picture
)
"""
_EARLIER = """
SELECT path FROM file WHERE digest = :digest AND path < :path AND picture
AND path > coalesce((SELECT path FROM asked WHERE digest = :digest), '') ORDER BY path
"""
_ASKED = """
INSERT INTO asked VALUES (:digest, :path) ON CONFLICT (digest) DO UPDATE SET path = max(path, excluded.path)
"""
_COPIES = """
SELECT digest, path FROM file
WHERE picture AND digest IN (SELECT digest FROM file WHERE picture GROUP BY digest HAVING count(*) > 1)
ORDER BY digest, path
"""
_ALIKE = "SELECT count(*) FROM file WHERE digest = ? AND picture"
_UNUSABLE = "SELECT path FROM file WHERE code <> '' AND NOT hidden ORDER BY path"
_BEHIND = "SELECT path, digest FROM file WHERE path > ? AND label ORDER BY path LIMIT ?"


class Files:
    """Files by path, and which images were annotated already; for one thread at a time. Lasts as long as its folder."""

    def __init__(self, folder: Path) -> None:
        self._database = sqlite3.connect(folder / "files.db", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_SCHEMA)
        # Never committed: nobody else reads it, and a statement outside of a transaction locks the file each time.
        self._database.execute("BEGIN")
        # Asked about several times in a row.
        self._last: tuple[str, Blob | None] = ("", None)

    def __enter__(self) -> Self:
        """Nothing happens yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the file."""
        self._database.close()

    def add(self, files: Iterable[tuple[str, Blob]]) -> None:
        """Keep some files."""
        self._last = ("", None)
        self._database.executemany(_ADD, (_row(path, blob) for path, blob in files))

    def clashes(self, limit: int) -> list[str]:
        """Paths that were added with different bytes."""
        rows = self._database.execute("SELECT path FROM file WHERE clash ORDER BY path LIMIT ?", (limit,))
        return [path for (path,) in rows]

    def names(self) -> Names:
        """The paths without hidden ones."""
        rows = self._database.execute("SELECT path FROM file WHERE NOT hidden ORDER BY path")
        return Names.packed(path for (path,) in rows)

    def get(self, path: str) -> Blob | None:
        """What is known of a file."""
        if path != self._last[0]:
            self._last = path, self._find(path)
        return self._last[1]

    def _find(self, path: str) -> Blob | None:
        row = self._database.execute(_FIND, (path,)).fetchone()
        if row is None:
            return None
        digest, size, media_type, width, height, code, message, hint = row
        problem = Finding(code, Severity.ERROR, message, hint) if code else None
        return Blob(digest, size, media_type, width, height, problem)

    def labels_behind(self, path: str, count: int) -> Mapping[str, str]:
        """The digests of the small files other than images that follow a path, by theirs, in order."""
        return dict(self._database.execute(_BEHIND, (path, count)))

    def leave_alone(self, paths: Iterable[str]) -> None:
        """Count files as no images."""
        self._database.executemany("UPDATE file SET picture = 0 WHERE path = ?", ((path,) for path in paths))

    def repeated(self) -> tuple[int, str]:
        """How many images have the bytes of another one before them, and the path of one such."""
        count, example = self._database.execute(_REPEATED).fetchone()
        return count, example or ""

    def earlier_twins(self, path: str) -> list[str]:
        """The images with the same bytes that come before it, in order, without those that earlier answers implied."""
        blob = self.get(path)
        if blob is None:
            return []
        values = {"digest": blob.digest, "path": path}
        found = [earlier for (earlier,) in self._database.execute(_EARLIER, values)]
        self._database.execute(_ASKED, values)
        return found

    def copies(self) -> Iterator[list[str]]:
        """The paths of images that have the same bytes, sorted, by those bytes."""
        for _, rows in groupby(self._database.execute(_COPIES), key=lambda row: row[0]):
            yield [path for _, path in rows]

    def unusable(self) -> Iterator[str]:
        """The paths that end like an image's whose bytes are none that can be used."""
        return (path for (path,) in self._database.execute(_UNUSABLE) if is_image(path))

    def is_alone(self, digest: str) -> bool:
        """Whether no two images have these bytes."""
        count: tuple[int] = self._database.execute(_ALIKE, (digest,)).fetchone()
        return count[0] < 2

    def is_first(self, digest: str, path: str) -> bool:
        """Whether no image with these bytes was asked about before under another path."""
        self._database.execute("INSERT OR IGNORE INTO image VALUES (?, ?)", (digest, path))
        first: tuple[str] = self._database.execute("SELECT path FROM image WHERE digest = ?", (digest,)).fetchone()
        return first[0] == path

    def first_annotation(self, digest: str, path: str, shapes: int) -> tuple[str, int]:
        """Path and hash of the shapes with which bytes were annotated first: the given ones if they were not yet."""
        self._database.execute("INSERT OR IGNORE INTO annotated VALUES (?, ?, ?)", (digest, path, shapes))
        query = "SELECT path, shapes FROM annotated WHERE digest = ?"
        first: tuple[str, int] = self._database.execute(query, (digest,)).fetchone()
        return first


def _row(path: str, blob: Blob) -> tuple[object, ...]:
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.split("/"))
    problem = blob.problem or Finding("", Severity.ERROR, "")
    called_image = is_image(path)
    label = bool(blob.digest) and not hidden and not called_image and blob.size_bytes <= SMALL
    facts = (blob.digest, blob.size_bytes, blob.media_type, blob.width, blob.height)
    # A plan goes by names: a label file that holds the bytes of an image is a broken label file.
    picture = bool(blob.media_type) and not hidden and called_image
    return (path, *facts, problem.code, problem.message, problem.hint, hidden, label, picture)
