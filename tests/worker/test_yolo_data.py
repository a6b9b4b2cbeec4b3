"""A training works on all that it was given, or says what it cannot work on."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bloomery.training.v1 import Reason
from bloomery_vision.geometry import Box, Mask, Polygon, Shape
from bloomery_vision.manifest import ManifestRow
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import TINY, attempt, job, recipe, trainer_for
from tests.worker.sample_data import Version, as_version, digest, outlined, tagged, voc_rows

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]

Images = tuple[list[ManifestRow], dict[str, bytes]]


@pytest.fixture
def images(examples_dir: Path) -> Images:
    return voc_rows(examples_dir / "blood-cells", per_split={"train": 6, "val": 2})


async def attempted(name: str, version: Version, folder: Path, *, code: int = 0, **parameters: object) -> FakeTrainer:
    settings = {**TINY, "epochs": 1, "sample_predictions": 0, "export": "none", **parameters}
    trainer = trainer_for(job(name, "TRAIN", base="scratch", **settings), recipe(name), version)
    return await attempt(trainer, version.blobs, folder, code=code)


async def refused(name: str, version: Version, folder: Path, **parameters: object) -> Reason:
    trainer = await attempted(name, version, folder, code=42, **parameters)
    assert trainer.finished is not None
    assert not trainer.of_kind("metrics")
    reason = trainer.finished.failure.reason
    assert (reason.code, reason.retriable) == ("DATA_ERROR", False)
    return reason


def of_split(rows: list[ManifestRow], split: str) -> list[ManifestRow]:
    return [row for row in rows if row.split == split]


def sticking_out(row: ManifestRow) -> ManifestRow:
    """The same with a shape of which a fifth is beyond the right edge."""
    shape = Shape(Box(row.width - 80.0, 10.0, 100.0, 50.0), row.shapes[0].label)
    return replace(row, shapes=(*row.shapes, shape))


def tiny(row: ManifestRow, blobs: dict[str, bytes]) -> ManifestRow:
    """The same with an image that the library finds too small."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (len(blobs), 0, 0)).save(stream, "PNG")
    content = stream.getvalue()
    blobs[row.logical_key] = content
    shapes = tuple(replace(shape, geometry=Box(1, 1, 5, 5)) for shape in row.shapes[:1])
    return replace(row, digest=digest(content), size_bytes=len(content), width=8, height=8, shapes=shapes)


async def test_shapes_that_stick_out_are_cut_and_trained_on(images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    bad = {row.file_name for row in of_split(rows, "train")[:3]}
    version = as_version([sticking_out(row) if row.file_name in bad else row for row in rows], blobs)
    trainer = await attempted("yolo-detect", version, tmp_path)
    assert trainer.finished is not None
    assert trainer.finished.HasField("success")
    labels = [path.read_text() for path in (tmp_path / "work/data/labels/train").glob("*.txt")]
    last = [[float(value) for value in text.splitlines()[-1].split()] for text in labels]
    assert len([box for _, *box in last if box == pytest.approx([0.9375, 35 / 480, 0.125, 50 / 480])]) == 3


async def test_outlines_that_stick_out_are_cut_and_trained_on(images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    moved = [
        replace(row, shapes=(*row.shapes, Shape(Polygon(((-30, -30), (200, -30), (90, 90))), row.shapes[0].label)))
        for row in outlined(rows)
    ]
    trainer = await attempted("yolo-segment", as_version(moved, blobs, task="segment"), tmp_path)
    assert trainer.finished is not None
    assert trainer.finished.HasField("success")


async def test_masks_of_every_form_are_trained_on_and_crowds_are_not(images: Images, tmp_path: Path) -> None:
    from ultralytics.data.utils import polygon2mask

    rows, blobs = images
    masks = [Mask.from_array(array) for array in (ring(), speck(), ring() | speck())]
    masked = [
        replace(
            row,
            shapes=tuple(Shape(mask, row.shapes[0].label, crowd=crowd) for crowd in (False, True) for mask in masks),
        )
        for row in rows
    ]
    trainer = await attempted("yolo-segment", as_version(masked, blobs, task="segment"), tmp_path)
    assert trainer.finished is not None
    assert trainer.finished.HasField("success")
    messages = [event.log.message for event in trainer.of_kind("log")]
    assert f"crowds left out of the training data: {3 * len(rows)}" in messages
    (label, *_) = (tmp_path / "work/data/labels/train").glob("*.txt")
    points = [np.array(line.split()[1:], dtype=np.float32).reshape(-1, 2) for line in label.read_text().splitlines()]
    for ours, array in zip(points, (ring(), speck()), strict=False):
        again = polygon2mask(array.shape, [(ours * (640, 480)).flatten()])
        assert (again.astype(bool) == array).all()


def ring() -> NDArray[np.bool_]:
    array = np.zeros((480, 640), dtype=np.bool_)
    array[100:200, 150:280] = True
    array[130:160, 180:240] = False
    return array


def speck() -> NDArray[np.bool_]:
    array = np.zeros((480, 640), dtype=np.bool_)
    array[300, 400] = True
    return array


async def test_a_shape_outside_of_its_image_ends_the_job_and_names_it(images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    lost = replace(rows[0], shapes=(*rows[0].shapes, Shape(Box(700.0, 10.0, 20.0, 20.0), rows[0].shapes[0].label)))
    reason = await refused("yolo-detect", as_version([lost, *rows[1:]], blobs), tmp_path)
    assert reason.message == f"shapes have no part on their image: {lost.file_name}"


async def test_images_that_the_library_leaves_out_end_the_job_and_are_named(images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    bad, hidden = of_split(rows, "train")[:2]
    mended = {bad.file_name: tiny(bad, blobs), hidden.file_name: replace(hidden, file_name=f".{hidden.file_name}")}
    version = as_version(sorted((mended.get(row.file_name, row) for row in rows), key=lambda row: row.file_name), blobs)
    reason = await refused("yolo-detect", version, tmp_path)
    assert reason.message.startswith("2 of 8 images cannot be trained on as they are: ")
    assert f"{bad.file_name} (image size (8, 8) <10 pixels)" in reason.message
    assert f".{hidden.file_name} (its name or format is not one" in reason.message


async def test_a_split_of_which_the_library_keeps_nothing_is_a_data_error(images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    version = as_version([tiny(row, blobs) if row.split == "val" else row for row in rows], blobs)
    reason = await refused("yolo-detect", version, tmp_path)
    first = of_split(rows, "val")[0].file_name
    assert f"all images of a split cannot be trained on as they are: {first} (image size" in reason.message


async def test_a_classifiers_images_are_counted_too(images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    tags = tagged(rows)
    bad = of_split(tags, "train")[-1]
    small = replace(tiny(bad, blobs), shapes=bad.shapes)
    version = as_version([small if row.file_name == bad.file_name else row for row in tags], blobs, task="classify")
    reason = await refused("yolo-classify", version, tmp_path)
    assert reason.message == (
        f"1 of 8 images cannot be trained on as they are: {bad.file_name} (image size (8, 8) <10 pixels)"
    )


@pytest.mark.parametrize("name", ["yolo-detect", "yolo-classify"])
async def test_a_fraction_of_the_images_is_no_loss(name: str, images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    classify = name == "yolo-classify"
    version = as_version(tagged(rows), blobs, task="classify") if classify else as_version(rows, blobs)
    trainer = await attempted(name, version, tmp_path, fraction=0.4)
    assert trainer.finished is not None
    assert trainer.finished.HasField("success")


async def test_the_same_shape_twice_is_no_loss_and_what_has_no_place_is_told(images: Images, tmp_path: Path) -> None:
    rows, blobs = images
    doubled = replace(rows[0], shapes=(*rows[0].shapes, rows[0].shapes[0], replace(rows[0].shapes[1], crowd=True)))
    trainer = await attempted("yolo-detect", as_version([doubled, *rows[1:]], blobs), tmp_path)
    assert trainer.finished is not None
    assert trainer.finished.HasField("success")
    assert "crowds left out of the training data: 1" in [event.log.message for event in trainer.of_kind("log")]
