"""Proof that a form of a model gives the answers of its original, or answers that are about as good."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bloomery.training.v1 import VariantParity
from bloomery_vision.decoders import YOLO, YOLO_END_TO_END
from bloomery_vision.forms import Limits
from bloomery_vision.interpret import are_finite
from bloomery_worker.failures import ExportError
from bloomery_worker.predictor import Images, Outputs, Predictor

_COORDINATES, _CLASS = 4, 5
"""How many numbers of a box are coordinates, and where a row has its class."""
_CALIBRATE = "keep a more exact form, or calibrate on more images"


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the answers of a form lie from those of its original.

    Attributes:
        image_count: images that were compared.
        max_geometry_error: pixels of the model's input, of any coordinate.
        max_score_error: of any score or probability.
        metrics: of the original and of the form, by name, the one that counts most first; none on generated images.
        limits: of the form.
        losses: from what to what the loss of a metric may be, with 95 % confidence, as far as these images can tell it;
            only where a loss is beyond the limit.
    """

    image_count: int
    max_geometry_error: float
    max_score_error: float
    metrics: Mapping[str, tuple[float, float]]
    limits: Limits
    losses: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def check(self) -> None:
        """Raises ExportError with the figures where something is beyond its limit; what is no number is."""
        problems = [*self._far_off(), *self._worse()]
        if problems:
            raise ExportError(f"it does not answer as the original: {'; '.join(problems)}", hint=self._hint())

    def facts(self) -> VariantParity:
        """As the contract has it, of a form that was checked."""
        before, after = next(iter(self.metrics.values()), (0.0, 0.0))
        return VariantParity(
            image_count=self.image_count,
            max_geometry_error=self.max_geometry_error,
            max_score_error=self.max_score_error,
            original_metric=before,
            variant_metric=after,
            passed=True,
            limits=f"{self.limits}{', on generated images' * (not self.metrics)}",
        )

    def _far_off(self) -> Iterator[str]:
        geometry, score = self.limits.geometry, self.limits.score
        if geometry is not None and not self.max_geometry_error <= geometry:
            yield f"a coordinate is {self.max_geometry_error:.3g} px off, at most {geometry:g} is allowed"
        if score is not None and not self.max_score_error <= score:
            yield f"a score is {self.max_score_error:.3g} off, at most {score:g} is allowed"

    def _worse(self) -> Iterator[str]:
        for name, (before, after) in self.metrics.items():
            if not before - after <= self.limits.loss:
                told = (
                    f"{name} is {after:.4f} instead of {before:.4f} on {self.image_count} images, "
                    f"a loss of at most {self.limits.loss:g} is allowed"
                )
                least, most = self.losses.get(name, (before - after,) * 2)
                left_open = f", and so few images leave {least:z.3f} to {most:z.3f} open"
                yield f"{told}{left_open * self._is_open(name)}"

    def _is_open(self, metric: str) -> bool:
        """Whether a loss may be chance: with other images of this kind it may be small enough."""
        return metric in self.losses and self.losses[metric][0] <= self.limits.loss

    def _hint(self) -> str:
        if self.limits.geometry is not None:
            return "report it"
        more = "compare it on more images, by a dataset version with more of them in val and test"
        return f"{more}, or keep a more exact form" if any(map(self._is_open, self.losses)) else _CALIBRATE


def generated_images(count: int, size: tuple[int, int]) -> Images:
    """Images [count, height, width, 3] of coloured blocks under noise, always the same."""
    random = np.random.default_rng(0)
    blocks = random.integers(0, 192, (count, 8, 8, 3))
    rows, columns = (-(-side // 8) for side in size)
    enlarged = blocks.repeat(rows, axis=1).repeat(columns, axis=2)[:, : size[0], : size[1]]
    return (enlarged + random.integers(0, 64, enlarged.shape)).astype(np.uint8)


def largest_errors(
    original: Predictor, variant: Predictor, batches: Iterable[Images], *, decoder: str
) -> tuple[float, float]:
    """The largest difference of a coordinate and of a score between two models on batches [B, H, W, 3].

    What of the first output is a coordinate goes by the `decoder` that reads it; all else are scores. Of heads that
    give rows, best first, each of the better half is compared with the nearest of the other model's: where scores are
    nearly equal, the order says nothing.

    Raises:
        ExportError: the outputs have different shapes, or values that are no finite numbers.
    """
    geometry, score = 0.0, 0.0
    for batch in batches:
        before, after = original(batch), variant(batch)
        _check_finite("original", before)
        _check_finite("variant", after)
        for number, (one, other) in enumerate(_pairs(before, after)):
            for errors in _errors(one, other, decoder if number == 0 else ""):
                geometry, score = max(geometry, errors[0]), max(score, errors[1])
    return geometry, score


def _errors(one: NDArray[np.float32], other: NDArray[np.float32], decoder: str) -> Iterator[tuple[float, float]]:
    """The largest differences of coordinates and of scores of an output [B, ...]."""
    if decoder == YOLO_END_TO_END:
        for left, right in zip(one, other, strict=True):
            yield from (_of_rows(left, right), _of_rows(right, left))
        return
    error, rows = np.abs(one - other), _COORDINATES if decoder == YOLO else 0
    yield float(error[:, :rows].max(initial=0.0)), float(error[:, rows:].max(initial=0.0))


def _of_rows(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Of the better half of rows [N, 6 + k], against the nearest of the same class in the others."""
    better = one[: -(-len(one) // 2)]
    boxes = np.abs(better[:, None, :_COORDINATES] - other[None, :, :_COORDINATES]).max(axis=2)
    boxes[better[:, None, _CLASS] != other[None, :, _CLASS]] = np.inf
    nearest = boxes.argmin(axis=1)
    found = np.abs(better - other[nearest])
    return float(boxes.min(axis=1).max(initial=0.0)), float(found[:, _COORDINATES:].max(initial=0.0))


def _check_finite(which: str, outputs: Outputs) -> None:
    # Their differences would be no numbers either, and no limit would notice.
    if not are_finite(outputs):
        hint = "look at the model's weights; at a lower precision, their range may be too large for it"
        raise ExportError(f"the {which} gives values that are no finite numbers", hint=hint)


def _pairs(one: Outputs, other: Outputs) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    shapes = [[output.shape for output in outputs] for outputs in (one, other)]
    if shapes[0] != shapes[1]:
        raise ExportError(f"the export gives outputs of shapes {shapes[1]}, the original {shapes[0]}")
    return zip(one, other, strict=True)
