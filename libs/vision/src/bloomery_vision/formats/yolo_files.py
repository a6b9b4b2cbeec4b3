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
_RANK = re.compile(r"^(\d?\.\d+(?:e-\d+)?|\de-\d+|[01])\s+(\S.*)$", re.IGNORECASE)
RANK_HINT = "a line is: score class, such as 0.93 cat, with a score from 0 to 1"
_HEAD = 2048
_PER_FOLDER = 20
"""Files of a folder that are opened to see what its text files are."""


class Text(Enum):
    """What a text file looks like."""

    EMPTY = auto()
    YOLO = auto()
    RANKS = auto()
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
    if not _YOLO_LINE.match(line) and is_ranked(text):
        return Text.RANKS
    if _YOLO_LINE.match(line) or _ONE_NUMBER.match(line):
        return Text.YOLO
    return Text.BROKEN if "\0" in line or "\ufffd" in line else Text.WORDS


def is_ranked(text: str) -> bool:
    """Whether each line is a score and a name, the best first: what a classifier sees, as Ultralytics writes it.

    The last line may be cut off.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    ranks = [rank_of(line) for line in (lines[:-1] if len(text) > _HEAD // 4 else lines) or lines]
    scores = [rank[0] for rank in ranks if rank]
    return bool(ranks) and len(scores) == len(ranks) and scores == sorted(scores, reverse=True)


def rank_of(line: str) -> tuple[float, str] | None:
    """The score and the class of a line, None where it is none; a class that is a number has a score with a point."""
    found = _RANK.match(line.strip())
    if found is None or not 0 <= float(found[1]) <= 1:
        return None
    score, name = found.groups()
    says_something = name.isdecimal() or (any(map(str.isalpha, name)) and not _ONE_NUMBER.match(name))
    # What a whole number and others begin is a line of boxes that is broken.
    is_yolo = "." not in score and _ONE_NUMBER.match(name.split()[0])
    return (float(score), name) if says_something and not is_yolo and not {"\0", "\ufffd"} & set(name) else None


def kind_of_folder(source: Source, names: Sequence[str]) -> Text:
    """What the text files of a folder are, those in the places of label files."""
    looks = {look_at(source, name) for name in sample(names, _PER_FOLDER)}
    order = (Text.YOLO, Text.RANKS, Text.OTHER_LABELS, Text.WORDS, Text.EMPTY, Text.BROKEN)
    return next(kind for kind in order if kind in looks)
