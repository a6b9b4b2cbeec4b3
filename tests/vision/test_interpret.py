"""What models' raw outputs mean, in pixels of the original image."""

import numpy as np
import pytest

from bloomery_vision.decoders import DECODERS_OF, PROBABILITIES, YOLO, YOLO_END_TO_END
from bloomery_vision.geometry import Box, Mask, Tag
from bloomery_vision.interpret import (
    DETECTORS,
    Choice,
    Fitted,
    NotFiniteError,
    OutputError,
    fit,
    interpret,
)

SIDE = 64
NAMES = ("cat", "dog")


def wide() -> Fitted:
    """An image of 128 x 64 pixels in a letterbox of 64 x 64: halved, with grey above and below."""
    return fit(np.zeros((64, 128, 3), dtype=np.uint8), (SIDE, SIDE), "letterbox")


def raw(*anchors: tuple[float, ...]) -> np.ndarray:
    """Centre, size, two scores and coefficients of each anchor as columns."""
    return np.array(anchors, dtype=np.float32).T


def test_every_decoder_that_a_model_may_say_is_known() -> None:
    assert {each for decoders in DECODERS_OF.values() for each in decoders} == {*DETECTORS, PROBABILITIES}


def test_boxes_are_in_pixels_of_the_original_best_first() -> None:
    outputs = [raw((32, 32, 16, 8, 0.1, 0.6), (10, 32, 4, 4, 0.9, 0.2), (50, 32, 4, 4, 0.2, 0.1))]
    found = list(interpret(YOLO, outputs, wide(), NAMES, Choice()))
    assert [(one.label, one.geometry) for one in found] == [("cat", Box(16, 28, 8, 8)), ("dog", Box(48, 24, 32, 16))]
    assert [one.score for one in found] == pytest.approx([0.9, 0.6])


def test_a_choice_leaves_out_scores_classes_overlaps_and_the_weakest() -> None:
    outputs = [raw((20, 32, 8, 8, 0.9, 0), (21, 32, 8, 8, 0.8, 0), (40, 32, 8, 8, 0, 0.7), (60, 32, 4, 4, 0.3, 0))]

    def labels(choice: Choice) -> list[str]:
        return [one.label for one in interpret(YOLO, outputs, wide(), NAMES, choice)]

    assert labels(Choice(iou=0.9)) == ["cat", "cat", "dog", "cat"]
    assert labels(Choice()) == ["cat", "dog", "cat"]
    assert labels(Choice(conf=0.75, iou=0.9)) == ["cat", "cat"]
    assert labels(Choice(classes=(1,))) == ["dog"]
    assert labels(Choice(max_det=1)) == ["cat"]


def test_what_lies_in_the_padding_alone_is_not_on_the_image() -> None:
    outputs = [raw((32, 6, 16, 8, 0.9, 0), (32, 58, 16, 8, 0, 0.9), (32, 16, 16, 8, 0.8, 0))]
    [found] = interpret(YOLO, outputs, wide(), NAMES, Choice())
    assert (found.label, found.geometry) == ("cat", Box(48, 0, 32, 8))


def test_masks_have_the_size_of_the_original_and_empty_ones_are_no_objects() -> None:
    prototypes = np.ones((1, 16, 16), dtype=np.float32)
    outputs = [raw((32, 32, 16, 8, 0.9, 0, 1.0), (10, 32, 4, 4, 0, 0.8, -1.0)), prototypes]
    [found] = interpret(YOLO, outputs, wide(), NAMES, Choice())
    assert isinstance(found.geometry, Mask)
    array = found.geometry.to_array()
    assert array.shape == (64, 128)
    assert array[24:40, 48:80].all()
    assert array.sum() == 16 * 32


def test_a_classifier_says_the_classes_of_the_whole_image() -> None:
    fitted = fit(np.zeros((64, 128, 3), dtype=np.uint8), (SIDE, SIDE), "center-crop")
    assert fitted.transform is None
    assert fitted.pixels.shape == (SIDE, SIDE, 3)
    found = list(interpret(PROBABILITIES, [np.array([0.3, 0.7], dtype=np.float32)], fitted, NAMES, Choice(conf=0.2)))
    assert [(one.label, one.geometry) for one in found] == [("dog", Tag()), ("cat", Tag())]
    [best] = interpret(PROBABILITIES, [np.array([0.3, 0.7], dtype=np.float32)], fitted, NAMES, Choice(conf=0.5))
    assert best.label == "dog"


def test_one_anchor_answers_for_its_best_class_unless_all_are_asked_for() -> None:
    outputs = [raw((32, 32, 16, 8, 0.5, 0.6))]

    def labels(choice: Choice) -> list[str]:
        return [one.label for one in interpret(YOLO, outputs, wide(), NAMES, choice)]

    assert labels(Choice()) == ["dog"]
    assert labels(Choice(multi_label=True)) == ["dog", "cat"]


def test_a_head_that_needs_no_suppression_is_read_row_by_row() -> None:
    rows = np.array([[24, 28, 40, 36, 0.6, 1], [8, 30, 12, 34, 0.9, 0], [0, 0, 0, 0, 0, 0]], dtype=np.float32)
    found = list(interpret(YOLO_END_TO_END, [rows], wide(), NAMES, Choice()))
    assert [(one.label, one.geometry) for one in found] == [("cat", Box(16, 28, 8, 8)), ("dog", Box(48, 24, 32, 16))]
    [best] = interpret(YOLO_END_TO_END, [rows], wide(), NAMES, Choice(max_det=1))
    assert best.label == "cat"
    [chosen] = interpret(YOLO_END_TO_END, [rows], wide(), NAMES, Choice(classes=(1,)))
    assert chosen.label == "dog"


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("decoder", [YOLO, YOLO_END_TO_END, PROBABILITIES])
def test_what_is_no_number_is_no_answer(decoder: str, number: float) -> None:
    outputs = [np.full(2 if decoder == PROBABILITIES else (6, 6), number, dtype=np.float32)]
    with pytest.raises(NotFiniteError):
        list(interpret(decoder, outputs, wide(), NAMES, Choice()))


@pytest.mark.parametrize(
    ("decoder", "outputs", "why"),
    [
        (YOLO, [(5, 6)], "6 numbers for each of its anchors, not 5"),
        (YOLO, [(7, 6)], "6 numbers for each of its anchors, not 7"),
        (YOLO, [(7, 6), (2, 16, 16)], "8 numbers for each of its anchors, not 7"),
        (YOLO, [(6, 6), (1, 16, 16)], "7 numbers for each of its anchors, not 6"),
        (YOLO_END_TO_END, [(300, 7)], "6 numbers for each of its rows, not 7"),
        (YOLO_END_TO_END, [(300, 6), (1, 16, 16)], "7 numbers for each of its rows, not 6"),
        (PROBABILITIES, [(3,)], "2 probabilities, not 3"),
        (PROBABILITIES, [(1,)], "2 probabilities, not 1"),
        ("detr", [(6, 6)], "'detr'"),
    ],
)
def test_outputs_of_another_shape_than_the_models_are_no_answer(
    decoder: str, outputs: list[tuple[int, ...]], why: str
) -> None:
    with pytest.raises(OutputError, match=why):
        list(interpret(decoder, [np.ones(shape, dtype=np.float32) for shape in outputs], wide(), NAMES, Choice()))


@pytest.mark.parametrize("number", [-1, 2])
def test_a_class_that_the_model_does_not_have_is_no_answer(number: int) -> None:
    rows = np.array([[24, 28, 40, 36, 0.6, number]], dtype=np.float32)
    with pytest.raises(OutputError, match=f"class {number}"):
        list(interpret(YOLO_END_TO_END, [rows], wide(), NAMES, Choice()))
