"""Whoever has the predictions can compute the figures that are published."""

import contextlib
import io
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bloomery_vision.decoders import YOLO_END_TO_END
from bloomery_vision.formats import Format
from bloomery_vision.interpret import OutputError
from bloomery_vision.manifest import ManifestRow
from bloomery_worker.context import Context
from bloomery_worker.evaluating import evaluate
from bloomery_worker.messages import JobSpec
from bloomery_worker.predicting import predict
from tests.worker.sample_data import as_version, cached, rows_of
from tests.worker.test_parts import JOB

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def job(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """One about a model of 80 classes and labelled images that it finds much on."""
    from bloomery_recipe_yolo.foreign import Foreign

    folder = tmp_path_factory.mktemp("job")
    rows, blobs = rows_of(test_data / "coco-tiny", Format.COCO, per_split={"val": 6})
    version = as_version(rows, blobs)
    cache = cached(version, folder / "cache")
    [weights] = (test_data / "weights").glob("yolov8n*.pt")
    Foreign.read(weights).write(folder / "model.pt", side=320)
    return replace(
        JOB,
        manifest=str(cache.path(version.index.digest)),
        base_file=str(folder / "model.pt"),
        cache_dir=str(cache.root),
        work_dir=str(folder),
        classes=version.classes,
    )


def context(job: JobSpec, **parameters: bool | float | str) -> Context:
    return Context(replace(job, parameters={"split": "all", **parameters}), lambda _: None, threading.Event())


def measured(job: JobSpec, *, multi_label: bool) -> Mapping[str, float]:
    from bloomery_recipe_yolo.flavours import FLAVOURS
    from bloomery_recipe_yolo.named import applied

    wanted = context(job, multi_label=multi_label)
    return evaluate(wanted, applied(wanted, FLAVOURS["detect"])).metrics


def predicted(job: JobSpec, *, multi_label: bool) -> list[dict[str, Any]]:
    from bloomery_recipe_yolo.flavours import FLAVOURS
    from bloomery_recipe_yolo.named import applied

    options = context(job, threshold=0.001, iou_threshold=0.7, multi_label=multi_label)
    [file] = predict(options, applied(options, FLAVOURS["detect"])).files
    return [json.loads(line) for line in Path(file.path).read_text().splitlines()]


def computed(rows: list[ManifestRow], lines: list[dict[str, Any]], classes: tuple[str, ...]) -> Mapping[str, float]:
    """The mean average precisions by COCO's own code."""
    found = [
        {
            "image_id": number,
            "category_id": classes.index(shape["label"]),
            "bbox": [shape["box"][side] for side in ("x", "y", "width", "height")],
            "score": shape["score"],
        }
        for number, line in enumerate(lines)
        for shape in line["shapes"]
        if shape["label"] in classes
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = as_coco(rows, classes)  # type: ignore[assignment]
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.params.maxDets = [1, 10, 300]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]
    parts = {"map50": precision[0, ..., 0], "map75": precision[5, ..., 0], "map50_95": precision[..., 0]}
    parts |= {f"map_{size}": precision[..., place] for place, size in enumerate(("small", "medium", "large"), 1)}
    return {f"all/{name}": float(np.mean(part[part > -1])) for name, part in parts.items()}


def as_coco(rows: list[ManifestRow], classes: tuple[str, ...]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        for shape in row.shapes:
            box = shape.geometry.bounds
            assert box is not None
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": classes.index(shape.label),
                    "bbox": [box.x, box.y, box.width, box.height],
                    "area": box.area,
                    "iscrowd": int(shape.crowd),
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
    return {
        "images": [{"id": number} for number in range(len(rows))],
        "annotations": annotations,
        "categories": categories,
    }


def test_published_figures_are_those_of_the_predictions(job: JobSpec) -> None:
    dataset = context(job).dataset
    rows = list(dataset.rows())
    figures = []
    for multi_label in (False, True):
        published = measured(job, multi_label=multi_label)
        expected = computed(rows, predicted(job, multi_label=multi_label), dataset.classes)
        assert {name: published[name] for name in expected} == pytest.approx(expected, abs=1e-6)
        figures.append(expected["all/map50"])
    single, several = figures
    assert 0.3 < single < several - 0.01


def test_jobs_read_outputs_as_their_recipe_says(job: JobSpec) -> None:
    from bloomery_recipe_yolo.flavours import FLAVOURS
    from bloomery_recipe_yolo.named import applied

    other = replace(FLAVOURS["detect"], decoder=YOLO_END_TO_END)
    wanted = context(job, threshold=0.001)
    with pytest.raises(OutputError, match="its rows"):
        predict(wanted, applied(wanted, other))
    with pytest.raises(OutputError, match="sees class"):
        evaluate(wanted, applied(wanted, other))
