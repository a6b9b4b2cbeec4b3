"""Cutting images out around boxes, for classifiers of what is in a box."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloomery_vision.geometry import Box


def crop_region(box: Box, width: int, height: int, *, margin: float = 0.0, square: bool = False) -> Box:
    """What to cut out of an image of `width` x `height` around a box that lies on it, in whole pixels.

    Args:
        box: in pixels of the image.
        width: of the image, as `height`.
        height: of the image.
        margin: share of the box's width that is added left and right, and of its height above and below.
        square: make the shorter side as long as the longer one, moved to where the image has it all.
    """
    wide, high = box.width * (1 + 2 * margin), box.height * (1 + 2 * margin)
    middle_x, middle_y = box.x + box.width / 2, box.y + box.height / 2
    if square:
        side = math.ceil(max(wide, high))
        left, right = _around(middle_x, side, width)
        top, bottom = _around(middle_y, side, height)
    else:
        left, right = _outwards(middle_x - wide / 2, middle_x + wide / 2, width)
        top, bottom = _outwards(middle_y - high / 2, middle_y + high / 2, height)
    return Box(left, top, right - left, bottom - top)


def cut_png(pixels: NDArray[np.uint8], region: Box) -> bytes:
    """A region of an image, uint8 [height, width, 3], as a PNG: no pixel is changed by being packed a second time."""
    x, y = int(region.x), int(region.y)
    part = pixels[y : y + int(region.height), x : x + int(region.width)]
    packed = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(part)).save(packed, format="PNG")
    return packed.getvalue()


def _outwards(low: float, high: float, side: int) -> tuple[int, int]:
    """The pixels that an interval touches, within the image; at least one."""
    first = min(max(math.floor(low), 0), side - 1)
    return first, max(min(math.ceil(high), side), first + 1)


def _around(middle: float, length: int, side: int) -> tuple[int, int]:
    """That many pixels around a place, or all where there are fewer."""
    length = min(length, side)
    first = min(max(math.floor(middle - length / 2), 0), side - length)
    return first, first + length
