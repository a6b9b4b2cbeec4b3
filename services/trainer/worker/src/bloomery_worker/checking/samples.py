"""Small dataset versions to try recipes on: noise with a coloured square, whose colour is its class."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bloomery_vision.geometry import Box, Polygon, Shape, Tag
from bloomery_vision.manifest import ManifestIndex, ManifestRow, ManifestShard, write_shard
from bloomery_vision.manifest_hash import content_hash
from bloomery_worker.cache import BlobCache

SIDE = 64
"""Of an image, in pixels."""
CLASSES = ("blue", "green", "red")
_COLORS = ((40, 60, 220), (40, 200, 60), (220, 50, 40))
SPLITS: Mapping[str, int] = {"train": 13, "val": 6, "test": 6}
"""Images of each split: no whole number of batches."""


@dataclass(frozen=True, slots=True)
class Version:
    """A dataset version in a cache: the file of its index, and its classes."""

    manifest: Path
    classes: tuple[str, ...]


def make(root: Path, task: str, *, splits: Mapping[str, int] = SPLITS, classes: Sequence[str] = CLASSES) -> Version:
    """A dataset version for a task, always the same."""
    cache = BlobCache(root)
    rows = sorted(_rows(cache, task, splits, classes), key=lambda row: row.file_name)
    shard = write_shard(rows, tuple(classes))
    index = ManifestIndex(
        content_hash=content_hash(rows, task=task, classes=tuple(classes)),
        task=task,
        classes=tuple(classes),
        project_uid="checked",
        read_sequence=1,
        shards=(ManifestShard("shard", _keep(cache, shard), len(shard), len(rows)),),
    )
    return Version(cache.path(_keep(cache, index.to_json())), tuple(classes))


def _rows(cache: BlobCache, task: str, splits: Mapping[str, int], classes: Sequence[str]) -> Iterator[ManifestRow]:
    random = np.random.default_rng(0)
    for split, count in splits.items():
        for number in range(count):
            label = number % len(classes)
            pixels = random.integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8)
            left, top = (int(place) for place in random.integers(4, 20, 2))
            side = int(random.integers(24, 36))
            pixels[top : top + side, left : left + side] = _COLORS[CLASSES.index(classes[label])]
            written = BytesIO()
            Image.fromarray(pixels).save(written, "png")
            yield ManifestRow(
                asset=f"projects/checked/assets/{split}-{number}",
                digest=_keep(cache, written.getvalue()),
                logical_key=f"{split}-{number}",
                size_bytes=len(written.getvalue()),
                media_type="image/png",
                width=SIDE,
                height=SIDE,
                split=split,
                group="",
                file_name=f"{split}-{number}.png",
                shapes=(_shape(task, classes[label], left, top, side),),
            )


def _shape(task: str, label: str, left: int, top: int, side: int) -> Shape:
    if task == "classify":
        return Shape(Tag(), label)
    if task == "detect":
        return Shape(Box(left, top, side, side), label)
    right, bottom = left + side, top + side
    return Shape(Polygon(((left, top), (right, top), (right, bottom), (left, bottom))), label)


def _keep(cache: BlobCache, content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    part = cache.new_file(digest)
    part.write_bytes(content)
    cache.keep(part, digest)
    return digest
