"""Images whose channels come in the order that OpenCV reads them in."""

from typing import Any

import albumentations as A  # noqa: N812 - its own documentation calls it so
import numpy as np
from numpy.typing import NDArray


class SwapRedAndBlue(A.ImageOnlyTransform):  # type: ignore[misc]
    """BGR to RGB, and back: colours of light, and how bright a colour seems, depend on the order."""

    def apply(self, img: NDArray[np.uint8], **_: Any) -> NDArray[np.uint8]:
        """A copy with its channels in the other order."""
        return np.ascontiguousarray(img[..., ::-1])

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        """It has none of its own."""
        return ()
