"""The splits that names stand for: `train`, `val2017`, `obj_valid_data`, `images-test`."""

import re
from collections.abc import Mapping
from functools import lru_cache

from bloomery_vision.formats.model import Split
from bloomery_vision.formats.names import base_of, folder_of, split_suffix

SPLIT_WORDS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What people and trainers call the splits."""

_NEUTRAL = frozenset(
    {"ann", "annotation", "annotations", "anns", "coco", "data", "dataset", "image", "images", "img", "imgs"}
    | {"jpegimages", "label", "labels", "obj", "set", "split", "voc", "yolo"}
)
"""Words beside a split's in the name of a folder that leave it the folder of that split."""

_BETWEEN_WORDS = re.compile(r"[\W_]+")


def split_word(word: str) -> Split | None:
    """The split that a word stands for, in any case, with a year behind it or not (`train2017`)."""
    return SPLIT_WORDS.get(word.lower().rstrip("0123456789"))


def split_of(path: str) -> Split | None:
    """The split that a folder in the path names, the innermost first."""
    return _split_of_folder(folder_of(path))


def split_of_file(name: str) -> Split | None:
    """The split that an annotation file is about: a word in its stem (`instances_train2017`), else a folder's."""
    words = _BETWEEN_WORDS.split(split_suffix(base_of(name))[0])
    return next((split for word in reversed(words) if (split := split_word(word))), None) or split_of(name)


@lru_cache(maxsize=1 << 16)
def _split_of_folder(folder: str) -> Split | None:
    return next((split for part in reversed(folder.split("/")) if (split := _split_of_part(part))), None)


def _split_of_part(part: str) -> Split | None:
    words = [word.rstrip("0123456789") for word in _BETWEEN_WORDS.split(part.lower())]
    splits = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    rest = {word for word in words if word and word not in SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 and rest <= _NEUTRAL else None
