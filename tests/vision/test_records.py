"""What evaluations record of each image gives their figures again."""

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from bloomery_vision.figures import figures_of
from bloomery_vision.geometry import Mask
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.matching import compare_boxes, compare_masks
from bloomery_vision.postprocess import Detections
from bloomery_vision.records import class_records, detection_records, from_parquet, to_parquet
from bloomery_vision.scenes import GroundTruth
from tests.vision.measuring import masks_measured, measured

CLASSES = ("a", "b", "c")


def row(number: int, group: str = "") -> ManifestRow:
    return ManifestRow(f"assets/{number}", "sha256:", "", 1, "image/png", 64, 64, "test", group, f"{number}.png")


def scene(generator: np.random.Generator, *, ties: bool = True) -> tuple[Detections, GroundTruth]:
    """Objects close to each other, some of them crowds, and detections around them, with `ties` many of one score."""
    count = int(generator.integers(0, 9))
    corners = np.floor(generator.uniform(0, 20, (count, 2)))
    boxes = np.concatenate([corners, corners + np.ceil(generator.uniform(4, 20, (count, 2)))], axis=1)
    truth = GroundTruth(boxes, generator.integers(0, 3, count), generator.random(count) < 0.2)
    around = np.repeat(boxes, 4, axis=0) + np.round(generator.normal(0, 1.5, (4 * count, 4)))
    around[:, 2:] = np.maximum(around[:, 2:], around[:, :2] + 1)
    scores = np.round(generator.uniform(0.1, 1, 4 * count), 1 if ties else 9)
    classes = np.where(generator.random(4 * count) < 0.8, np.repeat(truth.classes, 4), 1)
    order = np.argsort(-scores, kind="stable")
    found = Detections(around[order].astype(np.float32), scores[order].astype(np.float32), classes[order])
    return found, truth


def filled(boxes: NDArray[np.floating]) -> list[Mask]:
    masks = []
    for x1, y1, x2, y2 in boxes.astype(int).clip(0, 63):
        array = np.zeros((64, 64), dtype=np.bool_)
        array[y1:y2, x1:x2] = True
        masks.append(Mask.from_array(array))
    return masks


def figures(records: pa.Table) -> dict[str, float]:
    """Of all images, after a way through a file."""
    return {
        name: float(value)
        for name, (value,) in figures_of(from_parquet(to_parquet(records)))(np.ones((1, len(records)))).items()
    }


@pytest.mark.parametrize("seed", range(20))
def test_records_give_the_published_figures(seed: int) -> None:
    generator = np.random.default_rng(seed)
    found, truth = zip(*(scene(generator) for _ in range(12)), strict=True)
    masks, true_masks = ([filled(one.boxes) for one in ones] for ones in (found, truth))
    comparisons = {"": compare_boxes(found, truth), "mask_": compare_masks(found, masks, truth, true_masks)}
    records = detection_records([row(n) for n in range(12)], comparisons, classes=CLASSES)
    boxes = measured(found, truth, num_classes=3)
    areas = masks_measured(found, masks, truth, true_masks, num_classes=3)
    assert figures(records) == pytest.approx(
        {
            "map50": boxes.map50,
            "map50_95": boxes.map50_95,
            "mask_map50": areas.map50,
            "mask_map50_95": areas.map50_95,
        },
        abs=1e-9,
    )


def test_of_two_objects_that_a_detection_overlaps_alike_it_takes_the_last_as_in_cocos_code() -> None:
    truth = GroundTruth(np.array([[0.0, 0, 10, 10], [4, 0, 14, 10]]), np.zeros(2, np.int64))
    boxes, scores = np.array([[2, 0, 12, 10], [4, 0, 14, 10]], np.float32), np.array([0.9, 0.8], np.float32)
    found = Detections(boxes, scores, np.zeros(2, np.int64))
    records = detection_records([row(0)], {"": compare_boxes([found], [truth])}, classes=("a",))
    metrics = measured([found], [truth], num_classes=1)
    assert figures(records)["map50"] == pytest.approx(metrics.map50, abs=1e-9)


def test_a_choice_has_the_figures_of_an_evaluation_of_just_its_images() -> None:
    generator = np.random.default_rng(1)
    found, truth = zip(*(scene(generator, ties=False) for _ in range(12)), strict=True)
    records = detection_records([row(n) for n in range(12)], {"": compare_boxes(found, truth)}, classes=CLASSES)
    weights = generator.multinomial(12, np.full(12, 1 / 12), size=8).astype(float)
    chosen = figures_of(records)(weights)
    for index, times in enumerate(weights.astype(int)):
        places = np.repeat(np.arange(12), times)
        metrics = measured([found[n] for n in places], [truth[n] for n in places], num_classes=3)
        assert chosen["map50"][index] == pytest.approx(metrics.map50, abs=1e-9)
        assert chosen["map50_95"][index] == pytest.approx(metrics.map50_95, abs=1e-9)


def test_images_without_objects_have_no_figures_but_0() -> None:
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    truth = GroundTruth(np.zeros((0, 4)), np.zeros(0, np.int64))
    records = detection_records([row(0)], {"": compare_boxes([nothing], [truth])}, classes=CLASSES)
    assert figures(records) == {"map50": 0.0, "map50_95": 0.0}


def test_classes_of_images_are_counted_by_rank_and_by_class() -> None:
    # Three images of a, one of b, one of a class that the model does not know.
    truth = np.array([0, 0, 0, 1, 2])
    ranked = np.array([[0, 1], [0, 1], [1, 0], [0, 1], [1, 0]])
    records = class_records([row(n) for n in range(5)], truth, ranked, classes=CLASSES)
    assert records.column("rank").to_pylist() == [0, 0, 1, 1, -1]
    assert figures(records) == pytest.approx(
        {"accuracy": 2 / 5, "accuracy_top5": 4 / 5, "balanced_accuracy": (2 / 3 + 0 + 0) / 3}
    )


def test_another_table_is_no_record() -> None:
    with pytest.raises(ValueError, match="none of an evaluation"):
        from_parquet(to_parquet(pa.table({"a": [1]})))
