"""From an image to a model's input, and from the model's raw outputs to what is on the image, in its own pixels.

The same for one image that is served and for the images of a dataset version.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Box, Found, Mask, Tag
from bloomery_vision.postprocess import Detections, decode_detections, decode_masks, top_k
from bloomery_vision.preprocess import LetterboxTransform, letterbox, resize_center_crop

LETTERBOX = "letterbox"
CENTER_CROP = "center-crop"


@dataclass(frozen=True, slots=True)
class Fitted:
    """An image as a model takes it: uint8 [H, W, 3], and how it lies in its letterbox, if it lies in one."""

    pixels: NDArray[np.uint8]
    transform: LetterboxTransform | None


@dataclass(frozen=True, slots=True)
class Choice:
    """What to return of all that a model sees.

    Attributes:
        conf: what a score has to exceed.
        iou: overlap above which the weaker of two boxes of one class is dropped.
        max_det: the most shapes on one image.
        classes: class numbers; None for all.
    """

    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300
    classes: Sequence[int] | None = None


def fit(image: NDArray[np.uint8], size: tuple[int, int], resize: str) -> Fitted:
    """Fit an image [H, W, 3] to an input of (height, width): by "letterbox", or by "center-crop" to a square."""
    if resize == CENTER_CROP:
        return Fitted(resize_center_crop(image, size[0]), None)
    return Fitted(*letterbox(image, size))


def interpret(
    task: str, outputs: Sequence[NDArray[np.float32]], fitted: Fitted, names: Sequence[str], choice: Choice
) -> Iterator[Found]:
    """What is on an image, best first.

    Args:
        task: "detect", "segment" or "classify".
        outputs: the model's raw outputs for the image, without the batch axis.
        fitted: the image as the model saw it.
        names: the model's classes in the order of their numbers.
        choice: what to return.
    """
    if task == "classify":
        yield from _tags(outputs[0], names, choice)
        return
    detections = decode_detections(
        outputs[0],
        num_classes=len(names),
        conf=choice.conf,
        iou=choice.iou,
        max_det=choice.max_det,
        classes=choice.classes,
    )
    assert fitted.transform is not None
    geometries = _masks(outputs[1], detections, fitted) if task == "segment" else _boxes(detections, fitted.transform)
    for geometry, score, number in zip(
        geometries, detections.scores.tolist(), detections.classes.tolist(), strict=True
    ):
        if geometry is not None:
            yield Found(names[number], score, geometry)


def _boxes(detections: Detections, transform: LetterboxTransform) -> Iterator[Box]:
    for corners in transform.to_original(detections.boxes).tolist():
        yield Box.from_corners(*corners)


def _masks(prototypes: NDArray[np.float32], detections: Detections, fitted: Fitted) -> Iterator[Mask | None]:
    """None for a mask without a pixel."""
    assert fitted.transform is not None
    height, width = fitted.pixels.shape[:2]
    for mask in decode_masks(prototypes, detections, fitted.transform, size=(height, width)):
        yield Mask.from_array(mask) if mask.any() else None


def _tags(probabilities: NDArray[np.float32], names: Sequence[str], choice: Choice) -> Iterator[Found]:
    for best in top_k(probabilities, len(names))[: choice.max_det]:
        if best.score >= choice.conf and (choice.classes is None or best.index in choice.classes):
            yield Found(names[best.index], best.score, Tag())
