"""Which text files are YOLO label files: those in the place of an image's whose lines look like it."""

import re
from collections.abc import Sequence
from enum import Enum, auto

from bloomery_vision.formats.model import FormatError
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.survey import sample
from bloomery_vision.formats.texts import read_start

_NUMBER = r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)(e[-+]?\d+)?|nan|inf"
"""What is meant as a number, be it written as none: the reader says which line is wrong.

It fits each text in one way only: a line of many numbers would be tried in all combinations else.
"""

_YOLO_LINE = re.compile(rf"^\S+(\s+({_NUMBER})){{4,}}\s*$", re.IGNORECASE)
_ONE_NUMBER = re.compile(rf"^({_NUMBER})(\s+({_NUMBER}))*\s*$", re.IGNORECASE)
_KITTI = re.compile(r"^[A-Za-z_]+(\s+-?[\d.]+){14,15}\s*$")
_DOTA = re.compile(r"^(-?[\d.]+\s+){8}[A-Za-z_]\S*(\s+\d)?\s*$|^imagesource:|^gsd:", re.IGNORECASE)
_HEAD = 2048
_PER_FOLDER = 20
"""Files of a folder that are opened to see what its text files are."""


class Text(Enum):
    """What a text file looks like."""

    EMPTY = auto()
    YOLO = auto()
    OTHER_LABELS = auto()
    WORDS = auto()
    BROKEN = auto()


def look_at(source: Source, name: str) -> Text:
    """What a text file looks like by its first line that holds something."""
    try:
        text = read_start(source, name, _HEAD)
    except FormatError:
        return Text.BROKEN
    line = next((line.strip() for line in text.split("\n") if line.strip()), "")
    if not line:
        return Text.EMPTY
    if _KITTI.match(line) or _DOTA.match(line):
        return Text.OTHER_LABELS
    if _YOLO_LINE.match(line) or _ONE_NUMBER.match(line):
        return Text.YOLO
    return Text.BROKEN if "\0" in line or "\ufffd" in line else Text.WORDS


def kind_of_folder(source: Source, names: Sequence[str]) -> Text:
    """What the text files of a folder are, those in the places of label files."""
    looks = {look_at(source, name) for name in sample(names, _PER_FOLDER)}
    order = (Text.YOLO, Text.OTHER_LABELS, Text.WORDS, Text.EMPTY, Text.BROKEN)
    return next(kind for kind in order if kind in looks)
