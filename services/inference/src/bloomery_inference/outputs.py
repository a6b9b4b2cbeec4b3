"""Between encoded images, tensors and what is seen: imported at the first prediction only."""

import numpy as np
from numpy.typing import NDArray

from bloomery_inference.model import InputSpec, VersionContent
from bloomery_inference.predictor import Options
from bloomery_inference.runtime import Tensors
from bloomery_kit.errors import FieldViolation, InvalidArgument
from bloomery_vision import interpret
from bloomery_vision.geometry import Found
from bloomery_vision.images import ImageError, decode
from bloomery_vision.interpret import Choice, Fitted

OUTPUTS = ("output0", "output1")
"""Names of a model's outputs: predictions, and the prototypes of masks."""


def decode_image(image: bytes) -> NDArray[np.uint8]:
    """An encoded image as uint8 [H, W, 3] RGB. Raise InvalidArgument with the reason."""
    try:
        return decode(image)
    except ImageError as error:
        text = f"{error.message} {error.hint}".strip()
        raise InvalidArgument([FieldViolation("image", text)], reason=error.code) from error


def fit(pixels: NDArray[np.uint8], spec: InputSpec) -> Fitted:
    """Fit an image to a model's input."""
    return interpret.fit(pixels, (spec.height, spec.width), spec.resize)


def shapes(
    content: VersionContent, tensors: Tensors, fitted: Fitted, chosen: tuple[int, ...] | None, options: Options
) -> tuple[Found, ...]:
    """What a model's outputs for a batch of one image mean, best first, in pixels of the image."""
    choice = Choice(options.threshold, options.iou, options.max_shapes, chosen)
    outputs = [tensors[name][0] for name in OUTPUTS if name in tensors]
    return tuple(interpret.interpret(content.task, outputs, fitted, content.classes, choice))
