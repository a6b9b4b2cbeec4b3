import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bloomery_vision.preprocess import GREY, letterbox, resize_center_crop

SIDES = st.integers(1, 400)


def picture(width: int, height: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns % 256, rows % 256, (rows + columns) % 256], axis=2).astype(np.uint8)


@given(width=SIDES, height=SIDES, size=st.tuples(st.integers(32, 200), st.integers(32, 200)))
def test_boxes_come_back_from_the_letterbox(width: int, height: int, size: tuple[int, int]) -> None:
    framed, transform = letterbox(picture(width, height), size)
    assert framed.shape == (*size, 3)
    boxes = np.array([[0, 0, width, height], [width / 3, height / 4, width / 2, height / 1.5]], dtype=np.float64)
    there = transform.to_letterboxed(boxes)
    assert there.min() >= 0
    assert (there <= np.array([size[1], size[0]] * 2) + 1e-9).all()
    assert transform.to_original(there) == pytest.approx(boxes, abs=1e-6)


def test_a_wide_image_gets_bars_above_and_below() -> None:
    framed, transform = letterbox(np.full((50, 100, 3), 7, dtype=np.uint8), (64, 64))
    assert (transform.left, transform.top, transform.inner_width, transform.inner_height) == (0, 16, 64, 32)
    assert (framed[:16] == GREY).all()
    assert (framed[16:48] == 7).all()
    assert (framed[48:] == GREY).all()


def test_of_an_odd_number_of_bars_the_extra_one_is_behind() -> None:
    _, transform = letterbox(picture(64, 33), (64, 64))
    assert transform.top == 15


def test_an_image_of_the_frames_size_is_untouched() -> None:
    image = picture(64, 48)
    framed, transform = letterbox(image, (48, 64))
    assert np.array_equal(framed, image)
    assert (transform.left, transform.top) == (0, 0)


def test_a_thin_image_keeps_a_pixel_and_its_boxes() -> None:
    framed, transform = letterbox(picture(3000, 1), (64, 64))
    assert transform.inner_height == 1
    assert (framed[transform.top] != GREY).any()
    box = np.array([[10.0, 0.0, 3000.0, 1.0]])
    assert transform.to_original(transform.to_letterboxed(box)) == pytest.approx(box)


def test_boxes_beyond_the_image_are_clipped() -> None:
    _, transform = letterbox(picture(100, 50), (64, 64))
    assert transform.to_original(np.array([[-9.0, 0.0, 99.0, 64.0]])).tolist() == [[0, 0, 100, 50]]


@given(width=SIDES, height=SIDES, size=st.integers(8, 64))
def test_the_square_in_the_middle_is_cut_out(width: int, height: int, size: int) -> None:
    assert resize_center_crop(picture(width, height), size).shape == (size, size, 3)


def test_the_crop_is_centred() -> None:
    image = np.zeros((40, 80, 3), dtype=np.uint8)
    image[:, 20:60] = 255
    assert (resize_center_crop(image, 40) == 255).all()


@given(width=st.integers(1, 40), height=st.integers(1, 400), size=st.integers(8, 48))
def test_of_a_long_thin_image_the_middle_is_what_scaling_the_whole_gives(width: int, height: int, size: int) -> None:
    image = picture(width, height)
    found = resize_center_crop(image, size).astype(int)
    short = min(width, height)
    across, down = size * width // short, size * height // short
    whole = Image.fromarray(image).resize((across, down), Image.Resampling.BILINEAR)
    left, top = round((across - size) / 2), round((down - size) / 2)
    cut = np.asarray(whole.crop((left, top, left + size, top + size))).astype(int)
    assert np.abs(found - cut).max() <= 1


def test_memory_does_not_follow_the_aspect_ratio() -> None:
    image = np.zeros((1, 20_000, 3), dtype=np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resize_center_crop(image, 224).shape == (224, 224, 3)
    assert resize_center_crop(image.transpose(1, 0, 2), 224).shape == (224, 224, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10, "KiB"
