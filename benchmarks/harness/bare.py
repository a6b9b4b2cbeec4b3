"""The least that one process must do to import a folder."""

import hashlib
import shutil
import sqlite3
import time
from pathlib import Path

from bloomery_vision.formats import FolderSource, read, understand
from bloomery_vision.images import probe

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE image (digest TEXT PRIMARY KEY, path TEXT, width INT, height INT, split TEXT);
CREATE TABLE shape (digest TEXT, label TEXT, x REAL, y REAL, width REAL, height REAL);
"""


def bare(folder: Path, scratch_folder: Path, *, keep: bool) -> float:
    """Parse, hash and write rows; with `keep` also check the pixels and copy the files, as a server must."""
    started = time.monotonic()
    database = sqlite3.connect(scratch_folder / f"bare-{started}.db")
    blobs = scratch_folder / f"blobs-{started}"
    blobs.mkdir()
    database.executescript(SCHEMA)
    with database:
        source = FolderSource(folder)
        for item in read(source, understand(source)):
            path = folder / item.image_path
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if keep:
                probe(path)
                shutil.copyfile(path, blobs / digest)
            database.execute(
                "INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?, ?)",
                (digest, item.image_path, item.width, item.height, item.split),
            )
            boxes = ((shape.label, shape.geometry.bounds) for shape in item.shapes)
            rows = [(digest, label, box.x, box.y, box.width, box.height) for label, box in boxes if box]
            database.executemany("INSERT INTO shape VALUES (?, ?, ?, ?, ?, ?)", rows)
    database.close()
    return time.monotonic() - started
