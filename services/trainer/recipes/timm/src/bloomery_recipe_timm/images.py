"""The images of a classify dataset version in memory, as far as there is room: fitted ones, and ones to be changed."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloomery_vision.manifest import ManifestRow
from bloomery_worker.dataset import Dataset
from bloomery_worker.layout import tag_of

Pixels = NDArray[np.uint8]
"""RGB [H, W, 3]."""


class Tagged:
    """The images of a split that have exactly one tag.

    Args:
        dataset: has them.
        split: "train", "val" or "test".
        classes: of the model.
        prepare: makes of an image what is kept of it.
        room: bytes of images that are kept.

    Attributes:
        rows: of the manifest, in its order.
        classes: [N], their numbers.
        untagged: how many images were left out.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        classes: Sequence[str],
        prepare: Callable[[Pixels], Pixels],
        *,
        room: int,
    ) -> None:
        self._dataset, self._prepare, self._room = dataset, prepare, room
        self._known: dict[int, Pixels] = {}
        found = [(row, tag_of(row, classes)) for row in dataset.rows(split)]
        kept = [(row, tag) for row, tag in found if tag is not None]
        self.rows: list[ManifestRow] = [row for row, _ in kept]
        self.classes: NDArray[np.int64] = np.array([tag for _, tag in kept], dtype=np.int64)
        self.untagged = len(found) - len(kept)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pixels:
        """An image as it was prepared. Raises DataError."""
        if index in self._known:
            return self._known[index]
        image = self._prepare(self._dataset.image(self.rows[index]))
        if image.nbytes <= self._room:
            self._room -= image.nbytes
            self._known[index] = image
        return image


def reduced(image: Pixels, side: int) -> Pixels:
    """An image whose shorter side is at most `side`: what is beyond that a network of half the side never sees."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return image
    size = max(side, round(width * scale)), max(side, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def cropped(image: Pixels, side: int, scale: float, random: np.random.Generator) -> Pixels:
    """A random part as a square of `side`: of at least `1 - scale` of the area, its sides as 3 to 4 at most."""
    height, width = image.shape[:2]
    area = height * width * random.uniform(1 - scale, 1)
    ratio = float(np.exp(random.uniform(-1, 1) * np.log(4 / 3) * min(scale * 2, 1)))
    wide, high = min(width, (area * ratio) ** 0.5), min(height, (area / ratio) ** 0.5)
    left, top = random.uniform(0, width - wide), random.uniform(0, height - high)
    box = (left, top, left + wide, top + high)
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=box))
