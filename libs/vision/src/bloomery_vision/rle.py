"""Run-length encoding of masks as COCO writes it.

The runs alternate between background and object, begin with background (possibly of length 0) and walk the image column
by column. In the compressed text each run, from the third on as the difference to the one two before it, is a little
base-32 number: five bits a character, a sixth for "more follows", offset by 48
(cocodataset/cocoapi, common/maskApi.c, `rleToString`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

_MAX_PIXELS = (1 << 32) - 1  # what pycocotools can count
_MAX_CHARACTERS = 7  # 35 bits: beyond any run that an image can have


def runs_of(counts: bytes, *, width: int, height: int) -> list[int]:
    """The runs behind compressed `counts`.

    pycocotools trusts its input and reads past the end of a damaged text, so texts from outside are read here first.

    Raises:
        ValueError: the text is damaged, or the runs do not add up to width x height.
    """
    runs: list[int] = []
    for value in _numbers(counts):
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    check_runs(runs, width=width, height=height)
    return runs


def check_runs(runs: Sequence[int], *, width: int, height: int) -> None:
    """Refuse runs that cannot describe a mask of `width` x `height`, with a ValueError that says why."""
    if any(run < 0 for run in runs):
        raise ValueError("a run is negative")
    if not 0 <= width * height <= _MAX_PIXELS:
        raise ValueError(f"a mask of {width} x {height} pixels is too large")
    if sum(runs) != width * height:
        raise ValueError(f"the runs cover {sum(runs)} pixels, the mask has {width} x {height} = {width * height}")


def compress(runs: Sequence[int], *, width: int, height: int) -> bytes:
    """COCO's compressed text for runs, of as many bytes as they need. Raises ValueError where they do not fit."""
    check_runs(runs, width=width, height=height)
    # The stubs know compressed ones only.
    uncompressed = cast("Any", {"size": [height, width], "counts": list(runs)})
    return cast("bytes", coco_mask.frPyObjects(uncompressed, height, width)["counts"])


def encode(array: NDArray[np.bool_]) -> bytes:
    """COCO's compressed text for a boolean array of shape [height, width]."""
    return cast("bytes", coco_mask.encode(np.asfortranarray(array, dtype=np.uint8))["counts"])


def decode(runs: Sequence[int], *, width: int, height: int) -> NDArray[np.bool_]:
    """The boolean array of shape [height, width] behind checked runs."""
    # pycocotools' own `decode` uses what numpy has deprecated.
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(width, height).T


def runs_of_part(array: NDArray[np.bool_], *, left: int, top: int, width: int, height: int) -> list[int]:
    """The runs of an image of `width` x `height` that is background but for `array` [h, w] at (`left`, `top`)."""
    columns = np.zeros((array.shape[1], array.shape[0] + 2), dtype=np.int8)
    columns[:, 1:-1] = array.T
    column, row = np.nonzero(np.diff(columns, axis=1))
    edges = (left + column) * height + top + row
    # Where a run goes on in the next column it ends and begins at one place.
    places, times = np.unique(edges, return_counts=True)
    runs: list[int] = np.diff(places[times == 1], prepend=0, append=width * height).tolist()
    return runs if runs[-1] else runs[:-1]


def bounds(counts: bytes, *, width: int, height: int) -> tuple[float, float, float, float]:
    """The x, y, width and height of the smallest box around the pixels of a mask, zeros where there are none.

    Raises:
        ValueError: the text is damaged.
    """
    runs_of(counts, width=width, height=height)
    x, y, across, down = coco_mask.toBbox({"size": [height, width], "counts": counts}).tolist()
    return x, y, across, down


def _numbers(counts: bytes) -> Iterator[int]:
    value, length = 0, 0
    for character in counts:
        bits = character - 48
        if not 0 <= bits < 64 or length == _MAX_CHARACTERS:
            raise ValueError("the text is not COCO's run-length encoding")
        value |= (bits & 0x1F) << (5 * length)
        length += 1
        if not bits & 0x20:
            yield value - (1 << (5 * length)) if bits & 0x10 else value
            value, length = 0, 0
    if length:
        raise ValueError("the text ends in the middle of a number")
