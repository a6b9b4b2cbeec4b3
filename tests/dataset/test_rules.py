"""Rules that dataset versions and their exports keep, whatever is in them."""

from pathlib import PurePosixPath

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.dataset.v1 import CreateDatasetVersionRequest, DatasetSpec, DatasetVersion, SplitPolicy
from bloomery.vision.v1 import TaskType
from bloomery_dataset.checks import new_version
from bloomery_kit.errors import InvalidArgument
from bloomery_vision.formats.export import image_path
from bloomery_vision.formats.model import ExportRow, YoloTask
from bloomery_vision.formats.write_yolo import write_yolo
from bloomery_vision.geometry import Box, Polygon, Shape
from bloomery_vision.validate import validate_shape

EXAMPLES = settings(max_examples=100, deadline=None)
CLASSES = ("RBC", "no", "été", "7")
SIDES = st.integers(1, 4000)
SHARES = st.floats(0, 1)


@st.composite
def shapes_within(draw: st.DrawFn, width: int, height: int) -> Shape:
    x1, x2 = sorted(draw(st.tuples(SHARES, SHARES)))
    y1, y2 = sorted(draw(st.tuples(SHARES, SHARES)))
    box = Box.from_corners(x1 * width, y1 * height, x2 * width, y2 * height)
    label = draw(st.sampled_from(CLASSES))
    return Shape(Polygon(box.rings[0]) if draw(st.booleans()) else box, label)


@st.composite
def rows(draw: st.DrawFn) -> list[ExportRow]:
    made = []
    for number in range(draw(st.integers(0, 5))):
        width, height = draw(SIDES), draw(SIDES)
        shapes = draw(st.lists(shapes_within(width, height), max_size=4))
        folder = draw(st.sampled_from(["", "cam 1/", "a/b/"]))
        split = draw(st.sampled_from(["train", "val", "test"]))
        made.append(ExportRow(f"{folder}{number}.jpg", width, height, split, tuple(shapes)))
    return made


TASKS = st.sampled_from(YoloTask)


def written(given_rows: list[ExportRow], task: YoloTask) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for chunk in write_yolo(given_rows, CLASSES, task=task):
        files[chunk.path] = files.get(chunk.path, b"") + chunk.data
    return files


@EXAMPLES
@given(st.tuples(*[st.integers(-5, 105)] * 3) | st.permutations([70, 20, 10]) | st.just((0, 100, 0)))
def test_ratios_sum_to_100_or_are_refused(percents: tuple[int, int, int]) -> None:
    # Property 9: split ratios sum to 100 or are refused.
    train, val, test = percents
    policy = SplitPolicy(method=SplitPolicy.METHOD_RATIO, train_percent=train, val_percent=val, test_percent=test)
    version = DatasetVersion(spec=DatasetSpec(task=TaskType.TASK_TYPE_DETECT, split=policy))
    request = CreateDatasetVersionRequest(parent="projects/p/datasets/d", dataset_version=version)
    if sum(percents) == 100 and all(0 <= percent <= 100 for percent in percents):
        assert new_version(request).spec.split.percents == tuple(percents)
        return
    with pytest.raises(InvalidArgument, match=r"spec\.split"):
        new_version(request)


@EXAMPLES
@given(rows(), TASKS)
def test_lines_of_yolo_are_shares_of_the_image(given_rows: list[ExportRow], task: YoloTask) -> None:
    # Property 10: numbers of YOLO lines are normalised to 0..1.
    for path, content in written(given_rows, task).items():
        for line in content.decode().splitlines() if path.endswith(".txt") else ():
            number, *values = line.split()
            assert 0 <= int(number) < len(CLASSES)
            assert len(values) >= 4
            assert all(0 <= float(value) <= 1 for value in values)


@EXAMPLES
@given(rows(), TASKS)
def test_each_image_has_its_label_file_in_the_folder_of_its_split(given_rows: list[ExportRow], task: YoloTask) -> None:
    # Property 11: images and labels lie in images/<split>/ and labels/<split>/, each image with its label file.
    files = written(given_rows, task)
    images = [image_path(row) for row in given_rows]
    assert all(image.startswith(f"images/{row.split}/") for image, row in zip(images, given_rows, strict=True))
    wanted = {str(PurePosixPath("labels", *PurePosixPath(image).parts[1:]).with_suffix(".txt")) for image in images}
    assert files.keys() - {"data.yaml"} == wanted


@EXAMPLES
@given(rows(), TASKS)
def test_the_configuration_counts_and_names_classes_and_folders(given_rows: list[ExportRow], task: YoloTask) -> None:
    # Property 12: data.yaml has the count of classes, their names, and the paths of the splits that have images.
    config = yaml.safe_load(written(given_rows, task)["data.yaml"])
    assert config["names"] == dict(enumerate(CLASSES))
    assert config["nc"] == len(CLASSES)
    parts = {row.split for row in given_rows}
    assert {part: config[part] for part in parts} == {part: f"images/{part}" for part in parts}
    assert config.keys() == {"nc", "names", *parts}


@EXAMPLES
@given(
    st.tuples(st.floats(-50, 150), st.floats(-50, 150), st.floats(2, 60), st.floats(2, 60)),
    st.sampled_from(["rbc", "", " "]),
)
def test_every_box_outside_and_every_missing_label_is_found(
    sides: tuple[float, float, float, float], label: str
) -> None:
    # Property 22: validation finds every box outside and every missing label.
    box = Box(*sides)
    codes = {found.code for found in validate_shape(Shape(box, label), 100, 80)}
    assert ("EMPTY_LABEL" in codes) is (not label.strip())
    beyond = max(-box.x, -box.y, box.x2 - 100, box.y2 - 80)
    assert bool(codes & {"OUTSIDE_IMAGE", "PARTLY_OUTSIDE"}) or beyond <= 0.5
    assert not codes & {"OUTSIDE_IMAGE", "PARTLY_OUTSIDE"} or beyond > 0
