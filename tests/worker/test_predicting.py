"""Predictions go on where they ended, and an image that cannot be read is one of many."""

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bloomery_vision.decoders import CENTER_CROP, PROBABILITIES
from bloomery_vision.manifest import ManifestRow
from bloomery_worker import predicting
from bloomery_worker.applying import Applied
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.failures import ConfigError, DataError
from bloomery_worker.messages import CheckpointNote, JobSpec, Note, ProgressNote
from bloomery_worker.predicting import FILE, predict
from bloomery_worker.predictor import Images, Outputs
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import applied
from tests.worker.sample_data import Version, as_version, cached, digest, tagged, voc_rows


class Brightness:
    """A model of two classes: whether an image is dark. `seen` counts the images that it was given."""

    def __init__(self, stop: threading.Event, stop_after: int = 10**9) -> None:
        self.seen, self._stop, self._stop_after = 0, stop, stop_after

    def __call__(self, images: Images) -> Outputs:
        self.seen += len(images)
        if self.seen >= self._stop_after:
            self._stop.set()
        light = images.mean((1, 2, 3), dtype=np.float32) / 255
        return (np.stack([1 - light, light], axis=1),)


class Bench:
    """Does PREDICT jobs on a dataset version in this process."""

    def __init__(self, version: Version, folder: Path) -> None:
        self.folder, self.told = folder, list[Note]()
        self.cache = cached(version, folder / "cache")
        self.job = JobSpec(
            name="projects/cells/jobs/j0",
            uid="j0",
            kind="PREDICT",
            attempt=1,
            recipe="r",
            recipe_version="1",
            recipe_license="Apache-2.0",
            module="r",
            task="classify",
            parameters={"split": "all", "threshold": 0.0},
            classes=version.classes,
            dataset_version="projects/cells/datasets/d/versions/1",
            manifest=str(self.cache.path(version.index.digest)),
            cache_dir=str(folder / "cache"),
            work_dir=str(folder / "work"),
        )
        (folder / "work").mkdir()

    def run(self, *, stop_after: int = 10**9, **changes: Any) -> tuple[Brightness, dict[str, Any]]:
        """The model after a job, and the result's details."""
        stop = threading.Event()
        model = Brightness(stop, stop_after)
        context = Context(replace(self.job, **changes), self.told.append, stop)
        as_seen = Applied(
            predict=model,
            evaluator=None,  # type: ignore[arg-type]
            classes=("dark", "light"),
            size=(32, 32),
            resize=CENTER_CROP,
            decoder=PROBABILITIES,
            packages=("numpy",),
            runtime="",
            file=self.folder,
            device="cpu",
        )
        return model, dict(predict(context, as_seen).details)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "work" / FILE).read_text().splitlines()]

    def checkpoints(self) -> list[CheckpointNote]:
        return [note for note in self.told if isinstance(note, CheckpointNote)]


def version_of(rows: Sequence[ManifestRow], blobs: dict[str, bytes]) -> Version:
    return as_version(tagged(rows), blobs, task="classify")


@pytest.fixture
def bench(tags: Version, tmp_path: Path) -> Bench:
    """A bench with 16 images."""
    return Bench(tags, tmp_path)


@pytest.fixture
def no_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "BATCH", 1)


def test_each_image_is_accounted_for(bench: Bench) -> None:
    model, details = bench.run()
    assert model.seen == details["images"] == details["predicted"] == len(bench.lines()) == 16
    assert details["failed"] == {}
    assert not bench.checkpoints()


def test_lines_are_saved_now_and_then_and_gone_on_from(
    bench: Bench, no_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "CHECKPOINT_SECONDS", 0.0)
    bench.run()
    whole = bench.lines()
    assert [note.epoch for note in bench.checkpoints()] == list(range(1, 17))
    fifth = bench.checkpoints()[4]
    assert len(Path(fifth.folder, FILE).read_text().splitlines()) == 5
    bench.told.clear()
    model, details = bench.run(resume_dir=fifth.folder, resume_epoch=5, attempt=2)
    assert model.seen == 11
    assert (details["images"], details["predicted"]) == (16, 16)
    assert bench.lines() == whole
    steps = [note.step for note in bench.told if isinstance(note, ProgressNote)]
    assert min(steps) == 5


def test_work_that_is_stopped_is_saved_first(bench: Bench, no_batches: None) -> None:
    with pytest.raises(StopRequestedError) as stopped:
        bench.run(stop_after=6)
    [saved] = bench.checkpoints()
    assert stopped.value.epoch == saved.epoch == 6
    model, details = bench.run(resume_dir=saved.folder, resume_epoch=6, attempt=2)
    assert (model.seen, details["images"]) == (10, 16)


def test_a_checkpoint_that_holds_all_leaves_nothing_to_do(bench: Bench) -> None:
    bench.run()
    whole = bench.lines()
    folder = bench.folder / "saved"
    folder.mkdir()
    (bench.folder / "work" / FILE).rename(folder / FILE)
    model, details = bench.run(resume_dir=str(folder), resume_epoch=16, attempt=2)
    assert (model.seen, details["images"]) == (0, 16)
    assert bench.lines() == whole


def test_only_what_is_wanted_is_written_down(bench: Bench) -> None:
    wanted = {**bench.job.parameters, "classes": "light", "max_shapes": 1}
    bench.run(parameters=wanted)
    assert {shape["label"] for line in bench.lines() for shape in line["shapes"]} == {"light"}
    bench.run(parameters={**bench.job.parameters, "max_shapes": 1})
    assert {len(line["shapes"]) for line in bench.lines()} == {1}
    with pytest.raises(ConfigError, match="dusk, dawn is no class of the model"):
        bench.run(parameters={**wanted, "classes": "light, dusk,dawn"})


@pytest.fixture
def broken(examples_dir: Path, tmp_path: Path) -> Bench:
    """A bench with six images: of the first the bytes are no image any more, those of the last are not there."""
    rows, blobs = voc_rows(examples_dir / "blood-cells", per_split={"train": 4, "val": 1, "test": 1})
    text = b"no image"
    rows[0] = replace(rows[0], digest=digest(text), size_bytes=len(text))
    blobs[rows[0].logical_key] = text
    bench = Bench(version_of(rows, blobs), tmp_path)
    bench.cache.path(rows[-1].digest).unlink()
    return bench


def test_images_that_cannot_be_read_do_not_stop_the_others(broken: Bench) -> None:
    model, details = broken.run()
    assert model.seen == details["predicted"] == 4
    assert (details["images"], details["failed"]) == (6, {"NOT_AN_IMAGE": 1, "IMAGE_MISSING": 1})
    lines = broken.lines()
    names = [line["file_name"] for line in lines]
    assert names == sorted(names)
    assert [line["error"]["reason"] if "error" in line else "" for line in lines] == [
        "NOT_AN_IMAGE", "", "", "", "", "IMAGE_MISSING",
    ]  # fmt: skip
    assert "shapes" not in lines[0]
    # What is gone on from is counted as what is done now.
    folder = broken.folder / "saved"
    folder.mkdir()
    (broken.folder / "work" / FILE).rename(folder / FILE)
    _, again = broken.run(resume_dir=str(folder), resume_epoch=6, attempt=2)
    assert again["failed"] == details["failed"]


def test_a_job_without_an_image_that_can_be_read_fails(broken: Bench) -> None:
    broken.run()
    for line in broken.lines():
        broken.cache.path(line["digest"]).unlink(missing_ok=True)
    with pytest.raises(DataError, match="none of 6 images can be read: IMAGE_MISSING: 6"):
        broken.run()


@pytest.mark.real_training
@pytest.mark.timeout(300)
async def test_an_image_whose_bytes_are_gone_or_damaged_is_one_of_many(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    images = sorted(key for key in cells.blobs if "/datasets/" not in key)
    damaged = Version(cells.index, cells.classes, {**cells.blobs, images[0]: b"others"})
    trainer = await applied("yolo-detect", "PREDICT", detector, damaged, tmp_path, split="all")
    lines = [json.loads(text) for text in trainer.content("predictions").decode().splitlines()]
    [refused] = [line for line in lines if "error" in line]
    assert refused["error"]["reason"] == "IMAGE_MISSING"
    assert refused["digest"].endswith(images[0].rpartition("/")[2])
    assert len(lines) == 16
