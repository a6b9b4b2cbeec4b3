"""COCO files as they should not be: each fault costs its own item, with a reason, and the rest is read."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence

import pytest

from bloomery_vision.findings import Severity
from bloomery_vision.formats import Format, FormatError, MappingSource, read, understand
from bloomery_vision.formats.coco_tables import Tables
from bloomery_vision.geometry import Box
from tests.vision.folders import annotation, coco, codes, doubts, items_of, plan_of, read_folder


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
            ({"bbox": [1, "one", 4, 5]}, "BAD_GEOMETRY"),
            ({"bbox": [1, 10**400, 4, 5]}, "BAD_GEOMETRY"),
            ({"bbox": None}, "BAD_GEOMETRY"),
        ],
    )
    def test_a_broken_annotation_costs_itself(self, picture: bytes, changes: dict[str, object], code: str) -> None:
        files = {"i.json": coco(annotation(**changes), annotation(id=2)), "a.png": picture}
        item = items_of(files, Format.COCO)["a.png"]
        assert codes(item) == [code]
        assert item.problems[0].path == "i.json#annotation 1"
        assert len(item.shapes) == 1

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
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
    def test_a_box_stands_for_an_outline_that_cannot_be_used(
        self, picture: bytes, changes: dict[str, object], code: str
    ) -> None:
        item = items_of({"i.json": coco(annotation(**changes)), "a.png": picture}, Format.COCO)["a.png"]
        assert [shape.geometry for shape in item.shapes] == [Box(10, 10, 20, 20)]
        assert [(problem.code, problem.severity) for problem in item.problems] == [(code, Severity.WARNING)]
        alone = items_of({"i.json": coco(annotation(**changes, bbox=None)), "a.png": picture}, Format.COCO)["a.png"]
        assert not alone.shapes
        assert [(problem.code, problem.severity) for problem in alone.problems] == [(code, Severity.ERROR)]
        assert not alone.annotated

    @pytest.mark.parametrize("junk", [None, 5, "x", [], [1, 2]])
    def test_elements_that_are_no_objects_are_reported(self, picture: bytes, junk: object) -> None:
        record = {"id": 1, "file_name": "a.png"}
        content = coco(junk, annotation(), images=[junk, record], categories=[junk, {"id": 7, "name": "cell"}])
        items = items_of({"i.json": content, "a.png": picture}, Format.COCO)
        assert len(items["a.png"].shapes) == 1
        assert sum(item.failed for item in items.values()) == 2

    @pytest.mark.parametrize("width", [float("nan"), float("inf"), 1e19, 10**19, -(10**19), 0.5, True, "100"])
    def test_a_size_that_no_image_has_costs_nothing(self, picture: bytes, width: object) -> None:
        record = {"id": 1, "file_name": "a.png", "width": width, "height": 80}
        for sides in (record, record | {"width": 100, "height": width}):
            content = coco(annotation(), images=[sides])
            (item,) = items_of({"i.json": content, "a.png": picture}, Format.COCO).values()
            assert [shape.geometry for shape in item.shapes] == [Box(10, 10, 20, 20)]

    def test_sparse_ids_of_any_type_are_matched(self, picture: bytes) -> None:
        content = coco(
            annotation(image_id="900", category_id=70.0),
            images=[{"id": 900, "file_name": "sub/folder/a.png"}],
            categories=[{"id": 70, "name": "cell"}, {"id": 90, "name": "unused"}],
        )
        (item,) = items_of({"i.json": content, "images/a.png": picture}, Format.COCO).values()
        assert [shape.label for shape in item.shapes] == ["cell"]

    @pytest.mark.parametrize(
        ("ids", "again"), [((7, 7), "7"), ((7, 3, 7), "7"), ((3, "7", 7), "7"), ((9, 8, 9.0, 7), "9")]
    )
    def test_an_annotation_id_is_reported_where_it_comes_again(
        self, picture: bytes, ids: Sequence[object], again: str
    ) -> None:
        content = coco(*(annotation(id=one, bbox=[n, 1, 5, 5]) for n, one in enumerate(ids)))
        (item,) = items_of({"i.json": content, "a.png": picture}, Format.COCO).values()
        (problem,) = item.problems
        assert (problem.code, problem.path) == ("DUPLICATE_ID", f"i.json#annotation {again}")

    def test_ids_used_twice_are_reported(self, picture: bytes) -> None:
        images = [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}, {"id": 2, "file_name": "a.png"}]
        content = coco(annotation(), annotation(bbox=[1, 1, 5, 5]), images=images)
        items = items_of({"i.json": content, "a.png": picture, "b.png": picture}, Format.COCO)
        assert codes(items["a.png"]) == ["DUPLICATE_ID"]
        assert len(items["a.png"].shapes) == 2
        assert codes(items["b.png"]) == ["DUPLICATE_ID"]
        assert items["b.png"].failed

    def test_a_record_whose_id_is_used_twice_says_nothing_of_its_image(self, picture: bytes) -> None:
        first = coco(images=[{"id": 1, "file_name": "b.png"}, {"id": 1, "file_name": "x/a.png"}])
        second = coco(annotation(image_id=2), images=[{"id": 2, "file_name": "a.png"}])
        items = items_of({"1.json": first, "2.json": second, "a.png": picture, "b.png": picture}, Format.COCO)
        item = items["a.png"]
        assert (item.source_id, item.source_name, item.annotation_path) == ("2", "a.png", "2.json")

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

    def test_a_plan_tells_what_the_import_will_find(self, picture: bytes) -> None:
        names = ["a.png", "gone.png", "lost.png", "b.png"]
        records = [{"id": number, "file_name": name} for number, name in enumerate(names, 1)]
        strangers = [annotation(id=2, category_id=999), annotation(id=3, category_id=None)]
        files = {"i.json": coco(annotation(), *strangers, images=records), "a.png": picture}
        files |= {"x/b.png": picture, "y/b.png": picture}
        plan = plan_of(files)
        assert doubts(plan) == {"MISSING_IMAGE": 2, "AMBIGUOUS_IMAGE": 1, "UNKNOWN_CLASS": 2}
        shown = {doubt.code: doubt.example for doubt in plan.doubts}
        assert (shown["MISSING_IMAGE"], shown["UNKNOWN_CLASS"]) == ("i.json: gone.png", "i.json: 999")
        assert not any("such as" in doubt.message for doubt in plan.doubts), "who shows it says so"
        items = items_of(files, Format.COCO).values()
        assert Counter(problem.code for item in items for problem in item.problems) == doubts(plan)

    def test_records_of_a_file_that_is_not_used_are_no_doubts(self, picture: bytes) -> None:
        broken = coco(annotation(category_id=999), images=[{"id": 1, "file_name": "gone.png"}])[:-3]
        good = coco(annotation(), images=[{"id": 1, "file_name": "a.png"}])
        assert doubts(plan_of({"broken.json": broken, "good.json": good, "a.png": picture})) == {}

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

    def test_what_nests_deeper_than_it_can_be_kept_breaks_its_file(self) -> None:
        deep: list[object] = []
        for _ in range(3000):
            deep = [deep]
        with Tables() as tables, pytest.raises(FormatError, match="nested too deeply"):
            tables.add_annotations(0, [annotation(bbox=deep)])

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
            assert sum(1 for _ in read(source, understand(source))) == 2
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(content) > 20_000_000
        assert peak < len(content) / 2


IN_LATIN_1 = coco(annotation()).replace(b"cell", b"Gr\xfcn")


@pytest.mark.parametrize("content", [IN_LATIN_1, b""], ids=["another encoding", "empty"])
def test_a_second_file_that_cannot_be_read_is_told(picture: bytes, content: bytes) -> None:
    files = {"a.png": picture, "cats.json": coco(annotation()), "dogs.json": content}
    items = read_folder(files)
    assert codes(items["dogs.json"]) == ["BROKEN_FILE"]
    assert [shape.label for shape in items["a.png"].shapes] == ["cell"]
    assert plan_of(files).label_files == ["cats.json", "dogs.json"]


@pytest.mark.parametrize(
    ("content", "told"),
    [(IN_LATIN_1, "UTF-8"), (b"", "the end"), (b" \n", "the end")],
    ids=["encoding", "empty", "blank"],
)
def test_one_that_cannot_be_read_is_told_alone_too(picture: bytes, content: bytes, told: str) -> None:
    items = read_folder({"train/a.png": picture, "dogs.json": content})
    (problem,) = items["dogs.json"].problems
    assert (problem.code, problem.path) == ("BROKEN_FILE", "dogs.json")
    assert told in problem.message
    assert problem.hint
    assert not items["train/a.png"].annotated


def test_an_empty_file_takes_no_images_from_labels_of_another_format(picture: bytes) -> None:
    plan = plan_of({"a.png": picture, "a.txt": b"0 .5 .5 .2 .2", "classes.txt": b"cell", "package.json": b""})
    assert plan.format is Format.YOLO
    assert doubts(plan) == {"OTHER_FORMAT": 1}
