"""YOLO label files as programs write them: what the numbers of a line are shows only in all lines of a set."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_vision.formats import ImportItem
from bloomery_vision.formats.plan import PLAIN_ROWS, Left
from bloomery_vision.formats.yolo_rows import Row, understand_rows
from bloomery_vision.geometry import Box, Polygon, Tag
from tests.vision.folders import codes, doubts, plan_of, read_folder

BOX = Box(80, 40, 40, 20)


def folder(photo: bytes, *texts: str, config: str = "names: [cat, dog]") -> dict[str, bytes]:
    files = {"data.yaml": config.encode()}
    for number, text in enumerate(texts):
        files |= {f"images/{number}.jpg": photo, f"labels/{number}.txt": text.encode()}
    return files


def item_of(files: dict[str, bytes], number: int = 0) -> ImportItem:
    return read_folder(files)[f"images/{number}.jpg"]


class TestPredictions:
    def test_a_score_and_a_track_behind_the_box_are_kept_and_said(self, photo: bytes) -> None:
        files = folder(photo, "0 0.5 0.5 0.2 0.2 0.91 1\n1 0.5 0.5 0.2 0.2 0.5 12")
        first, second = item_of(files).shapes
        assert (first.geometry, first.attributes, first.track_id) == (BOX, {"score": "0.91"}, 1)
        assert (second.label, second.track_id) == ("dog", 12)
        assert doubts(plan_of(files)) == {"PREDICTIONS": 2}

    @pytest.mark.parametrize("texts", [["0 .5 .5 .2 .2 .91"], ["0 .5 .5 .2 .2 .9\n0 .1 .1 .2 .2 1", "1 .5 .5 .2 .2 0"]])
    def test_a_score_alone(self, photo: bytes, texts: Sequence[str]) -> None:
        files = folder(photo, *texts)
        assert item_of(files).shapes[0].geometry == BOX
        assert "score" in item_of(files).shapes[0].attributes
        assert doubts(plan_of(files)) == {"PREDICTIONS": len("\n".join(texts).split("\n"))}

    def test_in_a_set_of_boxes_a_fifth_number_is_a_bad_line(self, photo: bytes) -> None:
        files = folder(photo, "0 .5 .5 .2 .2 .91\n0 .5 .5 .2 .2")
        assert codes(item_of(files)) == ["BAD_LINE"]
        assert not plan_of(files).doubts

    @pytest.mark.parametrize("line", ["0 .1 .1 .5 .1 .3 .9", "0 0 0 1 0 1 1", "0 .5 .5 .2 .2 .9 .3"])
    def test_triangles_stay_outlines(self, photo: bytes, line: str) -> None:
        files = folder(photo, line)
        assert isinstance(item_of(files).shapes[0].geometry, Polygon)
        assert not plan_of(files).doubts

    def test_an_outline_with_a_value_above_1_is_none(self, photo: bytes) -> None:
        files = folder(photo, "0 .1 .1 .5 .1 .3 1.5\n0 .5 .5 .2 .2\n0 .1 .1 .5 .1 .3 .9")
        assert codes(item_of(files)) == ["BAD_LINE"]
        assert len(item_of(files).shapes) == 2

    def test_rounding_beyond_the_edge_is_cut_off(self, photo: bytes) -> None:
        files = folder(photo, "0 .1 .1 1.002 .1 .3 .9")
        assert item_of(files).shapes[0].geometry.bounds == Box(20, 10, 180, 80)


class TestPredictedClasses:
    """`0.93 cat` a line, the best first, as Ultralytics' `classify predict save_txt=True` writes them."""

    def test_the_best_class_is_the_tag_of_its_image(self, photo: bytes) -> None:
        files = folder(photo, "0.93 golden retriever\n0.05 cat\n0.00 dog", "0.6 dog\n4e-05 cat\n")
        (shape,) = item_of(files).shapes
        assert (shape.geometry, shape.label, shape.attributes) == (Tag(), "golden retriever", {"score": "0.93"})
        assert doubts(plan_of(files)) == {"PREDICTIONS": 2}
        assert [label.name for label in plan_of(files).labels] == ["cat", "dog", "golden retriever"]

    def test_classes_may_be_called_by_numbers(self, photo: bytes) -> None:
        assert [shape.label for shape in item_of(folder(photo, "0.00 950\n0.00 393")).shapes] == ["950"]

    def test_an_image_on_which_nothing_is_sure_enough_is_not_annotated(self, photo: bytes) -> None:
        item = item_of(folder(photo, "1 cat", ""), 1)
        assert (item.annotated, item.shapes, item.problems) == (False, (), ())

    def test_a_bad_line_is_told(self, photo: bytes) -> None:
        item = item_of(folder(photo, "0.9 cat", "0.9 dog", "cat"), 2)
        assert (codes(item), item.annotated) == (["BAD_LINE"], False)

    def test_beside_boxes_they_are_left_alone(self, photo: bytes) -> None:
        files = folder(photo, "0 .5 .5 .2 .2") | {"seen/a.jpg": photo, "seen/a.txt": b"0.9 cat"}
        assert plan_of(files).left == {"seen/a.txt": Left.OTHER_FORMAT}

    @pytest.mark.parametrize("text", ["0 cat\n1 dog", "0.5 0.5", "0 1", "1.5 cat", "2 cat"])
    def test_other_lines_are_none(self, photo: bytes, text: str) -> None:
        assert not plan_of(folder(photo, text)).rows.ranks


class TestPredictedOutlines:
    TRIANGLE = Polygon(((20, 10), (100, 10), (60, 90)))

    def test_a_score_behind_each_outline(self, photo: bytes) -> None:
        files = folder(photo, "0 .1 .1 .5 .1 .3 .9 .75", "1 .1 .1 .5 .1 .5 .5 .1 .5 .25\n0 .5 .5 .2 .2 .5")
        (shape,) = item_of(files).shapes
        assert (shape.geometry, shape.attributes) == (self.TRIANGLE, {"score": "0.75"})
        assert [type(shape.geometry) for shape in item_of(files, 1).shapes] == [Polygon, Box]
        assert doubts(plan_of(files)) == {"PREDICTIONS": 3}

    def test_a_score_and_a_track(self, photo: bytes) -> None:
        (shape,) = item_of(folder(photo, "0 .1 .1 .5 .1 .3 .9 .75 7")).shapes
        assert (shape.geometry, shape.attributes, shape.track_id) == (self.TRIANGLE, {"score": "0.75"}, 7)

    def test_outlines_that_end_at_a_corner_of_the_image_have_no_track(self, photo: bytes) -> None:
        files = folder(photo, "0 0 0 1 0 1 1 0 1", "1 .5 .5 1 .5 1 1 .5 1")
        assert not plan_of(files).doubts
        assert item_of(files).shapes[0].geometry == Polygon(((0, 0), (200, 0), (200, 100), (0, 100)))


POSE = "0 .5 .5 .2 .2 .45 .5 2 .55 .5 1"


class TestPoses:
    def test_keypoints_without_a_word_in_the_configuration_are_seen_by_their_flags(self, photo: bytes) -> None:
        files = folder(photo, POSE, "1 .5 .5 .2 .2 0 0 0 .55 .5 2")
        assert [shape.geometry for shape in item_of(files).shapes] == [BOX]
        assert doubts(plan_of(files)) == {"KEYPOINTS_GUESSED": 2}
        assert plan_of(files).rows.keypoints == 6

    @pytest.mark.parametrize("shape", ["[2, 3]", "['2', '3']", "\n- 2\n- 3"])
    def test_the_configuration_says_how_many(self, photo: bytes, shape: str) -> None:
        files = folder(photo, POSE, config=f"names: [cat, dog]\nkpt_shape: {shape}\n")
        assert [shape.geometry for shape in item_of(files).shapes] == [BOX]
        assert codes(item_of(files)) == ["KEYPOINTS_IGNORED"]
        assert not plan_of(files).doubts

    def test_more_keypoints_than_a_line_holds_are_not_meant(self, photo: bytes) -> None:
        files = folder(photo, POSE, config="names: [cat, dog]\nkpt_shape: [1000000000, 3]")
        assert plan_of(files).rows.keypoints == 6

    @pytest.mark.parametrize(
        "line",
        [
            "0 .5 .5 .2 .2 .45 .5 .9 .55 .5 .8 .5 .45 .7",
            "0 .5 .5 .2 .2 .45 .5 .9 .55 .5 .8 .5 .45 .7 .91",
            "0 .5 .5 .2 .2 .45 .5 .9 .55 .5 .8 .5 .45 .7 .91 3",
            "0 .5 .5 .2 .2 .45 .5 .55 .5 .5 .45",
            "0 .5 .5 .2 .2 .45 .5 .55 .5 .5 .45 .91",
        ],
        ids=["sure", "and a score", "and a track", "without flags", "without flags, with a score"],
    )
    def test_predicted_poses(self, photo: bytes, line: str) -> None:
        files = folder(photo, line)
        assert [shape.geometry for shape in item_of(files).shapes] == [BOX]
        assert doubts(plan_of(files)).keys() == {"KEYPOINTS_GUESSED"} | ({"PREDICTIONS"} if ".91" in line else set())

    def test_scores_behind_poses_that_the_configuration_knows(self, photo: bytes) -> None:
        files = folder(photo, POSE + " .5", config="names: [cat, dog]\nkpt_shape: [2, 3]")
        (shape,) = item_of(files).shapes
        assert (shape.geometry, shape.attributes) == (BOX, {"score": "0.5"})

    def test_keypoints_without_flags_need_the_configuration(self, photo: bytes) -> None:
        files = folder(photo, "0 .5 .5 .2 .2 .45 .5 .55 .5", config="names: [cat]\nkpt_shape: [2, 2]")
        assert [shape.geometry for shape in item_of(files).shapes] == [BOX]

    def test_outlines_of_equally_many_points_are_no_poses(self, photo: bytes) -> None:
        files = folder(photo, "0 .1 .1 .5 .1 .5 .5 .3 .6 .1 .5\n0 .2 .1 .5 .1 .5 .5 .3 .6 .1 .5")
        assert all(isinstance(shape.geometry, Polygon) for shape in item_of(files).shapes)


class TestOutlinesLikePoses:
    PENTAGON = "0 .5 .4 .6 .5 .55 .6 .45 .6 .4 .5"

    @pytest.mark.parametrize("behind", ["", " .9", " .9 7"], ids=["alone", "with a score", "with a score and a track"])
    def test_an_outline_within_what_could_be_a_box_stays_one(self, photo: bytes, behind: str) -> None:
        files = folder(photo, self.PENTAGON + behind)
        (shape,) = item_of(files).shapes
        assert isinstance(shape.geometry, Polygon)
        points = [(round(x, 9), round(y, 9)) for x, y in shape.geometry.rings[0]]
        assert points == [(100, 40), (120, 50), (110, 60), (90, 60), (80, 50)]
        assert doubts(plan_of(files)).keys() == ({"PREDICTIONS"} if behind else set())

    @given(
        count=st.integers(5, 30),
        center=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
        radius=st.floats(0.05, 0.29),
        turn=st.floats(0, 2 * math.pi),
    )
    def test_regular_polygons_stay_outlines(
        self, count: int, center: tuple[float, float], radius: float, turn: float
    ) -> None:
        angles = [turn + 2 * math.pi * number / count for number in range(count)]
        points = [(center[0] + radius * math.cos(one), center[1] + radius * math.sin(one)) for one in angles]
        row = Row(0, [round(value, 6) for point in points for value in point])
        assert understand_rows([row], 0) == PLAIN_ROWS


def test_rotated_boxes_are_outlines(photo: bytes) -> None:
    files = folder(photo, "0 .1 .1 .5 .1 .5 .5 .1 .5")
    assert item_of(files).shapes[0].geometry == Polygon(((20, 10), (100, 10), (100, 50), (20, 50)))


def test_boxes_and_outlines_may_be_mixed(photo: bytes) -> None:
    kinds = [type(shape.geometry) for shape in item_of(folder(photo, "0 .5 .5 .2 .2\n0 .1 .1 .5 .1 .3 .9")).shapes]
    assert kinds == [Box, Polygon]


def test_numbers_in_pixels_are_a_doubt(photo: bytes) -> None:
    files = folder(photo, "0 100 50 40 20\n1 20 20 8 8")
    assert codes(item_of(files)) == ["OUTSIDE_IMAGE", "OUTSIDE_IMAGE"]
    assert doubts(plan_of(files)) == {"NOT_FRACTIONS": 2}


def test_a_word_among_the_numbers_is_named(photo: bytes) -> None:
    (problem,) = item_of(folder(photo, "0 .5 .5 .2 .2\ncat .5 .5 .2 .2")).problems
    assert (problem.code, problem.message) == ("BAD_LINE", "'cat' is not a number")
    assert problem.path == "labels/0.txt#line 2"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_label_files_of_windows(photo: bytes, encoding: str) -> None:
    files = folder(photo, "") | {"labels/0.txt": "0 .5 .5 .2 .2\r\n".encode(encoding)}
    assert [shape.geometry for shape in item_of(files).shapes] == [BOX]


def test_an_empty_label_file_says_that_there_is_nothing(photo: bytes) -> None:
    files = folder(photo, "", "0 .5 .5 .2 .2") | {"images/2.jpg": photo}
    assert item_of(files).annotated
    assert not item_of(files, 2).annotated


def test_images_that_differ_in_their_ending_share_a_label_file(photo: bytes) -> None:
    files = folder(photo, "0 .5 .5 .2 .2") | {"images/0.png": photo}
    assert [len(item.shapes) for item in read_folder(files).values()] == [1, 1]
