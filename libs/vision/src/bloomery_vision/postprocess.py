"""What happens to a model's raw output, the same in evaluation, parity checks and serving.

Boxes are corners x1, y1, x2, y2 in pixels of the letterboxed image, until a `LetterboxTransform` moves them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.preprocess import LetterboxTransform
from bloomery_vision.suppression import suppress

MAX_CANDIDATES = 30_000
"""The best boxes of an image that suppression looks at."""


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects found on one image, best first.

    Attributes:
        boxes: float32 [N, 4], corners x1, y1, x2, y2.
        scores: float32 [N], 0 to 1.
        classes: int64 [N], class numbers.
        coefficients: float32 [N, K], weights of the mask prototypes; None for a model without masks.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    coefficients: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """Some of them, by index or by a condition on each."""
        masks = None if self.coefficients is None else self.coefficients[chosen]
        return type(self)(self.boxes[chosen], self.scores[chosen], self.classes[chosen], masks)

    def joined(self, more: Self) -> Self:
        """These, and those behind them."""
        pairs = zip(self._arrays(), more._arrays(), strict=True)
        return type(self)(*(np.concatenate(pair) for pair in pairs))

    def on_image(self, transform: LetterboxTransform) -> Self:
        """Those in the letterbox's frame of which a part lies on the image, and not in the padding alone."""
        x1, y1, x2, y2 = transform.to_original(self.boxes).T
        return self.select((x2 > x1) & (y2 > y1))

    def to_original(self, transform: LetterboxTransform) -> Self:
        """The same in pixels of the original image."""
        return replace(self, boxes=transform.to_original(self.boxes).astype(np.float32))

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        always = (self.boxes, self.scores, self.classes)
        return always if self.coefficients is None else (*always, self.coefficients)


def decode_detections(
    raw: NDArray[np.float32],
    *,
    num_classes: int | None = None,
    conf: float = 0.25,
    iou: float = 0.7,
    max_det: int = 300,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
) -> Detections:
    """The objects in the output of a YOLO head without suppression of its own.

    Args:
        raw: [4 + C + K, A] for A anchors: centre x, centre y, width, height in pixels; C class probabilities; K mask
            coefficients.
        num_classes: C, where there are coefficients; None means that there are none.
        conf: what a score has to exceed.
        iou: overlap above which the weaker of two boxes is dropped.
        max_det: the most objects to return.
        classes: class numbers to look at; None for all.
        agnostic: let boxes of different classes drop each other.
        multi_label: let one anchor give a box for each class above `conf`, not only for its best.
    """
    candidates = find_candidates(raw, num_classes=num_classes, conf=conf, classes=classes, multi_label=multi_label)
    groups = np.zeros_like(candidates.classes) if agnostic else candidates.classes
    return candidates.select(suppress(candidates.boxes, groups, iou=iou, max_det=max_det))


def find_candidates(
    raw: NDArray[np.float32],
    *,
    num_classes: int | None = None,
    conf: float = 0.25,
    classes: Sequence[int] | None = None,
    multi_label: bool = False,
) -> Detections:
    """What `decode_detections` suppresses: the best boxes above `conf`, however much they overlap."""
    columns = 4 + (raw.shape[0] - 4 if num_classes is None else num_classes)
    candidates = _candidates(raw, columns, conf=conf, multi_label=multi_label)
    if classes is not None:
        candidates = candidates.select(np.isin(candidates.classes, list(classes)))
    return candidates.select(best_first(candidates.scores))


def best_first(scores: NDArray[np.floating]) -> NDArray[np.intp]:
    """The indices of the best scores, at most `MAX_CANDIDATES`; of equal ones the first comes first."""
    return np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]


def decode_end2end(raw: NDArray[np.float32], *, conf: float = 0.25, classes: Sequence[int] | None = None) -> Detections:
    """The objects in the output of a head that needs no suppression, or has it built in.

    Args:
        raw: [N, 6 + K]: corners, score, class number, K mask coefficients; rows of zeros fill up.
        conf: what a score has to exceed.
        classes: class numbers to look at; None for all.
    """
    kept = raw[raw[:, 4] > max(conf, 0.0)]
    kept = kept[np.argsort(-kept[:, 4], kind="stable")]
    found = Detections(
        kept[:, :4].astype(np.float32),
        kept[:, 4].astype(np.float32),
        kept[:, 5].astype(np.int64),
        kept[:, 6:].astype(np.float32) if raw.shape[1] > 6 else None,
    )
    return found if classes is None else found.select(np.isin(found.classes, list(classes)))


def decode_masks(
    prototypes: NDArray[np.float32], detections: Detections, transform: LetterboxTransform, *, size: tuple[int, int]
) -> Iterator[NDArray[np.bool_]]:
    """The mask of each detection, one at a time because each has the size of the image.

    Args:
        prototypes: [K, h, w] over the whole letterbox.
        detections: in the letterbox's frame, with coefficients.
        transform: where the image lies in the letterbox.
        size: (height, width) of the letterbox.

    Yields:
        bool [H, W] in the frame of the original image, cut to the detection's box.
    """
    if detections.coefficients is None:
        raise ValueError("these detections have no mask coefficients")
    to_prototypes = _to_prototypes(prototypes.shape[1:], transform, size)
    boxes = transform.to_original(detections.boxes)
    for coefficients, box in zip(detections.coefficients, boxes, strict=True):
        logits = np.tensordot(coefficients, prototypes, axes=1).astype(np.float32)
        yield _inside(logits, to_prototypes, box, (transform.height, transform.width))


@dataclass(frozen=True, slots=True)
class ClassScore:
    """A class number and its probability."""

    index: int
    score: float


def top_k(probabilities: NDArray[np.float32], k: int) -> tuple[ClassScore, ...]:
    """The `k` most probable classes of [C] probabilities, best first."""
    order = np.argsort(-probabilities, kind="stable")[:k]
    return tuple(ClassScore(int(index), float(probabilities[index])) for index in order)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities [..., C] from logits, for classifiers that do not normalise inside."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def _candidates(raw: NDArray[np.float32], columns: int, *, conf: float, multi_label: bool) -> Detections:
    rows = raw.T
    scores = rows[:, 4:columns]
    if multi_label:
        anchors, found = np.nonzero(scores > conf)
    else:
        best = scores.argmax(axis=1)
        anchors = np.flatnonzero(np.take_along_axis(scores, best[:, None], axis=1)[:, 0] > conf)
        found = best[anchors]
    return Detections(
        _corners(rows[anchors, :4]),
        scores[anchors, found].astype(np.float32),
        found.astype(np.int64),
        rows[anchors, columns:].astype(np.float32) if raw.shape[0] > columns else None,
    )


def _corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    centres, halves = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)


def _to_prototypes(grid: tuple[int, ...], transform: LetterboxTransform, size: tuple[int, int]) -> NDArray[np.float64]:
    """The affine map [2, 3] from centres of the image's pixels to centres of the prototypes, [h, w] over the letterbox.

    Computed, not cropped to whole prototypes: one of them is several pixels wide.
    """
    rows, columns = grid[0] / size[0], grid[1] / size[1]
    scale_x = transform.inner_width / transform.width * columns
    scale_y = transform.inner_height / transform.height * rows
    shift_x = scale_x / 2 + transform.left * columns - 0.5
    shift_y = scale_y / 2 + transform.top * rows - 0.5
    return np.array([[scale_x, 0, shift_x], [0, scale_y, shift_y]])


def _inside(
    logits: NDArray[np.float32], to_prototypes: NDArray[np.float64], box: NDArray[np.floating], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Where logits are positive inside a box: bool of the image's `shape`. Only the box is computed."""
    import cv2

    mask = np.zeros(shape, dtype=np.bool_)
    x1, y1, x2, y2 = (round(float(edge)) for edge in box)
    if x1 < x2 and y1 < y2:
        moved = to_prototypes.copy()
        moved[:, 2] += to_prototypes[:, :2] @ (x1, y1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        part = cv2.warpAffine(logits, moved, (x2 - x1, y2 - y1), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        mask[y1:y2, x1:x2] = part > 0
    return mask
