"""Which label file belongs to which image, where each image has a file of its own.

A label file lies beside its image, or at the same path below another root (`Annotations/cam1/7.xml` and
`JPEGImages/cam1/7.jpg`, `train/labels/7.txt` and `train/images/7.jpg`). Of the folders of two such paths what they have
in common at both ends is dropped; the fewer are left, the closer they are. What is further apart than one root is no
pair, nor is what lies in folders of two splits. Of the folders that the path may be below, one that the formats know as
that of the images (`labels` and `images`, `Annotations` and `JPEGImages`) comes before all others.
"""

from array import array
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile

from bloomery_vision.findings import Finding, error
from bloomery_vision.formats.names import base_of, before_upload, fold, folder_of, nfc, spellings, split_suffix
from bloomery_vision.formats.packed import NO_NAMES, Column, Names, numbers
from bloomery_vision.formats.plan import Doubt
from bloomery_vision.formats.split_words import split_of
from bloomery_vision.formats.stems import Stems, stems_of
from bloomery_vision.images import SUFFIXES

_PARTNERS = ((["labels"], ["images"]), (["annotations"], ["jpegimages"]))
"""Roots of label files, and those that Ultralytics and Pascal VOC look for their images in."""

SEVERAL_HINT = "leave out the folders of other pictures, or give the images different names"
"""What to do where several images fit a label file."""

_MANY = 8
"""Folders with an image of one name above which what was learnt from the last label file is tried first."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """What came of some label files.

    `label_of` is the label file of an image. Of the others `without` have no image, `repeated` are of an image that has
    one already, and `undecided` may be of any of several images that are equally near. The images that are `passed`
    have none: they lie in folders that others of the same names were preferred to.
    """

    label_of: Column[str]
    without: Names
    repeated: Mapping[str, str]
    undecided: Mapping[str, Sequence[str]]
    passed: Names

    def doubts(self) -> Iterator[Doubt]:
        """What somebody should look at."""
        if self.passed:
            message = "images have the names of labelled images in other folders; they are not annotated"
            hint = "leave their folder out, or give them label files of their own"
            yield Doubt("SIBLING_IMAGES", message, hint, len(self.passed), self.passed[0])


def pair(labels: Names, images: Stems, told: Container[str] = ()) -> Pairs:
    """The pairs among these paths; of equally near images those `told` to be of the set come before others."""
    places = _Places(images, told)
    choices = _Choices(len(labels))
    complete: set[str] = set()
    for number, label in enumerate(labels):
        if choices.take(number, places.beside(label)):
            complete.add(folder_of(label))
    for number, label in enumerate(labels):
        if not choices.ranks[number]:
            choices.take(number, places.nearest(label, complete))
    found = _decide(labels, images.names, choices)
    return replace(found, passed=places.passed(found)) if places.lost else found


def _decide(labels: Names, images: Names, choices: "_Choices") -> Pairs:
    label_of = Column(images, numbers(len(images)), labels)
    repeated: dict[str, str] = {}
    undecided: dict[str, Sequence[str]] = {}
    # Closest first, so that an image is not given away before its own label file is looked at.
    for number in choices.in_order():
        if number in choices.several:
            undecided[labels[number]] = [images[place] for place in choices.several[number]]
        elif label_of.codes[place := choices.images[number]]:
            repeated[labels[number]] = images[place]
        else:
            label_of.codes[place] = number + 1
    without = labels.flagged(bytearray(not rank for rank in choices.ranks))
    return Pairs(label_of, without, repeated, undecided, NO_NAMES)


def used(labels: Names, label_of: Column[str], more: Iterable[str] = ()) -> bytearray:
    """A flag for each label file that an image has, or that is among more of them."""
    flags = bytearray(len(labels))
    for code in label_of.codes:
        if code:
            flags[code - 1] = 1
    for name in more:
        flags[labels.numbered(name)] = 1
    return flags


def missing_image(unread: Stems, label: str, message: str) -> Finding:
    """That a label file or name means no image, or why the picture of its name is none that is read."""
    places = [place for stem in _stems(label) for place in unread.places(stem)]
    if not places:
        return error("MISSING_IMAGE", message, hint="add the image", path=label)
    name = unread.names[places[0]]
    why, hint = "is of a kind that is not read", "save it as JPEG or PNG"
    if not split_suffix(base_of(name))[1]:
        why, hint = "has a name without ending", "add the ending of its kind, such as `.jpg`, to its name"
    return error("MISSING_IMAGE", f"{message} but {name}, which {why}", hint=hint, path=label)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Images that are equally far from a label file, and whether they differ from it in nothing but the ending."""

    images: Sequence[int] = ()
    distance: int = 0
    same_name: bool = False


class _Choices:
    """The choice of each label file by its number: the image, or `several`, and a rank, 0 where there is none."""

    def __init__(self, count: int) -> None:
        self.images, self.ranks = numbers(count), array("H", bytes(2 * count))
        self.several: dict[int, Sequence[int]] = {}

    def take(self, label: int, choice: _Choice) -> bool:
        """Keep a choice; whether it has images."""
        if choice.images:
            self.ranks[label] = 2 * choice.distance + (not choice.same_name) + 1
            self.images[label] = choice.images[0]
        if len(choice.images) > 1:
            self.several[label] = choice.images
        return bool(choice.images)

    def in_order(self) -> Iterator[int]:
        """The label files with images, the closest first."""
        for rank in sorted(set(self.ranks) - {0}):
            yield from (label for label, one in enumerate(self.ranks) if one == rank)


class _Places:
    """Images by stem and folder. What is `lost` leads from folders of label files to those that others came before."""

    def __init__(self, stems: Stems, told: Container[str]) -> None:
        self._stems, self._told = stems, told
        self._other_root: tuple[Sequence[str], Sequence[str]] | None = None
        self.lost: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()

    def beside(self, label: str) -> _Choice:
        """The images of a label file's name in its own folder."""
        folder = folder_of(label)
        for stem in _stems(label) if self._stems.holds(folder) else ():
            if found := self._within(stem, folder):
                return self._choose(found, label, 0)
        return _Choice()

    def nearest(self, label: str, complete: Container[str]) -> _Choice:
        """The images of a label file's name in the nearest folder; none for one in a folder that is `complete`."""
        folder = folder_of(label)
        of_stem = ((stem, self._stems.folders(stem, _MANY)) for stem in _stems(label))
        stem, there = next((one for one in of_stem if one[1]), ("", []))
        if folder in complete or not there:
            return _Choice()
        if len(there) > _MANY:
            if found := self._within(stem, self._mirrored(folder)):
                return self._choose(found, label, 2)
            there = self._stems.folders(stem, len(self._stems.names))
        ranked = sorted((far, one) for one in there if (far := _distance(folder, one)) is not None)
        if not ranked:
            return _Choice()
        closest = next((far for far, one in ranked if _is_partner(folder, one)), ranked[0][0])
        near = [one for far, one in ranked if far <= closest]
        images = self._preferred(folder, {one: self._of_stem(stem, self._stems.places(stem, one)) for one in near})
        if len(images) == 1:
            self._other_root = _difference(folder, folder_of(self._stems.names[images[0]]))
        return self._choose(images, label, closest)

    def _preferred(self, folder: str, near: Mapping[str, Sequence[int]]) -> Sequence[int]:
        """Of equally near images those in a folder that is known for them, or that are told to be of the set."""
        best = list(near)
        if len(near) > 1:
            names = {one: [self._stems.names[place] for place in places] for one, places in near.items()}
            told = [one for one in near if any(name in self._told for name in names[one])]
            best = [one for one in near if _is_partner(folder, one)] or told or best
        self.lost.update(
            (tuple(here), tuple(there)) for here, there in (_difference(folder, one) for one in near if one not in best)
        )
        return sorted(place for one in best for place in near[one])

    def passed(self, found: Pairs) -> Names:
        """The images without label files in the folders that are lost."""
        images, labels = self._stems.names, set(map(folder_of, found.label_of.values()))
        lost = {_moved(folder, here, there) for folder in labels for here, there in self.lost}
        codes = found.label_of.codes
        return images.flagged(
            bytearray(not code and folder_of(name) in lost for code, name in zip(codes, images, strict=True))
        )

    def _within(self, stem: str, folder: str) -> Sequence[int]:
        """The images of a stem in a folder of just this spelling."""
        named = ((one, self._stems.names[one]) for one in self._stems.places(stem, folder))
        return [one for one, name in named if folder_of(name) == folder and stem in stems_of(name)]

    def _of_stem(self, stem: str, places: Sequence[int]) -> Sequence[int]:
        return [one for one in places if stem in stems_of(self._stems.names[one])]

    def _choose(self, images: Sequence[int], label: str, distance: int) -> _Choice:
        """A folder may hold `a.jpg` and `A.jpg`: the one that differs in nothing but the ending, where there is one."""
        stem = split_suffix(base_of(label))[0]
        bases = [(one, base_of(self._stems.names[one])) for one in images]
        names = [(one, (split_suffix(base)[0], base)) for one, base in bases]
        exact = [one for one, called in names if stem in called]
        same = exact or [one for one, called in names if nfc(stem) in map(nfc, called)]
        return _Choice(same or images, distance, bool(same))

    def _mirrored(self, folder: str) -> str:
        """The folder that is to this one as the last one found was to its label file's."""
        return _moved(folder, *self._other_root) if self._other_root else ""


def _stems(label: str) -> Iterator[str]:
    for spelling in spellings(label):
        stem = split_suffix(fold(base_of(spelling)))[0]
        yield stem
        shorter, suffix = split_suffix(stem)
        if suffix in SUFFIXES:
            yield shorter
        if original := before_upload(stem):
            yield original


def _moved(folder: str, here: Sequence[str], there: Sequence[str]) -> str:
    """The folder with some of its parts, if it has them, exchanged for others."""
    old, new = ("/".join(["", *parts, ""]) for parts in (here, there))
    return f"/{folder}/".replace(old, new, 1).strip("/")


@lru_cache(maxsize=1 << 14)
def _is_partner(label: str, image: str) -> bool:
    difference = tuple([fold(part) for part in parts] for parts in _difference(label, image))
    return difference in _PARTNERS


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
