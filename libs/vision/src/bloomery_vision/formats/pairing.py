"""Which label file belongs to which image, where each image has a file of its own.

A label file lies beside its image, or at the same path below another root (`Annotations/cam1/7.xml` and
`JPEGImages/cam1/7.jpg`, `train/labels/7.txt` and `train/images/7.jpg`). Of the folders of two such paths what they have
in common at both ends is dropped; the fewer are left, the closer they are. What is further apart than one root is no
pair, nor is what lies in folders of two splits.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from bloomery_vision.formats.names import base_of, before_upload, fold, folder_of, nfc, spellings, split_suffix
from bloomery_vision.formats.split_words import split_of
from bloomery_vision.images import SUFFIXES

_MANY = 8
"""Folders with an image of one name above which what was learnt from the last label file is tried first."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """What came of some label files.

    `label_of` is the label file of an image. Of the others `without` have no image, `repeated` are of an image that has
    one already, and `undecided` may be of any of several images that are equally near.
    """

    label_of: dict[str, str]
    without: list[str]
    repeated: dict[str, str]
    undecided: dict[str, tuple[str, ...]]


def pair(labels: Sequence[str], images: Sequence[str]) -> Pairs:
    """The pairs among these paths, each given in order."""
    places = _Places(images)
    beside = {label: choice for label in labels if (choice := places.beside(label)).images}
    complete = {folder_of(label) for label in beside}
    found = Pairs({}, [], {}, {})
    ranked = [(beside.get(label) or places.nearest(label, complete), label) for label in labels]
    # Closest first, so that an image is not given away before its own label file is looked at.
    for choice, label in sorted(ranked, key=lambda one: (one[0].distance, not one[0].same_name)):
        _take(found, label, choice.images)
    found.without.sort()
    return found


def _take(found: Pairs, label: str, images: Sequence[str]) -> None:
    if not images:
        found.without.append(label)
    elif len(images) > 1:
        found.undecided[label] = tuple(images)
    elif found.label_of.setdefault(images[0], label) != label:
        found.repeated[label] = images[0]


@dataclass(frozen=True, slots=True)
class _Choice:
    """Images that are equally far from a label file, and whether they differ from it in nothing but the ending."""

    images: Sequence[str] = ()
    distance: int = 0
    same_name: bool = False


class _Places:
    """Images by stem and folder."""

    def __init__(self, images: Iterable[str]) -> None:
        self._by_stem: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
        self._other_root: tuple[Sequence[str], Sequence[str]] | None = None
        for image in images:
            for spelling in spellings(image):
                stem = split_suffix(fold(base_of(spelling)))[0]
                self._by_stem[stem].setdefault(folder_of(image), []).append(image)

    def beside(self, label: str) -> _Choice:
        """The images of a label file's name in its own folder."""
        for stem in _stems(label):
            if found := self._by_stem.get(stem, {}).get(folder_of(label)):
                return _choose(found, label, 0)
        return _Choice()

    def nearest(self, label: str, complete: Container[str]) -> _Choice:
        """The images of a label file's name in the nearest folder; none for one in a folder that is `complete`."""
        folder = folder_of(label)
        there = next((found for stem in _stems(label) if (found := self._by_stem.get(stem))), {})
        if folder in complete or not there:
            return _Choice()
        if len(there) > _MANY and (mirrored := self._mirrored(folder)) in there:
            return _choose(there[mirrored], label, 2)
        ranked = [(far, one) for one in there if (far := _distance(folder, one)) is not None]
        if not ranked:
            return _Choice()
        closest = min(ranked)[0]
        images = [image for far, one in ranked if far == closest for image in there[one]]
        if len(images) == 1:
            self._other_root = _difference(folder, folder_of(images[0]))
        return _choose(images, label, closest)

    def _mirrored(self, folder: str) -> str:
        """The folder that is to this one as the last one found was to its label file's."""
        if self._other_root is None:
            return ""
        here, there = ("/".join(parts) for parts in self._other_root)
        return f"/{folder}/".replace(f"/{here}/", f"/{there}/", 1).strip("/")


def _choose(images: Sequence[str], label: str, distance: int) -> _Choice:
    """A folder may hold `a.jpg` and `A.jpg`: the one that differs in nothing but the ending, where there is one."""
    stem = split_suffix(base_of(label))[0]
    names = [(one, (split_suffix(base_of(one))[0], base_of(one))) for one in images]
    exact = [one for one, called in names if stem in called]
    same = exact or [one for one, called in names if nfc(stem) in map(nfc, called)]
    return _Choice(same or images, distance, bool(same))


def _stems(label: str) -> Iterator[str]:
    for spelling in spellings(label):
        stem = split_suffix(fold(base_of(spelling)))[0]
        yield stem
        shorter, suffix = split_suffix(stem)
        if suffix in SUFFIXES:
            yield shorter
        if original := before_upload(stem):
            yield original


@lru_cache(maxsize=1 << 14)
def _distance(label: str, image: str) -> int | None:
    """How many folders the two paths do not share; None where they are too far apart to be of one image."""
    here, there = map(len, _difference(label, image))
    return None if min(here, there) > 1 or _other_split(label, image) else here + there


@lru_cache(maxsize=1 << 14)
def _difference(first: str, second: str) -> tuple[Sequence[str], Sequence[str]]:
    here, there = _folders(first), _folders(second)
    head = _common(here, there)
    here, there = here[head:], there[head:]
    tail = _common(here[::-1], there[::-1])
    return here[: len(here) - tail], there[: len(there) - tail]


def _other_split(first: str, second: str) -> bool:
    here, there = split_of(f"{first}/"), split_of(f"{second}/")
    return here is not None and there is not None and here != there


def _folders(folder: str) -> list[str]:
    return folder.split("/") if folder else []


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: fold(pair[0]) == fold(pair[1]), zip(first, second, strict=False)))
