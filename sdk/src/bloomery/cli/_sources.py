"""What people name to predict on: images, videos, folders of them, patterns, cameras."""

import glob
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery import errors

if TYPE_CHECKING:
    from bloomery import Blob


BLOB = "sha256:"
"""What the names of blobs of the project begin with."""


def sources_of(names: Iterable[str]) -> "list[list[Path | Blob] | str]":
    """Images that follow each other, and videos one by one, in the order in which they were named.

    Raises:
        InvalidArgument: a folder has no images and no videos, or nothing fits a pattern.
    """
    from bloomery import Blob
    from bloomery.video import is_video

    found: list[list[Path | Blob] | str] = []
    for video, group in groupby(_below(names), is_video):
        named = list(group)
        found += named if video else [[Blob(name) if name.startswith(BLOB) else Path(name) for name in named]]
    return found


def _below(names: Iterable[str]) -> Iterator[str]:
    """The files that are named, or fit a pattern that no shell has replaced, and those in the folders that are."""
    for name in names:
        path = Path(name)
        if "://" in name or name.startswith(BLOB):
            yield name
        elif glob.has_magic(name) and not path.exists():
            fitting = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - of absolute ones, too
            if not fitting:
                raise errors.InvalidArgument(f"no file fits {name}")
            yield from _below(fitting)
        elif path.is_dir():
            yield from _inside(path)
        else:
            yield name


def _inside(folder: Path) -> Iterator[str]:
    from bloomery._images import files_below, is_image
    from bloomery.video import is_video

    found = [str(path) for path in files_below(folder) if is_image(path) or is_video(path)]
    if not found:
        hint = "files are known by endings such as .jpg, .png and .mp4"
        raise errors.InvalidArgument(f"{folder} has no images and no videos", hint=hint)
    yield from found


def frame_name(video: str, number: int) -> str:
    """What a frame is called wherever images have names, beside its video: `clips/a.mp4` has `clips/a_000012.jpg`."""
    path = Path("stdin" if video == "-" else video.rpartition("/")[2] if "://" in video else video)
    return str(path.with_name(f"{path.stem or 'stream'}_{number:06d}.jpg"))
