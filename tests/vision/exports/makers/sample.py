"""What every maker exports: three images and the same few objects; and how an export is written down.

A box is (x1, y1, x2, y2), an outline its points, both in pixels of the image, whose corner is 0.
"""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

EXPORTS = Path(__file__).parents[1]
CLASSES = ("zebra", "cat", "dog")
"""Nothing is a zebra."""
SIZES = {"a b.jpg": (200, 100), "b.jpg": (120, 80), "c.jpg": (64, 48)}
BOXES: Mapping[str, Sequence[tuple[str, tuple[float, float, float, float]]]] = {
    "a b.jpg": [("cat", (50, 40, 150, 50)), ("dog", (10, 20, 40, 60))],
    "b.jpg": [("dog", (0, 0, 120, 80))],
    "c.jpg": [],
}
OUTLINES: Mapping[str, Sequence[tuple[str, Sequence[tuple[float, float]]]]] = {
    "a b.jpg": [("cat", [(50, 40), (150, 40), (150, 90), (60, 60)]), ("dog", [(10, 20), (40, 20), (25, 60)])],
    "b.jpg": [("dog", [(20, 10), (100, 10), (100, 70), (60, 40), (20, 70)])],
    "c.jpg": [],
}
Shape = Mapping[str, Any]


@contextmanager
def place() -> Iterator[Path]:
    """A new folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder).resolve()


def write_images(folder: Path, names: Iterable[str] = SIZES) -> None:
    """The images of some names, of their sizes, in a folder."""
    for name in names:
        write_image(folder / name, SIZES[Path(name).name])


def write_image(path: Path, size: tuple[int, int]) -> None:
    """An image of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 60)).save(path)


def box(label: str, *corners: float, **attributes: str) -> Shape:
    """A box as an export's expectation has it."""
    return {"label": label, "box": _rounded(corners)} | ({"attributes": attributes} if attributes else {})


def outline(label: str, points: Iterable[Sequence[float]], **attributes: str) -> Shape:
    """An outline as an export's expectation has it."""
    found = {"label": label, "polygon": [_rounded(chain.from_iterable(points))]}
    return found | ({"attributes": attributes} if attributes else {})


def image(shapes: Iterable[Shape], *, split: str | None = None, annotated: bool = True) -> Mapping[str, Any]:
    """What is expected of an image."""
    return {"split": split, "annotated": annotated, "shapes": list(shapes)}


def save(
    name: str,
    made_by: str,
    folder: Path,
    expected: Mapping[str, Mapping[str, Any]],
    *,
    labels: Sequence[str] = CLASSES,
    doubts: Mapping[str, int] | None = None,
    problems: Mapping[str, int] | None = None,
    unread: str | None = None,
) -> None:
    """Write an export down: all files of the folder but its images, which are told by their sizes.

    `unread` is what the format is called where it is none of those that are read.
    """
    pictures = {path for path in folder.rglob("*") if path.suffix in (".jpg", ".png")}
    texts = sorted(path for path in folder.rglob("*") if path.is_file() and path not in pictures)
    content = {
        "made_by": made_by,
        "images": {path.relative_to(folder).as_posix(): _size(path) for path in sorted(pictures)},
        "labels": list(labels),
        "doubts": dict(doubts or {}),
        **({"problems": problems} if problems else {}),
        **({"unread": unread} if unread else {}),
        "expected": dict(sorted(expected.items())),
        "files": {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8").replace(str(folder), "/data/set")
            for path in texts
        },
    }
    (EXPORTS / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stderr.write(f"{name}.json\n")


def _size(path: Path) -> Sequence[int]:
    with Image.open(path) as opened:
        return opened.size


def _rounded(numbers: Iterable[float]) -> list[float]:
    return [round(float(number), 2) for number in numbers]
