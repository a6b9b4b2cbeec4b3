"""Many photographs of about 100 kB: windows of the real ones, enlarged."""

import io
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from harness.data import blood_cells, commented, real_data

BOXES = 10
_WIDTH, _HEIGHT = 800, 600
_QUALITY = 95
_NARROWEST = 320
_WINDOWS = 5_000
"""So many are cut out and compressed; further images are these with a comment inside that makes the bytes differ."""
_OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)
_ANNOTATION = "<annotation><filename>{}.jpg</filename><size><width>{}</width><height>{}</height></size>{}</annotation>"


def photographs(target: Path, count: int) -> Path:
    """A Pascal VOC folder of `count` images of 800 x 600 pixels, with ten boxes each, of three classes, anywhere."""
    for folder in ("Annotations", "JPEGImages"):
        (target / folder).mkdir(parents=True)
    sources = sorted((real_data() or blood_cells()).rglob("*.jpg"))
    for number, jpeg in enumerate(_windows(sources, min(count, _WINDOWS))):
        for one in range(number, count, _WINDOWS):
            (target / "JPEGImages" / f"{one:06}.jpg").write_bytes(commented(jpeg, str(one)))
            (target / "Annotations" / f"{one:06}.xml").write_text(_annotation(one), encoding="utf-8")
    return target


def _windows(sources: Sequence[Path], count: int) -> Iterator[bytes]:
    for number in range(count):
        drawn = random.Random(number)  # noqa: S311 - no secrets
        with Image.open(sources[number % len(sources)]) as opened:
            pixels = opened.convert("RGB")
        width = drawn.randint(min(_NARROWEST, pixels.width), pixels.width)
        height = min(pixels.height, width * _HEIGHT // _WIDTH)
        left, top = drawn.randint(0, pixels.width - width), drawn.randint(0, pixels.height - height)
        window = pixels.crop((left, top, left + width, top + height))
        out = io.BytesIO()
        window.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC).save(out, "JPEG", quality=_QUALITY)
        yield out.getvalue()


def _annotation(number: int) -> str:
    drawn = random.Random(number)  # noqa: S311 - no secrets
    boxes = "".join(_box(drawn) for _ in range(BOXES))
    return _ANNOTATION.format(f"{number:06}", _WIDTH, _HEIGHT, boxes)


def _box(drawn: random.Random) -> str:
    name = drawn.choice(("first", "second", "third"))
    left, top = drawn.randint(1, _WIDTH - 101), drawn.randint(1, _HEIGHT - 101)
    return _OBJECT.format(name, left, top, left + drawn.randint(10, 100), top + drawn.randint(10, 100))
