"""What a model in training sees in some images, for people to watch it learn."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from bloomery_vision.decoders import LETTERBOX, PROBABILITIES
from bloomery_vision.geometry import Box, Found, Mask
from bloomery_vision.interpret import Choice, fit, interpret
from bloomery_vision.manifest import ManifestRow
from bloomery_worker.dataset import Dataset
from bloomery_worker.messages import SampleNote, SamplesNote, ShapeNote
from bloomery_worker.predictor import Images, Outputs

CONFIDENCE = 0.25
SHAPES = 50
MASK_BYTES = 1 << 20
"""Of all masks of a note together: those of large photographs would not fit into a message, and would fail the job."""
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
        decoder: how the model's outputs are read, one of its task in `decoders.DECODERS_OF`.
        size: (height, width) of the model's input.
        resize: how an image is fitted to it, "letterbox" or "center-crop".
        count: how many images.

    Attributes:
        images: uint8 RGB [N, height, width, 3].
    """

    def __init__(
        self,
        dataset: Dataset,
        classes: Sequence[str],
        decoder: str,
        size: tuple[int, int],
        *,
        resize: str = LETTERBOX,
        count: int,
    ) -> None:
        self._classes, self._decoder = tuple(classes), decoder
        whole = decoder == PROBABILITIES
        self._choice = Choice(conf=0.0, max_det=1) if whole else Choice(CONFIDENCE, max_det=SHAPES)
        self._rows = [row for row, _ in zip(dataset.rows("val"), range(count), strict=False)]
        self._fitted = [fit(dataset.image(row), size, resize) for row in self._rows]
        self.images: Images = np.stack([one.pixels for one in self._fitted])

    def note(self, outputs: Outputs, *, epoch: int) -> SamplesNote:
        """What the model's raw outputs for `images` mean."""
        found = []
        for index, (row, fitted) in enumerate(zip(self._rows, self._fitted, strict=True)):
            own = [output[index] for output in outputs]
            seen = interpret(self._decoder, own, fitted, self._classes, self._choice)
            found.append(_sample(row, _light(seen, MASK_BYTES // len(self._rows))))
        return SamplesNote(epoch=epoch, samples=tuple(found))


def _light(found: Iterable[Found], most: int) -> Iterator[Found]:
    """The best of what is on an image, until its masks take more than `most` bytes."""
    size = 0
    for one in found:
        size += one.geometry.weight
        if size > most:
            return
        yield one


def _sample(row: ManifestRow, found: Iterable[Found]) -> SampleNote:
    return SampleNote(
        asset=row.asset,
        digest=row.digest,
        file_name=row.file_name,
        width=row.width,
        height=row.height,
        shapes=tuple(_shape(one) for one in found),
    )


def _shape(found: Found) -> ShapeNote:
    match found.geometry:
        case Box(x, y, width, height):
            return ShapeNote(label=found.label, confidence=found.score, box=(x, y, width, height))
        case Mask() as mask:
            return ShapeNote(label=found.label, confidence=found.score, mask=mask.counts.decode("ascii"))
        case _:
            return ShapeNote(label=found.label, confidence=found.score)
