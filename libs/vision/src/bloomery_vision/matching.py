"""Which detection takes which object, as COCO matches them, for all images at once.

Within an image and a class the detections choose one after another, best score first: each takes the object that is
left and that it overlaps most; where none is left that counts, it may take one that does not, and counts neither way
(Lin et al., Microsoft COCO, 2014; cocodataset/cocoapi, `cocoeval.py`). This is done for ten thresholds of overlap and
four ranges of area at once, which are the bits of one number, and for the n-th detection of every image in one step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Mask
from bloomery_vision.overlaps import Pairs, pairs_of_boxes, pairs_of_masks
from bloomery_vision.postprocess import Detections
from bloomery_vision.scenes import Found, GroundTruth, Objects, flat_found, flat_objects, mask_areas, rank_in_groups

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Of overlap, as COCO has them."""
MOST = 300
"""Detections of one class on one image that count, best first."""
AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Ranges of area in square pixels, both ends in them, as COCO has them."""
_LANES = len(THRESHOLDS)
_ONE_RANGE = np.uint64((1 << _LANES) - 1)
_EVERY = np.uint64((1 << _LANES * len(AREAS)) - 1)
_EXACT = 1 - 1e-10
"""An overlap that reaches a threshold of 1 up to rounding, as COCO has it."""

Bits = NDArray[np.uint64]
"""Bit `area * 10 + threshold`, by their places in AREAS and THRESHOLDS."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Detections and objects of some images, and which of them belong together.

    Attributes:
        images: how many.
        found: the detections.
        objects: the objects.
        pairs: which of them overlap.
        hits: [D], where a detection takes an object.
        ignored: [D], where it counts neither way.
        taken: int64 [D], the object that each takes at the lowest threshold, whatever its area; -1 for none.
    """

    images: int
    found: Found
    objects: Objects
    pairs: Pairs
    hits: Bits
    ignored: Bits
    taken: NDArray[np.int64]


def compare_boxes(
    predictions: Sequence[Detections], ground_truth: Sequence[GroundTruth], *, max_det: int = MOST
) -> Comparison:
    """Compares the predictions on each image with what is there.

    Args:
        predictions: one an image, not thresholded: curves need the weak ones (`conf=0.001`).
        ground_truth: one an image, in the same order.
        max_det: the most detections of one class on one image that count.

    Raises:
        ValueError: there are not as many of both.
    """
    _check_counts(predictions, ground_truth)
    objects, found = flat_objects(ground_truth), flat_found(predictions, max_det)
    return _compared(len(ground_truth), found, objects, pairs_of_boxes(found, objects))


def compare_masks(
    predictions: Sequence[Detections],
    masks: Sequence[Sequence[Mask]],
    ground_truth: Sequence[GroundTruth],
    true_masks: Sequence[Sequence[Mask]],
    *,
    scales: Sequence[float] | None = None,
    max_det: int = MOST,
) -> Comparison:
    """The same by the overlap of masks; boxes do not count.

    A prediction's overlap with a crowd is the part of the prediction that lies in it, as COCO defines it.

    Args:
        predictions: as for `compare_boxes`, for classes and scores.
        masks: one a prediction, in the same order, of the size of the image's true masks.
        ground_truth: as for `compare_boxes`, for classes and crowds.
        true_masks: one an object, in the same order.
        scales: of each image, the width of its masks over its own; 1 by default. Ranges of area are those of the
            image's own pixels.
        max_det: the most detections of one class on one image that count.

    Raises:
        ValueError: there are not as many of each.
    """
    _check_counts(predictions, ground_truth)
    _check_masks(masks, [len(one) for one in predictions])
    _check_masks(true_masks, [len(one.classes) for one in ground_truth])
    scale = np.ones(len(masks)) if scales is None else np.asarray(scales, dtype=np.float64)
    objects = flat_objects(ground_truth, mask_areas(true_masks, scale))
    found = flat_found(predictions, max_det, mask_areas(masks, scale))
    return _compared(len(ground_truth), found, objects, pairs_of_masks(found, objects, masks, true_masks))


def lane(bits: Bits, threshold: int, area: int = 0) -> NDArray[np.bool_]:
    """The bits of one threshold and one range of area, by their places."""
    return np.asarray(bits >> np.uint64(area * _LANES + threshold) & np.uint64(1), dtype=np.bool_)


def whatever_area(bits: Bits) -> NDArray[np.uint16]:
    """The bits of all thresholds in the first range of area."""
    return (bits & _ONE_RANGE).astype(np.uint16)


def of_known_classes(comparison: Comparison) -> NDArray[np.bool_]:
    """[D], whether a detection is of a class that has an object that counts."""
    known = np.unique(comparison.objects.classes[~comparison.objects.crowd])
    return np.isin(comparison.found.classes, known)


def outside(areas: NDArray[np.float64]) -> Bits:
    """The bits of the ranges that an area is not in."""
    found = np.zeros(len(areas), np.uint64)
    for place, (least, most) in enumerate(AREAS.values()):
        found |= np.where((areas < least) | (areas > most), _ONE_RANGE << np.uint64(place * _LANES), np.uint64(0))
    return found


def _check_counts(predictions: Sequence[Detections], ground_truth: Sequence[GroundTruth]) -> None:
    if len(predictions) != len(ground_truth):
        raise ValueError(f"{len(predictions)} predictions for {len(ground_truth)} images")


def _check_masks(masks: Sequence[Sequence[Mask]], counts: Sequence[int]) -> None:
    if [len(of_image) for of_image in masks] != list(counts):
        raise ValueError("each image needs a mask for each of its shapes")


def _compared(images: int, found: Found, objects: Objects, pairs: Pairs) -> Comparison:
    state = _State(found, objects)
    same = found.classes[pairs.found] == objects.classes[pairs.objects]
    state.match(Pairs(pairs.found[same], pairs.objects[same], pairs.overlaps[same]), found)
    ignored = state.ignored | outside(found.areas) & ~(state.hits | state.ignored)
    return Comparison(images, found, objects, pairs, state.hits, ignored, state.taken)


class _State:
    """What is left while detections choose."""

    def __init__(self, found: Found, objects: Objects) -> None:
        self._crowd = np.where(objects.crowd, _EVERY, np.uint64(0))
        self._counts = ~(outside(objects.areas) | self._crowd)
        self._free = np.full(len(objects.areas), _EVERY)
        self._open = np.full(len(found.areas), _EVERY)
        self.hits, self.ignored = np.zeros(len(found.areas), np.uint64), np.zeros(len(found.areas), np.uint64)
        self.taken = np.full(len(found.areas), -1)

    def match(self, pairs: Pairs, found: Found) -> None:
        """Lets all choose whose overlaps with objects of their class are given."""
        # Of equal overlaps the last object comes first, as COCO's loop takes it.
        order = np.lexsort((-pairs.objects, -pairs.overlaps, pairs.found))
        chosen, objects, overlaps = pairs.found[order], pairs.objects[order], pairs.overlaps[order]
        reached = _reached(overlaps)
        which, starts, counts = np.unique(chosen, return_index=True, return_counts=True)
        turns = rank_in_groups(found.images[which], found.classes[which])
        by_turn = np.argsort(turns, kind="stable")
        for turn in np.split(by_turn, np.cumsum(np.bincount(turns))[:-1]) if len(turns) else ():
            for counting in (True, False):
                for place in range(int(counts[turn].max())):
                    some = turn[counts[turn] > place]
                    pair = starts[some] + place
                    self._take(which[some], objects[pair], reached[pair], counting=counting)

    def _take(self, found: NDArray[np.int64], objects: NDArray[np.int64], reached: Bits, *, counting: bool) -> None:
        """Gives each detection its object where both are left; no object occurs twice."""
        counts = self._counts[objects]
        takes = self._open[found] & self._free[objects] & reached & (counts if counting else ~counts)
        self._open[found] &= ~takes
        self._free[objects] &= ~takes | self._crowd[objects]
        if counting:
            self.hits[found] |= takes
            first = np.asarray(takes & np.uint64(1), dtype=np.bool_)
            self.taken[found[first]] = objects[first]
        else:
            self.ignored[found] |= takes


def _reached(overlaps: NDArray[np.float64]) -> Bits:
    """The bits of the thresholds that an overlap reaches, in all ranges of area."""
    counts = np.searchsorted(np.minimum(THRESHOLDS, _EXACT), overlaps, side="right").astype(np.uint64)
    once = (np.uint64(1) << counts) - np.uint64(1)
    repeated = sum(1 << place * _LANES for place in range(len(AREAS)))
    return once * np.uint64(repeated)
