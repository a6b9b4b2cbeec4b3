"""The images of a version, page by page, straight from the manifest."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bloomery_dataset.model import Statistics, Version
from bloomery_dataset.shards import ShardCache
from bloomery_kit.pages import PageRequest
from bloomery_vision.manifest import ManifestRow, ShardReader

_BATCH = 1000


@dataclass(frozen=True)
class Filter:
    """Images of one split, or with a shape of one class; all by default."""

    split: str | None = None
    label: str | None = None

    def count(self, statistics: Statistics) -> int:
        """How many images of a version pass."""
        if self.label is not None:
            return sum(part.images.get(self.label, 0) for part in statistics.splits)
        return sum(part.image_count for part in statistics.splits if self.split in (None, part.split))


ALL = Filter()


class Items:
    """Reads manifests."""

    def __init__(self, cache: ShardCache) -> None:
        self._cache = cache

    async def page(self, version: Version, wanted: Filter, page: PageRequest) -> tuple[Sequence[ManifestRow], str, int]:
        """A page of images in the order of file names, the next page's token, and how many there are in all."""
        assert version.product is not None
        start = int(str(page.cursor[0])) if page.cursor else 0
        found: list[tuple[int, ManifestRow]] = []
        async for batch in self.read(version, wanted, start=start, batch=page.size + 1):
            found += batch
            if len(found) > page.size:
                break
        token = page.next_token((found[page.size][0],)) if len(found) > page.size else ""
        return [row for _, row in found[: page.size]], token, wanted.count(version.product.statistics)

    async def read(
        self, version: Version, wanted: Filter = ALL, *, start: int = 0, batch: int = _BATCH
    ) -> AsyncIterator[Sequence[tuple[int, ManifestRow]]]:
        """Images from number `start` on, each with its number within the version, in batches of at most `batch`."""
        index = await self._cache.index(version)
        first = 0
        for shard in index.shards:
            at = max(0, start - first)
            while at < shard.rows:
                path = await self._cache.shard(shard)
                rows = await asyncio.to_thread(_some, path, index.classes, wanted, start=at, count=batch)
                if rows:
                    yield [(first + number, row) for number, row in rows]
                at = rows[-1][0] + 1 if len(rows) == batch else shard.rows
            first += shard.rows


def _some(
    path: Path, classes: Sequence[str], wanted: Filter, *, start: int, count: int
) -> list[tuple[int, ManifestRow]]:
    with ShardReader(path, classes) as reader:
        return list(islice(reader.rows(start=start, split=wanted.split, label=wanted.label), count))
