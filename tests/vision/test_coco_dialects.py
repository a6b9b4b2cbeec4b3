"""COCO files as programs write them: crowds, files without annotations, outlines of many shapes, several files."""

import json

import pytest

from bloomery_vision.findings import Severity
from bloomery_vision.formats import ImportItem, Left
from bloomery_vision.geometry import Box, Geometry, Mask, Polygon
from tests.vision.folders import Files, annotation, coco, codes, doubts, plan_of, read_folder


def only_item(files: Files) -> ImportItem:
    (item,) = read_folder(files).values()
    return item


class TestCrowds:
    @pytest.mark.parametrize(
        ("iscrowd", "crowd"),
        [(0, False), (1, True), ("0", False), ("1", True), (0.0, False), (1.0, True), (False, False), (True, True)],
    )
    def test_0_and_1_are_numbers_or_text(self, photo: bytes, iscrowd: object, crowd: bool) -> None:
        item = only_item({"a.png": photo, "i.json": coco(annotation(iscrowd=iscrowd))})
        assert [shape.crowd for shape in item.shapes] == [crowd]

    @pytest.mark.parametrize("iscrowd", [2, -1, 0.5, "yes", "", "false", None, [], {}, float("nan")])
    def test_anything_else_is_a_bad_record(self, photo: bytes, iscrowd: object) -> None:
        item = only_item({"a.png": photo, "i.json": coco(annotation(iscrowd=iscrowd), annotation(id=2), images=RECORD)})
        assert codes(item) == ["BAD_RECORD"]
        assert len(item.shapes) == 1

    def test_absent_is_none(self, photo: bytes) -> None:
        record = annotation()
        del record["iscrowd"]
        assert not only_item({"a.png": photo, "i.json": coco(record)}).shapes[0].crowd


SIZED: dict[str, object] = {"id": 1, "file_name": "a.png"}
RECORD = [SIZED]


class TestWithoutAnnotations:
    @pytest.mark.parametrize("value", ["", ', "annotations": null', ', "annotations": {}'])
    def test_images_of_a_file_without_annotations_are_not_annotated(self, photo: bytes, value: str) -> None:
        content = f'{{"images": [{{"id": 1, "file_name": "a.png"}}], "categories": []{value}}}'.encode()
        files = {"a.png": photo, "test.json": content}
        assert not only_item(files).annotated
        assert doubts(plan_of(files)) == {"NO_ANNOTATIONS": 1}

    def test_beside_annotated_ones_they_stay_not_annotated(self, photo: bytes) -> None:
        test = json.dumps({"images": [{"id": 1, "file_name": "b.png"}], "categories": []}).encode()
        items = read_folder({"a.png": photo, "b.png": photo, "train.json": coco(annotation()), "test.json": test})
        assert {name: (item.annotated, item.split) for name, item in items.items()} == {
            "a.png": (True, "train"),
            "b.png": (False, "test"),
        }

    def test_an_empty_list_of_annotations_is_an_answer_and_a_doubt(self, photo: bytes) -> None:
        files = {"a.png": photo, "i.json": coco(images=RECORD)}
        assert only_item(files).annotated
        assert doubts(plan_of(files)) == {"NO_OBJECTS": 1}

    def test_an_image_without_objects_among_others_is_empty(self, photo: bytes) -> None:
        images = [*RECORD, {"id": 2, "file_name": "b.png"}]
        files = {"a.png": photo, "b.png": photo, "i.json": coco(annotation(), images=images)}
        assert read_folder(files)["b.png"].annotated
        assert not plan_of(files).doubts

    def test_captions_are_no_objects(self, photo: bytes) -> None:
        captions = coco({"id": 1, "image_id": 1, "caption": "a cell"}, images=RECORD)
        plan = plan_of({"a.png": photo, "i.json": coco(annotation(), images=RECORD), "words.json": captions})
        assert plan.left == {"words.json": Left.OTHER_KIND}
        assert not plan.doubts


SQUARE = [10, 20, 60, 20, 60, 70, 10, 70]
POLYGON = Polygon(((10, 20), (60, 20), (60, 70), (10, 70)))
BBOX = [10, 20, 50, 50]
RUNS = {"size": [100, 200], "counts": [50, 50, 19900]}


class TestOutlines:
    @pytest.mark.parametrize(
        ("segmentation", "geometry"),
        [
            (SQUARE, POLYGON),
            ([SQUARE], POLYGON),
            ([[10, 20], [60, 20], [60, 70], [10, 70]], POLYGON),
            ([SQUARE, []], POLYGON),
            ([SQUARE, [1, 1, 2, 2]], POLYGON),
            ([list(map(str, SQUARE))], POLYGON),
            (list(map(str, SQUARE)), POLYGON),
            ([[[10, 20], [60, 20], [60, 70], [10, 70]]], POLYGON),
            ([RUNS], Mask.from_runs(200, 100, [50, 50, 19900])),
            (RUNS | {"size": ["100", "200"]}, Mask.from_runs(200, 100, [50, 50, 19900])),
            ([], Box(10, 20, 50, 50)),
            ([[]], Box(10, 20, 50, 50)),
            (None, Box(10, 20, 50, 50)),
        ],
    )
    def test_outlines_come_in_many_shapes(self, photo: bytes, segmentation: object, geometry: Geometry) -> None:
        content = coco(annotation(segmentation=segmentation, bbox=BBOX), images=RECORD)
        item = only_item({"a.png": photo, "i.json": content})
        assert [shape.geometry for shape in item.shapes] == [geometry]
        assert not item.problems

    @pytest.mark.parametrize(
        "segmentation",
        [
            [10, 20, 60, 20, 60],
            [[10, 20, 60, 20]],
            [[500, 500, 600, 500, 600, 600]],
            {"size": [10, 10], "counts": [50, 50]},
            {"size": [100, 200], "counts": "zz"},
            {"size": [100, 200], "counts": [20000]},
            {"counts": [1]},
            "none",
            5,
            [["a", "b"]],
        ],
    )
    def test_a_good_box_is_kept_where_the_outline_cannot_be_used(self, photo: bytes, segmentation: object) -> None:
        content = coco(annotation(segmentation=segmentation, bbox=BBOX), images=RECORD)
        item = only_item({"a.png": photo, "i.json": content})
        assert [shape.geometry for shape in item.shapes] == [Box(10, 20, 50, 50)]
        assert {problem.severity for problem in item.problems} == {Severity.WARNING}
        assert "its box is" in item.problems[0].message

    def test_a_good_outline_is_kept_where_the_box_cannot_be_used(self, photo: bytes) -> None:
        content = coco(annotation(segmentation=[SQUARE], bbox=[1, 2]), images=RECORD)
        assert only_item({"a.png": photo, "i.json": content}).shapes[0].geometry == POLYGON


def of_class(number: int, bbox: list[float], **changes: object) -> dict[str, object]:
    return annotation(id=number, category_id=number, bbox=bbox) | changes


CATS, DOGS = [{"id": 1, "name": "cat"}], [{"id": 2, "name": "dog"}]


class TestSeveralFiles:
    def test_what_does_not_contradict_is_joined(self, photo: bytes) -> None:
        cats = coco(of_class(1, [1, 1, 9, 9]), images=RECORD, categories=CATS)
        dogs = coco(of_class(2, [4, 4, 9, 9], image_id=7), images=[{"id": 7, "file_name": "a.png"}], categories=DOGS)
        files = {"a.png": photo, "cats.json": cats, "dogs.json": dogs}
        item = only_item(files)
        assert [shape.label for shape in item.shapes] == ["cat", "dog"]
        assert not item.problems
        assert [label.name for label in plan_of(files).labels] == ["cat", "dog"]

    def test_further_objects_of_a_class_are_joined_and_equal_ones_are_one(self, photo: bytes) -> None:
        first = coco(of_class(1, [1, 1, 9, 9]), images=RECORD, categories=CATS)
        second = coco(of_class(1, [1, 1, 9, 9]), of_class(1, [50, 50, 9, 9], id=2), images=RECORD, categories=CATS)
        item = only_item({"a.png": photo, "1.json": first, "2.json": second})
        assert [shape.geometry for shape in item.shapes] == [Box(1, 1, 9, 9), Box(50, 50, 9, 9)]
        assert item.shape_ids == ("1", "2")
        assert not item.problems

    def test_of_two_versions_of_an_object_the_first_is_taken_and_it_is_said(self, photo: bytes) -> None:
        first = coco(of_class(1, [10, 10, 20, 20]), images=RECORD, categories=CATS)
        second = coco(of_class(1, [11, 11, 20, 20]), images=RECORD, categories=CATS)
        item = only_item({"a.png": photo, "1.json": first, "2.json": second})
        assert [shape.geometry for shape in item.shapes] == [Box(10, 10, 20, 20)]
        assert codes(item) == ["DUPLICATE_IMAGE"]

    @pytest.mark.parametrize("bbox", [[10, 10, 20, 20], [10, 10, 20, 21]], ids=["one box", "almost"])
    def test_one_object_of_two_classes_is_kept_as_both_and_it_is_said(self, photo: bytes, bbox: list[float]) -> None:
        first = coco(of_class(1, [10, 10, 20, 20]), images=RECORD, categories=CATS)
        second = coco(of_class(2, bbox), of_class(2, [50, 50, 9, 9], id=3), images=RECORD, categories=DOGS)
        item = only_item({"a.png": photo, "1.json": first, "2.json": second})
        assert [shape.label for shape in item.shapes] == ["cat", "dog", "dog"]
        assert [(one.code, one.path) for one in item.problems] == [("OTHER_CLASS", "2.json")]
        assert item.problems[0].message.startswith("1 object of 2.json is of another class in 1.json")

    def test_an_object_that_lies_in_one_of_another_class_is_no_doubt(self, photo: bytes) -> None:
        first = coco(of_class(1, [10, 10, 20, 20]), images=RECORD, categories=CATS)
        second = coco(of_class(2, [10, 10, 20, 12]), images=RECORD, categories=DOGS)
        assert not only_item({"a.png": photo, "1.json": first, "2.json": second}).problems

    @pytest.mark.parametrize("wrong", ["1.json", "2.json"])
    def test_each_file_that_states_another_size_is_told(self, photo: bytes, wrong: str) -> None:
        right = {**SIZED, "width": 200, "height": 100}
        files = {"a.png": photo, "1.json": coco(annotation(), images=[right])}
        files |= {"2.json": files["1.json"]}
        files[wrong] = coco(annotation(bbox=[70, 20, 9, 9]), images=[{**SIZED, "width": 320, "height": 240}])
        item = only_item(files)
        assert [(one.code, one.path) for one in item.problems] == [("SIZE_MISMATCH", wrong)]
        assert "320 x 240" in item.problems[0].message

    def test_a_size_that_a_file_states_twice_is_told_once(self, photo: bytes) -> None:
        images = [SIZED | {"width": 9, "height": 9}, SIZED | {"id": 2, "file_name": "x/a.png", "width": 9, "height": 9}]
        assert codes(only_item({"a.png": photo, "i.json": coco(annotation(), images=images)})) == ["SIZE_MISMATCH"]

    def test_a_file_that_lists_an_image_as_empty_takes_nothing_away(self, photo: bytes) -> None:
        other = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
        cats = coco(of_class(1, [1, 1, 9, 9], image_id=2), images=other, categories=CATS)
        dogs = coco(of_class(2, [1, 1, 9, 9]), images=RECORD, categories=DOGS)
        items = read_folder({"a.png": photo, "b.png": photo, "cats.json": cats, "dogs.json": dogs})
        assert [shape.label for shape in items["a.png"].shapes] == ["dog"]

    def test_one_image_under_two_ids_of_a_file_is_joined_too(self, photo: bytes) -> None:
        images = [*RECORD, {"id": 2, "file_name": "x/a.png"}]
        content = coco(annotation(), annotation(id=2, image_id=2, bbox=[50, 50, 9, 9]), images=images)
        assert len(only_item({"a.png": photo, "i.json": content}).shapes) == 2

    def test_files_of_two_splits_put_an_image_in_the_first(self, photo: bytes) -> None:
        files = {"a.png": photo, "val.json": coco(annotation()), "train.json": coco(annotation())}
        assert plan_of(files).splits == {"a.png": "train"}


def test_names_and_ids_of_the_file_stay_with_the_items(photo: bytes) -> None:
    content = coco(annotation(id=42, image_id=9), images=[{"id": 9, "file_name": "old/place/A.PNG"}])
    item = only_item({"a.png": photo, "i.json": content})
    assert (item.source_name, item.source_id, item.shape_ids) == ("old/place/A.PNG", "9", ("42",))


def test_scores_of_predictions_are_kept(photo: bytes) -> None:
    item = only_item({"a.png": photo, "i.json": coco(annotation(score=0.5), images=RECORD)})
    assert item.shapes[0].attributes == {"score": "0.5"}


class TestCategories:
    CATEGORIES = ({"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 2, "name": "cow"})

    def test_of_two_with_one_id_the_first_is_taken_and_it_is_said(self, photo: bytes) -> None:
        files = {"a.png": photo, "i.json": coco(annotation(category_id=1), categories=self.CATEGORIES)}
        assert [shape.label for shape in only_item(files).shapes] == ["cat"]
        plan = plan_of(files)
        assert [one.name for one in plan.labels] == ["cat", "cow"]
        assert doubts(plan) == {"DUPLICATE_ID": 1}
        assert plan.doubts[0].example == "i.json: 1"

    def test_one_that_is_there_twice_is_one(self, photo: bytes) -> None:
        categories = [{"id": 7, "name": "cell"}, {"id": "7", "name": "cell"}]
        assert not plan_of({"a.png": photo, "i.json": coco(annotation(), categories=categories)}).doubts

    def test_the_id_of_one_in_another_file_is_another(self, photo: bytes) -> None:
        other = coco(annotation(bbox=[50, 50, 9, 9]), categories=[{"id": 7, "name": "dog"}])
        files = {"a.png": photo, "1.json": coco(annotation()), "2.json": other}
        assert [shape.label for shape in only_item(files).shapes] == ["cell", "dog"]
        assert not plan_of(files).doubts


@pytest.mark.parametrize(
    ("boxes", "told"),
    [
        ([[0.1, 0.2, 0.3, 0.4]], {"NOT_PIXELS": 1}),
        ([[0, 0, 1, 1], [0.5, 0.5, 0.1, 0.1]], {"NOT_PIXELS": 2}),
        ([[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 30, 40]], {}),
        ([[0.5, 0.5, 20, 20]], {}),
        ([[], []], {}),
    ],
)
def test_boxes_that_look_like_fractions_are_a_doubt(
    photo: bytes, boxes: list[list[float]], told: dict[str, int]
) -> None:
    records = [annotation(id=number, bbox=box) for number, box in enumerate(boxes)]
    assert doubts(plan_of({"a.png": photo, "i.json": coco(*records)})) == told


class TestFilesOfTags:
    TAG = {"id": 1, "image_id": 1, "category_id": 7}

    def test_beside_one_of_objects_they_are_of_another_kind(self, photo: bytes) -> None:
        files = {
            "a.png": photo,
            "instances_train.json": coco(annotation(), images=RECORD),
            "labels_train.json": coco(self.TAG, images=RECORD),
        }
        assert plan_of(files).left == {"labels_train.json": Left.OTHER_KIND}
        assert not codes(only_item(files))

    def test_alone_their_annotations_are_told(self, photo: bytes) -> None:
        assert codes(only_item({"a.png": photo, "labels_train.json": coco(self.TAG, images=RECORD)})) == [
            "BAD_GEOMETRY"
        ]


@pytest.mark.parametrize(
    "bbox",
    [
        ["10", "20", "50", "50.0"],
        [10, " 20", "5e1", 50],
        dict(zip("xy", BBOX[:2], strict=True)) | {"width": 50, "height": 50},
    ],
)
def test_a_box_may_have_numbers_as_text_and_names(photo: bytes, bbox: object) -> None:
    (shape,) = only_item({"a.png": photo, "i.json": coco(annotation(bbox=bbox), images=RECORD)}).shapes
    assert shape.geometry == Box(10, 20, 50, 50)


@pytest.mark.parametrize(
    "bbox", [["10", "20", "50", "wide"], ["nan", "1", "2", "3"], ["1_0", 1, 2, 3], [True, None, 1, 2], {"x": 1}]
)
def test_a_box_of_other_texts_is_told_as_it_stands(photo: bytes, bbox: object) -> None:
    (problem,) = only_item({"a.png": photo, "i.json": coco(annotation(bbox=bbox), images=RECORD)}).problems
    assert problem.code == "BAD_GEOMETRY"
    assert "None" not in problem.message
    assert "'" not in problem.message


@pytest.mark.parametrize("value", [None, "no"])
def test_a_crowd_that_is_none_is_told_as_it_stands(photo: bytes, value: object) -> None:
    (problem,) = only_item({"a.png": photo, "i.json": coco(annotation(iscrowd=value), images=RECORD)}).problems
    assert problem.message == f"iscrowd is {json.dumps(value)}"
