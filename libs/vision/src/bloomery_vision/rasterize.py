"""Shapes as masks."""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from bloomery_vision.geometry import Box, Mask, Polygon, Ring


def rasterize(geometry: Box | Polygon | Mask, size: tuple[int, int], *, scale: tuple[float, float]) -> Mask:
    """A shape on a scaled image as a mask; outlines are filled as COCO does, boxes count as their four corners.

    Args:
        geometry: in pixels of the image before scaling.
        size: (width, height) of the scaled image.
        scale: (across, down), by which the image was scaled.
    """
    match geometry:
        case Mask():
            array = geometry.to_array().astype(np.uint8)
            return Mask.from_array(cv2.resize(array, size, interpolation=cv2.INTER_NEAREST).astype(bool))
        case _:
            return _filled(geometry.rings, size, scale)


def _filled(rings: Sequence[Ring], size: tuple[int, int], scale: tuple[float, float]) -> Mask:
    width, height = size
    outlines = [[edge for x, y in ring for edge in (x * scale[0], y * scale[1])] for ring in rings]
    # The stubs know whole coordinates only.
    parts = coco_mask.frPyObjects(cast("list[list[int]]", outlines), height, width)
    merged = coco_mask.merge(parts)
    return Mask(width, height, cast("bytes", merged["counts"]))
