"""File names for a version's images: plain, unique, and steady when images are added."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import PurePosixPath

_SUFFIXES = {
    "image/jpeg": (".jpg", ".jpeg"),
    "image/png": (".png",),
    "image/webp": (".webp",),
    "image/bmp": (".bmp",),
    "image/tiff": (".tif", ".tiff"),
    "image/gif": (".gif",),
    "image/avif": (".avif",),
}
_ALL_SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
_STEM_LENGTH = 100
_ID_LENGTH = 9


@dataclass(frozen=True, slots=True)
class Named:
    """What an image's file name is made of."""

    id: str
    display_name: str
    media_type: str


def file_name(image: Named, take: Callable[[str], bool]) -> str:
    """A file name for an image, whose stem `take` takes in lower case; it is False for one that is taken.

    It is the last part of the display name, with plain characters only and a suffix that fits the media type. Where two
    images have one stem, whatever its case, the first has it and the other gets a part of its id: label files are found
    by the stem, and some file systems do not tell cases apart.
    """
    stem, suffix = _plain(image)
    return next(name for name in _candidates(stem, image.id) if take(name.lower())) + suffix


def _candidates(stem: str, identifier: str) -> Iterator[str]:
    yield from (stem, f"{stem}-{identifier[:_ID_LENGTH]}", f"{stem}-{identifier}")
    yield from (f"{stem}-{identifier}-{number}" for number in count(2))


def _plain(image: Named) -> tuple[str, str]:
    """The stem and the suffix, so that the last dot of the two together is the one between them."""
    path = PurePosixPath(image.display_name.replace("\\", "/"))
    found = path.suffix.lower()
    known = found in _ALL_SUFFIXES
    stem = _ascii(path.stem if known else path.name) or image.id
    usual = _SUFFIXES.get(image.media_type, (found,) if known else ())
    if usual:
        return stem, found if found in usual else usual[0]
    return PurePosixPath(stem).stem, PurePosixPath(stem).suffix


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", plain)[:_STEM_LENGTH].strip("._-")
