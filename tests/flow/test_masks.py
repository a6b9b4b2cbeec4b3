"""Masks go through a segmentation version unharmed: what COCO brings in comes out pixel for pixel."""

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bloomery import Client
from bloomery_vision.geometry import Mask
from tests.flow.conftest import Run

SIZE = (50, 40)


def blank() -> NDArray[np.bool_]:
    return np.zeros(SIZE[::-1], dtype=np.bool_)


def masks() -> dict[str, NDArray[np.bool_]]:
    """One an image, by the label of the object."""
    ring, square, parts, line, crowd = blank(), blank(), blank(), blank(), blank()
    ring[5:24, 5:24] = True
    ring[8:21, 8:21] = False
    square[5:9, 5:9] = True
    parts[5:15, 5:15] = parts[20:30, 30:40] = True
    line[7, 5:20] = True
    crowd[10:20, 20:40] = True
    return {"ring": ring, "square": square, "parts": parts, "line": line, "crowd": crowd}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A COCO folder with the masks as run lengths; the crowd has an object beside it."""
    images, annotations, categories = [], [], []
    for number, (name, array) in enumerate(masks().items(), 1):
        Image.new("RGB", SIZE, (number, 50, 90)).save(tmp_path / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.png", "width": SIZE[0], "height": SIZE[1]})
        categories.append({"id": number, "name": name})
        counts = {"size": [SIZE[1], SIZE[0]], "counts": Mask.from_array(array).counts.decode()}
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": number,
                "segmentation": counts,
                "bbox": [0, 0, 1, 1],
                "area": int(array.sum()),
                "iscrowd": int(name == "crowd"),
            }
        )
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "instances_train.json").write_text(json.dumps(content))
    return tmp_path


def test_masks_holes_parts_and_crowds_come_out_of_a_version_as_they_went_in(
    run: Run, client: Client, folder: Path, tmp_path: Path
) -> None:
    project = client.create_project(f"m-{uuid.uuid4().hex[:12]}")
    assert run("import", folder, "--project", project.id).exit_code == 0
    version = project.build_dataset("m", task="segment", split="official").wait()
    assert not version.statistics.skipped_shapes
    assert version.statistics.splits[0].crowd_count == 1
    done = run("export", "m@1", "--project", project.id, "--format", "coco", "--to", tmp_path / "out")
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    names = {one["id"]: one["name"] for one in written["categories"]}
    found = {names[one["category_id"]]: one for one in written["annotations"]}
    for name, array in masks().items():
        counts = found[name]["segmentation"]["counts"].encode()
        assert (Mask(*SIZE, counts).to_array() == array).all(), name
        assert found[name]["area"] == array.sum()
    assert [name for name, one in found.items() if one["iscrowd"]] == ["crowd"]
