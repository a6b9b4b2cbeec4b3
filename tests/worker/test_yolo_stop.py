"""SIGTERM at awkward moments of real work: the worker ends in time, and keeps what the last checkpoint holds."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import TINY, Worker, job, recipe, running, served, trainer_for
from tests.worker.sample_data import Version

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]
GRACE = 60.0


def trains(trainer: FakeTrainer) -> bool:
    return any(event.progress.phase == "training" for event in trainer.of_kind("progress"))


async def appears(path: Path) -> None:
    for _ in range(40_000):
        if os.access(path, os.R_OK):
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{path} did not appear")


async def terminate_frozen(worker: Worker) -> None:
    """Ask for the end while the trainer process cannot go on, so that it finds the wish where it was."""
    trainer = worker.trainer_pid()
    os.kill(trainer, signal.SIGSTOP)
    worker.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    os.kill(trainer, signal.SIGCONT)


async def test_sigterm_in_the_first_batches_ends_in_time(cells: Version, tmp_path: Path) -> None:
    # Large images and small batches: an epoch takes many seconds.
    slow = {"epochs": 1000, "imgsz": 640, "batch": 2}
    trainer = trainer_for(job("yolo-detect", "TRAIN", base="scratch", **slow), recipe("yolo-detect"), cells)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(trains)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.exit_code(seconds=GRACE) == 44, worker.output
    assert trainer.finished is not None
    assert trainer.finished.HasField("stopped")
    assert trainer.finished.stopped.epoch == 0
    assert not trainer.of_kind("checkpoint")


async def test_sigterm_while_the_model_is_measured_ends_in_time(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    again = detector.successor(TINY["epochs"])
    async with served(again, cells), running(again, tmp_path) as worker:
        await appears(worker.work_dir / "published" / "best.pt")
        await terminate_frozen(worker)
        assert await worker.exit_code(seconds=GRACE) == 44, worker.output
    assert again.finished is not None
    assert again.finished.HasField("stopped")
    assert again.finished.stopped.epoch == TINY["epochs"]


async def test_sigterm_while_a_model_is_exported_ends_in_time(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    trainer = trainer_for(job("yolo-detect", "OPTIMIZE"), recipe("yolo-detect"), cells)
    trainer.base = detector.kept["checkpoint"]
    blobs = {**cells.blobs, trainer.base.logical_key: detector.content("checkpoint")}
    version = Version(cells.index, cells.classes, blobs)
    async with served(trainer, version), running(trainer, tmp_path) as worker:
        await appears(worker.work_dir / "variant" / "1" / "model.onnx")
        await terminate_frozen(worker)
        assert await worker.exit_code(seconds=GRACE) == 44, worker.output
    assert trainer.finished is not None
    assert trainer.finished.HasField("stopped")
    assert not trainer.kept
