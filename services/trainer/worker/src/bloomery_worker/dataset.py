"""The dataset version of a job, as recipes see it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.images import ImageError, decode
from bloomery_vision.manifest import ManifestError, ManifestIndex, ManifestRow, NewerManifestError, ShardReader
from bloomery_worker.cache import BlobCache
from bloomery_worker.failures import DataError

_REBUILD = "build the dataset version again"
_UPGRADE = "upgrade the workers' environment"


@dataclass(frozen=True)
class Dataset:
    """Images with their shapes; all files are in the cache."""

    index: ManifestIndex
    cache: BlobCache = field(repr=False)

    @classmethod
    def open(cls, manifest: Path, cache: BlobCache) -> "Dataset":
        """Reads an index whose shards are in the cache. Raises DataError."""
        try:
            return cls(ManifestIndex.from_json(manifest.read_bytes()), cache)
        except ManifestError as problem:
            hint = _UPGRADE if isinstance(problem, NewerManifestError) else _REBUILD
            raise DataError(f"the dataset version cannot be read: {problem}", hint=hint) from problem

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of their numbers."""
        return self.index.classes

    def rows(self, split: str | None = None) -> Iterator[ManifestRow]:
        """The images of one split ("train", "val", "test") or of all, in the order of file names. Raises DataError."""
        try:
            for shard in self.index.shards:
                with ShardReader(self.cache.path(shard.digest), self.classes) as reader:
                    yield from (row for _, row in reader.rows(split=split))
        except ManifestError as problem:
            raise DataError(f"the dataset version cannot be read: {problem}", hint=_REBUILD) from problem

    @cached_property
    def counts(self) -> dict[str, int]:
        """Images of each split."""
        counts = dict.fromkeys(("train", "val", "test"), 0)
        for row in self.rows():
            counts[row.split] = counts.get(row.split, 0) + 1
        return counts

    def image_file(self, row: ManifestRow) -> Path:
        """The original bytes."""
        return self.cache.path(row.digest)

    def image(self, row: ManifestRow) -> NDArray[np.uint8]:
        """uint8 RGB [H, W, 3], EXIF orientation applied. Raises DataError."""
        try:
            return decode(self.image_file(row))
        except ImageError as problem:
            raise DataError(
                f"an image cannot be read: {problem.message}", hint=problem.hint, items=[row.file_name]
            ) from (problem)
