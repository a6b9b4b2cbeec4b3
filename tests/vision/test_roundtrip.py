"""What a writer writes, the reader of its format reads back."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_vision.formats import (
    ExportChunk,
    ExportRow,
    Format,
    FormatError,
    ImportItem,
    LabelSpec,
    MappingSource,
    YoloTask,
    image_path,
    read,
    understand,
    write_coco,
    write_yolo,
)
from bloomery_vision.geometry import Box, Mask, Polygon, Shape, Tag, iou
from bloomery_vision.validate import validate_shape

MakeImage = Callable[..., bytes]
LABELS = ("RBC", "wine glass", "Größe & <Wert>", "猫", "no: 1")
SPECS = [LabelSpec(name, "") for name in LABELS]
WIDTH, HEIGHT = 97, 61
SPLITS = ("train", "val", "test")

inside_x, inside_y = st.floats(0, WIDTH - 2, width=32), st.floats(0, HEIGHT - 2, width=32)
boxes = st.builds(Box, inside_x, inside_y, st.floats(1.5, WIDTH), st.floats(1.5, HEIGHT)).map(
    lambda box: box.clip(WIDTH, HEIGHT)
)
rings = st.lists(st.tuples(inside_x, inside_y), min_size=3, max_size=8, unique=True).map(tuple)
polygons = st.builds(Polygon, rings).filter(lambda polygon: polygon.area > 1)
multipart = st.builds(Polygon, rings, st.tuples(rings)).filter(lambda polygon: polygon.area > 1)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    array = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for _ in range(draw(st.integers(1, 3))):
        x, y = draw(st.integers(0, WIDTH - 9)), draw(st.integers(0, HEIGHT - 9))
        array[y : y + draw(st.integers(2, 9)), x : x + draw(st.integers(2, 9))] = True
    return Mask.from_array(array)


def shapes_of(geometries: st.SearchStrategy[Box | Polygon | Mask]) -> st.SearchStrategy[Shape]:
    return st.builds(Shape, geometries, st.sampled_from(LABELS)).filter(
        lambda shape: not validate_shape(shape, WIDTH, HEIGHT) or isinstance(shape.geometry, Polygon)
    )


@st.composite
def rows_of(draw: st.DrawFn, geometries: st.SearchStrategy[Box | Polygon | Mask]) -> list[ExportRow]:
    shapes = st.lists(shapes_of(geometries), max_size=5, unique_by=lambda shape: (shape.geometry, shape.label))
    stems = draw(st.lists(st.sampled_from("abcdefgh"), max_size=5, unique=True))
    return [
        ExportRow(f"{stem}.png", WIDTH, HEIGHT, draw(st.sampled_from(SPLITS)), tuple(draw(shapes))) for stem in stems
    ]


def files(chunks: Iterable[ExportChunk]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for chunk in chunks:
        found[chunk.path] = found.get(chunk.path, b"") + chunk.data
    return found


def read_back(
    written: Mapping[str, bytes], images: Iterable[str], picture: bytes, file_format: Format
) -> dict[str, ImportItem]:
    source = MappingSource({**written, **dict.fromkeys(images, picture)})
    if not source.names():
        return {}
    plan = understand(source, file_format)
    items = list(read(source, plan))
    if items:
        assert understand(source) == plan
    assert not any(item.failed for item in items)
    return {item.image_path: item for item in items}


def plain(shapes: Iterable[Shape]) -> Iterator[tuple[object, str]]:
    return ((shape.geometry, shape.label) for shape in shapes)


def same_boxes(found: Iterable[Shape], wanted: Iterable[Shape], *, within: float) -> None:
    pairs = list(zip(found, wanted, strict=True))
    for one, other in pairs:
        here, there = one.geometry.bounds, other.geometry.bounds
        assert here is not None
        assert there is not None
        assert (here.x, here.y, here.x2, here.y2) == pytest.approx((there.x, there.y, there.x2, there.y2), abs=within)
        assert one.label == other.label


@pytest.fixture(scope="module")
def picture(make_image: MakeImage) -> bytes:
    return make_image(WIDTH, HEIGHT)


@given(rows=rows_of(boxes | multipart | masks()))
def test_coco_is_exact(rows: list[ExportRow], picture: bytes) -> None:
    written = files(write_coco(rows, SPECS))
    items = read_back(written, map(image_path, rows), picture, Format.COCO)
    assert len(items) == len(rows)
    for row in rows:
        item = items[image_path(row)]
        assert item.split == row.split
        assert list(plain(item.shapes)) == list(plain(row.shapes))
    if rows:
        found = understand(MappingSource(written)).labels
        assert [label.name for label in found] == list(LABELS)


@given(rows=rows_of(boxes | polygons | masks()))
def test_yolo_boxes(rows: list[ExportRow], picture: bytes) -> None:
    written = files(write_yolo(rows, LABELS, task=YoloTask.DETECT))
    items = read_back(written, map(image_path, rows), picture, Format.YOLO) if rows else {}
    assert len(items) == len(rows)
    for row in rows:
        item = items[image_path(row)]
        assert (item.split, item.annotated) == (row.split, True)
        same_boxes(item.shapes, row.shapes, within=1e-4)
    assert [label.name for label in understand(MappingSource(written)).labels] == list(LABELS)


@given(rows=rows_of(polygons))
def test_yolo_outlines(rows: list[ExportRow], picture: bytes) -> None:
    written = files(write_yolo(rows, LABELS, task=YoloTask.SEGMENT))
    items = read_back(written, map(image_path, rows), picture, Format.YOLO) if rows else {}
    for row in rows:
        found = items[image_path(row)].shapes
        for one, other in zip(found, row.shapes, strict=True):
            assert isinstance(one.geometry, Polygon)
            assert one.geometry.area == pytest.approx(other.geometry.area, abs=1e-3)
        same_boxes(found, row.shapes, within=1e-4)


def one_row(*shapes: Shape, name: str = "a.png", split: str = "train") -> ExportRow:
    return ExportRow(name, WIDTH, HEIGHT, split, shapes)


def test_a_yolo_outline_holds_all_parts_of_a_polygon(picture: bytes) -> None:
    square = ((10.0, 10.0), (20.0, 10.0), (20.0, 20.0), (10.0, 20.0))
    backwards = tuple((x + 30, y + 15) for x, y in reversed(square))
    row = one_row(Shape(Polygon(square, (backwards,)), "RBC"))
    written = files(write_yolo([row], LABELS, task=YoloTask.SEGMENT))
    (shape,) = read_back(written, [image_path(row)], picture, Format.YOLO)[image_path(row)].shapes
    assert isinstance(shape.geometry, Polygon)
    assert shape.geometry.area == pytest.approx(200, abs=1e-3)
    assert shape.geometry.parts == ()


def test_a_yolo_outline_of_a_mask_covers_it(picture: bytes) -> None:
    array = np.zeros((HEIGHT, WIDTH), dtype=bool)
    array[10:30, 20:50] = True
    row = one_row(Shape(Mask.from_array(array), "RBC"))
    written = files(write_yolo([row], LABELS, task=YoloTask.SEGMENT))
    (shape,) = read_back(written, [image_path(row)], picture, Format.YOLO)[image_path(row)].shapes
    box = shape.geometry.bounds
    assert box is not None
    assert iou(box, Box(20, 10, 30, 20)) > 0.9


def test_what_yolo_cannot_say_is_counted() -> None:
    nothing = np.zeros((HEIGHT, WIDTH), dtype=bool)
    row = one_row(
        Shape(Box(1, 1, 9, 9), "RBC", crowd=True),
        Shape(Box(1, 1, 9, 9), "unheard of"),
        Shape(Tag(), "RBC"),
        Shape(Mask.from_array(nothing), "RBC"),
    )
    notes = Counter[str]()
    written = files(write_yolo([row], LABELS, task=YoloTask.SEGMENT, notes=notes))
    assert written["labels/train/a.txt"] == b""
    left_out = ("crowd left out", "label left out", "tag left out", "mask without a pixel left out")
    assert +notes == dict.fromkeys(left_out, 1)


def test_boxes_are_outlines_of_four_corners() -> None:
    row = one_row(Shape(Box(0, 0, WIDTH, HEIGHT), "RBC"))
    written = files(write_yolo([row], LABELS, task=YoloTask.SEGMENT))
    assert written["labels/train/a.txt"] == b"0 0 0 1 0 1 1 0 1\n"


def test_coco_keeps_crowds_and_attributes(picture: bytes) -> None:
    crowd = Shape(Mask.from_array(np.ones((HEIGHT, WIDTH), dtype=bool)), "RBC", {"source": "microscope 2"}, crowd=True)
    notes = Counter[str]()
    rows = [one_row(crowd, Shape(Tag(), "RBC"), Shape(Box(1, 1, 9, 9), "unheard of"))]
    written = files(write_coco(rows, SPECS, notes=notes))
    (item,) = read_back(written, map(image_path, rows), picture, Format.COCO).values()
    assert item.shapes == (crowd,)
    assert notes == {"tag left out": 1, "label left out": 1}


def test_the_area_of_overlapping_outlines_of_one_object_counts_once() -> None:
    first, second = (((x, 5.0), (x + 20, 5.0), (x + 20, 25.0), (x, 25.0)) for x in (10.0, 20.0))
    far = tuple((x + 50, y) for x, y in first)
    rows = [one_row(Shape(Polygon(first, (second,)), "RBC"), Shape(Polygon(first, (far,)), "RBC"))]
    written = json.loads(files(write_coco(rows, SPECS))["annotations/instances_train.json"])
    assert [one["area"] for one in written["annotations"]] == [600, 800]


def test_the_area_of_an_object_of_very_many_pieces_is_what_they_cover() -> None:
    corners = [(4.0 * column, 4.0 * line) for column in range(20) for line in range(15)]
    first, *more = [((x, y), (x + 2, y), (x + 2, y + 2), (x, y + 2)) for x, y in corners]
    written = json.loads(
        files(write_coco([one_row(Shape(Polygon(first, tuple(more)), "RBC"))], SPECS))[
            "annotations/instances_train.json"
        ]
    )
    assert [one["area"] for one in written["annotations"]] == [1200]


def test_a_long_export_is_written_piece_by_piece() -> None:
    shapes = tuple(Shape(Box(index % 90, 1, 5, 5 + index / 1000), "RBC") for index in range(300))
    chunks = list(write_coco((one_row(*shapes, name=f"{index}.png") for index in range(100)), SPECS))
    assert len(chunks) > 50
    assert max(len(chunk.data) for chunk in chunks) <= 1 << 20


WRITERS = {
    "coco": lambda rows: write_coco(rows, SPECS),
    "yolo": lambda rows: write_yolo(rows, LABELS, task=YoloTask.DETECT),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
@pytest.mark.parametrize(
    "name", ["../a.png", "b/../a.png", "/a.png", "b//a.png", "C:\\a.png", "", "..", "a\\b.png", "a\0.png"]
)
def test_no_writer_leaves_its_folder(write: Callable[[list[ExportRow]], Iterator[ExportChunk]], name: str) -> None:
    with pytest.raises(FormatError) as caught:
        list(write([one_row(name=name)]))
    assert caught.value.code == "BAD_NAME"
    with pytest.raises(FormatError):
        list(write([one_row(name="a.png"), one_row(name="b.png", split=name)]))


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_two_images_of_one_stem_are_refused(write: Callable[[list[ExportRow]], Iterator[ExportChunk]]) -> None:
    with pytest.raises(FormatError) as caught:
        list(write([one_row(name="a.png"), one_row(name="A.jpg")]))
    assert caught.value.code == "DUPLICATE_NAME"


def ids(written: Mapping[str, bytes], split: str, key: str) -> list[int]:
    return [one["id"] for one in json.loads(written[f"annotations/instances_{split}.json"])[key]]


def test_coco_keeps_ids_that_are_whole_numbers_and_the_first_of_their_file() -> None:
    box = Shape(Box(1, 1, 9, 9), "RBC")
    rows = [
        replace(one_row(*(replace(box, source_id=one) for one in shapes), name=name), split=split, source_id=own)
        for name, split, own, shapes in (
            ("a.png", "train", "7", ("70", "")),
            ("b.png", "train", "7", ("70", "0")),
            ("c.png", "train", "", ("9" * 30,)),
            ("d.png", "val", "7", ("70", "71")),
            ("e.png", "val", "a7", ("-1", "7.5")),
            ("f.png", "val", "007", ()),
        )
    ]
    written = files(write_coco(rows, SPECS))
    assert ids(written, "train", "images") == [7, 8, 9]
    assert ids(written, "val", "images") == [7, 10, 11]
    assert ids(written, "train", "annotations") == [70, 72, 73, 0, 74]
    assert ids(written, "val", "annotations") == [70, 71, 75, 76]
    annotations = json.loads(written["annotations/instances_val.json"])["annotations"]
    assert [one["image_id"] for one in annotations] == [7, 7, 10, 10]


def test_coco_keeps_ids_and_groups_of_categories() -> None:
    labels = [LabelSpec("a", "", "9", "x"), LabelSpec("b", ""), LabelSpec("c", "", "9"), LabelSpec("d", "", "0")]
    written = json.loads(files(write_coco([one_row()], labels))["annotations/instances_train.json"])
    assert [(one["id"], one["supercategory"]) for one in written["categories"]] == [
        (9, "x"),
        (10, ""),
        (11, ""),
        (0, ""),
    ]


@given(st.lists(st.lists(st.sampled_from(["", "0", "1", "2", "3", "x"]), max_size=4), max_size=5))
def test_ids_of_a_coco_file_are_never_given_twice(drawn: list[list[str]]) -> None:
    rows = [
        replace(one_row(*(Shape(Box(1, 1, 9, 9), "RBC", source_id=one) for one in given), name=f"{number}.png"))
        for number, given in enumerate(drawn)
    ]
    rows = [replace(row, source_id=given[0] if given else "") for row, given in zip(rows, drawn, strict=True)]
    written = files(write_coco(rows, SPECS))
    for key, wanted in (("images", len(rows)), ("annotations", sum(map(len, drawn)))):
        found = ids(written, "train", key) if rows else []
        assert len(found) == len(set(found)) == wanted
