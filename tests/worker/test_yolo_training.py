"""Real trainings of the YOLO recipes, small enough for seconds."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.worker.harness import job, recipe, running, served, trainer_for
from tests.worker.sample_data import Version

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(150)]
TINY = {"epochs": 2, "imgsz": 64, "batch": 4, "workers": 0}


async def test_a_training_publishes_a_measured_model(cells: Version, tmp_path: Path) -> None:
    trainer = trainer_for(job("yolo-detect", "TRAIN", base="scratch", **TINY), recipe("yolo-detect"), cells)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        code = await worker.exit_code()
        assert code == 0, worker.output

    assert trainer.finished is not None
    success = trainer.finished.success
    assert {artifact.role for artifact in success.artifacts} == {"checkpoint", "metrics", "evaluation"}
    assert set(success.metrics) == {
        f"{split}/{name}" for split in ("val", "test") for name in ("map50", "map50_95", "precision", "recall")
    }
    assert success.details["classes"] == list(cells.classes)
    assert success.details["input"] == {"height": 64, "width": 64, "resize": "letterbox"}
    assert success.details["epochs"] == 2
    assert trainer.phases[-1] == "publishing"
    assert [event.metrics.epoch for event in trainer.of_kind("metrics") if event.metrics.epoch_end] == [1, 2]
    assert [event.checkpoint.epoch for event in trainer.of_kind("checkpoint")][-1:] in ([1], [2])
    assert len(list(csv.DictReader(io.StringIO(trainer.content("metrics").decode())))) == 2
    assert json.loads(trainer.content("evaluation"))["test"]["images"] == 4
    assert worker.last_words == {"exit_code": 0, "finished": True, "reason": None, "epoch": worker.last_words["epoch"]}
