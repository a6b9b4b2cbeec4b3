"""The objects and the detections of many images as flat arrays, in the order in which COCO's evaluation takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Mask
from bloomery_vision.postprocess import Detections

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The objects that are on one image.

    Attributes:
        boxes: [N, 4], corners x1, y1, x2, y2, in the frame of the predictions.
        classes: [N], class numbers.
        crowd: bool [N], regions that count neither way; None where there are none.
    """

    boxes: NDArray[np.floating]
    classes: NDArray[np.integer]
    crowd: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of all images, image by image.

    Attributes:
        images: int64 [G], numbers of the images.
        classes: int64 [G].
        crowd: bool [G].
        boxes: float64 [G, 4], x, y, width, height.
        areas: float64 [G], square pixels.
    """

    images: NDArray[np.int64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Found:
    """The detections of all images that count: image by image, class by class, best first.

    Attributes:
        places: int64 [D], of each among all that were given.
        images: int64 [D], numbers of the images.
        classes: int64 [D].
        scores: float64 [D].
        boxes: float64 [D, 4], x, y, width, height.
        areas: float64 [D], square pixels.
    """

    places: NDArray[np.int64]
    images: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]


def flat_objects(ground_truth: Sequence[GroundTruth], areas: NDArray[np.float64] | None = None) -> Objects:
    """The objects of all images; `areas` are those of their boxes by default."""
    crowds = [np.zeros(len(one.classes), np.bool_) if one.crowd is None else one.crowd for one in ground_truth]
    boxes = np.concatenate([np.zeros((0, 4)), *(sized(one.boxes) for one in ground_truth)])
    return Objects(
        images=_numbers([len(one.classes) for one in ground_truth]),
        classes=_joined([one.classes for one in ground_truth], np.int64),
        crowd=_joined(crowds, np.bool_),
        boxes=boxes,
        areas=boxes[:, 2] * boxes[:, 3] if areas is None else areas,
    )


def flat_found(predictions: Sequence[Detections], max_det: int, areas: NDArray[np.float64] | None = None) -> Found:
    """The detections of all images, without those behind the `max_det` best of a class on an image.

    `areas` are those of their boxes by default; they are given of all detections, in the order of `predictions`.
    """
    images = _numbers([len(one) for one in predictions])
    classes = _joined([one.classes for one in predictions], np.int64)
    scores = _joined([one.scores for one in predictions], np.float64)
    boxes = np.concatenate([np.zeros((0, 4)), *(sized(one.boxes) for one in predictions)])
    sizes = boxes[:, 2] * boxes[:, 3] if areas is None else areas
    order = np.lexsort((-scores, classes, images))
    order = order[rank_in_groups(images[order], classes[order]) < max_det]
    return Found(order, images[order], classes[order], scores[order], boxes[order], sizes[order])


def mask_areas(masks: Sequence[Sequence[Mask]], scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square pixels of the image of each mask, of which a pixel is as wide as 1 / scale of the image's."""
    sizes = [mask.area / scale**2 for of_image, scale in zip(masks, scales, strict=True) for mask in of_image]
    return np.array(sizes, dtype=np.float64)


def sized(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Boxes of corners [N, 4] as x, y, width, height, which COCO's code takes."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)


def rank_in_groups(*keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each among its neighbours with the same keys, which stand together."""
    first = np.ones(len(keys[0]), np.bool_)
    first[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    starts = np.flatnonzero(first)
    return np.arange(len(first)) - np.repeat(starts, np.diff(np.append(starts, len(first))))


def _numbers(counts: Sequence[int]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(counts)), np.array(counts, dtype=np.int64))


def _joined(parts: Sequence[NDArray[np.generic]], kind: type[T]) -> NDArray[T]:
    return np.concatenate([np.zeros(0, kind), *(part.astype(kind) for part in parts)])
