"""Rectangles over parts of an image, as of things that stand in the way."""

from typing import Any

import albumentations as A  # noqa: N812 - its own documentation calls it so
import numpy as np
from numpy.typing import NDArray


class HideParts(A.CoarseDropout):  # type: ignore[misc]
    """Covers parts of an image and leaves the labels as they are.

    CoarseDropout itself cuts boxes to what is left of them, and drops those of which nothing is left: an object behind
    a post would be half as long, and a small one would count as background.
    """

    def apply_to_bboxes(self, bboxes: NDArray[np.float32], **_: Any) -> NDArray[np.float32]:
        """What is covered is still there."""
        return bboxes

    def apply_to_keypoints(self, keypoints: NDArray[np.float32], **_: Any) -> NDArray[np.float32]:
        """What is covered is still there."""
        return keypoints

    def apply_to_mask(self, mask: NDArray[np.uint8], **_: Any) -> NDArray[np.uint8]:
        """What is covered is still there."""
        return mask
