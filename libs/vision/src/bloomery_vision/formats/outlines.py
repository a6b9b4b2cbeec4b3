"""One closed outline for an object, which is all that a YOLO line can hold."""

from dataclasses import dataclass

import numpy as np

from bloomery_vision.geometry import Mask, Polygon, Ring
from bloomery_vision.rings import Points, joined


def single_ring(polygon: Polygon) -> Ring:
    """The outlines of a polygon as one, joined by bridges without width between their nearest points."""
    return joined([_clockwise(np.array(ring, dtype=np.float64)) for ring in polygon.rings])


@dataclass(frozen=True, slots=True)
class Outline:
    """A mask as one closed outline, empty for no pixel, and of how many parts and holes it is made."""

    ring: Ring
    parts: int
    holes: int


def ring_of(mask: Mask) -> Outline:
    """The parts and holes of a mask as one outline through the centres of their border pixels.

    Ultralytics drops the fractions of points and fills an outline with its edge and by the even-odd rule, so that it
    gets back each pixel of the mask.
    """
    import cv2

    found, above = cv2.findContours(mask.to_array().astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_centres(contour.reshape(-1, 2).astype(np.float64)) for contour in found]
    if not rings:
        return Outline((), 0, 0)
    # The last of the four numbers is the contour around it, -1 where there is none.
    holes = int((above[0, :, 3] >= 0).sum())
    return Outline(joined(rings), len(rings) - holes, holes)


def _centres(pixels: Points) -> Points:
    if len(pixels) > 2:
        return pixels + 0.5
    # A pixel or a line has no area through its centres; along its edges it has, and is filled as the same pixels.
    first, last = pixels[0], pixels[-1]
    corners = np.array([[0.05, 0.05], [0.95, 0.05], [0.95, 0.95], [0.05, 0.95]])
    spread: Points = np.array([first, last, last, first]) + corners
    return spread


def _clockwise(ring: Points) -> Points:
    following = np.roll(ring, -1, axis=0)
    signed = (ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum()
    return ring if signed >= 0 else ring[::-1]
