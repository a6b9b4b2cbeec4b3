"""Pictures show shapes where they are."""

import io
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bloomery import Prediction
from bloomery._shapes import run_lengths
from bloomery.drawing import draw, mask_image
from bloomery.inference.v1 import PredictResponse
from bloomery.vision import v1 as vision
from bloomery_vision.geometry import Mask


def encoded(width: int = 200, height: int = 100, orientation: int | None = None) -> bytes:
    out = io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", (width, height), "white").save(out, "PNG", exif=exif)
    return out.getvalue()


def changed(picture: Image.Image) -> NDArray[np.bool_]:
    """Pixels that are not white, [H, W]."""
    found: NDArray[np.bool_] = (np.asarray(picture) != 255).any(axis=2)
    return found


def test_a_box_is_drawn_at_its_pixels() -> None:
    box = vision.Shape(box=vision.Box(x=50, y=40, width=60, height=30), label="RBC", confidence=0.9)
    drawn = changed(draw(encoded(), [box]))
    assert drawn[55, 50:52].all()
    assert drawn[70, 80]
    assert not drawn[50:65, 60:100].any()
    assert not drawn[80:, :].any()
    assert not drawn[:, 120:].any()


def test_the_caption_stays_inside_the_image() -> None:
    box = vision.Shape(box=vision.Box(x=190, y=0, width=10, height=10), label="a long name", confidence=0.5)
    assert changed(draw(encoded(), [box]))[:15, :].any()


def test_an_outline_is_filled() -> None:
    ring = vision.Ring(coordinates=[20, 30, 80, 30, 80, 90, 20, 90])
    drawn = changed(draw(encoded(), [vision.Shape(polygon=vision.Polygon(rings=[ring]), label="x")]))
    assert drawn[60, 50]
    assert not drawn[60, 120]


def test_labels_of_the_whole_image_stand_below_each_other() -> None:
    tags = [vision.Shape(tag=vision.Tag(), label=name, confidence=0.5) for name in ("cat", "dog")]
    rows = changed(draw(encoded(), tags)).any(axis=1)
    one = changed(draw(encoded(), tags[:1])).any(axis=1)
    assert rows.sum() == pytest.approx(2 * one.sum(), abs=3)


def test_the_picture_is_turned_as_it_is_shown() -> None:
    assert draw(encoded(200, 100, orientation=6), []).size == (100, 200)


@given(st.integers(1, 40), st.integers(1, 40), st.randoms(use_true_random=False))
def test_a_mask_has_the_pixels_that_were_encoded(width: int, height: int, random: Random) -> None:
    wanted = np.array([[random.random() < 0.5 for _ in range(width)] for _ in range(height)])
    mask = Mask.from_array(wanted)
    message = vision.Mask(width=width, height=height, counts=mask.counts)
    assert (np.asarray(mask_image(message)) > 0).tolist() == wanted.tolist()
    assert sum(run_lengths(mask.counts)) == width * height


def test_a_mask_is_painted_on_the_picture() -> None:
    area = np.zeros((100, 200), bool)
    area[30:60, 40:90] = True
    mask = vision.Mask(width=200, height=100, counts=Mask.from_array(area).counts)
    drawn = changed(draw(encoded(), [vision.Shape(mask=mask, label="x")]))
    assert drawn[35:60, 40:90].all()
    assert not drawn[61:, :].any()


@pytest.mark.parametrize("name", ["out.png", "deep/out.jpg"])
def test_a_prediction_is_saved_as_the_suffix_says(tmp_path: Path, name: str) -> None:
    saved = Prediction(PredictResponse(), encoded()).save(tmp_path / name)
    with Image.open(saved) as opened:
        assert opened.format == {"png": "PNG", "jpg": "JPEG"}[name.rpartition(".")[2]]


def test_a_prediction_that_is_saved_changes_nothing_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"precious")
    (tmp_path / "soft.png").symlink_to(tmp_path / "mine.png")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "mine.png")
    for name in ("soft.png", "hard.png"):
        Prediction(PredictResponse(), encoded()).save(tmp_path / name)
    assert (tmp_path / "mine.png").read_bytes() == b"precious"
    with pytest.raises(ValueError, match="unknown file extension"):
        Prediction(PredictResponse(), encoded()).save(tmp_path / "out.none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hard.png", "mine.png", "soft.png"]
