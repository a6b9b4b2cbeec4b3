"""Where a build gets its images from: a moment of a project, or an earlier version whose boxes are cut out."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from bloomery_dataset.annotations import Annotations
from bloomery_dataset.model import Image, Label, Plan, Version
from bloomery_dataset.shards import ShardCache
from bloomery_kit.errors import FailedPrecondition, NotFound
from bloomery_vision.manifest import ManifestIndex, ManifestRow, ManifestShard

_CHUNK = 500


class Origin(Protocol):
    """Images that do not change once there is a plan."""

    async def plan(self) -> tuple[Plan, int]:
        """What to read, and how many images there are now."""
        ...

    def images(self, plan: Plan) -> AsyncIterator[list[Image]]:
        """All of them with their shapes, in chunks."""
        ...


@dataclass(frozen=True)
class OfProject:
    """The images of a project."""

    annotations: Annotations
    project: str

    async def plan(self) -> tuple[Plan, int]:
        """See `Origin`."""
        project = await self.annotations.project(self.project)
        # After the sequence, so that all labels of that moment's shapes are there, but those deleted since.
        return Plan(project.sequence, await self.annotations.labels(self.project)), project.asset_count

    def images(self, plan: Plan) -> AsyncIterator[list[Image]]:
        """See `Origin`."""
        return self.annotations.images(self.project, plan.read_sequence)


@dataclass(frozen=True)
class OfVersion:
    """The images of a READY version; the labels are its classes, and the official split is its own."""

    cache: ShardCache
    version: Version

    async def plan(self) -> tuple[Plan, int]:
        """See `Origin`. Raises FailedPrecondition SOURCE_DELETED."""
        assert self.version.plan is not None
        assert self.version.product is not None
        labels = labels_of(await self._index())
        return Plan(self.version.plan.read_sequence, labels), self.version.product.statistics.image_count

    async def images(self, plan: Plan) -> AsyncIterator[list[Image]]:  # noqa: ARG002 - a version is the same at all times
        """See `Origin`. Raises FailedPrecondition SOURCE_DELETED."""
        index, first = await self._index(), 0
        for shard in index.shards:
            for start in range(0, shard.rows, _CHUNK):
                yield await self._some(shard, index, start, first)
            first += shard.rows

    async def _index(self) -> ManifestIndex:
        try:
            return await self.cache.index(self.version)
        except NotFound:
            raise source_deleted(self.version.name) from None

    async def _some(self, shard: ManifestShard, index: ManifestIndex, start: int, first: int) -> list[Image]:
        try:
            reader = await self.cache.open(shard, index.classes)
        except NotFound:
            raise source_deleted(self.version.name) from None

        def read() -> list[Image]:
            with reader:
                rows = islice(reader.rows(start=start), _CHUNK)
                return [_image(row, first + number) for number, row in rows]

        return await asyncio.to_thread(read)


def labels_of(index: ManifestIndex) -> tuple[Label, ...]:
    """The classes of a version as labels, each with its name as its id."""
    none = [""] * len(index.classes)
    known = zip(index.classes, index.supercategories or none, index.class_ids or none, strict=True)
    return tuple(Label(name, name, supercategory, source_id) for name, supercategory, source_id in known)


def source_deleted(name: str) -> FailedPrecondition:
    """What a build ends with whose version is gone."""
    return FailedPrecondition(
        "SOURCE_DELETED", f"{name}, which it was to be cut from, was deleted; build it of another"
    )


def _image(row: ManifestRow, number: int) -> Image:
    return Image(
        asset=row.asset,
        digest=row.digest,
        size_bytes=row.size_bytes,
        media_type=row.media_type,
        width=row.width,
        height=row.height,
        display_name=row.original_name or row.file_name,
        official=row.split,
        labels={},
        sequence=number,
        shapes=row.shapes,
        source_name=row.source_name,
        source_id=row.source_id,
        key=row.logical_key,
    )
