"""File names for a version's images: as people wrote them, safe, unique, and steady when images are added."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from bloomery_vision.formats.export import folded
from bloomery_vision.formats.names import base_of, fold, nfc, split_suffix
from bloomery_vision.formats.split_words import split_of
from bloomery_vision.images import SUFFIXES

_FITTING = {
    "image/jpeg": (".jpg", ".jpeg"),
    "image/png": (".png",),
    "image/webp": (".webp",),
    "image/bmp": (".bmp",),
    "image/tiff": (".tif", ".tiff"),
    "image/gif": (".gif",),
    "image/avif": (".avif",),
}
"""The endings that fit a media type, all of which trainers know."""
_IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img", "jpegimages"})
_ELSEWHERE = re.compile(r"^(/|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]+://)|(^|/)\.\.?(/|$)")
"""A path that begins somewhere else, or leads there."""
_REFUSED = re.compile(r'[<>:"|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_DEVICES = re.compile(r"^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*|)$", re.IGNORECASE)
"""Names that are no files on Windows, whatever their ending."""
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,16}$")
_PART_BYTES = 180
_FOLDERS_BYTES = 160
_ID_LENGTH = 9


@dataclass(frozen=True, slots=True)
class Named:
    """What an image's file name is made of: where it came from, and what its label file calls it, "" for nothing."""

    id: str
    display_name: str
    media_type: str
    source_name: str = ""


def file_name(image: Named, take: Callable[[str], bool]) -> str:
    """A file name for an image; `take` takes its path without ending, `folded`, and is False for one that is taken.

    It is the name that the label file gives, where that is a path to a file of the image's name, else the display name
    without the folders that are called as images or splits are. Letters stay as they are, what a file system may refuse
    becomes "_", and the ending fits the media type. Where two images have one name, whatever the case and the ending,
    the first has it and the other gets a part of its id: label files are found by their stem.
    """
    folders, stem, suffix = _parts(image)
    return next(name for name in _candidates(f"{folders}{stem}", image.id) if take(folded(name))) + suffix


def _candidates(stem: str, identifier: str) -> Iterator[str]:
    yield from (stem, f"{stem}-{identifier[:_ID_LENGTH]}", f"{stem}-{identifier}")
    yield from (f"{stem}-{identifier}-{number}" for number in count(2))


def _parts(image: Named) -> tuple[str, str, str]:
    """The folders with a slash behind each, the stem, and the suffix."""
    path = nfc(_path(image))
    base = base_of(path)
    stem, suffix = split_suffix(base)
    fitting = _FITTING.get(image.media_type, (suffix,))
    written = base[len(stem) :] if suffix in fitting else fitting[0]
    safe = safe_part(stem if suffix in SUFFIXES or suffix in fitting else base) or image.id
    ending = _ENDING.match(written)
    return _folders(path), safe if ending else safe.replace(".", "_"), ending[0] if ending else ""


def _path(image: Named) -> str:
    own = image.display_name.replace("\\", "/")
    given = image.source_name.replace("\\", "/")
    if fold(base_of(given)) == fold(base_of(own)) and not _ELSEWHERE.search(given):
        return given
    folders = [] if _ELSEWHERE.search(own) else own.split("/")[:-1]
    return "/".join([folder for folder in folders if not _is_root(folder)] + [base_of(own)])


def _is_root(folder: str) -> bool:
    return folder.lower() in _IMAGE_FOLDERS or split_of(f"{folder}/") is not None


def _folders(path: str) -> str:
    """Those of a path, the nearest where there are too many, without `images`: by that word trainers find labels."""
    kept = ""
    for folder in reversed(path.split("/")[:-1]):
        safe = _safe_folder(folder)
        if safe and len(kept.encode()) + len(safe.encode()) < _FOLDERS_BYTES:
            kept = f"{safe}/{kept}"
        elif safe:
            break
    return kept


def _safe_folder(folder: str) -> str:
    safe = safe_part(folder)
    if safe.lower() == "images":
        return ""
    # No folder is called as an image or its label file may be.
    return f"{safe}_" if split_suffix(safe)[1] in (*SUFFIXES, ".txt") else safe


def safe_part(name: str) -> str:
    """A part of a path that is one on every file system, "" where nothing is left."""
    plain = _REFUSED.sub("_", name).strip(" ").rstrip(" .")
    plain = f"_{plain[1:]}" if plain.startswith(".") else plain
    plain = plain.encode()[:_PART_BYTES].decode(errors="ignore").rstrip(" .")
    device = _DEVICES.match(plain)
    return f"{device[1]}_{device[2]}" if device else plain
