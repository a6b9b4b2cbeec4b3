"""What is taken for what: the confusion matrix, and the single mistakes behind its cells.

Of detections those count whose score reaches a threshold. First each class is matched by itself as for average
precision at an overlap of 0.5; then what is left is matched across classes in the same way: best score first, each
detection with the object that is left and that it overlaps most, by 0.5 or more. Objects without a detection are taken
for background, and detections without an object are background that is taken for something, also where they are the
second on one object. Crowds, and detections of their class in them, count neither way; nor do detections where nothing
is of a class that has no object on these images, as nobody may have looked for it there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.matching import Comparison, lane, of_known_classes

_NONE = -1


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What is not on the diagonal of a confusion matrix, image by image.

    Attributes:
        images: int64 [M], numbers of the images.
        truth: int64 [M], classes; that of background, behind the last one, for a find where nothing is.
        predicted: int64 [M], the same for an object that is missed.
        objects: int64 [M], places among the objects; -1 for none.
        found: int64 [M], places among the detections; -1 for none.
        scores: float64 [M], of the predictions; 0 for an object that is missed.
    """

    images: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    objects: NDArray[np.int64]
    found: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        counts: int64 [K, K], true classes down and predicted ones across; the last of detections is background.
        confidence: the least score of detections that count; 0 for classifiers.
        mistakes: one for each that is not on the diagonal.
    """

    counts: NDArray[np.int64]
    confidence: float
    mistakes: Mistakes


def detection_confusion(comparison: Comparison, *, confidence: float, num_classes: int) -> Confusion:
    """The matrix [num_classes + 1, num_classes + 1] of detections with a score of `confidence` or more."""
    found, objects = comparison.found, comparison.objects
    shown = (found.scores >= confidence) & ~lane(comparison.ignored, 0)
    hits = shown & lane(comparison.hits, 0)
    left_found, left_objects = shown & ~hits, ~objects.crowd
    left_objects[comparison.taken[hits]] = False
    wrong, mistaken = _across(comparison, left_found, left_objects)
    left_found[wrong], left_objects[mistaken] = False, False
    extra = np.flatnonzero(left_found & of_known_classes(comparison))
    missed = np.flatnonzero(left_objects)
    mistakes = _mistakes(
        comparison,
        np.concatenate([mistaken, np.full(len(extra), _NONE), missed]),
        np.concatenate([wrong, extra, np.full(len(missed), _NONE)]),
        num_classes,
    )
    counts = counted(mistakes.truth, mistakes.predicted, num_classes + 1)
    right = found.classes[hits]
    return Confusion(counts + counted(right, right, num_classes + 1), confidence, mistakes)


def class_confusion(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], scores: NDArray[np.floating], *, num_classes: int
) -> Confusion:
    """The matrix [num_classes, num_classes] of whole images.

    Args:
        truth: [N], their classes.
        predicted: [N], the most probable classes.
        scores: [N], how probable those are.
        num_classes: class numbers are below it.
    """
    wrong = np.flatnonzero(truth != predicted)
    none = np.full(len(wrong), _NONE)
    mistakes = Mistakes(wrong, truth[wrong], predicted[wrong], none, none, scores[wrong].astype(np.float64))
    return Confusion(counted(truth, predicted, num_classes), 0.0, mistakes)


def worst_images(mistakes: Mistakes, most: int) -> NDArray[np.int64]:
    """The numbers of the images with the most mistakes, at most `most`.

    Of as many mistakes the image comes first whose surest one has the higher score, then the first in order.
    """
    images, of_image, counts = np.unique(mistakes.images, return_inverse=True, return_counts=True)
    surest = np.zeros(len(images))
    np.maximum.at(surest, of_image, mistakes.scores)
    return np.asarray(images[np.lexsort((images, -surest, -counts))][:most])


def counted(truth: NDArray[np.int64], predicted: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """How often each pair of classes occurs, [size, size]."""
    return np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)


def _across(
    comparison: Comparison, left_found: NDArray[np.bool_], left_objects: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The detections and objects of different classes that are matched with each other."""
    pairs = comparison.pairs
    some = np.flatnonzero(left_found[pairs.found] & left_objects[pairs.objects])
    found, objects = pairs.found[some], pairs.objects[some]
    order = np.lexsort((-objects, -pairs.overlaps[some], found, -comparison.found.scores[found]))
    taken: dict[int, int] = {}
    used: set[int] = set()
    for one, other in zip(found[order].tolist(), objects[order].tolist(), strict=True):
        if one not in taken and other not in used:
            taken[one] = other
            used.add(other)
    return np.array(list(taken), dtype=np.int64), np.array(list(taken.values()), dtype=np.int64)


def _mistakes(
    comparison: Comparison, objects: NDArray[np.int64], found: NDArray[np.int64], background: int
) -> Mistakes:
    there, seen = objects != _NONE, found != _NONE
    images = np.zeros(len(objects), np.int64)
    images[there], images[seen] = comparison.objects.images[objects[there]], comparison.found.images[found[seen]]
    truth, predicted = np.full(len(objects), background), np.full(len(objects), background)
    truth[there] = comparison.objects.classes[objects[there]]
    predicted[seen] = comparison.found.classes[found[seen]]
    scores = np.zeros(len(objects))
    scores[seen] = comparison.found.scores[found[seen]]
    order = np.lexsort((-scores, images))
    return Mistakes(images[order], truth[order], predicted[order], objects[order], found[order], scores[order])
