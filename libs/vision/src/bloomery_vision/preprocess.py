"""What happens to an image before a model sees it, the same in evaluation, parity checks and serving."""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREY = 114
"""The value of the bars: the one that YOLO models are trained with."""
_THIN = 4
"""Times that one side is longer than the other, from which on an image is a long thin one."""


@dataclass(frozen=True, slots=True)
class LetterboxTransform:
    """How an image of `width` x `height` lies in its letterbox: as `inner_width` x `inner_height` at (`left`, `top`).

    All in pixels. The inner sides are rounded, so that the two scales differ a little: for a long thin image by enough
    to move a box by pixels.
    """

    width: int
    height: int
    inner_width: int
    inner_height: int
    left: int
    top: int

    def to_letterboxed(self, boxes: NDArray[np.floating]) -> NDArray[np.floating]:
        """Moves boxes [N, 4] (corners x1, y1, x2, y2) from the image into the letterbox."""
        moved: NDArray[np.floating] = boxes * self._scale(boxes) + self._offset(boxes)
        return moved

    def to_original(self, boxes: NDArray[np.floating]) -> NDArray[np.floating]:
        """Moves boxes [N, 4] (corners x1, y1, x2, y2) from the letterbox into the image, and clips them to it."""
        moved = (boxes - self._offset(boxes)) / self._scale(boxes)
        limits = np.array([self.width, self.height] * 2, dtype=_precision(boxes))
        return cast("NDArray[np.floating]", moved.clip(min=0, max=limits))

    @property
    def without_scale(self) -> "LetterboxTransform":
        """Where the image lies, were it of the size that it has in the letterbox."""
        return LetterboxTransform(
            self.inner_width, self.inner_height, self.inner_width, self.inner_height, self.left, self.top
        )

    def _scale(self, boxes: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.array([self.inner_width / self.width, self.inner_height / self.height] * 2, dtype=_precision(boxes))

    def _offset(self, boxes: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.array([self.left, self.top] * 2, dtype=_precision(boxes))


def _precision(boxes: NDArray[np.floating]) -> np.dtype[np.floating]:
    """The type to compute in, so that boxes of whole numbers are not moved by whole numbers."""
    return np.result_type(boxes, np.float32)


def letterbox(image: NDArray[np.uint8], size: tuple[int, int]) -> tuple[NDArray[np.uint8], LetterboxTransform]:
    """Fits an image into a frame without changing its proportions, with grey bars left and right or above and below.

    Bilinear, enlarging too; of an odd number of grey rows or columns the extra one is below or right. This is
    Ultralytics' letterbox with its defaults and a fixed size, to the pixel.

    Args:
        image: uint8 [H, W, 3].
        size: (height, width) of the frame.

    Returns:
        uint8 [height, width, 3], and where the image lies in it.
    """
    rows, columns = image.shape[:2]
    height, width = size
    scale = min(height / rows, width / columns)
    inner_width, inner_height = max(round(columns * scale), 1), max(round(rows * scale), 1)
    if (columns, rows) != (inner_width, inner_height):
        image = cast(
            "NDArray[np.uint8]", cv2.resize(image, (inner_width, inner_height), interpolation=cv2.INTER_LINEAR)
        )
    # The same as halving and rounding a half down.
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    framed = np.full((height, width, 3), GREY, dtype=np.uint8)
    framed[top : top + inner_height, left : left + inner_width] = image
    return framed, LetterboxTransform(columns, rows, inner_width, inner_height, left, top)


def resize_center_crop(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Scales the shorter side to `size` and cuts the square in the middle out, as classifiers are evaluated.

    Bilinear with antialiasing, the longer side rounded down: torchvision's `Resize` and `CenterCrop` on a PIL image. Of
    a long thin image only the middle is scaled, because the whole would take memory without bound.

    Args:
        image: uint8 [H, W, 3].
        size: side of the square in pixels.

    Returns:
        uint8 [size, size, 3].
    """
    rows, columns = image.shape[:2]
    short = min(rows, columns)
    width, height = size * columns // short, size * rows // short
    left, top = round((width - size) / 2), round((height - size) / 2)
    original = Image.fromarray(image)
    if max(width, height) > _THIN * size:
        across, down = columns / width, rows / height
        middle = (left * across, top * down, (left + size) * across, (top + size) * down)
        return np.asarray(original.resize((size, size), Image.Resampling.BILINEAR, box=middle))
    resized = original.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + size, top + size)))
