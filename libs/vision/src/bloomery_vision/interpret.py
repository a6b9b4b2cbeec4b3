"""From an image to a model's input, and from the model's raw outputs to what is on the image, in its own pixels.

The same for one image that is served and for the images of a dataset version.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.decoders import CENTER_CROP, PROBABILITIES, YOLO, YOLO_END_TO_END
from bloomery_vision.geometry import Box, Found, Mask, Tag
from bloomery_vision.postprocess import (
    Detections,
    decode_detections,
    decode_end2end,
    decode_masks,
    find_candidates,
    top_k,
)
from bloomery_vision.preprocess import LetterboxTransform, letterbox, resize_center_crop
from bloomery_vision.rle import runs_of_part
from bloomery_vision.tiling import Window


@dataclass(frozen=True, slots=True)
class Fitted:
    """An image, or a part of one, as a model takes it.

    Attributes:
        pixels: uint8 [H, W, 3].
        transform: how it lies in its letterbox, None where it lies in none.
        part: which part it is of an image of (width, height) `size`; None for a whole image.
        size: of the whole image.
    """

    pixels: NDArray[np.uint8]
    transform: LetterboxTransform | None
    part: Window | None = None
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to return of all that a model sees.

    Attributes:
        conf: what a score has to exceed.
        iou: overlap above which the weaker of two boxes of one class is dropped.
        max_det: the most shapes on one image.
        classes: class numbers; None for all.
        multi_label: let one anchor answer for each class above `conf`, not only for its best.
    """

    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300
    classes: Sequence[int] | None = None
    multi_label: bool = False


EVALUATION = Choice(conf=0.001)
"""What a model is measured by: nearly all that it sees, decoded as in every prediction."""


class OutputError(ValueError):
    """A model's outputs are not what it is said to give."""


class NotFiniteError(OutputError):
    """A model answered with what is no number: its weights are damaged, or it computes beyond its precision."""

    def __init__(self) -> None:
        super().__init__("the model answers with NaN or infinity")


def default_decoder(task: str) -> str:
    """The decoder of a model of "detect", "segment" or "classify" that does not say which it needs."""
    return PROBABILITIES if task == "classify" else YOLO


def fit(image: NDArray[np.uint8], size: tuple[int, int], resize: str) -> Fitted:
    """Fit an image [H, W, 3] to an input of (height, width): by "letterbox", or by "center-crop" to a square."""
    if resize == CENTER_CROP:
        return Fitted(resize_center_crop(image, size[0]), None)
    return Fitted(*letterbox(image, size))


def fit_part(image: NDArray[np.uint8], part: Window, size: tuple[int, int], resize: str) -> Fitted:
    """The same for a part of an image: what is found on it comes in pixels of the whole image."""
    fitted = fit(part.of(image), size, resize)
    return replace(fitted, part=part, size=(image.shape[1], image.shape[0]))


def interpret(
    decoder: str, outputs: Sequence[NDArray[np.float32]], fitted: Fitted, names: Sequence[str], choice: Choice
) -> Iterator[Found]:
    """What is on an image, best first.

    Args:
        decoder: how the outputs are read, one of those of its task in `DECODERS_OF`.
        outputs: the model's raw outputs for the image, without the batch axis; a second one holds prototypes of masks.
        fitted: the image as the model saw it.
        names: the model's classes in the order of their numbers.
        choice: what to return.

    Raises:
        NotFiniteError: the outputs hold what is no number.
        OutputError: they have not the shape that the decoder reads, or nobody knows the decoder.
    """
    check_outputs(decoder, outputs, len(names))
    if decoder == PROBABILITIES:
        yield from _tags(outputs[0], names, choice)
        return
    assert fitted.transform is not None
    detections = detect(decoder, outputs[0], len(names), choice).on_image(fitted.transform)
    yield from objects(detections, outputs[1] if len(outputs) > 1 else None, fitted, names)


def objects(
    detections: Detections, prototypes: NDArray[np.float32] | None, fitted: Fitted, names: Sequence[str]
) -> Iterator[Found]:
    """Detections in the letterbox's frame as what is on the image: boxes, or masks where there are prototypes of them.

    A mask without a pixel is no object.
    """
    geometries = _boxes(detections, fitted) if prototypes is None else _masks(prototypes, detections, fitted)
    for geometry, score, number in zip(
        geometries, detections.scores.tolist(), detections.classes.tolist(), strict=True
    ):
        if geometry is not None:
            yield Found(names[number], score, geometry)


def detect(decoder: str, raw: NDArray[np.float32], num_classes: int, choice: Choice) -> Detections:
    """The objects in a detector's first output, in the letterbox's frame.

    Args:
        decoder: one of `DETECTORS`.
        raw: for one image, as `decode_detections` or `decode_end2end` take it.
        num_classes: how many classes the model knows.
        choice: what to return; a head that needs no suppression looks at neither `iou` nor `multi_label`.
    """
    return DETECTORS[decoder](raw, num_classes, choice)


def candidates(decoder: str, raw: NDArray[np.float32], num_classes: int, choice: Choice) -> Detections:
    """What `detect` chooses from: all that scores enough, however much it overlaps and however many there are."""
    if decoder == YOLO_END_TO_END:
        return _end_to_end(raw, num_classes, replace(choice, max_det=len(raw)))
    return find_candidates(
        raw, num_classes=num_classes, conf=choice.conf, classes=choice.classes, multi_label=choice.multi_label
    )


def _overlapping(raw: NDArray[np.float32], num_classes: int, choice: Choice) -> Detections:
    return decode_detections(
        raw,
        num_classes=num_classes,
        conf=choice.conf,
        iou=choice.iou,
        max_det=choice.max_det,
        classes=choice.classes,
        multi_label=choice.multi_label,
    )


def _end_to_end(raw: NDArray[np.float32], num_classes: int, choice: Choice) -> Detections:
    found = decode_end2end(raw, conf=choice.conf, classes=choice.classes)
    if odd := sorted({number for number in found.classes.tolist() if not 0 <= number < num_classes}):
        raise OutputError(f"the model sees class {odd[0]}, it has {num_classes}")
    return found.select(np.arange(min(len(found), choice.max_det)))


DETECTORS: Mapping[str, Callable[[NDArray[np.float32], int, Choice], Detections]] = {
    YOLO: _overlapping,
    YOLO_END_TO_END: _end_to_end,
}
"""How the outputs of detectors are read; a model says which of these it needs."""


def check_outputs(decoder: str, outputs: Sequence[NDArray[np.float32]], num_classes: int) -> None:
    """Refuse outputs that are no numbers, or would be read as something else than they are.

    Raises:
        NotFiniteError: they hold what is no number.
        OutputError: they have not the shape that the decoder reads, or nobody knows the decoder.
    """
    if not are_finite(outputs):
        raise NotFiniteError
    masks = outputs[1].shape[0] if len(outputs) > 1 else 0
    expected = {
        YOLO: (4 + num_classes + masks, 0, "numbers for each of its anchors"),
        YOLO_END_TO_END: (6 + masks, 1, "numbers for each of its rows"),
        PROBABILITIES: (num_classes, 0, "probabilities"),
    }
    if decoder not in expected:
        known = ", ".join(sorted(expected))
        raise OutputError(f"the model's outputs are to be read by {decoder!r}; known are {known}")
    count, axis, what = expected[decoder]
    if (given := outputs[0].shape[axis]) != count:
        raise OutputError(f"a model of {num_classes} classes gives {count} {what}, not {given}")


def are_finite(outputs: Sequence[NDArray[np.float32]]) -> bool:
    """Whether a model's outputs are numbers: what compares with NaN passes for nothing found, or for equal."""
    return all(bool(np.isfinite(output).all()) for output in outputs)


def _boxes(detections: Detections, fitted: Fitted) -> Iterator[Box]:
    assert fitted.transform is not None
    left, top = (fitted.part.left, fitted.part.top) if fitted.part else (0, 0)
    for x1, y1, x2, y2 in fitted.transform.to_original(detections.boxes).tolist():
        yield Box.from_corners(left + x1, top + y1, left + x2, top + y2)


def _masks(prototypes: NDArray[np.float32], detections: Detections, fitted: Fitted) -> Iterator[Mask | None]:
    """None for a mask without a pixel."""
    assert fitted.transform is not None
    height, width = fitted.pixels.shape[:2]
    for mask in decode_masks(prototypes, detections, fitted.transform, size=(height, width)):
        yield _whole(mask, fitted) if mask.any() else None


def _whole(part: NDArray[np.bool_], fitted: Fitted) -> Mask:
    """The mask of the whole image for that of its part."""
    width, height = fitted.size
    if fitted.part is None or part.shape == (height, width):
        return Mask.from_array(part)
    left, top = fitted.part.left, fitted.part.top
    return Mask.from_runs(width, height, runs_of_part(part, left=left, top=top, width=width, height=height))


def _tags(probabilities: NDArray[np.float32], names: Sequence[str], choice: Choice) -> Iterator[Found]:
    for best in top_k(probabilities, len(names))[: choice.max_det]:
        if best.score >= choice.conf and (choice.classes is None or best.index in choice.classes):
            yield Found(names[best.index], best.score, Tag())
