"""Finding the image that an annotation file means.

Annotation files name images in many ways: with another folder, another case, another ending, the absolute path of the
machine they were made on. So what counts is the file's name, then its stem, and among several the folders around it.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import PurePosixPath

from bloomery_vision.formats.model import SPLIT_WORDS, Split
from bloomery_vision.images import SUFFIXES


class AmbiguousNameError(LookupError):
    """Several images fit one name equally well."""

    def __init__(self, name: str, candidates: Sequence[str]) -> None:
        super().__init__(f"{name} may be any of {', '.join(candidates[:4])}")


def is_image(name: str) -> bool:
    """Whether the ending says that a file is an image."""
    return posixpath.splitext(name)[1].lower() in SUFFIXES


class NameIndex:
    """Looks files up by how somebody else names them. Memory grows with the number of names, not with their content."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = set(names)
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for name in sorted(self._exact):
            base = posixpath.basename(name).lower()
            self._by_name[base].append(name)
            self._by_stem[posixpath.splitext(base)[0]].append(name)

    def find(self, wanted: str, *, near: str = "") -> str | None:
        """The file that `wanted` means, or None.

        Args:
            wanted: a path, absolute or relative, with slashes of either kind.
            near: the file that says so: among equals the one in the most similar folder is taken.

        Raises:
            AmbiguousNameError: several files fit equally well.
        """
        path = wanted.replace("\\", "/")
        if path in self._exact:
            return path
        base = path.rsplit("/", 1)[-1].lower()
        found = self._by_name.get(base) or self._by_stem.get(posixpath.splitext(base)[0])
        return _closest(found, path, near) if found else None

    def find_stem(self, stem: str, *, near: str = "") -> str | None:
        """The file of that stem, whatever its ending. Raises AmbiguousNameError as `find` does."""
        found = self._by_stem.get(stem.lower())
        return _closest(found, stem, near) if found else None


def split_of(path: str) -> Split | None:
    """The split that a folder in the path names, the innermost first."""
    parts = (part.lower() for part in reversed(PurePosixPath(path).parts[:-1]))
    return next((split for part in parts if (split := split_word(part))), None)


def split_word(word: str) -> Split | None:
    """The split that a word stands for, with a year behind it or not (`train2017`)."""
    return SPLIT_WORDS.get(word.lower().rstrip("0123456789"))


def split_of_file(name: str) -> Split | None:
    """The split that an annotation file is about: a word in its stem (`instances_train2017`), else a folder's."""
    words = PurePosixPath(name).stem.replace("-", "_").replace(".", "_").split("_")
    return next((split for word in reversed(words) if (split := split_word(word))), None) or split_of(name)


def _closest(candidates: Sequence[str], wanted: str, near: str) -> str:
    if len(candidates) == 1:
        return candidates[0]
    scores = [(_common(_reversed(name), _reversed(wanted)), _kinship(name, near)) for name in candidates]
    best = max(scores)
    if scores.count(best) > 1:
        raise AmbiguousNameError(wanted, candidates)
    return candidates[scores.index(best)]


def _reversed(path: str) -> list[str]:
    return path.lower().split("/")[:-1][::-1]


def _kinship(name: str, near: str) -> tuple[bool, int]:
    same_split = split_of(name) is not None and split_of(name) == split_of_file(near)
    return same_split, _common(name.split("/")[:-1], near.split("/")[:-1])


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
