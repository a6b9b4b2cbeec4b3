"""Outputs are read as the model's recipe says, not as most models of the task are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bloomery_vision.decoders import YOLO_END_TO_END
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.preprocess import letterbox
from bloomery_worker.classifying import ClassificationEvaluator
from bloomery_worker.dataset import Dataset
from bloomery_worker.evaluate import DetectionEvaluator
from bloomery_worker.layout import tag_of
from bloomery_worker.predictor import Images, Outputs
from bloomery_worker.samples import Samples
from tests.worker.sample_data import Version, cached

SIZE, ROWS = (320, 320), 60


@pytest.fixture
def dataset(cells: Version, tmp_path: Path) -> Dataset:
    cache = cached(cells, tmp_path)
    return Dataset.open(cache.path(cells.index.digest), cache)


class EndToEnd:
    """Sees the objects of its classes, and no others.

    Puts out a row with corners, score and class for each object, which nothing is to suppress.
    """

    def __init__(self, dataset: Dataset, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self._answers = (self._answer(dataset, row) for row in dataset.rows("val"))

    def __call__(self, images: Images) -> Outputs:
        return (np.stack([next(self._answers) for _ in images]),)

    def _answer(self, dataset: Dataset, row: ManifestRow) -> NDArray[np.float32]:
        _, transform = letterbox(dataset.image(row), SIZE)
        raw = np.zeros((ROWS, 6), dtype=np.float32)
        known = (shape for shape in row.shapes if shape.label in self._classes)
        for number, shape in enumerate(known):
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


@pytest.mark.parametrize("known", [1, 2])
def test_objects_of_classes_that_the_model_does_not_know_are_missed(
    dataset: Dataset, cells: Version, known: int
) -> None:
    classes, missing = cells.classes[:known], cells.classes[known:]
    evaluator = DetectionEvaluator(dataset, SIZE, classes, decoder=YOLO_END_TO_END, missing=missing)
    measured = evaluator.evaluate(EndToEnd(dataset, classes), dataset.rows("val"), name="val")
    ap50 = {one["class"]: one["ap50"] for one in measured.per_class}
    assert ap50 == pytest.approx({name: float(name in classes) for name in cells.classes})


def test_images_of_classes_that_a_classifier_does_not_know_are_missed(tags: Version, tmp_path: Path) -> None:
    """Also among its five best, of which it knows but one."""
    cache = cached(tags, tmp_path)
    dataset = Dataset.open(cache.path(tags.index.digest), cache)
    known, missing = tags.classes[:1], tags.classes[1:]
    evaluator = ClassificationEvaluator(dataset, SIZE, known, missing=missing)
    measured = evaluator.evaluate(lambda images: (np.ones((len(images), 1), np.float32),), rows_of(dataset), name="val")
    share = sum(tag_of(row, tags.classes) == 0 for row in rows_of(dataset)) / len(rows_of(dataset))
    assert 0 < share < 1
    shares = {name: value for name, value in measured.means.items() if "accuracy" in name}
    assert shares == pytest.approx({"accuracy": share, "accuracy_top5": share, "balanced_accuracy": 0.5})
    # Of the one class that it knows the scores are the same for all, of the other there is none.
    assert measured.means["roc_auc"] == 0.5


def test_where_no_image_is_of_a_class_no_share_is_told(tags: Version, tmp_path: Path) -> None:
    cache = cached(tags, tmp_path)
    dataset = Dataset.open(cache.path(tags.index.digest), cache)
    rows = [replace(row, shapes=()) for row in rows_of(dataset)]
    evaluator = ClassificationEvaluator(dataset, SIZE, tags.classes)
    measured = evaluator.evaluate(lambda images: (np.ones((len(images), 1), np.float32),), rows, name="val")
    assert (measured.images, measured.values()) == (0, {})


def rows_of(dataset: Dataset) -> list[ManifestRow]:
    return list(dataset.rows("val"))


def test_where_nothing_is_to_be_found_no_mean_is_told(dataset: Dataset, cells: Version) -> None:
    """Of no class there is no average precision: it is not 0."""
    evaluator = DetectionEvaluator(dataset, SIZE, cells.classes, decoder=YOLO_END_TO_END)
    rows = [replace(row, shapes=()) for row in dataset.rows("val")]
    measured = evaluator.evaluate(EndToEnd(dataset, cells.classes), rows, name="val")
    assert (measured.images, measured.values()) == (len(rows), {})
    document = measured.document()
    assert (document["images"], document["metrics"], document["per_class"]) == (len(rows), {}, [])
