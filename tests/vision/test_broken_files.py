"""VOC and YOLO files as they should not be: each costs its own item, with a reason, and the rest is read."""

import pytest

from bloomery_vision.findings import Severity
from bloomery_vision.formats import Format, FormatError, MappingSource, read
from bloomery_vision.formats.cleaning import MAX_PROBLEMS
from bloomery_vision.formats.texts import MAX_FILE_SIZE
from bloomery_vision.geometry import Box, Polygon, Tag
from tests.vision.folders import GOOD_OBJECT, codes, doubts, items_of, labels, plan_of, voc, voc_object

ENTITY = '<!DOCTYPE a [<!ENTITY b "boom">]><annotation>&b;</annotation>'
PAGE = b"<html></html>"


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
            (b"<annotation>" + b" " * (MAX_FILE_SIZE + 1) + b"</annotation>", "FILE_TOO_LARGE"),
            (b'<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>', "XML_ENTITIES"),
            (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "XML_ENTITIES"),
            (f'<?xml version="1.0"?>{ENTITY}'.encode(), "XML_ENTITIES"),
            (f'<?xml version="1.0" encoding="ascii"?>{ENTITY}'.encode(), "XML_ENTITIES"),
            (f'<?xml version="1.0" encoding="cp1252"?>{ENTITY}'.encode("cp1252"), "XML_ENTITIES"),
            (f'<?xml version="1.0" encoding="utf-7"?>{ENTITY.replace("<!", "+ADwAIQ-")}'.encode(), "XML_ENTITIES"),
            (f'<?xml version="1.0" encoding="utf-16"?>{ENTITY}'.encode("utf-16"), "XML_ENTITIES"),
            (ENTITY.encode("utf-8-sig"), "XML_ENTITIES"),
        ],
        ids=[
            *("empty", "cut", "binary", "huge", "entity bomb", "external entity"),
            *("declared", "declared ASCII", "declared Windows", "hidden in UTF-7", "UTF-16", "marked"),
        ],
    )
    def test_a_broken_file_costs_its_image(self, picture: bytes, content: bytes, code: str) -> None:
        files = {"a.xml": content, "a.png": picture, "b.xml": voc(GOOD_OBJECT), "b.png": picture}
        items = items_of(files, Format.VOC)
        assert codes(items["a.png"]) == [code]
        assert items["a.png"].failed
        assert not items["a.png"].annotated
        assert len(items["b.png"].shapes) == 1
        assert labels(files, Format.VOC) == ["cell"]

    @pytest.mark.parametrize("objects", ["", GOOD_OBJECT], ids=["empty", "with an object"])
    def test_xml_of_something_else_costs_no_image(self, picture: bytes, objects: str) -> None:
        files = {"a.xml": PAGE, "a.png": picture, "b.xml": voc(objects), "x/b.xml": PAGE, "b.png": picture}
        items = items_of(files | {"x/c.xml": voc(), "c.png": picture}, Format.VOC)
        alone, beside = items["a.png"], items["b.png"]
        assert (alone.failed, alone.annotated, beside.annotated) == (False, False, True)
        assert len(beside.shapes) == bool(objects)
        for item, path in ((alone, "a.xml"), (beside, "x/b.xml")):
            assert [(one.code, one.severity, one.path) for one in item.problems] == [
                ("OTHER_FORMAT", Severity.WARNING, path)
            ]

    def test_beside_a_broken_label_file_it_saves_nothing(self, picture: bytes) -> None:
        files = {"a.xml": b"<annotation>", "x/a.xml": PAGE, "a.png": picture, "x/b.xml": voc(), "b.png": picture}
        item = items_of(files, Format.VOC)["a.png"]
        assert item.failed
        assert codes(item) == ["BROKEN_FILE"]

    def test_a_missing_image_is_reported(self, picture: bytes) -> None:
        items = items_of({"a.xml": voc(GOOD_OBJECT, name="gone.png"), "b.png": picture}, Format.VOC)
        assert codes(items["a.xml"]) == ["MISSING_IMAGE"]
        assert items["a.xml"].failed
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

    def test_files_about_one_image_are_joined_where_they_do_not_contradict(self, picture: bytes) -> None:
        dog, moved = voc_object(40, 40, 60, 60, "dog"), voc_object(1, 1, 100, 70)
        files = {"a.png": picture, "cats/a.xml": voc(GOOD_OBJECT), "dogs/a.xml": voc(GOOD_OBJECT, dog)}
        item = items_of(files, Format.VOC)["a.png"]
        assert [shape.label for shape in item.shapes] == ["cell", "dog"]
        assert not item.problems
        again = items_of(files | {"dogs/a.xml": voc(moved, dog), "x/a.xml": b"<annotation>"}, Format.VOC)["a.png"]
        assert codes(again) == ["BROKEN_FILE", "DUPLICATE_IMAGE"]
        assert [shape.label for shape in again.shapes] == ["cell", "dog"]

    @pytest.mark.parametrize("broken", ["cats/a.xml", "dogs/a.xml"])
    def test_a_broken_file_beside_a_good_one_costs_only_what_it_says(self, picture: bytes, broken: str) -> None:
        files = {"a.png": picture, "cats/a.xml": voc(GOOD_OBJECT), "dogs/a.xml": voc(GOOD_OBJECT)}
        item = items_of(files | {broken: b"<annotation>"}, Format.VOC)["a.png"]
        assert [(problem.code, problem.path) for problem in item.problems] == [("BROKEN_FILE", broken)]
        assert len(item.shapes) == 1
        assert item.annotation_path not in (None, broken)

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
        assert "turned" in items["a.png"].problems[0].hint
        assert codes(items["b.png"]) == []
        assert (items["b.png"].width, items["b.png"].height) == (100, 80)

    def test_each_of_several_files_that_states_another_size_is_told(self, picture: bytes) -> None:
        other = voc(GOOD_OBJECT, size="<width>50</width><height>80</height>")
        files = {"a.png": picture, "cats/a.xml": voc(GOOD_OBJECT), "dogs/a.xml": voc(GOOD_OBJECT)}
        for wrong in ("cats/a.xml", "dogs/a.xml"):
            item = items_of(files | {wrong: other}, Format.VOC)["a.png"]
            assert [(one.code, one.path) for one in item.problems] == [("SIZE_MISMATCH", wrong)]

    def test_lists_give_the_splits(self, picture: bytes) -> None:
        main = "ImageSets/Main/"
        files = {f"JPEGImages/{name}.png": picture for name in "abcd"}
        files |= {f"Annotations/{name}.xml": voc() for name in "abcd"}
        files |= {main + "train.txt": b"a\n", main + "val.txt": b"b\n", main + "trainval.txt": b"a\nb\nc  1\n"}
        files |= {main + "test.txt": b"a\nd\nghost\n", main + "cell_train.txt": b"d 1\n"}
        items = items_of(files, Format.VOC)
        assert [items[f"JPEGImages/{name}.png"].split for name in "abcd"] == ["train", "val", "train", "test"]
        assert doubts(plan_of(files)) == {"SPLIT_CONFLICT": 1, "LISTED_IMAGE_MISSING": 1}

    def test_problems_of_one_image_are_bounded(self, picture: bytes) -> None:
        many = [voc_object(9, 9, 2, 2)] * (MAX_PROBLEMS + 50)
        found = items_of({"a.xml": voc(*many), "a.png": picture}, Format.VOC)["a.png"].problems
        assert len(found) == MAX_PROBLEMS + 1
        assert "50 more" in found[-1].message


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
            ("1_0 .5 .5 .1 .1", "BAD_LINE"),
            ("0 .5 .5 .1 0.1_5", "BAD_LINE"),
            ("\u0661 .5 .5 .1 .1", "BAD_LINE"),
            ("0 \u0660.\u0665 .5 .1 .1", "BAD_LINE"),
            ("0 \uff10.5 .5 .1 .1", "BAD_LINE"),
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

    @pytest.mark.parametrize(
        "names",
        ["5", "{}", "[[a]]", "{x: cell}", "{3000000000: cell}", "{-1: cell}", "['']", "[", "&a [*a]"],
    )
    def test_without_usable_names_nothing_is_read(self, picture: bytes, names: str) -> None:
        config = f"names: {names}\n".encode()
        files = {"data.yaml": config, "images/a.png": picture, "labels/a.txt": b"0 .5 .5 .1 .1"}
        with pytest.raises(FormatError) as caught:
            next(read(MappingSource(files), plan_of(files)))
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
        assert labels(files, Format.YOLO) == ["cell", "dust"]

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
        assert labels(files, Format.YOLO) == ["class_0", "class_3"]

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
        assert plan_of(files).format is Format.YOLO
        assert labels(files, Format.YOLO) == ["cat", "dog"]
