"""Pascal VOC as programs write it: first pixels, rotated boxes, outlines, encodings."""

import math

import pytest

from bloomery_vision.findings import Severity
from bloomery_vision.geometry import Box, Polygon
from tests.vision.folders import annotation, coco, codes, doubts, names_of, plan_of, read_folder, voc, voc_object


class TestFirstPixel:
    @pytest.mark.parametrize(
        ("corners", "box"),
        [
            (("32.78", "10", "60", "40"), Box(32.78, 10, 60 - 32.78, 30)),
            (("0", "10", "60", "40"), Box(0, 10, 60, 30)),
            (("50.0", "10.0", "60.0", "40.0"), Box(50, 10, 10, 30)),
            (("32,78", "10,0", "60,5", "40"), Box(32.78, 10, 60.5 - 32.78, 30)),
            (("-3", "10", "60", "40"), Box(0, 10, 60, 30)),
            (("10", "-1", "60", "40"), Box(10, 0, 50, 40)),
        ],
    )
    def test_a_set_that_does_not_count_pixels_from_1_is_taken_as_it_stands(
        self, photo: bytes, corners: tuple[str, ...], box: Box
    ) -> None:
        files = {"a.jpg": photo, "a.xml": voc(voc_object(*corners))}
        files |= {"b.jpg": photo, "b.xml": voc(voc_object(20, 20, 30, 30))}
        items = read_folder(files)
        assert items["a.jpg"].shapes[0].geometry == box
        assert items["b.jpg"].shapes[0].geometry == Box(20, 20, 10, 10), "all files of a set count alike"
        assert plan_of(files).pixel_origin == 0

    def test_single_fractions_do_not_move_a_set_that_counts_from_1(self, photo: bytes) -> None:
        files = {f"{number}.jpg": photo for number in range(9)}
        files |= {f"{number}.xml": voc(voc_object(1, 1, 20, 20), size="") for number in range(8)}
        items = read_folder(files | {"8.xml": voc(voc_object(45.7, 10, 60, 40))})
        assert items["0.jpg"].shapes[0].geometry == Box(0, 0, 20, 20)
        assert items["8.jpg"].shapes[0].geometry == Box.from_corners(44.7, 9, 60, 40)

    def test_a_set_that_says_both_is_a_doubt(self, photo: bytes) -> None:
        files = {"a.jpg": photo, "a.xml": voc(voc_object(0, 5, 9, 9), voc_object(1, 1, 9, 9))}
        assert doubts(plan_of(files)) == {"PIXEL_ORIGIN": 2}


def bounds(files: dict[str, bytes], image: str = "a.jpg") -> tuple[float, ...]:
    (shape,) = read_folder(files)[image].shapes
    assert isinstance(shape.geometry, Polygon)
    box = shape.geometry.bounds
    return box.x, box.y, box.x2, box.y2


def turned(rotation: object) -> bytes:
    attribute = f"<attributes><attribute><name>rotation</name><value>{rotation}</value></attribute></attributes>"
    return voc(voc_object(50.0, 40.0, 150.0, 50.0).replace("</object>", f"{attribute}</object>"), size="")


class TestRotation:
    wanted = pytest.approx((61.11, 6.11, 138.89, 83.89), abs=0.01)

    def test_cvats_rotated_box_is_an_outline(self, photo: bytes) -> None:
        assert bounds({"a.jpg": photo, "a.xml": turned("45.0")}) == self.wanted

    def test_it_turns_clockwise(self, photo: bytes) -> None:
        (shape,) = read_folder({"a.jpg": photo, "a.xml": turned("45.0")})["a.jpg"].shapes
        assert isinstance(shape.geometry, Polygon)
        left, right = min(shape.geometry.points), max(shape.geometry.points)
        assert left[1] < 45 < right[1]

    @pytest.mark.parametrize("rotation", ["0", "0.0", "360", ""])
    def test_a_box_that_is_not_turned_stays_a_box(self, photo: bytes, rotation: str) -> None:
        (shape,) = read_folder({"a.jpg": photo, "a.xml": turned(rotation)})["a.jpg"].shapes
        assert shape.geometry == Box(50, 40, 100, 10)
        assert "rotation" not in shape.attributes

    @pytest.mark.parametrize("rotation", ["x", "nan", "inf", "45 degrees"])
    def test_a_rotation_that_is_no_number_is_told_and_the_box_kept(self, photo: bytes, rotation: str) -> None:
        item = read_folder({"a.jpg": photo, "a.xml": turned(rotation)})["a.jpg"]
        assert [type(shape.geometry) for shape in item.shapes] == [Box]
        (problem,) = item.problems
        assert (problem.code, problem.severity) == ("BAD_BOX", Severity.WARNING)
        assert f"its rotation is {rotation!r}" in problem.message

    def test_a_rotation_may_have_a_comma(self, photo: bytes) -> None:
        shapes = [read_folder({"a.jpg": photo, "a.xml": turned(one)})["a.jpg"].shapes for one in ("45,0", "45.0")]
        assert shapes[0] == shapes[1]
        assert isinstance(shapes[0][0].geometry, Polygon)

    @pytest.mark.parametrize(
        ("outline", "code"),
        [
            ("<polygon><pt><x>5</x><y>5</y></pt><pt><x>9</x><y>9</y></pt></polygon>", "TOO_FEW_POINTS"),
            ("<polygon><x1>5</x1><y1>5</y1><x2>9</x2><y2>9</y2></polygon>", "TOO_FEW_POINTS"),
            ("<polygon><x1>5</x1><y1>five</y1></polygon>", "BAD_GEOMETRY"),
            ("<robndbox><cx>5</cx><cy>5</cy></robndbox>", "BAD_BOX"),
        ],
    )
    def test_a_good_box_is_kept_with_a_warning_where_the_outline_cannot_be_used(
        self, photo: bytes, outline: str, code: str
    ) -> None:
        content = voc(voc_object(5, 5, 90, 90).replace("</object>", f"{outline}</object>"), size="")
        item = read_folder({"a.png": photo, "a.xml": content})["a.png"]
        assert [shape.geometry for shape in item.shapes] == [Box(4, 4, 86, 86)]
        (problem,) = item.problems
        assert (problem.code, problem.severity) == (code, Severity.WARNING)
        assert "its outline cannot be used, its box is" in problem.message

    def test_a_polygon_without_points_is_none(self, photo: bytes) -> None:
        content = voc(voc_object(5, 5, 90, 90).replace("</object>", "<polygon/></object>"), size="")
        assert not read_folder({"a.png": photo, "a.xml": content})["a.png"].problems

    def test_cvats_coco_says_it_too(self, photo: bytes) -> None:
        attributes = {"rotation": 45.0, "occluded": False}
        content = coco(annotation(bbox=[50, 40, 100, 10], segmentation=[], attributes=attributes))
        assert bounds({"a.png": photo, "i.json": content}, "a.png") == self.wanted

    def test_rolabelimgs_rotated_box(self, photo: bytes) -> None:
        box = f"<robndbox><cx>100</cx><cy>45</cy><w>100</w><h>10</h><angle>{math.pi / 4}</angle></robndbox>"
        item = f"<object><type>robndbox</type><name>x</name>{box}</object>"
        assert bounds({"a.jpg": photo, "a.xml": voc(item, size="")}) == self.wanted

    @pytest.mark.parametrize(
        "ring",
        [
            "<x1>10</x1><y1>20</y1><x2>60</x2><y2>20</y2><x3>60</x3><y3>70</y3>",
            "<pt><x>10</x><y>20</y></pt><pt><x>60</x><y>20</y></pt><pt><x>60</x><y>70</y></pt>",
        ],
    )
    def test_outlines_in_xml(self, photo: bytes, ring: str) -> None:
        item = voc_object(5, 5, 90, 90).replace("</object>", f"<polygon>{ring}</polygon></object>")
        assert bounds({"a.jpg": photo, "a.xml": voc(item, size="")}) == (10, 20, 60, 70)

    def test_other_attributes_are_kept(self, photo: bytes) -> None:
        text = turned("0").replace(b"<name>rotation</name><value>0<", b"<name>sex</name><value>female<")
        (shape,) = read_folder({"a.jpg": photo, "a.xml": text})["a.jpg"].shapes
        assert shape.attributes == {"sex": "female"}

    def test_elements_of_an_object_are_attributes_where_they_say_something(self, photo: bytes) -> None:
        more = "<grade>2.5</grade><pose>Left</pose><truncated>1</truncated><confidence>0.5</confidence><note/>"
        nothing = "<occluded>0</occluded><difficult>Unspecified</difficult><deleted>0</deleted><id>7</id>"
        nothing += "<part><name>x</name></part>"
        item = voc_object(5, 5, 90, 90).replace("</object>", f"{more}{nothing}</object>")
        (shape,) = read_folder({"a.jpg": photo, "a.xml": voc(item, size="")})["a.jpg"].shapes
        assert shape.attributes == {"grade": "2.5", "pose": "Left", "truncated": "1", "score": "0.5"}


class TestEncodings:
    @pytest.mark.parametrize(
        ("encoding", "label"),
        [
            ("GBK", "\u4e2d"),
            ("gb2312", "\u4e2d"),
            ("Shift_JIS", "\u732b"),
            ("EUC-KR", "\ub9ac"),
            ("Big5", "\u4e2d"),
            ("utf8", "\u4e2d"),
            ("UTF-16", "\u4e2d"),
            ("ISO-8859-1", "\u00e9"),
            ("windows-1252", "\u20ac"),
        ],
    )
    def test_xml_is_decoded_as_it_says(self, photo: bytes, encoding: str, label: str) -> None:
        text = f'<?xml version="1.0" encoding="{encoding}"?>{voc(voc_object(1, 1, 9, 9, label)).decode()}'
        assert names_of({"a.jpg": photo, "a.xml": text.encode(encoding)}) == {"a.jpg": [label]}

    @pytest.mark.parametrize("encoding", ["GBK", "nonsense"])
    def test_xml_that_is_not_what_it_says_costs_its_image(self, photo: bytes, encoding: str) -> None:
        content = f'<?xml version="1.0" encoding="{encoding}"?><annotation><x>'.encode() + b"\xff\xff</x></annotation>"
        assert codes(read_folder({"a.jpg": photo, "a.xml": content})["a.jpg"]) == ["BROKEN_FILE"]

    def test_json_of_windows_is_read(self, photo: bytes) -> None:
        content = coco(annotation()).decode().encode("utf-16")
        assert names_of({"a.png": photo, "i.json": content}) == {"a.png": ["cell"]}
