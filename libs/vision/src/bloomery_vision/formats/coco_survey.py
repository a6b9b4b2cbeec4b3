"""What a COCO file holds, as far as a plan needs it."""

import re
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from typing import BinaryIO

from bloomery_vision.formats.coco_objects import KNOWN_KEYS, Record, as_records, is_attribute, key_of, not_kept
from bloomery_vision.formats.json_stream import read_arrays
from bloomery_vision.formats.lookup import AmbiguousNameError, NameIndex
from bloomery_vision.formats.model import FormatError
from bloomery_vision.formats.names import base_of, nfc
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.texts import read_start

KEYS = frozenset({"images", "annotations", "categories"})
_LOOKS_LIKE_COCO = re.compile(r'^\s*\{.*"(images|annotations|categories)"\s*:\s*[\[n]', re.DOTALL)
_IMAGE_LIST = "image_info"
_OTHER_KINDS = ("captions", _IMAGE_LIST, "person_keypoints", "panoptic", "stuff")
"""Beginnings of the names of files that say in other words what an `instances` file beside them says."""
_HEAD = 1 << 16
_ATTRIBUTES = frozenset({"attributes", "score"})


@dataclass(frozen=True, slots=True)
class Category:
    """A category as a file lists it."""

    id: str
    name: str
    supercategory: str


@dataclass
class File:
    """What a file turned out to hold.

    `repeated` counts categories whose id another one has, by it; the first is taken. `only_fractions` says that no box
    has a side above 1, `only_tags` that annotations have nothing but a category. `dropped` counts the annotations in
    which something is said that is not read, by its key.

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
    dropped: Counter[str] = field(default_factory=Counter)
    only_fractions: bool = True
    only_tags: bool = True

    @property
    def is_annotated(self) -> bool:
        """Whether its images count as annotated, be it as empty."""
        return "annotations" in self.arrays and not (self.objects == 0 and kind_of(self.path) == _IMAGE_LIST)

    @property
    def unknown(self) -> Mapping[str, int]:
        """How many annotations are of categories that it does not list, by their ids."""
        known = {one.id for one in self.categories}
        return {identifier: count for identifier, count in self.used.items() if identifier not in known}

    def add(self, key: str, records: Sequence[Record], index: NameIndex) -> None:
        """Note what some records of an array say."""
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
                self._add_dropped(records)
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

    def _add_dropped(self, records: Sequence[Record]) -> None:
        # One set of all is made in a tenth of the time that it takes to look at each.
        keys = set[str]().union(*records)
        if keys & _ATTRIBUTES:
            self.dropped.update(chain.from_iterable(map(not_kept, records)))
        if further := keys - KNOWN_KEYS:
            for record in records:
                self.dropped.update(
                    key for key in record.keys() & further if record[key] and not is_attribute(key, record[key])
                )

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


def looks_like_coco(source: Source, name: str) -> bool:
    """Whether a file begins as COCO does, or is empty."""
    try:
        head = read_start(source, name, _HEAD)
    except FormatError:
        return False
    # An empty file beside others has lost what it held.
    return not head.strip() or bool(_LOOKS_LIKE_COCO.search(head))


def survey(source: Source, name: str, index: NameIndex) -> File:
    """Read a file once."""
    found = File(name)
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


def _read(stream: BinaryIO, found: File, index: NameIndex) -> None:
    for key, elements in read_arrays(stream, KEYS, arrays=found.arrays):
        found.add(key, as_records(elements), index)


def as_category(record: Record) -> Category | None:
    """A category's record; None without an id or a name. A number is its own name."""
    identifier, label = key_of(record.get("id")), record.get("name")
    name = nfc(str(label).strip()) if isinstance(label, str | int | float) else ""
    parent = record.get("supercategory")
    return Category(identifier, name, parent if isinstance(parent, str) else "") if identifier and name else None


def kind_of(path: str) -> str | None:
    """Of what a file is by its name, if it is of something else than instances."""
    return next((kind for kind in _OTHER_KINDS if base_of(path).lower().startswith(kind)), None)


def _is_tag(record: Record) -> bool:
    return "category_id" in record and not record.keys() & {"bbox", "segmentation"}


def _is_fraction(record: Record) -> bool:
    """Whether the box of an annotation is one that has less than two pixels of any image."""
    box = record.get("bbox")
    return (
        isinstance(box, list) and len(box) == 4 and all(isinstance(one, int | float) and 0 <= one <= 1 for one in box)
    )
