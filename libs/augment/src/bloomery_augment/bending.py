"""Images bent in waves, with exact positions of what is labelled on them."""

from typing import Any

import albumentations as A  # noqa: N812 - its own documentation calls it so
import cv2
import numpy as np
from albumentations.core.bbox_utils import denormalize_bboxes, normalize_bboxes
from albumentations.core.transforms_interface import BaseTransformInitSchema
from albumentations.core.type_definitions import Targets
from numpy.typing import NDArray

_ON_EDGE = 17
"""Points of a box's edge that are followed."""

Numbers = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Wave = tuple[float, float, float]
"""Amplitude in pixels, radians a pixel, phase."""


class Bend(A.DualTransform):  # type: ignore[misc]
    """Shifts rows, and then columns, along waves.

    The library's own distortions draw an image for each box to see where it goes: a tenth of a second for the objects
    of one picture. A wave across an axis has an inverse, so that points are moved by a formula.

    Args:
        amplitude_range: largest shift, as a fraction of the image's side.
        waves_range: how many waves lie on a side.
        fill: of what comes into view beyond the border, 0 to 255.
        p: probability.
    """

    _targets = (Targets.IMAGE, Targets.MASK, Targets.BBOXES, Targets.KEYPOINTS)

    class InitSchema(BaseTransformInitSchema):  # type: ignore[misc]
        """What the arguments must be."""

        amplitude_range: tuple[float, float]
        waves_range: tuple[float, float]
        fill: int

    def __init__(
        self,
        amplitude_range: tuple[float, float],
        waves_range: tuple[float, float] = (0.5, 2),
        fill: int = 0,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.amplitude_range, self.waves_range, self.fill = amplitude_range, waves_range, fill

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - the library's
        """Draws the two waves, of rows and of columns."""
        height, width = params["shape"][:2]
        return {"rows": self._wave(width, height), "columns": self._wave(height, width)}

    def _wave(self, across: int, along: int) -> Wave:
        amplitude = self.py_random.uniform(*self.amplitude_range) * across
        step = 2 * np.pi * self.py_random.uniform(*self.waves_range) / along
        return amplitude, step, self.py_random.uniform(0, 2 * np.pi)

    def apply(self, img: Pixels, rows: Wave, columns: Wave, **_: Any) -> Pixels:
        """The image, of the same size."""
        return _remap(img, rows, columns, cv2.INTER_LINEAR, self.fill)

    def apply_to_mask(self, mask: Pixels, rows: Wave, columns: Wave, **_: Any) -> Pixels:
        """A mask; nothing of it lies beyond the border."""
        return _remap(mask, rows, columns, cv2.INTER_NEAREST, 0)

    def apply_to_keypoints(self, keypoints: Numbers, rows: Wave, columns: Wave, **_: Any) -> Numbers:
        """Points: the first two columns are x and y in pixels."""
        moved = keypoints.copy()
        moved[:, :2] = _forward(keypoints[:, :2], rows, columns)
        return moved

    def apply_to_bboxes(self, bboxes: Numbers, rows: Wave, columns: Wave, **params: Any) -> Numbers:
        """Boxes around where their edges go: the first four columns are corners as fractions of the sides."""
        corners = denormalize_bboxes(bboxes, params["shape"])
        share = np.linspace(0, 1, _ON_EDGE, dtype=np.float32)
        across = corners[:, None, 0] + (corners[:, None, 2] - corners[:, None, 0]) * share
        down = corners[:, None, 1] + (corners[:, None, 3] - corners[:, None, 1]) * share
        x = np.concatenate([across, across, *(np.broadcast_to(corners[:, [side]], down.shape) for side in (0, 2))], 1)
        y = np.concatenate([*(np.broadcast_to(corners[:, [side]], across.shape) for side in (1, 3)), down, down], 1)
        moved = _forward(np.stack([x, y], -1).reshape(-1, 2), rows, columns).reshape(*x.shape, 2)
        boxes = corners.copy()
        boxes[:, :2], boxes[:, 2:4] = moved.min(1), moved.max(1)
        return np.asarray(normalize_bboxes(boxes, params["shape"]))


def _forward(points: Numbers, rows: Wave, columns: Wave) -> Numbers:
    """Where points (x, y) go: x by the wave of their row, then y by the wave of their new column."""
    x = points[:, 0] + _shift(points[:, 1], rows)
    return np.stack([x, points[:, 1] + _shift(x, columns)], -1).astype(np.float32)


def _remap(image: Pixels, rows: Wave, columns: Wave, interpolation: int, fill: int) -> Pixels:
    height, width = image.shape[:2]
    # Pixels are squares around their centres, and points are counted from the image's corner.
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    from_y = y[:, None] - _shift(x, columns)[None]
    from_x = x[None] - _shift(from_y, rows)
    from_x, from_y = ((one - 0.5).astype(np.float32) for one in (from_x, from_y))
    border = (fill,) * 4
    done = cv2.remap(image, from_x, from_y, interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    return np.asarray(done, np.uint8)


def _shift(place: NDArray[Any], wave: Wave) -> NDArray[Any]:
    amplitude, step, phase = wave
    return amplitude * np.sin(step * place + phase)
