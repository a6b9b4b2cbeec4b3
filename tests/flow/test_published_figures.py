"""What a model is said to reach is what one computes from its predictions, by other people's code."""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bloomery import DatasetVersion, ModelVersion
from tests.flow.conftest import Run, Server, connect

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]
Measured = tuple[ModelVersion, DatasetVersion]


@pytest.fixture(scope="module")
def measured(server: Server, test_data: Path) -> Iterator[Measured]:
    """A model of 80 classes that finds much, and labelled images."""
    with connect(server) as client:
        project = client.create_project("published")
        project.import_folder(test_data / "coco-tiny")
        version = project.build_dataset("coco-v", split="official").wait()
        [weights] = (test_data / "weights").glob("yolov8n*.pt")
        job = project.import_model(weights, model="yolo", recipe="yolo-detect", imgsz=320).wait()
        model = job.model_version()
        model.optimize().wait()
        yield model, version


# Evaluations run in torch by eights, predictions in ONNX Runtime one by one, so that scores differ by some 1e-5. No two
# detections on these images are so close that their order counts.
@pytest.mark.parametrize("options", [(), ("--multi-label",)], ids=["single", "several"])
def test_published_figures_are_those_of_the_predictions_that_one_gets(
    run: Run, measured: Measured, tmp_path: Path, options: tuple[str, ...]
) -> None:
    model, version = measured
    job = asked(run, "evaluate", model.name, "--on", version.name, "--split", "val", *options, "--follow")
    published = job["result"]["metrics"]
    folder = version.export("coco", tmp_path / "coco")
    [listed] = folder.rglob("*val*.json")
    truth = json.loads(listed.read_text())
    files = {Path(image["file_name"]).name: image["id"] for image in truth["images"]}
    pictures = [picture for picture in folder.rglob("*.jpg") if picture.name in files]
    assert len(pictures) == len(files) == 6
    answers = asked(run, "predict", model.name, *pictures, "--threshold", "0.001", *options)
    map50, map50_95 = computed(truth, list(results(answers, files, truth)))
    assert map50 > 0.3
    assert published["val/map50"] == pytest.approx(map50, abs=1e-6)
    assert published["val/map50_95"] == pytest.approx(map50_95, abs=1e-6)


def asked(run: Run, *arguments: str | os.PathLike[str]) -> Any:
    """What a command answers."""
    done = run(*arguments, "-o", "json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def results(answers: list[dict[str, Any]], files: dict[str, int], truth: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Predictions in COCO's form; the truth has no number for classes that it never shows."""
    numbers = {category["name"]: category["id"] for category in truth["categories"]}
    for answer in answers:
        for shape in answer["shapes"]:
            if shape["label"] in numbers:
                box = [shape["box"].get(side, 0.0) for side in ("x", "y", "width", "height")]
                image = files[Path(answer["image"]).name]
                number = numbers[shape["label"]]
                yield {"image_id": image, "category_id": number, "bbox": box, "score": shape["confidence"]}


def computed(dataset: dict[str, Any], found: list[dict[str, Any]]) -> tuple[float, float]:
    """mAP50 and mAP50-95 by COCO's own code."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset  # type: ignore[assignment]
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.params.maxDets = [1, 10, 300]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return float(np.mean(precision[0][precision[0] > -1])), float(np.mean(precision[precision > -1]))
