"""Finding the image that an annotation file means.

Annotation files name images in many ways: with another folder, another case, another ending, quoted as in an address,
the absolute path of the machine they were made on. So what counts is the file's name, then its stem, and among several
the folders around it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from bloomery_vision.formats.names import base_of, before_upload, fold, folder_of, nfc, spellings, split_suffix
from bloomery_vision.formats.packed import Names
from bloomery_vision.formats.split_words import split_of, split_of_file
from bloomery_vision.formats.stems import Stems, bases_of, stems_of
from bloomery_vision.images import SUFFIXES

_FOR_IMAGES = frozenset({"images", "jpegimages"})
"""Folders, in lower case, in which formats look for the images that are meant."""


class AmbiguousNameError(LookupError):
    """Several images fit one name equally well."""

    def __init__(self, name: str, candidates: Sequence[str]) -> None:
        super().__init__(f"{name} may be any of {', '.join(candidates[:4])}")


def is_image(name: str) -> bool:
    """Whether the ending says that a file is an image."""
    return split_suffix(base_of(name))[1] in SUFFIXES


class NameIndex:
    """Looks files up by how somebody else names them, in 16 bytes of memory a name beside the names."""

    def __init__(self, names: Iterable[str]) -> None:
        self.stems = Stems(Names.of(names))

    def find(self, wanted: str, *, near: str = "") -> str | None:
        """The file that `wanted` means, or None.

        Args:
            wanted: a path, absolute or relative, with slashes of either kind.
            near: the file that says so: among equals the one in the most similar folder is taken.

        Raises:
            AmbiguousNameError: several files fit equally well.
        """
        paths = [spelling.replace("\\", "/") for spelling in spellings(wanted)]
        for path in paths:
            if found := self._exact(path) or (None if path.isascii() else self._exact(nfc(path))):
                return found
        for path, candidates in self._candidates(paths):
            if candidates:
                return _closest(candidates, path, near)
        return None

    def _exact(self, path: str) -> str | None:
        if not self.stems.holds(folder_of(path)):
            return None
        names = self._names(self.stems.places(split_suffix(fold(base_of(path)))[0], folder_of(path)))
        return path if path in names else next((name for name in names if nfc(name) == path), None)

    def _candidates(self, paths: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
        bases = [(path, fold(base_of(path))) for path in paths]
        yield from ((path, self._called(base)) for path, base in bases)
        # A name without an ending may hold dots of its own.
        yield from ((path, self._of_stem(base)) for path, base in bases)
        yield from ((path, self._of_stem(split_suffix(base)[0])) for path, base in bases)
        for path, base in bases:
            if shorter := before_upload(base):
                yield path, self._of_stem(split_suffix(shorter)[0])

    def _called(self, base: str) -> Sequence[str]:
        return [name for name in self._names(self.stems.places(split_suffix(base)[0])) if base in bases_of(name)]

    def _of_stem(self, stem: str) -> Sequence[str]:
        return [name for name in self._names(self.stems.places(stem)) if stem in stems_of(name)]

    def _names(self, places: Sequence[int]) -> Sequence[str]:
        return [self.stems.names[place] for place in places]


def _closest(candidates: Sequence[str], wanted: str, near: str) -> str:
    """The nearest candidate; of equally near ones, the one above all others, else the one in a folder for images.

    A name counts from the folder where the images begin: `a.jpg` is `data/a.jpg` rather than `data/x/a.jpg`, and
    `cam1/a.jpg` is `data/cam1/a.jpg` rather than `data/old/cam1/a.jpg`. So only the shortest can be meant.
    Raises AmbiguousNameError where it is not above the others, as with `x/a.jpg` and `y/a.jpg`.
    """
    if len(candidates) == 1:
        return candidates[0]
    scores = [_score(name, wanted, near) for name in candidates]
    best = max(scores)
    tied = [one for one, score in zip(candidates, scores, strict=True) if score == best]
    named = [one for one in tied if nfc(f"/{one}").endswith(nfc(f"/{wanted}"))]
    first, *others = sorted(named or tied, key=len)
    above = nfc(first).removesuffix(nfc(wanted if named else base_of(first)))
    if all(len(other) > len(first) and nfc(other).startswith(above) for other in others):
        return first
    known = [one for one in (first, *others) if _FOR_IMAGES.intersection(_folders(one))]
    if len(known) != 1:
        raise AmbiguousNameError(wanted, candidates)
    return known[0]


def _score(name: str, wanted: str, near: str) -> tuple[int, bool, int, int]:
    folders = _common(_folders(name)[::-1], _folders(wanted)[::-1])
    split = split_of(name)
    same_split = split is not None and split == split_of_file(near)
    # Two files of one folder may differ by their case alone, or by how their accents are written.
    here, there = base_of(name), base_of(wanted)
    same_spelling = (here == there) + (nfc(here) == nfc(there))
    return folders, same_split, same_spelling, _common(_folders(name), _folders(near))


def _folders(path: str) -> list[str]:
    return fold(folder_of(path)).split("/")


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
