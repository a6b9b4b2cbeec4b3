"""What TensorBoard shows: read again as TensorBoard does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from bloomery_worker import board as boards
from bloomery_worker.board import THRESHOLDS, Board
from bloomery_worker.matrices import drawn
from bloomery_worker.messages import EventsNote, JobSpec
from tests.worker.test_parts import JOB


def work(folder: Path, *, attempt: int = 1, resume_epoch: int = 0) -> JobSpec:
    return replace(JOB, work_dir=str(folder), attempt=attempt, resume_epoch=resume_epoch)


def shown(folder: Path) -> EventAccumulator:
    # The files as a client has them, beside nothing else.
    return EventAccumulator(str(folder / "tensorboard")).Reload()


def test_what_is_measured_is_shown_at_its_epoch_across_files(tmp_path: Path) -> None:
    sent: list[EventsNote] = []
    now = [0.0]
    board = Board(work(tmp_path), sent.append, clock=lambda: now[0])
    for epoch in range(1, 6):
        now[0] += boards.FIRST_SECONDS / 2
        board.scalars({"val/map50": epoch / 10, "lr": 0.1}, epoch)
        board.hand_over()
    board.hand_over(last=True)
    board.hand_over(last=True)
    assert [Path(note.path).name for note in sent] == [
        f"events.out.tfevents.0001.000000.{number:06}" for number in (1, 2, 3)
    ]
    assert [(one.step, one.value) for one in shown(tmp_path).Scalars("val/map50")] == [
        (epoch, pytest.approx(epoch / 10)) for epoch in range(1, 6)
    ]


def test_an_attempt_takes_back_what_the_former_one_wrote_of_later_epochs(tmp_path: Path) -> None:
    for job, epochs in ((work(tmp_path), (1, 2, 3)), (work(tmp_path, attempt=2, resume_epoch=2), (3, 4))):
        board = Board(job, lambda _: None)
        for epoch in epochs:
            board.scalars({"val/map50": epoch + job.attempt / 10}, epoch)
        board.hand_over(last=True)
    points = shown(tmp_path).Scalars("val/map50")
    assert [(one.step, one.value) for one in points] == [
        (step, pytest.approx(value)) for step, value in ((1, 1.1), (2, 2.1), (3, 3.2), (4, 4.2))
    ]


def test_pictures_curves_and_parameters_are_shown(tmp_path: Path) -> None:
    board = Board(work(tmp_path), lambda _: None)
    counts = np.array([[8.0, 1.0], [2.0, 9.0]])
    board.confusion(counts, ("rbc", "wbc"), 2)
    board.curve("val/rbc", np.linspace(0.5, 1, 1000), np.linspace(1, 0, 1000), 10, 2)
    board.parameters({"epochs": 2, "lr0": 0.1, "cos_lr": True, "optimizer": "SGD"}, {"test/map50": 0.5})
    board.hand_over(last=True)
    found = shown(tmp_path)
    [picture] = found.Images("val/confusion")
    assert (picture.height, picture.width) == drawn(counts, ("rbc", "wbc")).shape[:2]
    [curve] = found.Tensors("val/rbc")
    right, *_, exact, recall = make_ndarray(curve.tensor_proto)
    assert right.shape == (THRESHOLDS,)
    assert (exact[0], exact[-1], recall[0], recall[-1]) == (0.5, 1.0, 1.0, 0.0)
    assert right[0] == 10
    assert [one.value for one in found.Scalars("final/test/map50")] == [0.5]
    assert found.SummaryMetadata("_hparams_/session_start_info").plugin_data.plugin_name == "hparams"


def test_a_board_that_cannot_be_written_ends_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    board = Board(work(tmp_path), lambda _: None)
    for epoch in (1, 2):
        board.scalars({"val/map50": 0.5}, epoch)
        board.hand_over()
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "nothing more is written for TensorBoard"
    ]


@pytest.mark.parametrize("classes", [1, 3, 90])
def test_a_matrix_is_darkest_where_most_is(classes: int) -> None:
    picture = drawn(np.eye(classes) * 5, [f"class {number}" for number in range(classes)])
    assert picture.dtype == np.uint8
    assert max(picture.shape[:2]) <= 1400
    assert picture.min() < 64
