"""Where the files of a stem are: names by what all spellings of them share, and by their folder."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.formats.names import base_of, fold, folder_of, nfc, spellings, split_suffix
from bloomery_vision.formats.packed import Names


class Stems:
    """Sorted hashes of stems, 16 bytes a name. Files are told by their places among the names."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._numbers: dict[str, int] = {}
        hashes, folders, places = array("q"), array("I"), array("I")
        for place, name in enumerate(names):
            folder = self._numbers.setdefault(nfc(folder_of(name)), len(self._numbers))
            for stem in stems_of(name):
                hashes.append(hash(stem))
                folders.append(folder)
                places.append(place)
        order = np.lexsort((np.asarray(folders), np.asarray(hashes)))
        self._hashes, self._in, self._places = (_sorted(one, order) for one in (hashes, folders, places))
        self._folders = list(self._numbers)

    def holds(self, folder: str) -> bool:
        """Whether a file lies in a folder, however its accents are written."""
        return nfc(folder) in self._numbers

    def places(self, stem: str, folder: str | None = None) -> Sequence[int]:
        """The files of a stem, of a folder alone if one is given, however its accents are written, in order.

        In a thousand million there is one of another stem, of the same hash.
        """
        if folder is None:
            start, end = self._range(stem)
            return self._places[start:end] if end - start < 2 else sorted(self._places[start:end])
        number = self._numbers.get(nfc(folder))
        if number is None:
            return ()
        start, end = self._range(stem)
        start = bisect_left(self._in, number, start, end)
        return self._places[start : bisect_right(self._in, number, start, end)]

    def folders(self, stem: str, limit: int) -> list[str]:
        """The folders with a file of a stem, with composed accents; of more than the limit one more than it."""
        at, end = self._range(stem)
        found: list[str] = []
        while at < end and len(found) <= limit:
            found.append(self._folders[self._in[at]])
            at = bisect_right(self._in, self._in[at], at, end)
        return found

    def _range(self, stem: str) -> tuple[int, int]:
        wanted, hashes = hash(stem), self._hashes
        start = bisect_left(hashes, wanted)
        if start + 1 < len(hashes) and hashes[start + 1] == wanted:
            return start, bisect_right(hashes, wanted, start + 1)
        return start, start + (start < len(hashes) and hashes[start] == wanted)


def bases_of(name: str) -> Collection[str]:
    """What the spellings of a file's name share, without its folders, which alone may differ."""
    return {fold(base_of(spelling)) for spelling in spellings(name)}


def stems_of(name: str) -> Collection[str]:
    """The same without endings."""
    return {split_suffix(base)[0] for base in bases_of(name)}


def _sorted(values: "array[int]", order: NDArray[np.intp]) -> "array[int]":
    return array(values.typecode, np.asarray(values)[order].tobytes())
