"""Between pixels and tensors: the numeric half of prediction. Imported at the first prediction only."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_inference.model import InputSpec, VersionContent
from bloomery_inference.predictor import Found, Options
from bloomery_inference.runtime import Tensors
from bloomery_kit.errors import FieldViolation, InvalidArgument
from bloomery_vision.geometry import Box, Mask, Tag
from bloomery_vision.images import ImageError, decode
from bloomery_vision.postprocess import decode_detections, decode_masks, top_k
from bloomery_vision.preprocess import LetterboxTransform, letterbox, resize_center_crop

PREDICTIONS = "output0"
PROTOTYPES = "output1"


@dataclass(frozen=True)
class Fitted:
    """An image as a model takes it: uint8 [1, H, W, 3], and how it lies in its letterbox."""

    batch: NDArray[np.uint8]
    transform: LetterboxTransform | None


def decode_image(image: bytes) -> NDArray[np.uint8]:
    """An encoded image as uint8 [H, W, 3] RGB. Raise InvalidArgument with the reason."""
    try:
        return decode(image)
    except ImageError as error:
        text = f"{error.message} {error.hint}".strip()
        raise InvalidArgument([FieldViolation("image", text)], reason=error.code) from error


def fit(pixels: NDArray[np.uint8], spec: InputSpec) -> Fitted:
    """Fit an image to a model's input."""
    if spec.resize == "center-crop":
        return Fitted(resize_center_crop(pixels, spec.height)[None], None)
    framed, transform = letterbox(pixels, (spec.height, spec.width))
    return Fitted(framed[None], transform)


def shapes(
    content: VersionContent, tensors: Tensors, fitted: Fitted, chosen: tuple[int, ...] | None, options: Options
) -> tuple[Found, ...]:
    """What a model's outputs mean, best first, in pixels of the image."""
    return tuple(_READERS[content.task](content, tensors, fitted, chosen, options))


def _boxes(
    content: VersionContent, tensors: Tensors, fitted: Fitted, chosen: tuple[int, ...] | None, options: Options
) -> Iterator[Found]:
    detections = decode_detections(
        tensors[PREDICTIONS][0], conf=options.threshold, iou=options.iou, max_det=options.max_shapes, classes=chosen
    )
    assert fitted.transform is not None
    boxes = fitted.transform.to_original(detections.boxes)
    for box, score, index in zip(boxes.tolist(), detections.scores.tolist(), detections.classes.tolist(), strict=True):
        yield Found(content.classes[index], score, Box.from_corners(*box))


def _masks(
    content: VersionContent, tensors: Tensors, fitted: Fitted, chosen: tuple[int, ...] | None, options: Options
) -> Iterator[Found]:
    detections = decode_detections(
        tensors[PREDICTIONS][0],
        num_classes=len(content.classes),
        conf=options.threshold,
        iou=options.iou,
        max_det=options.max_shapes,
        classes=chosen,
    )
    assert fitted.transform is not None
    size = (content.input.height, content.input.width)
    masks = decode_masks(tensors[PROTOTYPES][0], detections, fitted.transform, size=size)
    for mask, score, index in zip(masks, detections.scores.tolist(), detections.classes.tolist(), strict=True):
        if mask.any():
            yield Found(content.classes[index], score, Mask.from_array(mask))


def _tags(
    content: VersionContent, tensors: Tensors, _fitted: Fitted, chosen: tuple[int, ...] | None, options: Options
) -> Iterator[Found]:
    for best in top_k(tensors[PREDICTIONS][0], len(content.classes))[: options.max_shapes]:
        if best.score >= options.threshold and (chosen is None or best.index in chosen):
            yield Found(content.classes[best.index], best.score, Tag())


_Reader = Callable[
    [VersionContent, Tensors, Fitted, tuple[int, ...] | None, Options],
    Iterator[Found],
]
_READERS: dict[str, _Reader] = {"detect": _boxes, "segment": _masks, "classify": _tags}
