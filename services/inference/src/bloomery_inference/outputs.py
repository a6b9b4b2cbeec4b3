"""Between encoded images, tensors and what is seen: imported at the first prediction only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bloomery_inference.looking import Look, look_at
from bloomery_inference.model import InputSpec, VersionContent
from bloomery_inference.question import Options, RawImage
from bloomery_inference.runtime import Run, Tensors
from bloomery_kit.errors import FieldViolation, Internal, InvalidArgument
from bloomery_vision import interpret
from bloomery_vision.geometry import Found, Mask
from bloomery_vision.images import ImageError, decode, probe
from bloomery_vision.interpret import Choice, Fitted, OutputError
from bloomery_vision.mosaic import Mosaic
from bloomery_vision.rings import polygon_of
from bloomery_vision.tiling import Window

if TYPE_CHECKING:
    from bloomery_inference.question import Question

OUTPUTS = ("output0", "output1")
"""Names of a model's outputs: predictions, and the prototypes of masks."""
_BYTES_A_PIXEL = 16
"""What decoders and conversions were measured to take."""
_PROTOTYPE_BYTES = 8
"""What 32 prototypes of masks, of a quarter of each side, take for a pixel of the input."""


@dataclass(frozen=True)
class Needs:
    """About how much memory an image takes: at the peak of its decoding, and while its tiles are looked at."""

    decoding: int
    looking: int


@dataclass(frozen=True)
class View:
    """An image of (width, height) `size`: `fitted` where all is seen at once, else its `pixels` uint8 [H, W, 3]."""

    size: tuple[int, int]
    look: Look
    needs: Needs
    fitted: Fitted | None = None
    pixels: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Seen:
    """What is on an image of (width, height) `size`."""

    size: tuple[int, int]
    found: tuple[Found, ...]


def see(image: bytes | RawImage, question: Question, room: int, run: Run | None) -> Needs | View | Seen:
    """As much of a prediction as can be done in one thread.

    What the image takes, where that is more than `room` bytes; else the image as it is looked at, where its tiles are
    looked at one by one or there is nothing here that can `run` the model; else the answer.

    Raise InvalidArgument where the image is refused, and what `run` and `shapes` raise.
    """
    content, watch = question.version.content, question.watch
    with watch.measure("decode"):
        wanted = needs(image, content, question.options)
        if wanted.decoding > room:
            return wanted
        pixels = decode_image(image)
    size = pixels.shape[1], pixels.shape[0]
    look = look_at(*size, content.input, question.options)
    if len(look.tiles) > 1:
        return View(size, look, wanted, pixels=pixels)
    with watch.measure("preprocess"):
        fitted = fit(pixels, look.region, content.input)
    if run is None:
        return View(size, look, wanted, fitted=fitted)
    with watch.measure("inference"):
        tensors = run(fitted.pixels[None])
    with watch.measure("postprocess"):
        return Seen(size, shapes(content, tensors, fitted, question.chosen, question.options))


def needs(image: bytes | RawImage, content: VersionContent, options: Options) -> Needs:
    """What an image will take. Raise InvalidArgument with the reason, also where there is nothing to look at."""
    with _refused():
        shown = image if isinstance(image, RawImage) else probe(image, verify=False)
    pixels = shown.width * shown.height
    tiles = len(look_at(shown.width, shown.height, content.input, options).tiles)
    if tiles == 1:
        return Needs(pixels * _BYTES_A_PIXEL, 0)
    prototypes = _PROTOTYPE_BYTES * content.input.width * content.input.height if content.task == "segment" else 0
    looking = pixels * 3 + tiles * prototypes
    return Needs(max(pixels * _BYTES_A_PIXEL, looking), looking)


def decode_image(image: bytes | RawImage) -> NDArray[np.uint8]:
    """An image as uint8 [H, W, 3] RGB. Raise InvalidArgument with the reason."""
    if isinstance(image, RawImage):
        return np.frombuffer(image.rgb, dtype=np.uint8).reshape(image.height, image.width, 3)
    with _refused():
        return decode(image)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        text = f"{error.message}; {error.hint}" if error.hint else error.message
        raise InvalidArgument([FieldViolation("image", text)], reason=error.code) from error


def fit(pixels: NDArray[np.uint8], part: Window, spec: InputSpec) -> Fitted:
    """Fit a part of an image to a model's input."""
    return interpret.fit_part(pixels, part, (spec.height, spec.width), spec.resize)


def shapes(
    content: VersionContent, tensors: Tensors, fitted: Fitted, chosen: tuple[int, ...] | None, options: Options
) -> tuple[Found, ...]:
    """What a model's outputs for a batch of one image mean, best first, in pixels of the image.

    Raise Internal MODEL_BROKEN where they are no numbers, or not those of such a model.
    """
    with _told():
        choice = _choice(chosen, options)
        found = interpret.interpret(_decoder(content), _tensors(tensors), fitted, content.classes, choice)
        return as_asked(found, options)


def as_asked(found: Iterable[Found], options: Options) -> tuple[Found, ...]:
    """What is seen, masks as outlines where they are asked for."""
    return tuple(map(_outlined, found)) if options.polygons else tuple(found)


def _outlined(found: Found) -> Found:
    if not isinstance(found.geometry, Mask):
        return found
    return Found(found.label, found.score, polygon_of(found.geometry) or found.geometry)


def mosaic(content: VersionContent, region: Window, chosen: tuple[int, ...] | None, options: Options) -> Mosaic:
    """What brings together the tiles of a region."""
    return Mosaic(_decoder(content), content.classes, _choice(chosen, options), region)


def add_tile(mosaic: Mosaic, tensors: Tensors, fitted: Fitted) -> None:
    """Take in a model's outputs for a tile as a batch of one image. Raise Internal MODEL_BROKEN."""
    with _told():
        mosaic.add(_tensors(tensors), fitted)


def _decoder(content: VersionContent) -> str:
    return content.decoder or interpret.default_decoder(content.task)


def _tensors(tensors: Tensors) -> list[NDArray[np.float32]]:
    return [tensors[name][0] for name in OUTPUTS if name in tensors]


def _choice(chosen: tuple[int, ...] | None, options: Options) -> Choice:
    return Choice(options.threshold, options.iou, options.max_shapes, chosen, options.multi_label)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OutputError as error:
        raise Internal(f"{error}; use another version or variant", reason="MODEL_BROKEN") from error
