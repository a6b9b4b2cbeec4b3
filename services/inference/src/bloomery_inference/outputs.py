"""Between encoded images, tensors and what is seen: imported at the first prediction only."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from bloomery_inference.model import InputSpec, Options, VersionContent
from bloomery_inference.runtime import Tensors
from bloomery_kit.errors import FieldViolation, Internal, InvalidArgument
from bloomery_vision import interpret
from bloomery_vision.geometry import Found
from bloomery_vision.images import ImageError, decode, probe
from bloomery_vision.interpret import Choice, Fitted, OutputError

OUTPUTS = ("output0", "output1")
"""Names of a model's outputs: predictions, and the prototypes of masks."""
_BYTES_A_PIXEL = 16
"""What decoders and conversions were measured to take."""


def decoding_bytes(image: bytes) -> int:
    """About how much memory decoding takes at its peak. Raise InvalidArgument with the reason."""
    with _refused():
        info = probe(image, verify=False)
    return info.width * info.height * _BYTES_A_PIXEL


def decode_image(image: bytes) -> NDArray[np.uint8]:
    """An encoded image as uint8 [H, W, 3] RGB. Raise InvalidArgument with the reason."""
    with _refused():
        return decode(image)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        text = f"{error.message}; {error.hint}" if error.hint else error.message
        raise InvalidArgument([FieldViolation("image", text)], reason=error.code) from error


def fit(pixels: NDArray[np.uint8], spec: InputSpec) -> Fitted:
    """Fit an image to a model's input."""
    return interpret.fit(pixels, (spec.height, spec.width), spec.resize)


def shapes(
    content: VersionContent, tensors: Tensors, fitted: Fitted, chosen: tuple[int, ...] | None, options: Options
) -> tuple[Found, ...]:
    """What a model's outputs for a batch of one image mean, best first, in pixels of the image.

    Raise Internal MODEL_BROKEN where they are no numbers, or not those of such a model.
    """
    choice = Choice(options.threshold, options.iou, options.max_shapes, chosen, options.multi_label)
    outputs = [tensors[name][0] for name in OUTPUTS if name in tensors]
    decoder = content.decoder or interpret.default_decoder(content.task)
    try:
        return tuple(interpret.interpret(decoder, outputs, fitted, content.classes, choice))
    except OutputError as error:
        raise Internal(f"{error}; use another version or variant", reason="MODEL_BROKEN") from error
