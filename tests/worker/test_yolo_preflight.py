"""What is looked at before a training, on real data and a real model."""

from dataclasses import replace
from pathlib import Path

import pytest

from bloomery.training.v1 import LogLine
from bloomery_vision.manifest import ManifestRow
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import TINY, Worker, attempt, job, recipe, running, served, trainer_for
from tests.worker.sample_data import Version, as_version, digest, voc_rows

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]

Images = tuple[list[ManifestRow], dict[str, bytes]]


@pytest.fixture
def images(examples_dir: Path) -> Images:
    return voc_rows(examples_dir / "blood-cells", per_split={"train": 4, "val": 2, "test": 2})


def training(version: Version) -> FakeTrainer:
    return trainer_for(job("yolo-detect", "TRAIN", base="scratch", **TINY), recipe("yolo-detect"), version)


async def refused(version: Version, folder: Path, **settings: str) -> tuple[str, str, str]:
    """The reason of a training that must not begin."""
    trainer = await attempt(training(version), version.blobs, folder, code=42, settings=settings)
    assert trainer.finished is not None
    assert not trainer.of_kind("metrics")
    reason = trainer.finished.failure.reason
    return reason.code, reason.message, reason.hint


def test_a_training_says_what_a_step_takes(detector: FakeTrainer) -> None:
    (event,) = detector.of_kind("preflight")
    seen = event.preflight
    assert (seen.device, seen.batch, seen.steps_per_epoch) == ("cpu", 4, 2)
    assert 50 << 20 < seen.peak_memory_bytes < seen.memory_limit_bytes
    assert seen.largest_batch >= 4
    assert seen.seconds_per_step > 0
    assert seen.seconds_per_epoch == pytest.approx(2 * seen.seconds_per_step)
    lines = [event.log.message for event in detector.of_kind("log")]
    assert [line for line in lines if line.startswith("preflight: a step of 4 images takes")]
    assert "preflight" in detector.phases


def test_a_classifier_and_a_segmenter_say_it_too(classifier: FakeTrainer, segmenter: FakeTrainer) -> None:
    assert [event.preflight.batch for event in classifier.of_kind("preflight")] == [4]
    assert [event.preflight.batch for event in segmenter.of_kind("preflight")] == [4]


async def test_a_step_beyond_the_memory_ends_the_job_before_it_begins(cells: Version, tmp_path: Path) -> None:
    code, message, hint = await refused(cells, tmp_path, BLOOMERY_MEMORY_BYTES=str(64 << 20))
    assert code == "OOM_HOST"
    assert "a step of 4 images does not fit into memory: the machine has 0.1 GiB" in message
    assert "smaller" in hint


@pytest.mark.parametrize(("split", "said"), [("train", "to train on"), ("val", "to choose the best epoch by")])
async def test_a_missing_split_is_a_data_error(images: Images, tmp_path: Path, split: str, said: str) -> None:
    rows, blobs = images
    version = as_version([row for row in rows if row.split != split], blobs)
    code, message, hint = await refused(version, tmp_path)
    assert code == "DATA_ERROR"
    assert said in message
    assert "80/20/0" in hint


async def test_images_that_nobody_has_labelled_are_a_data_error(images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    bare = [replace(row, shapes=()) if row.split == "train" else row for row in rows]
    code, message, _ = await refused(as_version(bare, blobs), tmp_path)
    assert code == "DATA_ERROR"
    assert "no training image has a label" in message


async def test_an_unreadable_image_is_named(images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    content = b"no image at all"
    bad = replace(rows[0], digest=digest(content), size_bytes=len(content))
    version = as_version([bad, *rows[1:]], {**blobs, bad.logical_key: content})
    code, message, _ = await refused(version, tmp_path)
    assert code == "DATA_ERROR"
    assert bad.file_name in message


async def test_a_class_without_examples_and_a_small_share_are_warnings(images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    fewer = [
        replace(row, shapes=tuple(shape for shape in row.shapes if row.split != "train" or shape.label != "WBC"))
        for row in rows
    ]
    version = as_version(fewer, blobs)
    trainer = training(version)
    trainer.job.resources.memory_bytes = 1 << 20
    async with served(trainer, version), running(trainer, tmp_path) as worker:
        await begun(trainer, worker)
    warnings = [event.log.message for event in trainer.of_kind("log") if event.log.level == LogLine.LEVEL_WARNING]
    assert "the model cannot learn WBC: no training image has one" in warnings
    assert any("more than the 0.0 GiB that the job asked for" in line for line in warnings)


async def begun(trainer: FakeTrainer, worker: Worker) -> None:
    await trainer.until(lambda trainer: bool(trainer.of_kind("metrics")) or worker.process.returncode is not None)
    assert trainer.of_kind("metrics"), worker.output
