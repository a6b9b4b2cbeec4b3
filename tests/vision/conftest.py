import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

MakeImage = Callable[..., bytes]


@pytest.fixture(scope="session")
def make_image() -> MakeImage:
    """Return a function that encodes a grey image of some size."""

    def make(width: int = 100, height: int = 80, *, kind: str = "PNG") -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (width, height), (90, 90, 90)).save(stream, kind)
        return stream.getvalue()

    return make


@pytest.fixture
def rng() -> np.random.Generator:
    """Return numbers that are the same in each run."""
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def picture(make_image: MakeImage) -> bytes:
    """Return an image of 100 x 80 pixels."""
    return make_image(100, 80)


@pytest.fixture(scope="session")
def photo(make_image: MakeImage) -> bytes:
    """Return an image of 200 x 100 pixels."""
    return make_image(200, 100)
