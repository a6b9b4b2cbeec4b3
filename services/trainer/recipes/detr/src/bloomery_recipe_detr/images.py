"""Images with their boxes in memory, as far as there is room, and as the network is given them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from bloomery_vision.manifest import ManifestRow
from bloomery_vision.preprocess import GREY
from bloomery_worker.dataset import Dataset
from bloomery_worker.evaluate import ground_truth

if TYPE_CHECKING:
    from bloomery_augment.pipeline import Pipeline

Pixels = NDArray[np.uint8]
"""RGB [H, W, 3]."""
Corners = NDArray[np.float64]
"""[N, 4]: x1, y1, x2, y2 in pixels."""

_LEAST_PART = 0.2
"""Share of a box that has to be left of it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """An image and what is on it: corners in its pixels, and class numbers int64 [N]."""

    pixels: Pixels
    boxes: Corners
    classes: NDArray[np.int64]


class Scenes:
    """The images of a split with their boxes; crowds are no objects to learn from.

    Args:
        dataset: has them.
        split: "train", "val" or "test".
        classes: of the model.
        side: longest side in pixels that an image is kept with.
        room: bytes of images that are kept.

    Attributes:
        rows: of the manifest, in its order.
        crowds: how many were left out.
    """

    def __init__(self, dataset: Dataset, split: str, classes: Sequence[str], side: int, *, room: int) -> None:
        self._dataset, self._classes, self._side, self._room = dataset, classes, side, room
        self._known: dict[int, Scene] = {}
        self.rows: list[ManifestRow] = [*dataset.rows(split)]
        self.crowds = sum(shape.crowd for row in self.rows for shape in row.shapes)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Scene:
        """An image that is no larger than the network can use. Raises DataError."""
        if index in self._known:
            return self._known[index]
        row = self.rows[index]
        pixels, truth = self._dataset.image(row), ground_truth(row, self._classes)
        scale = min(1.0, self._side / max(pixels.shape[:2]))
        if scale < 1:
            size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
            scales = np.array([size[0] / pixels.shape[1], size[1] / pixels.shape[0]] * 2)
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        else:
            scales = np.ones(4)
        single = ~np.asarray(truth.crowd, dtype=np.bool_)
        classes = truth.classes[single].astype(np.int64)
        scene = Scene(pixels, truth.boxes[single] * scales, classes)
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._known[index] = scene
        return scene


def framed(scene: Scene, side: int, scale: float, random: np.random.Generator) -> Scene:
    """A scene in a square of `side`, larger or smaller by up to `scale` than one that just fits, at a random place.

    What a box loses at the edges is cut off; one of which less than a fifth is left is no object any more.
    """
    height, width = scene.pixels.shape[:2]
    factor = side / max(height, width) * (1 + random.uniform(-scale, scale))
    wide, high = max(1, round(width * factor)), max(1, round(height * factor))
    left, top = (_place(side - length, scale, random) for length in (wide, high))
    resized = cv2.resize(scene.pixels, (wide, high), interpolation=cv2.INTER_LINEAR)
    frame = np.full((side, side, 3), GREY, dtype=np.uint8)
    x, y = max(left, 0), max(top, 0)
    part = resized[y - top : side - top, x - left : side - left]
    frame[y : y + part.shape[0], x : x + part.shape[1]] = part
    boxes = scene.boxes * np.array([wide / width, high / height] * 2) + np.array([left, top] * 2)
    return _cut(Scene(frame, boxes, scene.classes), side)


def mirrored(scene: Scene, *, across: bool) -> Scene:
    """The scene with left and right exchanged, or above and below."""
    height, width = scene.pixels.shape[:2]
    x1, y1, x2, y2 = scene.boxes.T
    if across:
        return Scene(scene.pixels[:, ::-1], np.stack((width - x2, y1, width - x1, y2), axis=1), scene.classes)
    return Scene(scene.pixels[::-1], np.stack((x1, height - y2, x2, height - y1), axis=1), scene.classes)


def changed(scene: Scene, change: "Pipeline", *, seed: int) -> Scene:
    """The scene as an augmentation policy changes it."""
    done = change(scene.pixels, boxes=scene.boxes.astype(np.float32), seed=seed)
    return Scene(done.image, done.boxes.astype(np.float64), scene.classes[done.kept])


def _place(free: int, scale: float, random: np.random.Generator) -> int:
    """Where something begins that leaves so much free, or sticks out by so much; in the middle without a scale."""
    middle = free / 2
    return round(middle + abs(middle) * random.uniform(-1, 1) * (scale > 0))


def _cut(scene: Scene, side: int) -> Scene:
    inside = scene.boxes.clip(0, side)
    kept = _areas(inside) >= np.maximum(_LEAST_PART * _areas(scene.boxes), 1.0)
    return Scene(scene.pixels, inside[kept], scene.classes[kept])


def _areas(boxes: Corners) -> NDArray[np.float64]:
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1])
