"""Files as they should not be: each costs its own item, with a reason, and the rest is read."""

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping

import pytest

from bloomery_vision.findings import Severity
from bloomery_vision.formats import (
    Format,
    FormatError,
    ImportItem,
    MappingSource,
    ZipLimits,
    ZipSource,
    detect,
    read,
    read_labels,
)
from bloomery_vision.formats.cleaning import MAX_FILE_SIZE, MAX_PROBLEMS
from bloomery_vision.geometry import Box, Polygon, Tag

MakeImage = Callable[..., bytes]
Files = Mapping[str, bytes]


@pytest.fixture(scope="module")
def picture(make_image: MakeImage) -> bytes:
    """Return an image of 100 x 80 pixels."""
    return make_image(100, 80)


def items_of(files: Files, file_format: Format) -> dict[str, ImportItem]:
    items = list(read(MappingSource(files), file_format))
    assert len({item.image_path for item in items}) == len(items)
    return {item.image_path: item for item in items}


def codes(item: ImportItem) -> list[str]:
    assert all(problem.message and problem.path for problem in item.problems)
    return [problem.code for problem in item.problems]


def voc(*objects: str, size: str = "<width>100</width><height>80</height>", name: str = "a.png") -> bytes:
    body = "".join(objects)
    return f"<annotation><filename>{name}</filename><size>{size}</size>{body}</annotation>".encode()


def voc_object(xmin: object, ymin: object, xmax: object, ymax: object, label: str = "cell") -> str:
    box = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>{label}</name><bndbox>{box}</bndbox></object>"


GOOD_OBJECT = voc_object(1, 1, 100, 80)


class TestVoc:
    def test_a_box_counts_from_one_and_includes_both_corners(self, picture: bytes) -> None:
        files = {"a.xml": voc(GOOD_OBJECT, voc_object(11, 21, 20, 40)), "a.png": picture}
        shapes = items_of(files, Format.VOC)["a.png"].shapes
        assert [shape.geometry for shape in shapes] == [Box(0, 0, 100, 80), Box(10, 20, 10, 20)]

    @pytest.mark.parametrize(
        ("broken", "code"),
        [
            (voc_object("nan", 1, 5, 5), "NOT_FINITE"),
            (voc_object("x", 1, 5, 5), "BAD_BOX"),
            ("<object><name>cell</name></object>", "BAD_BOX"),
            (voc_object(20, 20, 10, 30), "ZERO_AREA"),
            (voc_object(200, 1, 210, 5), "OUTSIDE_IMAGE"),
            (voc_object(5, 5, 9, 9, label=" "), "EMPTY_LABEL"),
        ],
    )
    def test_a_broken_object_costs_itself(self, picture: bytes, broken: str, code: str) -> None:
        files = {"Annotations/a.xml": voc(broken, GOOD_OBJECT), "JPEGImages/a.png": picture}
        item = items_of(files, Format.VOC)["JPEGImages/a.png"]
        assert codes(item) == [code]
        assert item.problems[0].severity is Severity.ERROR
        assert item.problems[0].path == "Annotations/a.xml#object[1]"
        assert len(item.shapes) == 1
        assert not item.failed

    def test_what_sticks_out_is_cut_and_reported(self, picture: bytes) -> None:
        files = {"a.xml": voc(voc_object(51, 41, 120, 100)), "a.png": picture}
        item = items_of(files, Format.VOC)["a.png"]
        assert codes(item) == ["PARTLY_OUTSIDE"]
        assert item.shapes[0].geometry == Box(50, 40, 50, 40)

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (b"", "BROKEN_FILE"),
            (b"<annotation><object>", "BROKEN_FILE"),
            (b"\x00\xff\xfe garbage", "BROKEN_FILE"),
            (b"<html></html>", "BROKEN_FILE"),
            (b"<annotation>" + b" " * (MAX_FILE_SIZE + 1) + b"</annotation>", "FILE_TOO_LARGE"),
            (b'<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>', "XML_ENTITIES"),
            (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "XML_ENTITIES"),
        ],
        ids=["empty", "cut", "binary", "html", "huge", "entity bomb", "external entity"],
    )
    def test_a_broken_file_costs_its_image(self, picture: bytes, content: bytes, code: str) -> None:
        files = {"a.xml": content, "a.png": picture, "b.xml": voc(GOOD_OBJECT), "b.png": picture}
        items = items_of(files, Format.VOC)
        assert codes(items["a.png"]) == [code]
        assert items["a.png"].failed
        assert not items["a.png"].annotated
        assert len(items["b.png"].shapes) == 1
        assert [label.name for label in read_labels(MappingSource(files), Format.VOC)] == ["cell"]

    def test_a_missing_image_is_reported(self, picture: bytes) -> None:
        items = items_of({"a.xml": voc(GOOD_OBJECT, name="gone.png"), "b.png": picture}, Format.VOC)
        assert codes(items["gone.png"]) == ["MISSING_IMAGE"]
        assert items["gone.png"].failed
        assert not items["b.png"].annotated
        assert not items["b.png"].failed

    @pytest.mark.parametrize("data", [b"", b"<svg></svg>", b"GIF89a"])
    def test_an_unreadable_image_is_reported(self, data: bytes) -> None:
        (item,) = items_of({"a.xml": voc(GOOD_OBJECT), "a.png": data}, Format.VOC).values()
        assert item.failed
        assert codes(item)[0] in ("EMPTY", "UNSUPPORTED_FORMAT", "NOT_AN_IMAGE", "TRUNCATED")

    def test_the_files_own_name_counts_more_than_the_name_inside(self, picture: bytes) -> None:
        files = {"ann/a.xml": voc(GOOD_OBJECT, name="b.png"), "img/A.PNG": picture, "img/b.png": picture}
        items = items_of(files, Format.VOC)
        assert items["img/A.PNG"].annotated
        assert not items["img/b.png"].annotated

    def test_an_image_annotated_twice_is_reported(self, picture: bytes) -> None:
        files = {"x/a.xml": voc(GOOD_OBJECT), "y/a.xml": voc(GOOD_OBJECT), "a.png": picture}
        first, second = read(MappingSource(files), Format.VOC)
        assert not first.failed
        assert codes(second) == ["DUPLICATE_IMAGE"]
        assert second.failed

    def test_the_same_shape_twice_is_kept_and_reported(self, picture: bytes) -> None:
        item = items_of({"a.xml": voc(GOOD_OBJECT, GOOD_OBJECT), "a.png": picture}, Format.VOC)["a.png"]
        assert codes(item) == ["DUPLICATE_SHAPE"]
        assert len(item.shapes) == 2

    def test_a_size_that_differs_is_reported_and_nought_is_not(self, picture: bytes) -> None:
        turned = "<width>80</width><height>100</height>"
        unknown = "<width>0</width><height>0</height>"
        files = {"a.xml": voc(size=turned), "a.png": picture, "b.xml": voc(size=unknown), "b.png": picture}
        items = items_of(files, Format.VOC)
        assert codes(items["a.png"]) == ["SIZE_MISMATCH"]
        assert "EXIF" in items["a.png"].problems[0].hint
        assert codes(items["b.png"]) == []
        assert (items["b.png"].width, items["b.png"].height) == (100, 80)

    def test_lists_give_the_splits(self, picture: bytes) -> None:
        main = "ImageSets/Main/"
        files = {f"JPEGImages/{name}.png": picture for name in "abcd"}
        files |= {f"Annotations/{name}.xml": voc() for name in "abcd"}
        files |= {main + "train.txt": b"a\n", main + "val.txt": b"b\n", main + "trainval.txt": b"a\nb\nc  1\n"}
        files |= {main + "test.txt": b"a\nd\nghost\n", main + "cell_train.txt": b"d 1\n"}
        items = items_of(files, Format.VOC)
        assert [items[f"JPEGImages/{name}.png"].split for name in "abcd"] == ["train", "val", "train", "test"]
        assert codes(items["JPEGImages/a.png"]) == ["SPLIT_CONFLICT"]
        assert items["ghost"].failed

    def test_problems_of_one_image_are_bounded(self, picture: bytes) -> None:
        many = [voc_object(9, 9, 2, 2)] * (MAX_PROBLEMS + 50)
        found = items_of({"a.xml": voc(*many), "a.png": picture}, Format.VOC)["a.png"].problems
        assert len(found) == MAX_PROBLEMS + 1
        assert "50 more" in found[-1].message


def annotation(**changes: object) -> dict[str, object]:
    return {"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 10, 20, 20], "iscrowd": 0} | changes


def coco(*annotations: object, images: object = None, categories: object = None) -> bytes:
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 80}] if images is None else images,
        "annotations": list(annotations),
        "categories": [{"id": 7, "name": "cell"}] if categories is None else categories,
    }
    return json.dumps(content).encode()


class TestCoco:
    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"category_id": 8}, "UNKNOWN_CLASS"),
            ({"category_id": None}, "UNKNOWN_CLASS"),
            ({"category_id": {"a": 1}}, "UNKNOWN_CLASS"),
            ({"bbox": [float("nan"), 1, 5, 5]}, "NOT_FINITE"),
            ({"bbox": [1, 1, float("inf"), 5]}, "NOT_FINITE"),
            ({"bbox": [1, 1, 0, 5]}, "ZERO_AREA"),
            ({"bbox": [1, 1, -4, 5]}, "ZERO_AREA"),
            ({"bbox": [500, 1, 4, 5]}, "OUTSIDE_IMAGE"),
            ({"bbox": [1, 1, 4]}, "BAD_GEOMETRY"),
            ({"bbox": "1 1 4 5"}, "BAD_GEOMETRY"),
            ({"bbox": [1, "1", 4, 5]}, "BAD_GEOMETRY"),
            ({"bbox": [1, 10**400, 4, 5]}, "BAD_GEOMETRY"),
            ({"bbox": None}, "BAD_GEOMETRY"),
            ({"segmentation": [[1, 1, 9, 9]]}, "TOO_FEW_POINTS"),
            ({"segmentation": [[1, 1, 9, 9, 5]]}, "BAD_GEOMETRY"),
            ({"segmentation": ["poly"]}, "BAD_GEOMETRY"),
            ({"segmentation": {"size": [80, 100], "counts": [1, 2]}}, "BAD_GEOMETRY"),
            ({"segmentation": {"size": [80, 100], "counts": "zz"}}, "BAD_MASK"),
            ({"segmentation": {"size": [10, 10], "counts": [50, 50]}}, "MASK_SIZE"),
            ({"segmentation": {"size": [1 << 40, 1 << 40], "counts": [1 << 80]}}, "BAD_GEOMETRY"),
            ({"segmentation": {}}, "BAD_GEOMETRY"),
        ],
    )
    def test_a_broken_annotation_costs_itself(self, picture: bytes, changes: dict[str, object], code: str) -> None:
        files = {"i.json": coco(annotation(**changes), annotation(id=2)), "a.png": picture}
        item = items_of(files, Format.COCO)["a.png"]
        assert codes(item) == [code]
        assert item.problems[0].path == "i.json#annotation 1"
        assert len(item.shapes) == 1

    @pytest.mark.parametrize("junk", [None, 5, "x", [], [1, 2]])
    def test_elements_that_are_no_objects_are_reported(self, picture: bytes, junk: object) -> None:
        record = {"id": 1, "file_name": "a.png"}
        content = coco(junk, annotation(), images=[junk, record], categories=[junk, {"id": 7, "name": "cell"}])
        items = items_of({"i.json": content, "a.png": picture}, Format.COCO)
        assert len(items["a.png"].shapes) == 1
        assert sum(item.failed for item in items.values()) == 2

    def test_sparse_ids_of_any_type_are_matched(self, picture: bytes) -> None:
        content = coco(
            annotation(image_id="900", category_id=70.0),
            images=[{"id": 900, "file_name": "sub/folder/a.png"}],
            categories=[{"id": 70, "name": "cell"}, {"id": 90, "name": "unused"}],
        )
        (item,) = items_of({"i.json": content, "images/a.png": picture}, Format.COCO).values()
        assert [shape.label for shape in item.shapes] == ["cell"]

    def test_ids_used_twice_are_reported(self, picture: bytes) -> None:
        images = [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}, {"id": 2, "file_name": "a.png"}]
        content = coco(annotation(), annotation(bbox=[1, 1, 5, 5]), images=images)
        items = list(read(MappingSource({"i.json": content, "a.png": picture, "b.png": picture}), Format.COCO))
        assert [(item.image_path, codes(item)) for item in items] == [
            ("a.png", ["DUPLICATE_ID"]),
            ("b.png", ["DUPLICATE_ID"]),
            ("a.png", ["DUPLICATE_IMAGE"]),
            ("b.png", []),
        ]
        assert [item.failed for item in items] == [False, True, True, False]
        assert len(items[0].shapes) == 2

    def test_annotations_of_unknown_images_are_counted(self, picture: bytes) -> None:
        content = coco(annotation(), annotation(id=2, image_id=5), annotation(id=3, image_id=5))
        items = items_of({"i.json": content, "a.png": picture}, Format.COCO)
        assert codes(items["image_id 5"]) == ["UNKNOWN_IMAGE"]
        assert "2 annotations" in items["image_id 5"].problems[0].message
        assert not items["a.png"].failed

    def test_a_missing_image_and_one_without_a_record(self, picture: bytes) -> None:
        images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "gone.png"}, {"id": 3}]
        items = items_of({"i.json": coco(images=images), "a.png": picture, "b.png": picture}, Format.COCO)
        assert codes(items["gone.png"]) == ["MISSING_IMAGE"]
        assert codes(items["None"]) == ["BAD_RECORD"]
        assert items["a.png"].annotated
        assert not items["b.png"].annotated

    @pytest.mark.parametrize("cut", [1, 40, -3])
    def test_a_broken_file_costs_its_own_images(self, picture: bytes, cut: int) -> None:
        other = coco(annotation(), images=[{"id": 1, "file_name": "b.png"}])
        head = b'{"info": {}, "images": ['
        files = {"a.json": coco(annotation())[:cut] or b"{", "b.json": other, "a.png": picture, "b.png": picture}
        if cut == 1:
            files["a.json"] = head
        items = items_of(files, Format.COCO)
        assert codes(items["a.json"]) == ["BROKEN_FILE"]
        assert not items["a.png"].annotated
        assert len(items["b.png"].shapes) == 1

    def test_deep_nesting_is_refused(self, picture: bytes) -> None:
        files = {"a.json": b'{"images": ' + b"[" * 100_000, "a.png": picture}
        assert codes(items_of(files, Format.COCO)["a.json"]) == ["BROKEN_FILE"]

    def test_one_name_in_two_folders_is_told_apart_by_the_split(self, picture: bytes) -> None:
        record = coco(annotation())
        files = {"annotations/instances_train2017.json": record, "annotations/instances_val2017.json": record}
        images = {"images/train2017/a.png": picture, "images/val2017/a.png": picture}
        items = items_of(files | images, Format.COCO)
        assert {name: item.split for name, item in items.items()} == {
            "images/train2017/a.png": "train",
            "images/val2017/a.png": "val",
        }

    def test_a_name_that_fits_several_images_is_reported(self, picture: bytes) -> None:
        items = items_of({"i.json": coco(annotation()), "x/a.png": picture, "y/a.png": picture}, Format.COCO)
        assert codes(items["a.png"]) == ["AMBIGUOUS_IMAGE"]

    def test_other_kinds_of_coco_files_are_left_out(self, picture: bytes) -> None:
        files = {"annotations/instances_val.json": coco(annotation()), "annotations/captions_val.json": coco()}
        (item,) = items_of(files | {"a.png": picture}, Format.COCO).values()
        assert item.annotation_path == "annotations/instances_val.json"

    def test_memory_does_not_grow_with_the_annotations(self, picture: bytes) -> None:
        images = [{"id": number, "file_name": "a.png"} for number in range(1, 3)]
        rows = (annotation(id=number, image_id=9, note="x" * 1000) for number in range(20_000))
        content = coco(*rows, images=images)
        source = MappingSource({"i.json": content, "a.png": picture})
        tracemalloc.start()
        try:
            assert sum(1 for _ in read(source, Format.COCO)) == 3
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(content) > 20_000_000
        assert peak < len(content) / 2


CONFIG = b"names: [cell, dust]\n"


class TestYolo:
    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ("0 nan .5 .1 .1", "NOT_FINITE"),
            ("0 .5 .5 0 .1", "ZERO_AREA"),
            ("0 1.5 .5 .1 .1", "OUTSIDE_IMAGE"),
            ("2 .5 .5 .1 .1", "UNKNOWN_CLASS"),
            ("-1 .5 .5 .1 .1", "UNKNOWN_CLASS"),
            ("0.5 .5 .5 .1 .1", "UNKNOWN_CLASS"),
            ("nan .5 .5 .1 .1", "UNKNOWN_CLASS"),
            ("inf .5 .5 .1 .1", "UNKNOWN_CLASS"),
            ("0 .5 .5 .1", "BAD_LINE"),
            ("0 .5 .5 .1 .1 .9", "BAD_LINE"),
            ("0", "BAD_LINE"),
            ("cell .5 .5 .1 .1", "BAD_LINE"),
            ("0 .1 .1 .1 .1 .1 .1", "TOO_FEW_POINTS"),
        ],
    )
    def test_a_broken_line_costs_itself(self, picture: bytes, line: str, code: str) -> None:
        label = f"{line}\n\n1 .5 .5 .2 .2\n".encode()
        files = {"data.yaml": CONFIG, "images/a.png": picture, "labels/a.txt": label}
        item = items_of(files, Format.YOLO)["images/a.png"]
        assert codes(item) == [code]
        assert item.problems[0].path == "labels/a.txt#line 1"
        assert [shape.label for shape in item.shapes] == ["dust"]
        assert isinstance(item.shapes[0].geometry, Box)

    @pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"0 .5 .5 .1 .1\n" * (MAX_FILE_SIZE // 10)])
    def test_a_broken_file_costs_its_image(self, picture: bytes, content: bytes) -> None:
        files = {"data.yaml": CONFIG, "images/a.png": picture, "labels/a.txt": content}
        files |= {"images/b.png": picture, "labels/b.txt": b""}
        items = items_of(files, Format.YOLO)
        assert items["images/a.png"].failed
        assert items["images/b.png"].annotated
        assert items["images/b.png"].shapes == ()

    def test_labels_and_images_without_each_other(self, picture: bytes) -> None:
        files = {"data.yaml": CONFIG, "images/a.png": picture, "labels/b.txt": b"0 .5 .5 .1 .1"}
        items = items_of(files, Format.YOLO)
        assert codes(items["labels/b.txt"]) == ["MISSING_IMAGE"]
        assert items["labels/b.txt"].failed
        assert not items["images/a.png"].annotated

    def test_an_image_does_not_get_the_label_of_its_namesake(self, picture: bytes) -> None:
        files = {"data.yaml": CONFIG, "images/train/a.png": picture, "images/val/a.png": picture}
        items = items_of(files | {"labels/train/a.txt": b"0 .5 .5 .1 .1"}, Format.YOLO)
        assert items["images/train/a.png"].annotated
        assert not items["images/val/a.png"].annotated

    @pytest.mark.parametrize("names", ["5", "{}", "[[a]]", "{x: cell}", "['']", "[", "&a [*a]"])
    def test_without_usable_names_nothing_is_read(self, picture: bytes, names: str) -> None:
        config = f"names: {names}\n".encode()
        files = {"data.yaml": config, "images/a.png": picture, "labels/a.txt": b"0 .5 .5 .1 .1"}
        with pytest.raises(FormatError) as caught:
            next(read(MappingSource(files), Format.YOLO))
        assert caught.value.code == "BROKEN_CONFIG"

    @pytest.mark.parametrize(
        "config",
        [
            "train: images/train\nval: images/val\n",
            "path: ../datasets/cells\ntrain: images/train\nval: [images/val]\n",
            "path: /home/someone/cells\ntrain: ./images/train/\nval: images\\val\n",
            "train: /content/cells/images/train\nval: /content/cells/images/val\n",
            "train: train.txt\nval: lists/val.txt\n",
        ],
    )
    def test_splits_are_found_by_the_end_of_their_paths(self, picture: bytes, config: str) -> None:
        files = {f"set/images/{name}.png": picture for name in ("train/a", "val/b")}
        files |= {f"set/labels/{name}.txt": b"" for name in ("train/a", "val/b")}
        files |= {"set/train.txt": b"./images/train/a.png\n", "set/lists/val.txt": b"/old/images/val/b.png\n\n"}
        files["set/data.yaml"] = config.encode() + b"names: {0: cell, 3: dust}\n"
        items = items_of(files, Format.YOLO)
        assert [items[f"set/images/{name}.png"].split for name in ("train/a", "val/b")] == ["train", "val"]
        assert [label.name for label in read_labels(MappingSource(files), Format.YOLO)] == ["cell", "dust"]

    def test_an_image_in_two_splits_is_trained_on(self, picture: bytes) -> None:
        files = {"data.yaml": CONFIG + b"train: images\nval: images\n", "images/a.png": picture, "labels/a.txt": b""}
        assert items_of(files, Format.YOLO)["images/a.png"].split == "train"

    def test_labels_may_lie_beside_images_with_a_class_file(self, picture: bytes) -> None:
        files = {"all/classes.txt": b"cell\ndust\n", "all/a.png": picture, "all/a.txt": b"1 .5 .5 .2 .5"}
        (item,) = items_of(files, Format.YOLO).values()
        assert [(shape.label, shape.geometry) for shape in item.shapes] == [("dust", Box(40, 20, 20, 40))]

    def test_without_names_the_numbers_become_labels(self, picture: bytes) -> None:
        files = {"images/a.png": picture, "labels/a.txt": b"3 .5 .5 .2 .5\n0 .1 .1 .9 .1 .5 .9"}
        shapes = items_of(files, Format.YOLO)["images/a.png"].shapes
        assert [shape.label for shape in shapes] == ["class_3", "class_0"]
        assert isinstance(shapes[1].geometry, Polygon)
        assert [label.name for label in read_labels(MappingSource(files), Format.YOLO)] == ["class_0", "class_3"]

    def test_an_image_that_lost_all_its_shapes_is_not_annotated_as_empty(self, picture: bytes) -> None:
        files = {"data.yaml": CONFIG, "images/a.png": picture, "labels/a.txt": b"7 .5 .5 .2 .5"}
        item = items_of(files, Format.YOLO)["images/a.png"]
        assert not item.shapes
        assert not item.annotated
        assert item.problems

    def test_keypoints_leave_their_box(self, picture: bytes) -> None:
        config = CONFIG + b"kpt_shape: [2, 3]\n"
        files = {"data.yaml": config, "images/a.png": picture, "labels/a.txt": b"0 .5 .5 .2 .5 .1 .1 2 .2 .2 1"}
        item = items_of(files, Format.YOLO)["images/a.png"]
        assert codes(item) == ["KEYPOINTS_IGNORED"]
        assert item.shapes[0].geometry == Box(40, 20, 20, 40)

    def test_folders_of_a_classification_set_are_tags(self, picture: bytes) -> None:
        files = {"set/train/cat/a.png": picture, "set/val/dog/b.png": picture}
        items = items_of(files, Format.YOLO)
        found = {name: (item.split, item.shapes[0].label, item.shapes[0].geometry) for name, item in items.items()}
        assert found == {
            "set/train/cat/a.png": ("train", "cat", Tag()),
            "set/val/dog/b.png": ("val", "dog", Tag()),
        }
        assert detect(MappingSource(files)).format is Format.YOLO
        assert [label.name for label in read_labels(MappingSource(files), Format.YOLO)] == ["cat", "dog"]


class TestDetection:
    def test_what_is_no_annotated_set_is_refused_with_the_layouts(self, picture: bytes) -> None:
        with pytest.raises(FormatError) as caught:
            detect(MappingSource({"holiday/a.png": picture, "notes.txt": b"nice", "x.json": b'{"a": 1}'}))
        assert caught.value.code == "UNKNOWN_FORMAT"
        assert "Pascal VOC" in caught.value.hint

    def test_files_of_two_formats_are_refused_with_both(self, picture: bytes) -> None:
        files = {"a.png": picture, "a.xml": voc(GOOD_OBJECT), "i.json": coco(annotation())}
        with pytest.raises(FormatError, match=r"voc: .*coco: ") as caught:
            detect(MappingSource(files))
        assert caught.value.code == "AMBIGUOUS_FORMAT"

    def test_the_guess_names_all_files_that_matter(self, picture: bytes) -> None:
        files = {
            "JPEGImages/a.png": picture,
            "Annotations/a.xml": voc(),
            "ImageSets/Main/train.txt": b"a",
            "README": b"",
        }
        guess = detect(MappingSource(files))
        assert guess.format is Format.VOC
        assert guess.images == ("JPEGImages/a.png",)
        assert set(guess.annotations) == {"Annotations/a.xml", "ImageSets/Main/train.txt"}


def zipped(files: Files) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream


class TestArchives:
    def test_an_archive_reads_like_its_folder(self, picture: bytes) -> None:
        files = {"set/Annotations/a.xml": voc(GOOD_OBJECT), "set/JPEGImages/a.png": picture}
        archive = ZipSource(zipped(files | {"set/.hidden": b"", "__MACOSX/set/a.png": b""}))
        assert archive.names() == sorted(files)
        assert list(read(archive, Format.VOC)) == list(read(MappingSource(files), Format.VOC))

    def test_a_bomb_is_refused(self) -> None:
        with pytest.raises(FormatError) as caught:
            ZipSource(zipped({"a.json": bytes(50 << 20)}))
        assert caught.value.code == "ZIP_LIMIT"

    @pytest.mark.parametrize("limits", [ZipLimits(entries=1), ZipLimits(total_size=5), ZipLimits(entry_size=3)])
    def test_limits_hold(self, limits: ZipLimits) -> None:
        with pytest.raises(FormatError):
            ZipSource(zipped({"a.json": b"1234", "b.json": b"1234"}), limits=limits)

    def test_what_is_no_archive_is_refused(self) -> None:
        with pytest.raises(FormatError) as caught:
            ZipSource(io.BytesIO(b"PK nothing"))
        assert caught.value.code == "NOT_A_ZIP"

    def test_names_that_leave_the_archive_stay_names(self, picture: bytes) -> None:
        source = ZipSource(zipped({"../../a.png": picture, "/etc/b.png": picture, "c.png": picture}))
        assert source.names() == ["c.png"]
