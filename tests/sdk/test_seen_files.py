"""Predictions on many images as files that other tools read."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO

from bloomery.inference import v1 as inference
from bloomery.vision import v1 as vision
from bloomery_kit import errors as served
from bloomery_vision.geometry import Mask
from bloomery_vision.rings import polygon_of
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake
from tests.sdk.test_drawing import encoded

PIXELS = np.zeros((30, 40), dtype=np.bool_)
PIXELS[5:15, 10:30] = True
PIXELS[7, 12] = False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images of one name, one that is damaged, and what is none."""
    for name in ("one/a.png", "two/a.png", "two/broken.png", "two/notes.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"" if "broken" in name else encoded())
    return tmp_path / "in"


def segmenter(fake: Fake) -> None:
    mask = Mask.from_array(PIXELS)
    shape = vision.Shape(label="WBC", confidence=0.75)
    shape.mask.CopyFrom(vision.Mask(width=40, height=30, counts=mask.counts))
    fake.answer("Predict", inference.PredictResponse(shapes=[shape], width=40, height=30))
    version = inference.ModelVersion()
    version.CopyFrom(world.MODEL_VERSION)
    version.task = vision.TASK_TYPE_SEGMENT
    fake.answer("GetModelVersion", version)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_image_is_a_line_and_a_bad_one_says_why(run: Run, folder: Path) -> None:
    out = folder.parent / "out"
    result = run("predict cells-v@1 --to", str(out), str(folder))
    assert result.exit_code == 1
    assert result.stdout == f"{out / 'predictions.jsonl'}\n"
    first, second, broken = lines(out / "predictions.jsonl")
    assert [first["file_name"], second["file_name"]] == [str(folder / f"{name}/a.png") for name in ("one", "two")]
    assert (first["width"], first["height"]) == (640, 480)
    [shape] = first["shapes"]
    assert shape["box"] == {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0}
    assert list(shape) == ["label", "score", "box"]
    assert broken == {
        "file_name": str(folder / "two/broken.png"),
        "error": {"reason": "INVALID_ARGUMENT", "message": f"{folder / 'two/broken.png'} has no bytes"},
    }
    assert [path.name for path in out.iterdir()] == ["predictions.jsonl"]


def test_coco_has_annotations_with_scores(run: Run, folder: Path) -> None:
    out = folder.parent / "out"
    result = run("predict cells-v@1 --format coco --to", str(out), str(folder))
    assert result.exit_code == 1
    read = COCO(str(out / "coco.json"))
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == [
        str(folder / f"{name}/a.png") for name in ("one", "two")
    ]
    assert {one["id"]: one["name"] for one in read.loadCats(read.getCatIds())} == {1: "RBC", 2: "WBC"}
    [annotation] = read.loadAnns(read.getAnnIds(imgIds=[2]))
    assert annotation["bbox"] == [10.0, 20.0, 30.0, 40.0]
    assert annotation["area"] == 1200
    assert 0 < cast("Any", annotation)["score"] < 1
    assert annotation["id"] == 2


def test_coco_has_masks_of_segmenters(fake: Fake, run: Run, folder: Path) -> None:
    segmenter(fake)
    out = folder.parent / "out"
    result = run("predict cells-v@1 --format coco --to", str(out), str(folder / "one"))
    assert result.exit_code == 0, result.output
    read = COCO(str(out / "coco.json"))
    [annotation] = read.loadAnns(read.getAnnIds())
    assert annotation["segmentation"] == {"size": [30, 40], "counts": Mask.from_array(PIXELS).counts.decode()}
    assert (annotation["area"], annotation["bbox"]) == (199, [10, 5, 20, 10])


def outlining(fake: Fake) -> None:
    """A segmenter's outlines: two parts, one of them with a hole."""
    segmenter(fake)
    shape = vision.Shape(label="WBC", confidence=0.75)
    pixels = PIXELS.copy()
    pixels[20:25, 3:9] = True
    polygon = polygon_of(Mask.from_array(pixels))
    assert polygon is not None
    for ring in polygon.rings:
        shape.polygon.rings.add(coordinates=[number for point in ring for number in point])
    fake.answer("Predict", inference.PredictResponse(shapes=[shape], width=40, height=30))


def test_outlines_are_asked_for_and_are_cocos_polygons(fake: Fake, run: Run, folder: Path) -> None:
    outlining(fake)
    out = folder.parent / "out"
    result = run("predict cells-v@1 --masks polygons --format coco --to", str(out), str(folder / "one"))
    assert result.exit_code == 0, result.output
    assert fake.calls["Predict"][-1].masks == inference.MASK_FORM_POLYGON
    read = COCO(str(out / "coco.json"))
    [annotation] = read.loadAnns(read.getAnnIds())
    found = Mask(40, 30, cast("Any", read.annToRLE(cast("Any", annotation)))["counts"]).to_array()
    assert found.sum() == annotation["area"] == 199 + 30
    assert not found[7, 12]
    assert annotation["bbox"] == [3, 5, 27, 20]


def test_yolo_has_outlines_of_segmenters_as_one_line_each(fake: Fake, run: Run, folder: Path) -> None:
    outlining(fake)
    out = folder.parent / "out"
    result = run("predict cells-v@1 --format yolo --to", str(out), str(folder / "one"))
    assert result.exit_code == 0, result.output
    assert fake.calls["Predict"][-1].masks == inference.MASK_FORM_POLYGON
    [line] = (out / "labels/a.txt").read_text().splitlines()
    number, *values = line.split()
    assert (number, values[-1]) == ("1", "0.75")
    points = np.array(values[:-1], dtype=np.float64).reshape(-1, 2) * (40, 30)
    x, y = points.T
    assert abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2 == pytest.approx(229, abs=0.1)
    assert (points.min(axis=0), points.max(axis=0)) == (
        pytest.approx([3, 5], abs=1e-3),
        pytest.approx([30, 25], abs=1e-3),
    )


def test_yolo_has_a_file_for_each_image_with_scores(run: Run, folder: Path) -> None:
    out = folder.parent / "out"
    result = run("predict cells-v@1 --format yolo --format jsonl --to", str(out), str(folder))
    assert result.exit_code == 1
    assert result.stdout == f"{out / 'labels'}\n{out / 'predictions.jsonl'}\n"
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["a-2.txt", "a.txt"]
    [line] = (out / "labels/a.txt").read_text().splitlines()
    number, *values = line.split()
    assert list(map(float, values[:4])) == pytest.approx([25 / 640, 40 / 480, 30 / 640, 40 / 480], rel=1e-5)
    score = lines(out / "predictions.jsonl")[0]["shapes"][0]["score"]
    assert float(values[4]) == pytest.approx(score, abs=1e-5)
    names = yaml.safe_load((out / "data.yaml").read_text())["names"]
    assert names == {0: "RBC", 1: "WBC"}
    assert names[int(number)] == world.BOX.label


@pytest.mark.parametrize(
    ("task", "format", "told"),
    [
        (vision.TASK_TYPE_CLASSIFY, "coco", "take jsonl or yolo or parquet"),
    ],
)
def test_a_format_that_cannot_hold_what_the_model_sees_is_refused(
    fake: Fake, run: Run, folder: Path, task: vision.TaskType.ValueType, format: str, told: str
) -> None:
    version = inference.ModelVersion()
    version.CopyFrom(world.MODEL_VERSION)
    version.task = task
    fake.answer("GetModelVersion", version)
    result = run(f"predict cells-v@1 --format {format} --to", str(folder.parent / "out"), str(folder))
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert not (folder.parent / "out").exists()


def test_a_run_that_fails_leaves_the_files_of_the_one_before(fake: Fake, run: Run, folder: Path) -> None:
    out = folder.parent / "out"
    run("predict cells-v@1 --to", str(out), str(folder))
    before = (out / "predictions.jsonl").read_bytes()
    fake.queue("Predict", served.FailedPrecondition("NO_VARIANT", "no variant serves"))
    assert run("predict cells-v@1 --to", str(out), str(folder)).exit_code == 4
    assert (out / "predictions.jsonl").read_bytes() == before
    assert [path.name for path in out.iterdir()] == ["predictions.jsonl"]


def test_a_format_needs_a_folder(run: Run) -> None:
    assert run("predict cells-v@1 a.png --format coco").exit_code == 2


def test_a_pattern_that_the_shell_left_alone_means_the_files_that_fit(run: Run, folder: Path) -> None:
    result = run("predict cells-v@1 -o json", str(folder / "*" / "a.png"))
    assert [one["image"] for one in json.loads(result.stdout)] == [
        str(folder / f"{name}/a.png") for name in ("one", "two")
    ]
    result = run("predict cells-v@1", str(folder / "*.tiff"))
    assert result.exit_code == 4
    assert "no file fits" in result.stderr
