"""What of a folder is COCO: which JSON files describe which images, and what else they are about.

A category that no annotation uses and that others name as their supercategory is the group of those others, as Roboflow
writes it, and no class.
"""

import re
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

from bloomery_vision.colors import color
from bloomery_vision.formats.claims import Claim
from bloomery_vision.formats.coco_objects import Record, as_records, key_of
from bloomery_vision.formats.json_stream import read_arrays
from bloomery_vision.formats.lookup import AmbiguousNameError, NameIndex
from bloomery_vision.formats.model import Format, FormatError, LabelSpec, Split
from bloomery_vision.formats.names import base_of, nfc
from bloomery_vision.formats.packed import Column, Names, numbers
from bloomery_vision.formats.plan import Doubt, Left
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.split_lists import PRECEDENCE, SplitReader
from bloomery_vision.formats.split_words import split_of_file
from bloomery_vision.formats.texts import read_start
from bloomery_vision.formats.tree import Tree

KEYS = frozenset({"images", "annotations", "categories"})
_LOOKS_LIKE_COCO = re.compile(r'^\s*\{.*"(images|annotations|categories)"\s*:\s*[\[n]', re.DOTALL)
_IMAGE_LIST = "image_info"
_OTHER_KINDS = ("captions", _IMAGE_LIST, "person_keypoints", "panoptic", "stuff")
"""Beginnings of the names of files that say in other words what an `instances` file beside them says."""
_HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class Category:
    """A category as a file lists it."""

    id: str
    name: str
    supercategory: str


@dataclass
class _File:
    """What a file turned out to hold.

    `repeated` counts categories whose id another one has, by it; the first is taken. `only_fractions` says that no box
    has a side above 1, `only_tags` that annotations have nothing but a category.

    `used` counts annotations by the id of their category. Of the images that are there `images` has the places; the
    records of others are counted in `missing` and `ambiguous`, by names that mean none and several.
    """

    path: str
    categories: list[Category] = field(default_factory=list)
    used: Counter[str] = field(default_factory=Counter)
    images: "array[int]" = field(default_factory=lambda: array("I"))
    missing: Counter[str] = field(default_factory=Counter)
    ambiguous: Counter[str] = field(default_factory=Counter)
    records: int = 0
    objects: int = 0
    arrays: set[str] = field(default_factory=set)
    masks: set[str] = field(default_factory=set)
    captions: bool = False
    broken: bool = False
    repeated: Counter[str] = field(default_factory=Counter)
    only_fractions: bool = True
    only_tags: bool = True

    @property
    def is_annotated(self) -> bool:
        return "annotations" in self.arrays and not (self.objects == 0 and _kind(self.path) == _IMAGE_LIST)

    @property
    def unknown(self) -> Mapping[str, int]:
        """How many annotations are of categories that it does not list, by their ids."""
        known = {one.id for one in self.categories}
        return {identifier: count for identifier, count in self.used.items() if identifier not in known}

    def add(self, key: str, records: Sequence[Record], index: NameIndex) -> None:
        match key:
            case "categories":
                self._add_categories(filter(None, map(as_category, records)))
            case "images":
                self.records += len(records)
                for record in records:
                    self._add_image(record.get("file_name"), index)
            case _:
                self.objects += len(records)
                self.only_fractions = self.only_fractions and all(map(_is_fraction, records))
                self.only_tags = self.only_tags and all(map(_is_tag, records))
                self.captions |= any("caption" in record for record in records)
                self.masks |= {str(record.get("file_name")) for record in records if "segments_info" in record}
                self.used.update(key_of(record.get("category_id")) or "" for record in records)

    def _add_categories(self, listed: Iterable[Category]) -> None:
        known = {one.id: one for one in self.categories}
        for one in listed:
            if known.setdefault(one.id, one) is one:
                self.categories.append(one)
            elif known[one.id].name != one.name:
                self.repeated[one.id] += 1

    def _add_image(self, wanted: object, index: NameIndex) -> None:
        if not isinstance(wanted, str) or not wanted:
            return
        try:
            found = index.find(wanted, near=self.path)
        except AmbiguousNameError:
            self.ambiguous[wanted] += 1
            return
        if found:
            self.images.append(index.stems.names.numbered(found))
        else:
            self.missing[wanted] += 1


def claim_coco(source: Source, tree: Tree) -> Claim | None:
    """What of the folder is COCO."""
    files = [_survey(source, name, tree.index) for name in tree.ending(".json") if _looks_like_coco(source, name)]
    files = [one for one in files if one.broken or "images" in one.arrays]
    if not any(one.arrays for one in files):
        return None
    left = {one.path for one in files if one.captions or one.masks} | _other_kinds(files) | _tags(files)
    own = [one for one in files if one.path not in left]
    splits = SplitReader(source, tree)
    splits.read_lists(tree.ending(".txt"))
    return Claim(
        Format.COCO,
        f"{', '.join(one.path for one in own[:3])} list images",
        label_files=[one.path for one in own],
        label_of=_label_of(own, tree.images),
        lists=sorted(splits.used),
        left=dict.fromkeys(sorted(left), Left.OTHER_KIND if own else Left.OTHER_FORMAT),
        splits=splits.found,
        file_splits=_file_splits(own, tree.images),
        labels=_labels(own),
        doubts=[*_doubts(own), *_about_records(own)],
        masks=_mask_names(files, tree),
    )


def as_category(record: Record) -> Category | None:
    """A category's record; None without an id or a name. A number is its own name."""
    identifier, label = key_of(record.get("id")), record.get("name")
    name = nfc(str(label).strip()) if isinstance(label, str | int | float) else ""
    parent = record.get("supercategory")
    return Category(identifier, name, parent if isinstance(parent, str) else "") if identifier and name else None


def groups(categories: Iterable[Category], used: AbstractSet[str]) -> set[str]:
    """The ids of categories that are groups of others and no classes."""
    listed = list(categories)
    parents = {one.supercategory for one in listed if one.supercategory != one.name}
    return {
        one.id for one in listed if one.name in parents and one.id not in used and one.supercategory in ("", "none")
    }


def _looks_like_coco(source: Source, name: str) -> bool:
    try:
        head = read_start(source, name, _HEAD)
    except FormatError:
        return False
    # An empty file beside others has lost what it held.
    return not head.strip() or bool(_LOOKS_LIKE_COCO.search(head))


def _survey(source: Source, name: str, index: NameIndex) -> _File:
    found = _File(name)
    try:
        with source.open(name) as stream:
            _read(stream, found, index)
    except OSError:
        found.broken = True
    except FormatError:
        # Without images it may be anything that is cut off; the reader says what is wrong with the others.
        head = read_start(source, name, _HEAD)
        found.arrays |= _arrays_of(head)
        found.broken = not head.strip() or bool(found.arrays & {"images", "annotations"})
        found.images = array("I")
    return found


def _arrays_of(head: str) -> set[str]:
    """What a file has as far as it can be read, whatever its encoding."""
    arrays: set[str] = set()
    # The beginning alone is no whole file.
    with suppress(FormatError):
        deque(read_arrays(BytesIO(head.encode()), KEYS, arrays=arrays), maxlen=0)
    return arrays


def _read(stream: BinaryIO, found: _File, index: NameIndex) -> None:
    for key, elements in read_arrays(stream, KEYS, arrays=found.arrays):
        found.add(key, as_records(elements), index)


def _other_kinds(files: Sequence[_File]) -> set[str]:
    names = {one.path: base_of(one.path).lower() for one in files}
    if not any(name.startswith("instances") for name in names.values()):
        return set()
    return {path for path in names if _kind(path)}


def _tags(files: Sequence[_File]) -> set[str]:
    """The files that say of images only which categories they are of, beside others that say where."""
    with_objects = [one for one in files if one.objects]
    tags = {one.path for one in with_objects if one.only_tags}
    return tags if len(tags) < len(with_objects) else set()


def _is_tag(record: Record) -> bool:
    return "category_id" in record and not record.keys() & {"bbox", "segmentation"}


def _is_fraction(record: Record) -> bool:
    """Whether the box of an annotation is one that has less than two pixels of any image."""
    box = record.get("bbox")
    return (
        isinstance(box, list) and len(box) == 4 and all(isinstance(one, int | float) and 0 <= one <= 1 for one in box)
    )


def _kind(path: str) -> str | None:
    return next((kind for kind in _OTHER_KINDS if base_of(path).lower().startswith(kind)), None)


def _label_of(files: Sequence[_File], images: Names) -> Column[str]:
    label_of = Column(images, numbers(len(images)), [one.path for one in files])
    for number, one in enumerate(files, 1):
        for place in one.images if one.is_annotated else ():
            label_of.codes[place] = label_of.codes[place] or number
    return label_of


def _file_splits(files: Sequence[_File], images: Names) -> Column[Split]:
    found = Column(images, bytearray(len(images)), PRECEDENCE)
    for one in files:
        split = split_of_file(one.path)
        code = PRECEDENCE.index(split) + 1 if split else 0
        for place in one.images if split else ():
            found.codes[place] = min(filter(None, (code, found.codes[place])))
    return found


def _labels(files: Sequence[_File]) -> list[LabelSpec]:
    found: dict[str, Category] = {}
    for one in files:
        left = groups(one.categories, one.used.keys())
        for category in one.categories:
            if category.id not in left:
                found.setdefault(category.name, category)
    return [LabelSpec(one.name, color(index), one.id, one.supercategory) for index, one in enumerate(found.values())]


def _mask_names(files: Sequence[_File], tree: Tree) -> frozenset[str]:
    wanted = {base_of(name) for one in files for name in one.masks}
    described = {tree.images[place] for one in files for place in one.images} if wanted else set()
    return frozenset(name for name in tree.pictures if base_of(name) in wanted and name not in described)


def _doubts(files: Sequence[_File]) -> Iterator[Doubt]:
    bare = [one for one in files if one.records and not one.is_annotated]
    if bare:
        count = sum(one.records for one in bare)
        message = f"{bare[0].path} lists images and no annotations: they count as not annotated"
        yield Doubt("NO_ANNOTATIONS", message, "leave the file out if they are to be labelled", count, bare[0].path)
    empty = [one for one in files if one.records and one.is_annotated and not one.objects and not one.broken]
    if empty:
        count = sum(one.records for one in empty)
        message = f"{empty[0].path} lists images and not one object: they count as annotated and empty"
        yield Doubt("NO_OBJECTS", message, "leave the file out if they are to be labelled", count, empty[0].path)


def _about_records(files: Sequence[_File]) -> Iterator[Doubt]:
    """What the reader will not be able to use, as far as it is known before images are looked at."""
    sound = [one for one in files if one.is_annotated and not one.broken]
    missing = {one.path: one.missing for one in sound}
    yield from _told("MISSING_IMAGE", missing, "images that COCO files list are not there", "add the images")
    ambiguous = {one.path: one.ambiguous for one in sound}
    hint = "give the images different names"
    yield from _told("AMBIGUOUS_IMAGE", ambiguous, "images that COCO files list may be several", hint)
    repeated = {one.path: one.repeated for one in sound}
    message = "categories have the id of another one of their file, which is taken"
    yield from _told("DUPLICATE_ID", repeated, message, "give each category its own")
    if fractions := [one for one in sound if one.objects and one.only_fractions]:
        message = "boxes look like fractions of their image's sides, and COCO counts pixels"
        hint = "multiply them by the sides, or save them as YOLO"
        yield Doubt("NOT_PIXELS", message, hint, sum(one.objects for one in fractions), fractions[0].path)
    unknown = {one.path: one.unknown for one in sound}
    message = "annotations are of categories that their file does not list"
    yield from _told("UNKNOWN_CLASS", unknown, message, "add the categories, or correct the ids")


def _told(code: str, found: Mapping[str, Mapping[str, int]], message: str, hint: str) -> Iterator[Doubt]:
    """One doubt about names or ids, which are counted by file."""
    first = next((f"{path}: {name or 'none':.200}" for path, names in found.items() for name in names), "")
    if first:
        yield Doubt(code, message, hint, sum(sum(names.values()) for names in found.values()), first)
