"""Pictures of images with their shapes, for people."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bloomery_vision.colors import color, rgb
from bloomery_vision.geometry import Box, Mask, Polygon, Shape
from bloomery_vision.postprocess import Detections

_FILL = 70
"""Opacity of filled areas, of 255."""


def draw(
    image: NDArray[np.uint8],
    shapes: Sequence[Shape],
    *,
    captions: Sequence[str] | None = None,
    colors: Mapping[str, str] | None = None,
) -> NDArray[np.uint8]:
    """A copy of an image with shapes and captions on it.

    Args:
        image: uint8 [H, W, 3], RGB.
        shapes: in its pixels.
        captions: one for each shape; None for its label.
        colors: `#rrggbb` by label; a label without one gets the next of the palette, in the labels' order.
    """
    texts = [shape.label for shape in shapes] if captions is None else captions
    labels = sorted({shape.label for shape in shapes})
    palette = {label: color(index) for index, label in enumerate(labels)} | dict(colors or {})
    canvas = Image.fromarray(image)
    stroke = max(2, round(max(canvas.size) / 400))
    font = ImageFont.load_default(size=max(12, round(max(canvas.size) / 50)))
    for shape in shapes:
        _outline(canvas, shape, rgb(palette[shape.label]), stroke)
    tags = _Captions(canvas, font)
    for shape, text in zip(shapes, texts, strict=True):
        tags.put(shape, text, rgb(palette[shape.label]))
    return np.asarray(canvas)


def draw_detections(image: NDArray[np.uint8], detections: Detections, names: Sequence[str]) -> NDArray[np.uint8]:
    """A copy of an image with detected boxes, their labels and scores on it.

    Args:
        image: uint8 [H, W, 3], RGB.
        detections: in its pixels.
        names: the labels by class number.
    """
    rows = list(zip(detections.boxes.tolist(), detections.classes.tolist(), detections.scores.tolist(), strict=True))
    shapes = [Shape(Box.from_corners(*box), names[index]) for box, index, _ in rows]
    captions = [f"{names[index]} {score:.2f}" for _, index, score in rows]
    palette = {name: color(index) for index, name in enumerate(names)}
    return draw(image, shapes, captions=captions, colors=palette)


def _outline(canvas: Image.Image, shape: Shape, shade: tuple[int, int, int], stroke: int) -> None:
    pen = ImageDraw.Draw(canvas, "RGBA")
    match shape.geometry:
        case Box() as box:
            pen.rectangle((box.x, box.y, box.x2, box.y2), outline=shade, width=stroke)
        case Polygon() as polygon:
            for ring in polygon.rings:
                pen.polygon(ring, fill=(*shade, _FILL), outline=shade, width=stroke)
        case Mask() as mask:
            area = Image.fromarray(mask.to_array().astype(np.uint8) * 2 * _FILL)
            canvas.paste(shade, (0, 0), area)


class _Captions:
    """Writes captions above their shapes, those of whole images below each other in the corner."""

    def __init__(self, canvas: Image.Image, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> None:
        self._size = canvas.size
        self._pen = ImageDraw.Draw(canvas)
        self._font = font
        self._corner = 0.0

    def put(self, shape: Shape, text: str, shade: tuple[int, int, int]) -> None:
        """Writes one, moved where it would leave the image."""
        box = shape.geometry.bounds
        _, _, width, height = self._pen.textbbox((2, 2), text, font=self._font)
        x, y = (0.0, self._corner) if box is None else (box.x, box.y - height)
        if box is None:
            self._corner += height
        x, y = (
            max(0.0, min(at, side - part)) for at, side, part in zip((x, y), self._size, (width, height), strict=True)
        )
        self._pen.rectangle((x, y, x + width, y + height), fill=shade)
        self._pen.text((x + 2, y), text, fill=_readable(shade), font=self._font)


def _readable(shade: tuple[int, int, int]) -> str:
    """Black or white, whichever stands out (ITU-R BT.601 luma)."""
    red, green, blue = shade
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
