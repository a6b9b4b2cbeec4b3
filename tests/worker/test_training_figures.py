"""Precision against recall of a validation, as other tools compute it."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score  # type: ignore[import-untyped]
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from bloomery_worker.board import THRESHOLDS, Board
from bloomery_worker.evaluation import Cell, Curve, Evaluation, Insight
from bloomery_worker.training.figures import draw_answers, draw_boxes
from tests.worker.test_board import work

NAMES = ("rbc", "wbc", "platelets")


def curve(folder: Path, name: str) -> tuple[list[float], list[float]]:
    """Precision and recall at rising thresholds, as TensorBoard has them."""
    shown = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [one.step for one in shown.Images("val/confusion")] == [3]
    [point] = shown.Tensors(f"val/{name}")
    *_, precision, recall = make_ndarray(point.tensor_proto)
    return precision.tolist(), recall.tolist()


def test_the_curve_of_a_class_is_that_of_its_probabilities(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    truth = random.integers(2, size=60)
    probabilities = random.dirichlet((1, 1, 1), size=60).astype(np.float32)
    board = Board(work(tmp_path), lambda _: None)
    draw_answers(board, truth, probabilities, NAMES, epoch=3)
    board.hand_over(last=True)
    own, at = truth == 1, np.linspace(0, 1, THRESHOLDS)
    taken = [probabilities[:, 1] >= threshold for threshold in at]
    precision, recall = curve(tmp_path, "wbc")
    assert precision == pytest.approx([precision_score(own, one, zero_division=1) for one in taken])
    assert recall == pytest.approx([recall_score(own, one) for one in taken])
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert "val/platelets" not in shown.Tags()["tensors"]


def test_the_curve_of_boxes_goes_by_their_scores(tmp_path: Path) -> None:
    found = Curve(
        "precision_recall", "wbc",
        x=np.array([0.0, 0.5, 1.0]), y=np.array([1.0, 0.8, 0.0]), scores=np.array([0.9, 0.4, 0.0]),
    )  # fmt: skip
    cells = (Cell("rbc", "wbc", 2), Cell("wbc", None, 1), Cell(None, "wbc", 4))
    figures = [{"class": name, "instances": count} for name, count in zip(NAMES, (2, 4, 0), strict=True)]
    evaluation = Evaluation("val", "detect", NAMES, 5, {}, figures, Insight(0.3, cells, [found], [], []))
    board = Board(work(tmp_path), lambda _: None)
    draw_boxes(board, evaluation, epoch=3)
    board.hand_over(last=True)
    at = np.linspace(0, 1, THRESHOLDS)
    precision, recall = curve(tmp_path, "wbc")
    assert precision == pytest.approx([0.8 if one <= 0.4 else 1.0 for one in at])
    assert recall == pytest.approx([0.5 if one <= 0.4 else 0.0 for one in at])
