"""The lines of YOLO label files: what their numbers mean, and what all lines of a set have in common.

A line is a class number and then, in fractions of the image's sides, the centre and size of a box (4 numbers) or the
points of an outline (6 or more). What a program writes who predicts looks like these with one or two numbers more, and
with keypoints like an outline: only all lines of a set together show which it is.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from bloomery_vision.findings import Finding, error
from bloomery_vision.formats.plan import YoloRows
from bloomery_vision.formats.source import Size
from bloomery_vision.geometry import Box, Geometry, Polygon, Ring, Shape
from bloomery_vision.validate import is_simple

LINE_HINT = "a line is: class x y width height, or class x1 y1 x2 y2 x3 y3 ..., as fractions of the image's sides"
_EDGE = 1.01
"""The largest fraction that rounding explains; what is larger is none."""
_MARGIN = 0.6
"""Of a box's side: how far from its centre a keypoint lies, with some room for those on its edge."""
_FEWEST_KEYPOINTS = 6
"""Numbers behind a box from which they may be keypoints: four would be the corners of a rotated box."""

Numbers = Sequence[float]


@dataclass(frozen=True, slots=True)
class Row:
    """A line as numbers: its class, and what follows."""

    index: float
    numbers: Numbers


def parse_row(line: str) -> Row | Finding:
    """The numbers of a line, or why it has none."""
    words = line.split()
    numbers: list[float] = []
    for word in words:
        try:
            numbers.append(_number(word))
        except ValueError:
            return error("BAD_LINE", f"{word!r:.60} is not a number", hint=LINE_HINT)
    return Row(numbers[0], numbers[1:])


def shape_of(row: Row, size: Size, names: Mapping[int, str] | None, rows: YoloRows) -> Shape | Finding:
    """The shape of a line, or why there is none."""
    label = _label(row.index, names)
    if isinstance(label, Finding):
        return label
    numbers, score, track = _parts(row.numbers, rows.keypoints) if rows.scores else (row.numbers, None, None)
    if rows.keypoints and len(numbers) == 4 + rows.keypoints:
        numbers = numbers[:4]
    geometry = _geometry(numbers, size)
    if isinstance(geometry, Finding):
        return geometry
    return Shape(geometry, label, {} if score is None else {"score": f"{score:g}"}, track_id=track)


def understand_rows(rows: Sequence[Row], keypoints: int) -> YoloRows:
    """How the lines of a set are to be read; `keypoints` is what a configuration says of them."""
    if not rows:
        return YoloRows(keypoints)
    keypoints = keypoints or _guess_keypoints(rows)
    return YoloRows(keypoints, scores=all(_is_scored(row, keypoints) for row in rows))


def in_pixels(rows: Iterable[Row]) -> int:
    """How many boxes have sides that are no fractions."""
    return sum(len(row.numbers) == 4 and max(row.numbers) > 2 for row in rows)


def nameless(number: int) -> str:
    """The label of a class number without a name."""
    return f"class_{number}"


def _number(word: str) -> float:
    """A number as YOLO tools write it. Raises ValueError, also for what Python takes beyond: `1_0`, other digits."""
    if "_" in word or not word.isascii():
        raise ValueError(word)
    return float(word)


def _parts(numbers: Numbers, keypoints: int) -> tuple[Numbers, float | None, int | None]:
    """What stands before a score, the score, and the track behind it, of a line that has one."""
    end = 4 + keypoints if keypoints else len(numbers) - (1 if len(numbers) % 2 else 2)
    behind = numbers[end:]
    if end < 4 or len(behind) not in (1, 2) or not math.isfinite(behind[-1]):
        return numbers, None, None
    return numbers[:end], behind[0], int(behind[1]) if len(behind) == 2 else None


def _is_scored(row: Row, keypoints: int) -> bool:
    """Whether the last numbers may be a score, or a score and a track; of an outline only a track above 1 shows it.

    Trackers count from 1.
    """
    numbers, score, track = _parts(row.numbers, keypoints)
    is_box = len(numbers) == 4 or keypoints > 0
    if score is None or not 0 <= score <= 1 or (is_box and not _is_box(numbers)):
        return False
    return track is None or (track == row.numbers[-1] and track >= (1 if is_box else 2))


def _guess_keypoints(rows: Sequence[Row]) -> int:
    """How many numbers of the lines are keypoints where nothing says so; 0 where they can be outlines as well."""
    found = next((found for behind in (0, 1, 2) if (found := _keypoints(rows, behind))), 0)
    return 0 if found and _are_outlines(rows) else found


def _are_outlines(rows: Sequence[Row]) -> bool:
    """Whether all lines are outlines that do not cross themselves, which a box with keypoints does sooner or later."""
    scored = all(_is_scored(row, 0) for row in rows)
    return all(_is_outline(_parts(row.numbers, 0)[0] if scored else row.numbers) for row in rows)


def _is_outline(numbers: Numbers) -> bool:
    inside = min(numbers) >= 1 - _EDGE and max(numbers) <= _EDGE
    return len(numbers) % 2 == 0 and inside and is_simple(_points(numbers))


def _keypoints(rows: Sequence[Row], behind: int) -> int:
    """How many numbers are keypoints, between a box and the last `behind` of each line; 0 for none.

    All lines have equally many, and all lie within their boxes.
    """
    count = len(rows[0].numbers) - 4 - behind
    if count < _FEWEST_KEYPOINTS or any(len(row.numbers) != count + 4 + behind for row in rows):
        return 0
    lines = [row.numbers[: count + 4] for row in rows]
    fits = (count % size == 0 and all(_is_box(line) and _within(line, size) for line in lines) for size in (3, 2))
    return count if any(fits) else 0


def _within(numbers: Numbers, size: int) -> bool:
    x, y, width, height = numbers[:4]
    points = zip(numbers[4::size], numbers[5::size], strict=True)
    if size == 3 and not all(0 <= flag <= 1 or flag == 2 for flag in numbers[6::3]):
        return False
    return all(
        (px, py) == (0, 0) or (abs(px - x) <= _MARGIN * width and abs(py - y) <= _MARGIN * height) for px, py in points
    )


def _is_box(numbers: Numbers) -> bool:
    x, y, width, height = numbers[:4]
    low, high = 1 - _EDGE, _EDGE
    return (
        width > 0
        and height > 0
        and x - width / 2 >= low
        and y - height / 2 >= low
        and x + width / 2 <= high
        and y + height / 2 <= high
    )


def _geometry(numbers: Numbers, size: Size) -> Geometry | Finding:
    width, height = size
    if len(numbers) == 4:
        x, y, w, h = numbers
        return Box((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
    if len(numbers) < 6 or len(numbers) % 2:
        return error("BAD_LINE", f"{len(numbers)} numbers follow the class", hint=LINE_HINT)
    if max(numbers) > _EDGE:
        message = f"an outline has {max(numbers):g} among its fractions, so it is none"
        return error("BAD_LINE", message, hint="write fractions from 0 to 1; scores and keypoints are no outline")
    return Polygon(tuple((x * width, y * height) for x, y in _points(numbers)))


def _points(numbers: Numbers) -> Ring:
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _label(index: float, names: Mapping[int, str] | None) -> str | Finding:
    if not index.is_integer() or index < 0:
        return error("UNKNOWN_CLASS", f"{index:g} is not a class number", hint=LINE_HINT)
    if names is None:
        return nameless(int(index))
    label = names.get(int(index))
    hint = f"the classes are {_spans(names)}; add a name for it" if names else "add a name for it"
    return label or error("UNKNOWN_CLASS", f"class {index:g} has no name", hint=hint)


def _spans(numbers: Collection[int]) -> str:
    """Such as `0 to 3, 7`; of many the first and the last."""
    last = max(numbers)
    if len(numbers) == last + 1:
        return f"0 to {last}"
    runs = groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])
    ends = [(run[0][1], run[-1][1]) for run in (list(pairs) for _, pairs in runs)]
    spans = [f"{first}" if first == end else f"{first} to {end}" for first, end in ends]
    return ", ".join(spans if len(spans) <= 4 else [*spans[:3], f"... {spans[-1]}"])
