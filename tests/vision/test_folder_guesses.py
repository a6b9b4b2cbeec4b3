"""What names of folders say of images, where a label file may say otherwise."""

import json

import pytest

from bloomery_vision.formats import Format, MappingSource, understand
from bloomery_vision.formats.plan import Plan
from tests.vision.folders import annotation, coco, codes, doubts, names_of, plan_of, read_folder, voc, voc_object

LINE = b"0 0.5 0.5 0.2 0.2"
CVAT = b"<?xml version='1.0'?><annotations><version>1.1</version></annotations>"
LABELME = b'{"shapes": [], "imagePath": "a.jpg", "flags": {}}'
STUDIO = b'[{"id": 1, "annotations": [{"id": 2, "result": []}]}]'


@pytest.fixture
def folders(photo: bytes) -> dict[str, bytes]:
    """Images that lie as those of a classification set do."""
    return {"train/cam1/a.jpg": photo, "train/cam2/b.jpg": photo}


def stops(plan: Plan) -> list[tuple[str, str | None]]:
    return [(stop.code, stop.path) for stop in plan.stops]


@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        ("annotations.xml", CVAT, "CVAT's XML"),
        ("train/cam1/a.json", LABELME, "LabelMe"),
        ("export.json", STUDIO, "Label Studio"),
        ("train/cam1/a.xml", b"<html>", "an unknown kind"),
        ("train/cam1/a.json", b'{"boxes', "an unknown kind"),
        ("train/cam2/B.txt", b"10,20,30,40,cat", "an unknown kind"),
        ("gt/a_polygons.json", b'{"imgHeight": 9, "imgWidth": 9, "objects": [{"label": "x"}]}', "Cityscapes"),
        ("train/_classes.csv", b"filename, cat, dog\ncam1/a.jpg, 1, 0\n", "a table of images"),
        ("x.csv", b"a.jpg,1,2,3,4,cat\n", "a list of boxes"),
        ("labels.csv", b"file,class\na.jpg,cat\n", "an unknown format"),
        ("panoptic.json", coco({"image_id": 1, "file_name": "a.png", "segments_info": []}), "COCO"),
    ],
)
def test_labels_that_are_not_read_stop_it(folders: dict[str, bytes], name: str, content: bytes, title: str) -> None:
    plan = plan_of(folders | {name: content})
    assert [stop.code for stop in plan.stops] == ["UNKNOWN_FORMAT"]
    assert f"labels of {title}," in plan.stops[0].message
    assert not plan.label_of
    assert not plan.labels
    by_folders = understand(MappingSource(folders | {name: content}), Format.YOLO)
    assert not by_folders.stops
    assert [label.name for label in by_folders.labels] == ["cam1", "cam2"]


@pytest.mark.parametrize(
    "content",
    [
        coco(annotation(), images=[{"id": 1, "file_name": "a.jpg"}])[:-30],
        coco(annotation()).replace(b"cell", b"Gr\xfcn"),
        b'{"images": [{"id": 1, "file_name": "z.jpg"}], "annotations": [], "categories": []}',
    ],
    ids=["cut off", "encoding", "no image"],
)
def test_a_coco_file_that_is_no_use_is_what_counts(folders: dict[str, bytes], content: bytes) -> None:
    items = read_folder(folders | {"c.json": content})
    assert not any(item.annotated for item in items.values())
    assert {code for item in items.values() for code in codes(item)} <= {"BROKEN_FILE", "MISSING_IMAGE"}
    assert plan_of(folders | {"c.json": content}).format is Format.COCO


def test_a_list_of_images_without_annotations_counts(folders: dict[str, bytes]) -> None:
    listed = {"images": [{"id": 1, "file_name": "cam1/a.jpg"}, {"id": 2, "file_name": "cam2/b.jpg"}], "categories": []}
    files = folders | {"test.json": json.dumps(listed).encode()}
    assert names_of(files) == {"train/cam1/a.jpg": [], "train/cam2/b.jpg": []}
    assert not any(item.annotated for item in read_folder(files).values())
    assert doubts(plan_of(files)) == {"NO_ANNOTATIONS": 2}


def test_a_broken_label_file_of_pascal_voc_counts(folders: dict[str, bytes]) -> None:
    items = read_folder(folders | {"x/z.xml": voc(voc_object(1, 1, 9, 9), name="z.jpg")})
    assert codes(items["x/z.xml"]) == ["MISSING_IMAGE"]
    assert not items["train/cam1/a.jpg"].annotated


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [("data.yaml", b"names: [cat\n", "BROKEN_CONFIG"), ("classes.txt", "Gr\u00fcn".encode("latin-1"), "BROKEN_FILE")],
)
def test_a_list_of_classes_that_cannot_be_read_stops_it(
    folders: dict[str, bytes], name: str, content: bytes, code: str
) -> None:
    assert stops(plan_of(folders | {name: content})) == [(code, name)]


def test_that_nothing_but_folders_speaks_is_a_doubt(folders: dict[str, bytes]) -> None:
    plan = plan_of(folders)
    assert doubts(plan) == {"TAGS_FROM_FOLDERS": 2}
    assert plan.doubts[0].example == "train/cam1/a.jpg: cam1"
    assert not plan.stops
    assert not understand(MappingSource(folders), Format.YOLO).doubts
    for beside in ("README.txt", "train/notes.json", "train/cam1/about.xml", "a.txt"):
        assert doubts(plan_of(folders | {beside: b"about these images"})) == {"TAGS_FROM_FOLDERS": 2}
