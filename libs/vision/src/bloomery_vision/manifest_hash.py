"""The content hash of a dataset version."""

import hashlib
import json
from collections.abc import Iterable, Sequence

from bloomery_vision.manifest import SOURCE_FIELDS, ManifestRow, crop_record
from bloomery_vision.manifest_shapes import to_record

_FORMAT = 1


class ContentHash:
    """SHA-256 over what a version means: its task, its classes and its rows in the order of file names.

    Where the bytes lie and how Parquet packs the rows does not count. What is called nothing elsewhere is left out, so
    that equal content has one hash in all formats.
    """

    def __init__(
        self, *, task: str, classes: Sequence[str], class_ids: Sequence[str] = (), supercategories: Sequence[str] = ()
    ) -> None:
        whole: dict[str, object] = {"format": _FORMAT, "task": task, "classes": list(classes)}
        named = {"class_ids": list(class_ids), "supercategories": list(supercategories)}
        whole |= {name: values for name, values in named.items() if any(values)}
        self._digest = hashlib.sha256(_canonical(whole))

    def add(self, row: ManifestRow) -> None:
        """Count the next row."""
        shapes = [to_record(shape, shape.label) for shape in row.shapes]
        place = [row.file_name, row.digest, row.width, row.height, row.split, row.group]
        source: dict[str, object] = {name: value for name in SOURCE_FIELDS if (value := getattr(row, name))}
        source |= {"crop": crop_record(row.crop)} if row.crop else {}
        self._digest.update(b"\n" + _canonical([*place, shapes, *([source] if source else [])]))

    def value(self) -> str:
        """The hash as "sha256:..."."""
        return f"sha256:{self._digest.hexdigest()}"


def content_hash(rows: Iterable[ManifestRow], *, task: str, classes: Sequence[str]) -> str:
    """The content hash of all rows, given in the order of file names."""
    counted = ContentHash(task=task, classes=classes)
    for row in rows:
        counted.add(row)
    return counted.value()


def shapes_hash(row: ManifestRow) -> bytes:
    """16 bytes that are the same for rows with the same shapes of the same classes, in whatever order."""
    records = sorted(_canonical(to_record(shape, shape.label)) for shape in row.shapes)
    return hashlib.blake2b(b"\n".join(records), digest_size=16).digest()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_as_text).encode()


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("ascii")
    raise TypeError(f"{type(value).__name__} has no canonical form")
