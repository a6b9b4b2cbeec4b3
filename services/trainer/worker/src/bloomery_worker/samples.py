"""What a model in training sees in some images, for people to watch it learn."""

from collections.abc import Iterator, Sequence

import numpy as np

from bloomery_vision.geometry import Mask
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.postprocess import Detections, decode_detections, decode_masks, top_k
from bloomery_vision.preprocess import LetterboxTransform, letterbox, resize_center_crop
from bloomery_worker.dataset import Dataset
from bloomery_worker.messages import SampleNote, SamplesNote, ShapeNote
from bloomery_worker.predictor import Images, Outputs

CONFIDENCE = 0.25
SHAPES = 50
TIMES = 10
"""After about so many epochs of a job samples are shown."""


def is_due(epoch: int, epochs: int, *, last: bool) -> bool:
    """Whether samples are shown after `epoch` of `epochs`: the first, the last, and some between."""
    return last or epoch == 1 or epoch % -(-epochs // TIMES) == 0


class Samples:
    """Images of the validation split, always the same ones, as the model takes them.

    Args:
        dataset: has the images.
        classes: of the model.
        task: "detect", "segment" or "classify".
        size: (height, width) of the model's input.
        count: how many images.

    Attributes:
        images: uint8 RGB [N, height, width, 3].
    """

    def __init__(
        self, dataset: Dataset, classes: Sequence[str], task: str, size: tuple[int, int], *, count: int
    ) -> None:
        self._classes, self._task, self._size = tuple(classes), task, size
        self._rows = [row for row, _ in zip(dataset.rows("val"), range(count), strict=False)]
        framed = [self._framed(dataset.image(row)) for row in self._rows]
        self._transforms = [transform for _, transform in framed]
        self.images: Images = np.stack([image for image, _ in framed])

    def note(self, outputs: Outputs, *, epoch: int) -> SamplesNote:
        """What the model's raw outputs for `images` mean."""
        found = [
            _sample(row, self._shapes(tuple(output[index] for output in outputs), self._transforms[index]))
            for index, row in enumerate(self._rows)
        ]
        return SamplesNote(epoch=epoch, samples=tuple(found))

    def _framed(self, image: Images) -> tuple[Images, LetterboxTransform | None]:
        if self._task == "classify":
            return resize_center_crop(image, self._size[0]), None
        return letterbox(image, self._size)

    def _shapes(self, outputs: Outputs, transform: LetterboxTransform | None) -> Iterator[ShapeNote]:
        if transform is None:
            for best in top_k(outputs[0], 1):
                yield ShapeNote(label=self._classes[best.index], confidence=best.score)
            return
        found = decode_detections(outputs[0], num_classes=len(self._classes), conf=CONFIDENCE, max_det=SHAPES)
        if self._task == "segment":
            yield from self._masks(found, outputs, transform)
        else:
            yield from self._boxes(found.to_original(transform))

    def _boxes(self, found: Detections) -> Iterator[ShapeNote]:
        for (x1, y1, x2, y2), score, label in self._listed(found):
            yield ShapeNote(label=label, confidence=score, box=(x1, y1, x2 - x1, y2 - y1))

    def _masks(self, found: Detections, outputs: Outputs, transform: LetterboxTransform) -> Iterator[ShapeNote]:
        masks = decode_masks(outputs[1], found, transform, size=self._size)
        for (_, score, label), mask in zip(self._listed(found), masks, strict=True):
            yield ShapeNote(label=label, confidence=score, mask=Mask.from_array(mask).counts.decode("ascii"))

    def _listed(self, found: Detections) -> Iterator[tuple[list[float], float, str]]:
        for box, score, number in zip(found.boxes, found.scores, found.classes, strict=True):
            yield [float(edge) for edge in box], float(score), self._classes[number]


def _sample(row: ManifestRow, shapes: Iterator[ShapeNote]) -> SampleNote:
    return SampleNote(
        asset=row.asset,
        digest=row.digest,
        file_name=row.file_name,
        width=row.width,
        height=row.height,
        shapes=tuple(shapes),
    )
