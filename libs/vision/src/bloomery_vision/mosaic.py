"""What a model sees on the overlapping tiles of an image, brought together by one suppression over all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Found
from bloomery_vision.interpret import Choice, Fitted, candidates, check_outputs, objects
from bloomery_vision.postprocess import MAX_CANDIDATES, Detections, best_first
from bloomery_vision.suppression import suppress_parts
from bloomery_vision.tiling import Window

_TOUCHING = 1.0
"""Pixels from the edge of a tile at which an object may go on behind it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """Candidates of all tiles.

    Attributes:
        detections: in the frames of their tiles' letterboxes.
        boxes: [N, 4], the same as corners in pixels of the whole image.
        tiles: [N], the number of the tile of each.
        cut: [N], whether it ends where its tile does, inside of the region.
    """

    detections: Detections
    boxes: NDArray[np.float64]
    tiles: NDArray[np.int64]
    cut: NDArray[np.bool_]

    def select(self, chosen: NDArray[np.intp]) -> Self:
        return type(self)(self.detections.select(chosen), self.boxes[chosen], self.tiles[chosen], self.cut[chosen])

    def joined(self, more: Self) -> Self:
        return type(self)(
            self.detections.joined(more.detections),
            np.concatenate([self.boxes, more.boxes]),
            np.concatenate([self.tiles, more.tiles]),
            np.concatenate([self.cut, more.cut]),
        )


class Mosaic:
    """Takes a model's outputs tile by tile, and says what is on the region that they cover.

    It holds the best `MAX_CANDIDATES` candidates, and of tiles that have some the prototypes of masks.
    """

    def __init__(self, decoder: str, names: Sequence[str], choice: Choice, region: Window) -> None:
        self._decoder = decoder
        self._names = names
        self._choice = choice
        self._region = region
        self._seen: _Seen | None = None
        self._tiles: list[tuple[Fitted, NDArray[np.float32] | None]] = []

    def add(self, outputs: Sequence[NDArray[np.float32]], fitted: Fitted) -> None:
        """Take in the raw outputs for a tile, without the batch axis, and the tile as `fit_part` made it.

        Raises:
            OutputError: see `interpret`.
        """
        assert fitted.transform is not None
        check_outputs(self._decoder, outputs, len(self._names))
        found = candidates(self._decoder, outputs[0], len(self._names), self._choice).on_image(fitted.transform)
        if not len(found):
            return
        seen = self._placed(found, fitted)
        # Of its pixels only how many there are is asked again.
        without = replace(fitted, pixels=np.broadcast_to(np.uint8(0), fitted.pixels.shape))
        self._tiles.append((without, outputs[1] if len(outputs) > 1 else None))
        self._seen = seen if self._seen is None else self._seen.joined(seen)
        if len(self._seen.tiles) > MAX_CANDIDATES:
            self._seen = self._seen.select(best_first(self._seen.detections.scores))

    def found(self) -> Iterator[Found]:
        """What is on the region, best first, in pixels of the whole image."""
        if self._seen is None:
            return
        seen = self._seen.select(best_first(self._seen.detections.scores))
        kept = suppress_parts(seen.boxes, seen.detections.classes, seen.cut, iou=self._choice.iou)
        for index in kept[: self._choice.max_det]:
            fitted, prototypes = self._tiles[seen.tiles[index]]
            yield from objects(seen.detections.select(np.array([index])), prototypes, fitted, self._names)

    def _placed(self, found: Detections, fitted: Fitted) -> _Seen:
        part, region = fitted.part, self._region
        assert part is not None
        assert fitted.transform is not None
        boxes = fitted.transform.to_original(found.boxes).astype(np.float64) + [part.left, part.top] * 2
        lower = [part.left if part.left > region.left else -np.inf, part.top if part.top > region.top else -np.inf]
        upper = [
            part.right if part.right < region.right else np.inf,
            part.bottom if part.bottom < region.bottom else np.inf,
        ]
        cut: NDArray[np.bool_] = (boxes[:, :2] < np.add(lower, _TOUCHING)) | (
            boxes[:, 2:] > np.subtract(upper, _TOUCHING)
        )
        return _Seen(found, boxes, np.full(len(found), len(self._tiles)), np.any(cut, axis=1))
