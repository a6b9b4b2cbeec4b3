"""Pictures of predictions and annotations, made where the image is."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from zlib import crc32

from PIL import Image, ImageDraw, ImageFont, ImageOps

from bloomery._shapes import bounds, run_lengths
from bloomery.vision import v1 as vision

_PALETTE = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#008080",
    "#f032e6",
    "#9a6324",
    "#808000",
    "#000075",
)
_FILL = 80
"""Opacity of filled areas, of 255."""


def draw(image: bytes | Path | Image.Image, shapes: Sequence[vision.Shape]) -> Image.Image:
    """The picture as it is shown, RGB, with outlines, labels and scores on it; shapes are in its pixels.

    One that is open already is taken as its pixels are, and not changed.
    """
    canvas = image.convert("RGB") if isinstance(image, Image.Image) else opened(image)
    pen = ImageDraw.Draw(canvas, "RGBA")
    stroke = max(2, round(max(canvas.size) / 320))
    font = ImageFont.load_default(max(12.0, max(canvas.size) / 45))
    # The best comes last, on top of the others.
    for shape in reversed(shapes):
        _outline(canvas, pen, shape, stroke)
    corner = 0.0
    for shape in reversed(shapes):
        corner += _caption(canvas, pen, shape, font, corner)
    return canvas


def opened(image: bytes | Path) -> Image.Image:
    """An image as it is shown, RGB."""
    with Image.open(BytesIO(image) if isinstance(image, bytes) else image) as stored:
        return ImageOps.exif_transpose(stored).convert("RGB")


def _color(label: str) -> str:
    """The same label has the same color in every picture and process."""
    return _PALETTE[crc32(label.encode()) % len(_PALETTE)]


def _outline(canvas: Image.Image, pen: ImageDraw.ImageDraw, shape: vision.Shape, stroke: int) -> None:
    color = _color(shape.label)
    match shape.WhichOneof("geometry"):
        case "box":
            pen.rectangle(_corners(shape.box), outline=color, width=stroke)
        case "polygon":
            for ring in shape.polygon.rings:
                pen.polygon(list(ring.coordinates), fill=f"{color}{_FILL:02x}", outline=color, width=stroke)
        case "mask":
            area = mask_image(shape.mask)
            canvas.paste(color, (0, 0), area.point(lambda value: value * _FILL // 255))


def _caption(
    canvas: Image.Image,
    pen: ImageDraw.ImageDraw,
    shape: vision.Shape,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    corner: float,
) -> float:
    """Write a shape's label above it, inside the image; return the height that it took in the image's own corner."""
    text = f"{shape.label} {shape.confidence:.2f}" if shape.confidence else shape.label
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 6
    whole_image = shape.WhichOneof("geometry") == "tag"
    x, y = (0.0, corner) if whole_image else _anchor(shape)
    x = max(0.0, min(x, canvas.width - width))
    y = max(0.0, min(y if whole_image else y - height, canvas.height - height))
    pen.rectangle((x, y, x + width, y + height), fill=_color(shape.label))
    pen.text((x + 3 - left, y + 3 - top), text, fill="white", font=font)
    return height if whole_image else 0.0


def _anchor(shape: vision.Shape) -> tuple[float, float]:
    """The top-left corner of what a shape covers."""
    around = bounds(shape)
    return (around.x, around.y) if around else (0.0, 0.0)


def _corners(box: vision.Box) -> tuple[float, float, float, float]:
    return box.x, box.y, box.x + max(box.width, 0.0), box.y + max(box.height, 0.0)


def mask_image(mask: vision.Mask) -> Image.Image:
    """A mask as an 8-bit image of its size: 255 inside, 0 outside."""
    columns = bytearray()
    for index, run in enumerate(run_lengths(mask.counts)):
        columns += (b"\xff" if index % 2 else b"\x00") * run
    columns = columns.ljust(mask.width * mask.height, b"\x00")
    # The runs go down each column: read as rows, the image is on its side.
    return Image.frombytes("L", (mask.height, mask.width), bytes(columns)).transpose(Image.Transpose.TRANSPOSE)
