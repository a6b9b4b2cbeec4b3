"""Cutting images out of images while a version is built.

What is cut becomes a blob of its own below the version, named by its digest: whoever reads the manifest afterwards
finds an image like any other, and a try that is made again writes the same bytes under the same names.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bloomery_dataset.model import Crops, Image, Version
from bloomery_dataset.selection import Kept, Selection
from bloomery_kit.loops import through_outages
from bloomery_kit.objects import Content, ObjectStore
from bloomery_vision.crops import crop_region, cut_png
from bloomery_vision.geometry import Box, Shape, Tag
from bloomery_vision.images import ImageError, decode
from bloomery_vision.manifest import Crop

_MEDIA_TYPE = "image/png"
_BATCH_PIXELS = 32_000_000
T = TypeVar("T")
Taken = tuple[Image, Kept]


@dataclass(frozen=True)
class _Wanted:
    """A region to cut, for a shape that is called as its class by now, and was called `label`."""

    number: int
    shape: Shape
    label: str
    box: Box
    region: Box


class Cropper:
    """Makes images of boxes; what it leaves out is counted by the selection."""

    def __init__(
        self, version: Version, crops: Crops, selection: Selection, *, objects: ObjectStore, loop: str, patience: float
    ) -> None:
        self._version = version
        self._crops = crops
        self._selection = selection
        self._objects = objects
        self._loop = loop
        self._patience = patience

    async def cut(self, taken: Sequence[Taken]) -> list[Taken]:
        """The crops of images, in their order."""
        made: list[Taken] = []
        for image, kept in taken:
            if wanted := [*self._wanted(image, kept)]:
                made += await self._cut(image, wanted)
            else:
                self._selection.skipped_images["no crop"] += 1
        return made

    def _wanted(self, image: Image, kept: Kept) -> Iterator[_Wanted]:
        for number, (shape, label) in enumerate(zip(kept.shapes, kept.labels, strict=True), 1):
            box = shape.geometry.bounds
            assert box is not None
            region = crop_region(box, image.width, image.height, margin=self._crops.margin, square=self._crops.square)
            if shape.crowd:
                self._selection.skipped_shapes["crowd"] += 1
            elif min(region.width, region.height) < self._crops.smallest_side:
                self._selection.skipped_shapes[f"smaller than {self._crops.smallest_side} pixels"] += 1
            else:
                yield _Wanted(number, shape, label, box, region)

    async def _cut(self, image: Image, wanted: Sequence[_Wanted]) -> list[Taken]:
        key = image.key or f"{self._version.project_uid}/{image.digest.removeprefix('sha256:')}"
        data = await self._patiently(key, lambda: self._objects.get(key))
        try:
            pixels = await asyncio.to_thread(decode, data)
        except ImageError:
            self._selection.skipped_images["cannot be decoded"] += 1
            self._selection.skipped_shapes["image cannot be decoded"] += len(wanted)
            return []
        made: list[Taken] = []
        for some in _batches(wanted):
            packed = await asyncio.to_thread(_pack, pixels, some)
            crops = [self._crop(image, each, png) for each, png in zip(some, packed, strict=True)]
            blobs = {crop.key: Content(png, _MEDIA_TYPE) for (crop, _), png in zip(crops, packed, strict=True)}
            await self._patiently(key, partial(self._objects.put_all, blobs))
            made += crops
        return made

    def _crop(self, image: Image, wanted: _Wanted, png: bytes) -> Taken:
        digest = hashlib.sha256(png).hexdigest()
        shape = replace(wanted.shape, geometry=Tag())
        crop = replace(
            image,
            digest=f"sha256:{digest}",
            size_bytes=len(png),
            media_type=_MEDIA_TYPE,
            width=int(wanted.region.width),
            height=int(wanted.region.height),
            key=f"{self._version.prefix}/crops/{digest}",
            crop=Crop(image.digest, wanted.region, wanted.box, wanted.label),
            number=wanted.number,
        )
        return crop, Kept((shape,), {shape.label: 1})

    async def _patiently(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        return await through_outages(self._loop, work, patience=self._patience, object=key)


def _batches(wanted: Sequence[_Wanted]) -> Iterator[list[_Wanted]]:
    """As many at a time as memory can hold, whatever is asked for."""
    some: list[_Wanted] = []
    pixels = 0.0
    for each in wanted:
        if some and pixels + each.region.area > _BATCH_PIXELS:
            yield some
            some, pixels = [], 0.0
        some.append(each)
        pixels += each.region.area
    yield some


def _pack(pixels: NDArray[np.uint8], wanted: Sequence[_Wanted]) -> list[bytes]:
    return [cut_png(pixels, each.region) for each in wanted]
