"""One build: reads a moment of a project, divides its images, and writes the manifest.

Images pass through a file on disk: they arrive in the order of ids, are divided when all are known, and are written in
the order of file names. Memory holds a few numbers for each image that has a place in the split, and the shapes of a
thousand.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bloomery_dataset.annotations import Annotations
from bloomery_dataset.cropping import Cropper, Taken
from bloomery_dataset.model import LEFT_OUT, Blob, Image, Method, Plan, Product, SplitPolicy, Version
from bloomery_dataset.origins import Origin
from bloomery_dataset.selection import Selection
from bloomery_dataset.shards import ShardCache
from bloomery_dataset.spill import UNASSIGNED, Spill
from bloomery_dataset.splits import PARTS, place, split
from bloomery_dataset.statistics import Tally
from bloomery_kit.errors import FailedPrecondition
from bloomery_kit.loops import through_outages
from bloomery_kit.objects import ObjectStore
from bloomery_vision.manifest import ManifestIndex, ManifestRow, ManifestShard, ShardWriter
from bloomery_vision.manifest_hash import ContentHash

LOOP = "dataset builds"
SHARD_ROWS = 50_000
SHARD_BYTES = 64 << 20
_SLICE = 500
_SHOWN = 3
_STORE_PATIENCE = 60.0
"""Seconds for which a store may be away before the build is given back, and begins again."""


@dataclass(frozen=True)
class Sources:
    """Where a build reads and writes."""

    annotations: Annotations
    objects: ObjectStore
    cache: ShardCache


class Progress:
    """How far a build is, in images of the project: half for reading one, half for writing it."""

    def __init__(self) -> None:
        self.read = 0
        self.kept = 0
        self.written = 0

    @property
    def done(self) -> int:
        """Images done."""
        return (self.read + (self.read * self.written // self.kept if self.kept else 0)) // 2


class BuildRun:
    """Makes the product of one version in `folder`, which must be its own."""

    def __init__(
        self,
        version: Version,
        plan: Plan,
        origin: Origin,
        *,
        objects: ObjectStore,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._version = version
        self._plan = plan
        self._origin = origin
        self._objects = objects
        self._folder = folder
        self._progress = progress
        self._selection = Selection(version.spec, plan.labels)
        self._cropper = self._made_cropper()
        self._tally = Tally()
        self._hash = ContentHash(
            task=version.spec.task,
            classes=self._selection.classes,
            class_ids=self._selection.class_ids,
            supercategories=self._selection.supercategories,
        )

    async def run(self) -> Product:
        """Build. Raises FailedPrecondition where the project has nothing to build from."""
        if not self._selection.classes:
            raise FailedPrecondition("NO_CLASSES", "the project has no label that is kept; add labels or map some")
        with Spill(self._folder / "images") as spill:
            await self._read(spill)
            if not len(spill):
                raise FailedPrecondition("NO_USABLE_IMAGES", self._nothing_left())
            if not spill.has_shapes:
                raise FailedPrecondition("NO_USABLE_SHAPES", self._nothing_to_learn())
            parts = await asyncio.to_thread(divide, spill, self._version.spec.split)
            rows = self._rows(spill, parts)
            shards = await self._write(rows)
        manifest = await self._put_index(shards)
        official = self._version.spec.split.method is Method.OFFICIAL
        return self._product(manifest, unassigned=spill.officials.count(UNASSIGNED) if official else 0)

    def _made_cropper(self) -> Cropper | None:
        crops = self._version.spec.crops
        if crops is None:
            return None
        return Cropper(
            self._version, crops, self._selection, objects=self._objects, loop=LOOP, patience=_STORE_PATIENCE
        )

    async def _read(self, spill: Spill) -> None:
        async for images in self._origin.images(self._plan):
            taken = await asyncio.to_thread(self._take, images)
            if self._cropper:
                taken = await self._cropper.cut(taken)
            await asyncio.to_thread(self._spill, taken, spill)
            self._progress.read += len(images)
        self._progress.kept = len(spill)

    def _take(self, images: Sequence[Image]) -> list[Taken]:
        return [(image, kept) for image in images if (kept := self._selection.take(image))]

    def _spill(self, taken: Sequence[Taken], spill: Spill) -> None:
        policy = self._version.spec.split
        for image, kept in taken:
            group = image.labels.get(policy.group_by, "") if policy.group_by else ""
            if image.crop:
                group = group or image.crop.source_digest
            spill.add(image, kept, group=group, place=place(image.digest, group, seed=policy.seed))

    def _rows(self, spill: Spill, parts: bytearray) -> Iterator[ManifestRow]:
        for file_name, number in spill.named(parts):
            image, group, shapes = spill.read(number)
            yield ManifestRow(
                asset=image.asset,
                digest=image.digest,
                logical_key=image.key or f"{self._version.project_uid}/{image.digest.removeprefix('sha256:')}",
                size_bytes=image.size_bytes,
                media_type=image.media_type,
                width=image.width,
                height=image.height,
                split=PARTS[parts[number]],
                group=group,
                file_name=file_name,
                shapes=shapes,
                original_name=image.display_name,
                source_name=image.source_name,
                source_id=image.source_id,
                crop=image.crop,
            )

    async def _write(self, rows: Iterator[ManifestRow]) -> tuple[ManifestShard, ...]:
        shards: list[ManifestShard] = []
        path = self._folder / "shard"
        while count := await self._fill(path, rows):
            blob = await self._put(path, ".parquet")
            shards.append(ManifestShard(blob.logical_key, blob.digest, blob.size_bytes, count))
        return tuple(shards)

    async def _fill(self, path: Path, rows: Iterator[ManifestRow]) -> int:
        writer = ShardWriter(path, self._selection.classes, crops=self._cropper is not None)
        try:
            while await asyncio.to_thread(self._write_slice, writer, rows):
                if writer.rows >= SHARD_ROWS or writer.size >= SHARD_BYTES:
                    break
        finally:
            await asyncio.to_thread(writer.close)
        return writer.rows

    def _write_slice(self, writer: ShardWriter, rows: Iterator[ManifestRow]) -> bool:
        before = writer.rows
        for row in islice(rows, _SLICE):
            writer.write(row)
            self._hash.add(row)
            self._tally.add(row)
        self._progress.written = self._tally.image_count
        return writer.rows > before

    async def _put_index(self, shards: tuple[ManifestShard, ...]) -> Blob:
        index = ManifestIndex(
            content_hash=self._hash.value(),
            task=self._version.spec.task,
            classes=self._selection.classes,
            project_uid=self._version.project_uid,
            read_sequence=self._plan.read_sequence,
            shards=shards,
            class_ids=self._selection.class_ids,
            supercategories=self._selection.supercategories,
            crops=self._cropper is not None,
        )
        path = self._folder / "index"
        path.write_bytes(index.to_json())
        return await self._put(path, ".json")

    async def _put(self, path: Path, suffix: str) -> Blob:
        with path.open("rb") as file:
            digest = (await asyncio.to_thread(hashlib.file_digest, file, "sha256")).hexdigest()
        key, put = f"{self._version.prefix}/{digest}{suffix}", self._objects.put
        stored = await through_outages(LOOP, lambda: put(key, path), patience=_STORE_PATIENCE, object=key)
        return Blob(f"sha256:{digest}", stored.size, stored.key)

    def _product(self, manifest: Blob, *, unassigned: int) -> Product:
        statistics = self._tally.statistics(self._selection, unassigned_count=unassigned)
        return Product(self._selection.classes, statistics, self._hash.value(), manifest)

    def _nothing_left(self) -> str:
        if not self._progress.read:
            return "the project has no images; import some"
        reasons = self._selection.skipped_images.most_common()
        why = ", ".join(f"{count} {reason}" for reason, count in reasons)
        shapes = self._selection.skipped_shapes.most_common()
        left = "; of their shapes " + ", ".join(f"{count} {reason}" for reason, count in shapes) if shapes else ""
        whose, task = self._whose(), self._version.spec.task
        return f"none of the {whose} {self._progress.read} images can be used for {task}: {why}{left}"

    def _nothing_to_learn(self) -> str:
        reasons = self._selection.skipped_shapes.most_common()
        why = ", ".join(f"{count} left out: {reason}" for reason, count in reasons) or "all images are empty"
        return f"none of the {self._whose()} shapes can be used for {self._version.spec.task}: {why}"

    def _whose(self) -> str:
        return "version's" if self._version.spec.of_version else "project's"


def divide(spill: Spill, policy: SplitPolicy) -> bytearray:
    """The part of each image by its number, as a number within PARTS.

    Raises:
        FailedPrecondition: NO_OFFICIAL_SPLIT, UNASSIGNED_IMAGES.
    """
    if policy.method is Method.RATIO:
        parts = bytearray(len(spill))
        for number, part in zip(spill.drawn(), split(spill.draw(), percents=policy.percents), strict=True):
            parts[number] = part
        return parts
    if policy.unassigned == LEFT_OUT:
        return spill.officials
    unassigned = spill.officials.count(UNASSIGNED)
    if unassigned == len(spill):
        raise FailedPrecondition(
            "NO_OFFICIAL_SPLIT",
            "no image was imported with a split; divide by ratio, as with 80/10/10, or import the split's files",
        )
    if not policy.unassigned and unassigned:
        raise FailedPrecondition("UNASSIGNED_IMAGES", _where_to(spill, unassigned))
    if not policy.unassigned:
        return spill.officials
    return spill.officials.replace(bytes([UNASSIGNED]), bytes([PARTS.index(policy.unassigned)]))


def _where_to(spill: Spill, count: int) -> str:
    without = (number for number, official in enumerate(spill.officials) if official == UNASSIGNED)
    names = ", ".join(spill.read(number)[0].display_name for number in islice(without, _SHOWN))
    return (
        f"{count} of the {len(spill)} images have no official split, such as {names}; say by `unassigned` where they "
        "go (on the command line --unassigned train, val or test, or drop to leave them out), set their split, or "
        "divide by ratio, as with 80/10/10"
    )
