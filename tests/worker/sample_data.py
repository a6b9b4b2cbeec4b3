"""Real images with their labels as a dataset version: blobs, shards and index, as the dataset service makes them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bloomery.common.v1 import Artifact
from bloomery_vision.formats import FolderSource, Format, read, understand
from bloomery_vision.geometry import Box, Polygon, Shape, Tag
from bloomery_vision.images import probe
from bloomery_vision.manifest import ManifestIndex, ManifestRow, ManifestShard, write_shard
from bloomery_vision.manifest_hash import content_hash
from bloomery_worker.cache import BlobCache

PROJECT = "p0"


@dataclass(frozen=True)
class Version:
    """A dataset version: its index as an artifact, and all its bytes by logical key."""

    index: Artifact
    classes: tuple[str, ...]
    blobs: Mapping[str, bytes]


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


Rows = tuple[list[ManifestRow], dict[str, bytes]]
"""Images in the order of their file names, and their bytes by logical key."""


def voc_rows(folder: Path, *, per_split: Mapping[str, int]) -> Rows:
    """The first images of each official split."""
    return rows_of(folder, Format.VOC, per_split=per_split)


def rows_of(folder: Path, kind: Format, *, per_split: Mapping[str, int]) -> Rows:
    """The first images of each official split of a labelled folder."""
    left = dict(per_split)
    rows, blobs = [], {}
    source = FolderSource(folder)
    for item in read(source, understand(source, kind)):
        if item.failed or not item.split or not left.get(item.split):
            continue
        left[item.split] -= 1
        content = (folder / item.image_path).read_bytes()
        key = f"{PROJECT}/{hashlib.sha256(content).hexdigest()}"
        blobs[key] = content
        rows.append(_row(item.image_path, content, key, item.split, item.shapes))
    return sorted(rows, key=lambda row: row.file_name), blobs


def as_version(rows: Sequence[ManifestRow], blobs: Mapping[str, bytes], *, task: str = "detect") -> Version:
    classes = tuple(sorted({shape.label for row in rows for shape in row.shapes}))
    shard = write_shard(rows, classes)
    shard_key = f"{PROJECT}/datasets/v1/shard-0.parquet"
    index = ManifestIndex(
        content_hash=content_hash(rows, task=task, classes=classes),
        task=task,
        classes=classes,
        project_uid=PROJECT,
        read_sequence=1,
        shards=(ManifestShard(shard_key, digest(shard), len(shard), len(rows)),),
    ).to_json()
    index_key = f"{PROJECT}/datasets/v1/index.json"
    artifact = Artifact(digest=digest(index), size_bytes=len(index), logical_key=index_key, file_name="index.json")
    return Version(artifact, classes, {**blobs, shard_key: shard, index_key: index})


def cached(version: Version, folder: Path) -> BlobCache:
    """A cache that holds everything of a version."""
    cache = BlobCache(folder)
    for content in version.blobs.values():
        path = cache.path(digest(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return cache


def outlined(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """The same with an octagon in each box, as outlines to train segmentation on."""
    return [replace(row, shapes=tuple(_octagon(shape) for shape in row.shapes)) for row in rows]


def tagged(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """The same with one tag an image: whether it has many objects."""
    middle = sorted(len(row.shapes) for row in rows)[len(rows) // 2]
    return [replace(row, shapes=(Shape(Tag(), "many" if len(row.shapes) >= middle else "few"),)) for row in rows]


def relabelled(rows: Sequence[ManifestRow], names: Mapping[str, str]) -> list[ManifestRow]:
    """The same with other names for some classes."""

    def renamed(shape: Shape) -> Shape:
        return replace(shape, label=names.get(shape.label, shape.label))

    return [replace(row, shapes=tuple(map(renamed, row.shapes))) for row in rows]


def _octagon(shape: Shape) -> Shape:
    box = shape.geometry
    assert isinstance(box, Box)
    return replace(shape, geometry=Polygon(tuple(_corners(box))))


def _corners(box: Box) -> Iterator[tuple[float, float]]:
    steps = (0.3, 0.7, 1.0, 1.0, 0.7, 0.3, 0.0, 0.0)
    for index, across in enumerate(steps):
        yield box.x + box.width * across, box.y + box.height * steps[index - 2]


def _row(path: str, content: bytes, key: str, split: str, shapes: tuple[Shape, ...]) -> ManifestRow:
    info = probe(content)
    return ManifestRow(
        asset=f"projects/cells/assets/{Path(path).stem.lower()}",
        digest=digest(content),
        logical_key=key,
        size_bytes=len(content),
        media_type=info.media_type,
        width=info.width,
        height=info.height,
        split=split,
        group="",
        file_name=Path(path).name,
        shapes=shapes,
    )
