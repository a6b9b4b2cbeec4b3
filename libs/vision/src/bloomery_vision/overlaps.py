"""How far detections and objects of one image overlap: of boxes for many images at once, of masks image by image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_masks

from bloomery_vision.geometry import Mask
from bloomery_vision.scenes import Found, Objects

LEAST = 0.5
"""The lowest threshold of overlap."""
_AT_ONCE = 1 << 20
"""Pairs of boxes that are compared at once."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Detections and objects of one image that overlap by `LEAST` or more, whatever their classes.

    Attributes:
        found: int64 [P], rising.
        objects: int64 [P].
        overlaps: float64 [P]; with a crowd, the part of the detection that lies in it.
    """

    found: NDArray[np.int64]
    objects: NDArray[np.int64]
    overlaps: NDArray[np.float64]


def pairs_of_boxes(found: Found, objects: Objects) -> Pairs:
    """The pairs by the overlap of their boxes."""
    return _joined(_some_boxes(found, objects))


def pairs_of_masks(
    found: Found, objects: Objects, masks: Sequence[Sequence[Mask]], true_masks: Sequence[Sequence[Mask]]
) -> Pairs:
    """The pairs by the overlap of their masks, which are given image by image."""
    return _joined(_of_images(found, objects, masks, true_masks))


def overlaps_of_masks(masks: Sequence[Mask], others: Sequence[Mask]) -> NDArray[np.float64]:
    """Intersection over union of each mask with each other one, float64 [M, N]; all are of one image, none is empty."""
    none_is_crowd = np.zeros(len(others), np.uint8)
    return np.asarray(coco_masks.iou(_encoded(masks), _encoded(others), none_is_crowd))


def _joined(parts: Iterator[Pairs]) -> Pairs:
    none = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    every = [none, *parts]
    return Pairs(
        np.concatenate([one.found for one in every]),
        np.concatenate([one.objects for one in every]),
        np.concatenate([one.overlaps for one in every]),
    )


def _some_boxes(found: Found, objects: Objects) -> Iterator[Pairs]:
    starts = np.searchsorted(objects.images, found.images, side="left")
    counts = np.searchsorted(objects.images, found.images, side="right") - starts
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(_AT_ONCE, ends[-1] if len(ends) else 0, _AT_ONCE))
    for part in np.split(np.arange(len(counts)), cuts):
        detections = np.repeat(part, counts[part])
        behind = np.arange(len(detections)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        others = starts[detections] + behind
        overlaps = _overlaps(found.boxes[detections], objects.boxes[others], objects.crowd[others])
        near = overlaps >= LEAST
        yield Pairs(detections[near], others[near], overlaps[near])


def _overlaps(boxes: NDArray[np.float64], others: NDArray[np.float64], crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[P], in the steps of COCO's code, so that it is the same to the last bit."""
    x, y, width, height = boxes.T
    other_x, other_y, other_width, other_height = others.T
    across = np.minimum(x + width, other_x + other_width) - np.maximum(x, other_x)
    down = np.minimum(y + height, other_y + other_height) - np.maximum(y, other_y)
    common = np.where((across > 0) & (down > 0), across * down, 0.0)
    area = width * height
    union = np.where(crowd, area, area + other_width * other_height - common)
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=common > 0))


def _of_images(
    found: Found, objects: Objects, masks: Sequence[Sequence[Mask]], true_masks: Sequence[Sequence[Mask]]
) -> Iterator[Pairs]:
    firsts = np.cumsum([0, *(len(one) for one in masks)])
    for image, (of_image, true_ones) in enumerate(zip(masks, true_masks, strict=True)):
        detections = np.arange(*np.searchsorted(found.images, [image, image + 1]))
        others = np.arange(*np.searchsorted(objects.images, [image, image + 1]))
        if not len(detections) or not len(others):
            continue
        kept = [of_image[place - firsts[image]] for place in found.places[detections]]
        crowd = objects.crowd[others].astype(np.uint8)
        overlaps = np.asarray(coco_masks.iou(_encoded(kept), _encoded(true_ones), crowd))
        rows, columns = np.nonzero(overlaps >= LEAST)
        yield Pairs(detections[rows], others[columns], overlaps[rows, columns])


def _encoded(masks: Sequence[Mask]) -> list[Any]:
    return [{"size": [mask.height, mask.width], "counts": mask.counts} for mask in masks]
