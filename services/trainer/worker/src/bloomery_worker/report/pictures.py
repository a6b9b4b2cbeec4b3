"""Small pictures of mistakes: the part of the image around them, with what is there and what was seen."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bloomery_vision.colors import rgb
from bloomery_worker.dataset import Dataset
from bloomery_worker.evaluation import Corners, Mistake
from bloomery_worker.failures import DataError

SIDE = 160
"""Of a thumbnail, pixels."""
LARGE = 480
"""Of a whole image."""
MOST_BYTES = 4 << 20
"""Of all pictures of a page as they are embedded; those that do not fit are named only."""
TRUE, SEEN = "#1b9e4b", "#e0245e"
_QUALITY = 72
_AROUND = 2.5
"""How many times as wide as the mistake its picture is."""
_LEAST = 48
"""Pixels of the image that a thumbnail shows at least."""


Part = tuple[tuple[int, int], tuple[int, int]]
"""Of an image: columns from and to, rows from and to."""


class Album:
    """Makes pictures while there is room, each image decoded once for those that follow each other."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._room = dataset, MOST_BYTES
        self._last: tuple[str, NDArray[np.uint8] | None] = ("", None)

    def thumbnail(self, mistake: Mistake) -> str:
        """The part of an image with a mistake as a data URL; empty where there is no room."""
        image = self._image(mistake)
        boxes = [box for box in (mistake.true_box, mistake.predicted_box) if box]
        if image is None:
            return ""
        part = _around(boxes, image.shape[1], image.shape[0]) if boxes else _all(image)
        return self._kept(_drawn(image, part, [mistake], SIDE))

    def whole(self, mistakes: Sequence[Mistake]) -> str:
        """One image with all these mistakes on it as a data URL; empty where there is no room."""
        image = self._image(mistakes[0])
        if image is None:
            return ""
        return self._kept(_drawn(image, _all(image), mistakes, LARGE))

    def _image(self, mistake: Mistake) -> NDArray[np.uint8] | None:
        if self._room <= 0:
            return None
        if self._last[0] != mistake.row.digest:
            self._last = mistake.row.digest, self._read(mistake)
        return self._last[1]

    def _read(self, mistake: Mistake) -> NDArray[np.uint8] | None:
        try:
            return self._dataset.image(mistake.row)
        except (DataError, OSError):
            # The figures stand, whatever has become of the image since.
            return None

    def _kept(self, picture: Image.Image) -> str:
        sink = io.BytesIO()
        picture.save(sink, "JPEG", quality=_QUALITY)
        url = "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode("ascii")
        self._room -= len(url)
        return url if self._room >= 0 else ""


def _all(image: NDArray[np.uint8]) -> Part:
    return (0, image.shape[1]), (0, image.shape[0])


def _around(boxes: Sequence[Corners], width: int, height: int) -> Part:
    """The part of an image with some of what is around the boxes."""
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    side = min(max(_AROUND * max(right - left, bottom - top), _LEAST), max(width, height))
    return _within((left + right - side) / 2, side, width), _within((top + bottom - side) / 2, side, height)


def _within(start: float, side: float, whole: int) -> tuple[int, int]:
    """From where to where a stretch reaches that is moved, or cut, to lie within the image."""
    first = round(max(0.0, min(start, whole - side)))
    return first, max(first + 1, min(whole, round(first + side)))


def _drawn(image: NDArray[np.uint8], part: Part, mistakes: Sequence[Mistake], side: int) -> Image.Image:
    (left, right), (top, bottom) = part
    picture = Image.fromarray(image[top:bottom, left:right])
    scale = min(side / picture.width, side / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    pen = ImageDraw.Draw(picture)
    for box, shade in [pair for one in mistakes for pair in _outlines(one).items()]:
        x, y, width, height = box
        corners = ((x - left) * scale, (y - top) * scale, (x + width - left) * scale, (y + height - top) * scale)
        pen.rectangle(corners, outline=rgb(shade), width=2)
    return picture


def _outlines(mistake: Mistake) -> Mapping[Corners, str]:
    """The boxes of a mistake and their colours."""
    pairs = ((mistake.true_box, TRUE), (mistake.predicted_box, SEEN))
    return {box: shade for box, shade in pairs if box}
