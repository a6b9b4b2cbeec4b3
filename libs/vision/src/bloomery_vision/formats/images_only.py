"""Images without label files, which is where labelling starts."""

import posixpath
from collections.abc import Iterator

from bloomery_vision.formats.cleaning import unannotated
from bloomery_vision.formats.lookup import is_image, split_of
from bloomery_vision.formats.model import Format, FormatGuess, ImportItem
from bloomery_vision.formats.source import Source

_STRUCTURED = frozenset({".csv", ".json", ".jsonl", ".tsv", ".xml", ".yaml", ".yml"})
"""What files of labels end in; other files beside images are nothing that somebody would miss."""


def detect_images(source: Source) -> FormatGuess | None:
    """Images alone: a file that may hold labels which are not understood must not be passed over in silence."""
    names = source.names()
    if not any(map(is_image, names)) or any(posixpath.splitext(name)[1].lower() in _STRUCTURED for name in names):
        return None
    return FormatGuess(Format.IMAGES, "images without label files", ())


def read_images(source: Source) -> Iterator[ImportItem]:
    """Each image, with the split that a folder names."""
    return (unannotated(source, name, split_of(name)) for name in source.names() if is_image(name))
