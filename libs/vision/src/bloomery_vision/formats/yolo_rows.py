"""The lines of YOLO label files: what their numbers mean, and what all lines of a set have in common.

A line is a class number and then, in fractions of the image's sides, the centre and size of a box (4 numbers) or the
points of an outline (6 or more). What a program writes who predicts looks like these with one or two numbers more, and
with keypoints like an outline: only all lines of a set together show which it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bloomery_vision.findings import Finding, error
from bloomery_vision.formats.plan import YoloRows
from bloomery_vision.formats.source import Size
from bloomery_vision.geometry import Box, Geometry, Polygon, Shape

LINE_HINT = "a line is: class x y width height, or class x1 y1 x2 y2 x3 y3 ..., as fractions of the image's sides"
_EDGE = 1.01
"""The largest fraction that rounding explains; what is larger is none."""
_FLAGS = frozenset({0.0, 1.0, 2.0})
"""What keypoints say of being visible."""

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
            numbers.append(float(word))
        except ValueError:
            return error("BAD_LINE", f"{word!r:.60} is not a number", hint=LINE_HINT)
    return Row(numbers[0], numbers[1:])


def shape_of(row: Row, size: Size, names: Mapping[int, str] | None, rows: YoloRows) -> Shape | Finding:
    """The shape of a line, or why there is none."""
    label = _label(row.index, names)
    if isinstance(label, Finding):
        return label
    numbers, attributes, track = row.numbers, {}, None
    if rows.keypoints and len(numbers) == 4 + rows.keypoints:
        numbers = numbers[:4]
    elif rows.scores and len(numbers) in (5, 6):
        attributes = {"score": f"{numbers[4]:g}"}
        track = int(numbers[5]) if len(numbers) == 6 else None
        numbers = numbers[:4]
    geometry = _geometry(numbers, size)
    if isinstance(geometry, Finding):
        return geometry
    return Shape(geometry, label, attributes, track_id=track)


def understand_rows(rows: Sequence[Row], keypoints: int) -> YoloRows:
    """How the lines of a set are to be read; `keypoints` is what a configuration says of them."""
    if not rows or keypoints:
        return YoloRows(keypoints)
    if all(map(_is_scored, rows)):
        return YoloRows(scores=True)
    if _are_poses(rows):
        return YoloRows(len(rows[0].numbers) - 4)
    return YoloRows()


def in_pixels(rows: Iterable[Row]) -> int:
    """How many boxes have sides that are no fractions."""
    return sum(len(row.numbers) == 4 and max(row.numbers) > 2 for row in rows)


def nameless(number: int) -> str:
    """The label of a class number without a name."""
    return f"class_{number}"


def _is_scored(row: Row) -> bool:
    numbers = row.numbers
    if len(numbers) not in (5, 6) or not _is_box(numbers) or not 0 <= numbers[4] <= 1:
        return False
    return len(numbers) == 5 or (float(numbers[5]).is_integer() and numbers[5] >= 0)


def _are_poses(rows: Sequence[Row]) -> bool:
    count = len(rows[0].numbers)
    return (
        count > 6
        and (count - 4) % 3 == 0
        and all(
            len(row.numbers) == count and _is_box(row.numbers) and _FLAGS.issuperset(row.numbers[6::3]) for row in rows
        )
    )


def _is_box(numbers: Numbers) -> bool:
    x, y, width, height = numbers[:4]
    return 0 < width <= _EDGE and 0 < height <= _EDGE and 0 <= x <= 1 and 0 <= y <= 1


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
    return Polygon(tuple((x * width, y * height) for x, y in zip(numbers[::2], numbers[1::2], strict=True)))


def _label(index: float, names: Mapping[int, str] | None) -> str | Finding:
    if not index.is_integer() or index < 0:
        return error("UNKNOWN_CLASS", f"{index:g} is not a class number", hint=LINE_HINT)
    if names is None:
        return nameless(int(index))
    label = names.get(int(index))
    hint = f"the classes are 0 to {max(names)}; add a name for it" if names else "add a name for it"
    return label or error("UNKNOWN_CLASS", f"class {index:g} has no name", hint=hint)
