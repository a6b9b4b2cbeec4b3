"""Outputs are read as the model's recipe says, not as most models of the task are."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bloomery_vision.interpret import YOLO_END_TO_END
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.preprocess import letterbox
from bloomery_worker.dataset import Dataset
from bloomery_worker.evaluate import DetectionEvaluator
from bloomery_worker.predictor import Images, Outputs
from bloomery_worker.samples import Samples
from tests.worker.sample_data import Version, cached

SIZE, ROWS = (320, 320), 60


@pytest.fixture
def dataset(cells: Version, tmp_path: Path) -> Dataset:
    cache = cached(cells, tmp_path)
    return Dataset.open(cache.path(cells.index.digest), cache)


class EndToEnd:
    """Puts out a row with corners, score and class for each object, which nothing is to suppress."""

    def __init__(self, dataset: Dataset, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self._answers = (self._answer(dataset, row) for row in dataset.rows("val"))

    def __call__(self, images: Images) -> Outputs:
        return (np.stack([next(self._answers) for _ in images]),)

    def _answer(self, dataset: Dataset, row: ManifestRow) -> NDArray[np.float32]:
        _, transform = letterbox(dataset.image(row), SIZE)
        raw = np.zeros((ROWS, 6), dtype=np.float32)
        for number, shape in enumerate(row.shapes):
            box = shape.geometry.bounds
            assert box is not None
            [corners] = transform.to_letterboxed(np.array([[box.x, box.y, box.x2, box.y2]]))
            raw[number] = [*corners, 0.9, self._classes.index(shape.label)]
        return raw


def test_samples_are_read_as_the_recipe_says(dataset: Dataset, cells: Version) -> None:
    seen = Samples(dataset, cells.classes, YOLO_END_TO_END, SIZE, count=2)
    note = seen.note(EndToEnd(dataset, cells.classes)(seen.images), epoch=1)
    rows = list(dataset.rows("val"))[:2]
    assert [len(one.shapes) for one in note.samples] == [len(row.shapes) for row in rows]


def test_evaluations_are_read_as_the_recipe_says(dataset: Dataset, cells: Version) -> None:
    evaluator = DetectionEvaluator(dataset, SIZE, cells.classes, decoder=YOLO_END_TO_END)
    model = EndToEnd(dataset, cells.classes)
    assert evaluator.evaluate(model, dataset.rows("val"), name="val").means["map50"] == pytest.approx(1)
