"""What of a folder is Pascal VOC, and how it is written.

Whether a set counts pixels from 1 is decided for all of it. A box with a decimal point, or one that begins before 1,
says that it does not, and so do all boxes of a file that names a program which counts from 0; a box that begins at 1
says that it does. What more boxes say is taken; where as many say the one as the other, corners are taken as they
stand.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from xml.etree.ElementTree import Element

from bloomery_vision.colors import color
from bloomery_vision.findings import Finding, error
from bloomery_vision.formats.claims import Claim
from bloomery_vision.formats.class_lists import ClassList, read_list, text_lists
from bloomery_vision.formats.lookup import AmbiguousNameError, NameIndex
from bloomery_vision.formats.model import Format, FormatError, LabelSpec
from bloomery_vision.formats.names import base_of, folder_of, split_suffix
from bloomery_vision.formats.packed import Column, Names
from bloomery_vision.formats.pairing import SEVERAL_HINT, Pairs, missing_image, pair, used
from bloomery_vision.formats.plan import Doubt, Left
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.split_lists import SplitReader
from bloomery_vision.formats.survey import sample
from bloomery_vision.formats.texts import read_start
from bloomery_vision.formats.tree import Tree
from bloomery_vision.formats.voc_xml import corner_texts, corners, parse, root_of, text

_HEAD = 4096
_OTHER_ROOTS = frozenset({"annotations", "dataset", "mlt"})
"""Roots of label files in other XML formats, such as CVAT's."""

_LEFT = (Left.NOT_LABELS, Left.OTHER_FORMAT)

_FROM_ZERO = (("owner/name", "Label Studio"), ("source/database", "Unspecified"))
"""Where a file names a program that counts from 0 in whole numbers: Label Studio, and make-sense by its own word."""


def claim_voc(source: Source, tree: Tree) -> Claim | None:
    """What of the folder is Pascal VOC."""
    files = tree.ending(".xml")
    roots = {name: _root(source, name) for name in _sample_of_folders(files)}
    folders = {folder_of(name) for name, root in roots.items() if root == "annotation"}
    if not folders:
        return None
    candidates = files.where(lambda name: folder_of(name) in folders)
    pairs = pair(candidates, tree.index.stems)
    # What stands in the place of an image's label file is one, and broken, whatever else it says.
    flags = used(candidates, pairs.label_of, pairs.repeated)
    own = candidates.flagged(
        bytearray(
            flag or roots.get(name, "annotation") == "annotation" for flag, name in zip(flags, candidates, strict=True)
        )
    )
    others = files.without(own)
    left = Column(others, bytearray(1 + (roots.get(name) in _OTHER_ROOTS) for name in others), _LEFT)
    placed = _placed(source, tree, pairs, candidates, own)
    seen = _look(source, sample(own))
    splits = SplitReader(source, tree)
    splits.read_lists(tree.ending(".txt"))
    class_list = _class_list(source, tree, seen)
    return Claim(
        Format.VOC,
        f"{len(own)} XML files with <annotation>",
        label_files=own,
        label_of=placed.label_of,
        more_labels=placed.more,
        unplaced=placed.unplaced,
        lists=sorted(splits.used | ({class_list.path} if class_list else set())),
        left=left,
        splits=splits.found,
        class_lists=(class_list,) if class_list else (),
        class_list_of=dict.fromkeys(sorted(set(map(folder_of, own))), 0) if class_list else {},
        labels=_labels(class_list, seen),
        pixel_origin=seen.origin,
        doubts=[*pairs.doubts(), *seen.doubts()],
    )


def _sample_of_folders(files: Sequence[str]) -> Sequence[str]:
    """All files where there are not too many; otherwise at least the first of each folder."""
    first: dict[str, str] = {}
    for name in files:
        first.setdefault(folder_of(name), name)
    return sorted({*sample(files), *first.values()})


def _root(source: Source, name: str) -> str:
    try:
        return root_of(read_start(source, name, _HEAD))
    except FormatError:
        return ""


@dataclass(frozen=True, slots=True)
class _Placed:
    label_of: Column[str]
    more: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unplaced: dict[str, Finding] = field(default_factory=dict)


def _placed(source: Source, tree: Tree, pairs: Pairs, labels: Names, own: Names) -> _Placed:
    """The pairs, and what the name inside a file decides where its own name does not."""
    found = _Placed(pairs.label_of)
    for label in (name for name in chain(pairs.undecided, pairs.without) if name in own):
        candidates = pairs.undecided.get(label, ())
        image = _image_inside(source, tree, label, candidates)
        number = labels.numbered(label) + 1
        if isinstance(image, Finding):
            found.unplaced[label] = image
        elif found.label_of.give(image, number) != number:
            found.more[image].append(label)
    for label, image in pairs.repeated.items():
        found.more[image].append(label)
    return found


def _image_inside(source: Source, tree: Tree, label: str, candidates: Sequence[str]) -> str | Finding:
    name, place = _declared(source, label)
    index, near = (NameIndex(candidates), "") if candidates else (tree.index, label)
    try:
        found = index.find(place, near=near) if place else None
    except AmbiguousNameError as problem:
        return _ambiguous(label, str(problem))
    if found:
        return found
    if candidates:
        return _ambiguous(label, ", ".join(candidates[:4]))
    return missing_image(tree.unread, label, f"there is no image {name or split_suffix(base_of(label))[0]}")


def _declared(source: Source, label: str) -> tuple[str, str]:
    """The name of its image that a file gives, and the same with the folders that it says the image is in."""
    try:
        root = parse(source, label)
    except FormatError:
        return "", ""
    name, path, folder = (text(root, key).replace("\\", "/") for key in ("filename", "path", "folder"))
    if base_of(path) == base_of(name):
        return name, path
    return name, f"{folder}/{name}" if folder and name and "/" not in name else name


def _ambiguous(label: str, candidates: str) -> Finding:
    message = f"several images fit {label}: {candidates}"
    return error("AMBIGUOUS_IMAGE", message, hint=SEVERAL_HINT, path=label)


@dataclass
class _Seen:
    """What the files of a set have in common: their labels, and how many boxes speak for which first pixel."""

    labels: set[str] = field(default_factory=set)
    zero: int = 0
    one: int = 0
    zero_example: str = ""

    @property
    def origin(self) -> int:
        return 0 if self.zero and self.zero >= self.one else 1

    def look(self, name: str, item: Element, *, from_zero: bool) -> None:
        if label := text(item, "name"):
            self.labels.add(label)
        found = corners(item)
        if found is None or not all(map(math.isfinite, found)):
            return
        # Whoever writes a point counts no pixels, even where all that follows it is 0.
        if from_zero or min(found[:2]) < 1 or any("." in value or "," in value for value in corner_texts(item)):
            self.zero += 1
            self.zero_example = self.zero_example or name
        elif min(found[:2]) == 1:
            self.one += 1

    def doubts(self) -> Iterator[Doubt]:
        if self.zero and self.one and self.origin == 0:
            message = "boxes say that pixels are counted from 0, or that they are from 1: not all say the same"
            hint = "the corners of all boxes are taken as they stand; look at some"
            yield Doubt("PIXEL_ORIGIN", message, hint, self.zero + self.one, self.zero_example)


def _look(source: Source, files: Sequence[str]) -> _Seen:
    seen = _Seen()
    for name in files:
        try:
            root = parse(source, name)
        except FormatError:
            continue  # the reader reports the file
        from_zero = any(text(root, path) == mark for path, mark in _FROM_ZERO)
        for item in root.iter("object"):
            seen.look(name, item, from_zero=from_zero)
    return seen


def _class_list(source: Source, tree: Tree, seen: _Seen) -> ClassList | None:
    """The first list that knows every label: Pascal VOC needs none, and it gives the order and the unused ones."""
    for name in text_lists(tree):
        try:
            found = read_list(source, name)
        except FormatError:
            continue
        if seen.labels and seen.labels <= set(found.names.values()):
            return found
    return None


def _labels(listed: ClassList | None, seen: _Seen) -> list[LabelSpec]:
    names: Mapping[int, str] = listed.names if listed else dict(enumerate(sorted(seen.labels)))
    return [LabelSpec(name, color(index)) for index, name in enumerate(dict.fromkeys(names.values()))]
