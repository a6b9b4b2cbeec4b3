"""The images of a version, page by page, straight from the manifest."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from bloomery_dataset.compare import Comparison, compare
from bloomery_dataset.model import Statistics, Version
from bloomery_dataset.shards import ShardCache
from bloomery_kit.objects import ObjectStore
from bloomery_kit.pages import PageRequest
from bloomery_vision.manifest import ManifestRow, ShardReader

_BATCH = 500
_PAGE_BYTES = 4 << 20
_INLINE_BYTES = 1 << 20
_ROW_BYTES = 1000
_SHAPE_BYTES = 100


@dataclass(frozen=True)
class Wanted:
    """Images of one split, or with a shape of one class; all by default, with their shapes and without their bytes."""

    split: str | None = None
    label: str | None = None
    shapes: bool = True
    contents: bool = False

    def count(self, statistics: Statistics) -> int:
        """How many images of a version pass."""
        if self.label is not None:
            return sum(part.images.get(self.label, 0) for part in statistics.splits)
        return sum(part.image_count for part in statistics.splits if self.split in (None, part.split))

    def weigh(self, row: ManifestRow) -> int:
        """About as many bytes as the message of a row has, or more."""
        content = row.size_bytes if self.inlines(row) else 0
        return _ROW_BYTES + content + sum(_SHAPE_BYTES + shape.geometry.weight for shape in row.shapes)

    def inlines(self, row: ManifestRow) -> bool:
        """Whether an image's bytes are wanted, and few enough."""
        return self.contents and row.size_bytes <= _INLINE_BYTES


class _Found(NamedTuple):
    number: int
    row: ManifestRow
    weight: int


class Items:
    """Reads manifests."""

    def __init__(self, cache: ShardCache, objects: ObjectStore) -> None:
        self._cache = cache
        self._objects = objects
        self._comparing = asyncio.Lock()

    async def compare(self, version: Version, other: Version) -> Comparison:
        """In what two READY versions differ. One comparison at a time: each holds something of every image."""
        async with self._comparing:
            return await compare(self._cache, version, other)

    async def holds(self, version: Version, asset: str) -> bool:
        """Whether a READY version has an image, by its resource name."""
        index = await self._cache.index(version)
        for shard in index.shards:
            if await asyncio.to_thread(_has, await self._cache.open(shard, index.classes), asset):
                return True
        return False

    async def contents(self, rows: Sequence[ManifestRow], wanted: Wanted) -> Sequence[bytes]:
        """The bytes of each image that are wanted, else none."""
        keys = {row.logical_key for row in rows if wanted.inlines(row)}
        found = await self._objects.get_all(keys) if keys else {}
        return [found.get(row.logical_key, b"") for row in rows]

    async def page(self, version: Version, wanted: Wanted, page: PageRequest) -> tuple[Sequence[ManifestRow], str, int]:
        """A page of images in the order of file names, the next page's token, and how many there are in all.

        A page of images with very many shapes ends early, so that it fits into a message.
        """
        assert version.product is not None
        start = int(str(page.cursor[0])) if page.cursor else 0
        shown: list[ManifestRow] = []
        total, weight = wanted.count(version.product.statistics), 0
        async for found in self._read(version, wanted, start=start, batch=min(page.size + 1, _BATCH)):
            weight += found.weight
            if len(shown) == page.size or (shown and weight > _PAGE_BYTES):
                return shown, page.next_token((found.number,)), total
            shown.append(found.row)
        return shown, "", total

    async def _read(self, version: Version, wanted: Wanted, *, start: int, batch: int) -> AsyncIterator[_Found]:
        """Images from number `start` on, read in batches; their numbers are those within the version."""
        index = await self._cache.index(version)
        first = 0
        for shard in index.shards:
            at = max(0, start - first)
            while at < shard.rows:
                reader = await self._cache.open(shard, index.classes)
                some = await asyncio.to_thread(_some, reader, wanted, start=at, count=batch)
                for found in some:
                    yield found._replace(number=first + found.number)
                at = some[-1].number + 1 if some else shard.rows
            first += shard.rows


def _has(reader: ShardReader, asset: str) -> bool:
    with reader:
        return reader.has_asset(asset)


def _some(reader: ShardReader, wanted: Wanted, *, start: int, count: int) -> list[_Found]:
    """Images of a shard, with their numbers within it, and no more than one beyond what a page holds."""
    some: list[_Found] = []
    weight = 0
    with reader:
        rows = reader.rows(start=start, split=wanted.split, label=wanted.label, shapes=wanted.shapes)
        for number, row in islice(rows, count):
            some.append(_Found(number, row, wanted.weigh(row)))
            weight += some[-1].weight
            if weight > _PAGE_BYTES:
                break
    return some
