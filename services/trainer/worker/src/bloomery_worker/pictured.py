"""What a model in training sees in images beside what is there, as pictures."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from bloomery_vision.colors import color
from bloomery_vision.drawing import draw
from bloomery_vision.geometry import Box, Geometry, Mask, Shape, Tag
from bloomery_vision.manifest import ManifestRow
from bloomery_worker.dataset import Dataset
from bloomery_worker.messages import SampleNote, SamplesNote, ShapeNote

SIDE = 480
"""Of each half of a picture, pixels; larger images are made smaller."""

Pixels = npt.NDArray[np.uint8]


def pictures(dataset: Dataset, note: SamplesNote) -> Iterator[tuple[str, Pixels]]:
    """Each image of a note by a name that it keeps: on the left with the truth, on the right with what was seen.

    The pictures are uint8 [H, W, 3] RGB.
    """
    seen = {sample.digest: sample for sample in note.samples}
    for row in dataset.rows("val"):
        if not seen:
            return
        if sample := seen.pop(row.digest, None):
            yield f"samples/{row.file_name}", _beside(dataset.image(row), row, sample)


def _beside(image: Pixels, row: ManifestRow, sample: SampleNote) -> Pixels:
    labels = sorted({shape.label for shape in row.shapes} | {shape.label for shape in sample.shapes})
    colors = {label: color(index) for index, label in enumerate(labels)}
    found = [_shape(shape, sample) for shape in sample.shapes]
    captions = [f"{shape.label} {shape.confidence:.2f}" for shape in sample.shapes]
    halves = (draw(image, row.shapes, colors=colors), draw(image, found, captions=captions, colors=colors))
    return np.concatenate([_small(half) for half in halves], axis=1)


def _shape(note: ShapeNote, sample: SampleNote) -> Shape:
    geometry: Geometry = Tag()
    if note.box is not None:
        geometry = Box(*note.box)
    elif note.mask:
        geometry = Mask(sample.width, sample.height, note.mask.encode("ascii"))
    return Shape(geometry, note.label)


def _small(image: Pixels) -> Pixels:
    picture = Image.fromarray(image)
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)
