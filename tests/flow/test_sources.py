"""What a COCO folder calls its images, objects and classes comes out of a version as it went in."""

import csv
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bloomery import Client
from tests.flow.conftest import Run

NAMES = ("cam1/0001.jpg", "cam2/0001.jpg", "фото 1.jpg", "画像.png", "Übung (1).JPG")
CATEGORIES = [
    {"id": 7, "name": "truck", "supercategory": "vehicle"},
    {"id": 50, "name": "bus", "supercategory": "vehicle"},
    {"id": 3, "name": "猫", "supercategory": "animal"},
]
"""Nothing is a bus."""


def content(split: str) -> dict[str, list[dict[str, Any]]]:
    """A COCO file whose ids are no counts; those of the two files are the same, as Roboflow writes them."""
    images, annotations = [], []
    for number, name in enumerate(NAMES):
        images.append({"id": 100 - number, "file_name": name, "width": 64, "height": 48})
        annotations.append(
            {
                "id": 1000 + 7 * number,
                "image_id": 100 - number,
                "category_id": 7 if number % 2 else 3,
                "bbox": [1.0, 2.0, 10.0 + number, 20.0],
                "area": (10.0 + number) * 20,
                "segmentation": [],
                "iscrowd": 0,
                "attributes": {"seen": split, "occluded": False, "grade": 2.5, "plate": "123", "tags": ["a"]},
            }
        )
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def picture(path: Path, color: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), color).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two splits, each with a file of its own."""
    for number, split in enumerate(("train", "val")):
        for index, name in enumerate(NAMES):
            picture(tmp_path / "in" / split / name, (50 * index, 120 * number, 90))
        path = tmp_path / "in" / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content(split)), encoding="utf-8")
    return tmp_path / "in"


@pytest.fixture
def exported(run: Run, client: Client, tmp_path: Path) -> Callable[[Path, str], Path]:
    """Imports a folder into a project of its own, builds its official split and writes it in a format."""

    def through(folder: Path, file_format: str) -> Path:
        project = f"s-{uuid.uuid4().hex[:12]}"
        client.create_project(project)
        target = tmp_path / project
        for command in (
            ("import", folder, "--project", project),
            ("dataset", "build", f"{project}-v", "--split", "official", "--project", project),
            ("export", f"{project}-v", "--format", file_format, "--to", target, "--project", project),
        ):
            done = run(*command)
            assert done.exit_code == 0, done.output
        return target

    return through


def by_id(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda one: int(one["id"]))


def test_names_and_ids_come_out_of_coco_as_they_went_in(exported: Callable[[Path, str], Path], folder: Path) -> None:
    once = exported(folder, "coco")
    twice = exported(once, "coco")
    for found in (once, twice):
        for split in ("train", "val"):
            written = json.loads((found / f"annotations/instances_{split}.json").read_text("utf-8"))
            wanted = content(split)
            assert written["categories"] == CATEGORIES
            assert by_id(written["images"]) == by_id(wanted["images"])
            assert by_id(written["annotations"]) == by_id(wanted["annotations"])
            for name in NAMES:
                same = (folder / split / name).read_bytes()
                assert (found / "images" / split / name).read_bytes() == same


def test_yolo_has_a_table_of_what_images_were_called(exported: Callable[[Path, str], Path], folder: Path) -> None:
    found = exported(folder, "yolo")
    with (found / "images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["original_name"] for row in rows} == {f"{split}/{name}" for split in ("train", "val") for name in NAMES}
    for row in rows:
        assert (found / row["image"]).read_bytes() == (folder / row["original_name"]).read_bytes()
        assert row["source_name"] == row["original_name"].partition("/")[2]
        label = Path(row["image"].replace("images/", "labels/")).with_suffix(".txt")
        assert (found / label).read_text().startswith(("0 ", "2 "))


def test_a_yolo_export_says_where_no_image_is_for_validation(run: Run, client: Client, folder: Path) -> None:
    project = client.create_project(f"v-{uuid.uuid4().hex[:12]}")
    project.import_folder(folder)
    project.build_dataset("all", split="100/0/0").wait()
    done = run("export", "all", "--to", folder / "out", "--project", project.id)
    assert done.exit_code == 0, done.output
    assert "no `val`, without which Ultralytics does not train" in done.stderr
    assert "val:" not in (folder / "out/data.yaml").read_text()
    done = run("export", "all", "--to", folder / "coco", "--format", "coco", "--project", project.id)
    assert "no `val`" not in done.stderr


def test_what_a_format_cannot_hold_is_told(run: Run, exported: Callable[[Path, str], Path], folder: Path) -> None:
    target = exported(folder, "yolo")
    project = target.name
    done = run("export", f"{project}-v", "--to", target, "--project", project)
    assert "yolo cannot hold all shapes as they are: attributes left out: 10\n" in done.stderr
    done = run("export", f"{project}-v", "--to", target, "--project", project, "-o", "json")
    losses = {"attributes left out": 10}
    assert json.loads(done.stdout) == {"folder": str(target), "format": "yolo", "losses": losses}
