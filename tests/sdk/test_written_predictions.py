"""What a finished job saw, as files of other formats; what is written as YOLO, our own importer reads back."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bloomery import AsyncClient, Client, _parquet, errors
from bloomery.training import v1 as training
from bloomery_vision.geometry import Box, Mask, Polygon
from bloomery_vision.rings import polygon_of
from tests.sdk import world
from tests.sdk.blobs import Blobs
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake
from tests.sdk.test_applied import offer
from tests.sdk.test_drawing import encoded
from tests.vision.folders import read_folder

CLASSES = ("RBC", "WBC")
WIDTH, HEIGHT = 640, 480
PIXELS = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
PIXELS[50:150, 100:300] = True
PIXELS[90:100, 140:160] = False
BOX = {"label": "WBC", "score": 0.75, "box": {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0}}
TAGS = [{"label": "WBC", "score": 0.75, "tag": {}}, {"label": "RBC", "score": 0.25, "tag": {}}]
NAMES = ("one/a.png", "two/a.png")
Finished = Callable[..., None]


def outline() -> dict[str, Any]:
    polygon = polygon_of(Mask.from_array(PIXELS))
    assert polygon
    rings = [{"coordinates": [side for point in ring for side in point]} for ring in polygon.rings]
    return {"label": "RBC", "score": 0.5, "polygon": {"rings": rings}}


def mask() -> dict[str, Any]:
    counts = Mask.from_array(PIXELS).counts.decode()
    return {"label": "RBC", "score": 0.5, "mask": {"width": WIDTH, "height": HEIGHT, "counts": counts}}


@pytest.fixture
def finished(fake: Fake, blobs: Blobs) -> Finished:
    """Lets each job have seen the same shapes on two images of one name, and one that is none."""

    def finish(task: str, *shapes: Mapping[str, Any], masks: str = "") -> None:
        world.settle(fake)
        facts = {"original_name": "", "digest": "sha256:1", "split": ""}
        seen = [{"file_name": name, **facts, "width": WIDTH, "height": HEIGHT, "shapes": shapes} for name in NAMES]
        bad = {"file_name": "bad.png", **facts, "error": {"reason": "NOT_AN_IMAGE", "message": "no"}}
        lines = "".join(json.dumps(line) + "\n" for line in (*seen, bad))
        offer(fake, blobs, "predictions", "predictions.jsonl", lines.encode())
        job = training.Job(name=world.JOB.name, kind=training.JOB_KIND_PREDICT, state=training.JOB_STATE_SUCCEEDED)
        job.result.details.update({"task": task, "classes": list(CLASSES)})
        if masks:
            job.effective_parameters["masks"] = masks
        fake.answer("GetJob", job)

    return finish


def imported(folder: Path, files: Sequence[str] = NAMES) -> dict[str, Any]:
    """What our importer makes of label files beside their images."""
    written = [folder / "data.yaml", *(folder / "labels").rglob("*.txt")]
    content = {path.relative_to(folder).as_posix(): path.read_bytes() for path in written}
    picture = BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(picture, "PNG")
    return dict(read_folder({**content, **{f"images/{name}": picture.getvalue() for name in files}}))


def test_boxes_are_read_back_by_our_importer(client: Client, finished: Finished, tmp_path: Path) -> None:
    finished("detect", BOX)
    client.job("p1").write_predictions(tmp_path, formats=["yolo"])
    found = imported(tmp_path)
    assert sorted(found) == [f"images/{name}" for name in NAMES]
    for item in found.values():
        [shape] = item.shapes
        assert (shape.label, shape.attributes) == ("WBC", {"score": "0.75"})
        assert isinstance(shape.geometry, Box)
        place = [shape.geometry.x, shape.geometry.y, shape.geometry.width, shape.geometry.height]
        assert place == pytest.approx([10, 20, 30, 40], abs=1e-2)


def test_outlines_of_a_segmenter_are_read_back_by_our_importer(
    client: Client, finished: Finished, tmp_path: Path
) -> None:
    finished("segment", outline(), masks="polygons")
    client.job("p1").write_predictions(tmp_path, formats=["yolo", "coco"])
    for item in imported(tmp_path).values():
        [shape] = item.shapes
        assert (shape.label, shape.attributes) == ("RBC", {"score": "0.5"})
        assert isinstance(shape.geometry, Polygon)
        assert shape.geometry.area == pytest.approx(PIXELS.sum(), rel=1e-3)
    [first, _] = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    assert first["area"] == PIXELS.sum()


def test_masks_are_no_outlines(client: Client, finished: Finished, tmp_path: Path) -> None:
    finished("segment", mask())
    with pytest.raises(errors.FailedPrecondition, match="these are masks"):
        client.job("p1").write_predictions(tmp_path / "out", formats=["yolo"])
    assert not (tmp_path / "out").exists()


def test_a_classifier_has_a_line_for_each_class_with_its_score(
    client: Client, finished: Finished, tmp_path: Path
) -> None:
    finished("classify", *TAGS)
    assert client.job("p1").write_predictions(tmp_path, formats=["yolo"]) == [tmp_path / "labels"]
    assert (tmp_path / "labels/one/a.txt").read_text() == "0.75 WBC\n0.25 RBC\n"
    with pytest.raises(errors.FailedPrecondition, match="coco cannot hold"):
        client.job("p1").write_predictions(tmp_path, formats=["coco"])


def test_parquet_has_a_row_for_each_image_in_groups(
    client: Client, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_parquet, "_ROWS", 2)
    finished("segment", mask(), outline(), BOX, TAGS[0])
    [path] = client.job("p1").write_predictions(tmp_path, formats=["parquet"])
    assert path == tmp_path / "predictions.parquet"
    file = pq.ParquetFile(path)
    assert (file.num_row_groups, file.schema_arrow.metadata[b"bloomery.predictions"]) == (2, b"1")
    first, _, bad = file.read().to_pylist()
    assert (first["file_name"], first["digest"], first["width"], first["height"]) == (NAMES[0], "sha256:1", 640, 480)
    assert [shape["kind"] for shape in first["shapes"]] == ["mask", "polygon", "box", "tag"]
    around = {"x": 100.0, "y": 50.0, "width": 200.0, "height": 100.0}
    assert [shape["box"] for shape in first["shapes"]] == [around, around, BOX["box"], None]
    assert Mask(WIDTH, HEIGHT, first["shapes"][0]["mask_counts"].encode()).to_array().sum() == PIXELS.sum()
    assert first["shapes"][1]["rings"] == [ring["coordinates"] for ring in outline()["polygon"]["rings"]]
    assert [shape["score"] for shape in first["shapes"]] == [0.5, 0.5, 0.75, 0.75]
    assert (bad["error_reason"], bad["error_message"], bad["shapes"]) == ("NOT_AN_IMAGE", "no", None)


async def test_a_program_that_does_not_wait_writes_them_too(
    aclient: AsyncClient, finished: Finished, tmp_path: Path
) -> None:
    finished("detect", BOX)
    job = await aclient.job("p1")
    lines, table = await job.write_predictions(tmp_path, formats=["parquet", "jsonl"])
    assert (lines.name, table.name) == ("predictions.jsonl", "predictions.parquet")
    assert pq.read_table(table).num_rows == len(lines.read_text().splitlines()) == 3


def test_what_is_missing_or_no_format_is_told_first(
    client: Client, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished("detect", BOX)
    with pytest.raises(errors.InvalidArgument, match="must be one of"):
        client.job("p1").write_predictions(tmp_path / "out", formats=["csv"])  # type: ignore[list-item]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(errors.FailedPrecondition) as refused:
        client.job("p1").write_predictions(tmp_path / "out", formats=["parquet"])
    assert (refused.value.reason, "bloomery[parquet]" in refused.value.hint) == ("EXTRA_MISSING", True)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_what_a_finished_job_saw(run: Run, finished: Finished, tmp_path: Path) -> None:
    finished("detect", BOX)
    done = run("jobs predictions p1 --format parquet --format coco --to", str(tmp_path))
    assert done.stdout.split() == [f"{tmp_path}/predictions.parquet", f"{tmp_path}/coco.json"], done.output
    done = run("jobs predictions p1 --to", str(tmp_path))
    assert done.stdout.split() == [f"{tmp_path}/predictions.jsonl"]


def test_predict_writes_parquet_too(fake: Fake, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    done = run("predict cells-v@1 --format parquet --to", str(tmp_path / "out"), str(tmp_path / "a.png"))
    assert done.exit_code == 0, done.output
    [row] = pq.read_table(tmp_path / "out/predictions.parquet").to_pylist()
    assert (row["file_name"], row["digest"], row["shapes"][0]["label"]) == (
        str(tmp_path / "a.png"),
        None,
        world.BOX.label,
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.parquet"]
