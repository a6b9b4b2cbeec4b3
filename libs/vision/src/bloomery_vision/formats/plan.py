"""What a folder is understood to be, before anything of it is imported.

A plan is made from the names of all files and from the small files that speak of others. It can be shown and stored;
the readers follow it. Made again from the same files, it is the same.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import filterfalse, takewhile
from typing import TypeVar

from bloomery_vision.findings import Finding
from bloomery_vision.formats.class_lists import ClassList
from bloomery_vision.formats.model import Format, LabelSpec, Split
from bloomery_vision.formats.split_lists import SplitList

T = TypeVar("T")
_NAME_BYTES = 16
"""What a name takes beside its text, at most."""


class Left(StrEnum):
    """Why a file is left alone."""

    MASK = "mask"
    """A picture that shows where objects are on another one. Mask pictures are not read."""
    PICTURE_NOT_READ = "picture_not_read"
    """A picture in a file format that is not read."""
    VIDEO = "video"
    """A film. Single frames have to be saved from it."""
    OTHER_FORMAT = "other_format"
    """Labels in a format that is not read, or not the one that was chosen."""
    OTHER_KIND = "other_kind"
    """A COCO file of captions, keypoints or the like beside one of instances."""
    NOT_LABELS = "not_labels"
    """A text, XML, JSON or YAML file that says nothing about the images."""
    OTHER = "other"
    """A file of any other kind."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that the importer is not sure of, or that was left out: `count` times.

    The `message` reads well behind the count: of several things, and without a number of them. The `example` is a file,
    or what one says behind a colon.
    """

    code: str
    message: str
    hint: str
    count: int
    example: str


def no_split(count: int, example: str) -> Doubt:
    """The doubt about images that are in no split."""
    message = "images are in no split while others are in one"
    return Doubt("NO_SPLIT", message, "add them to a list, or choose a split when you build", count, example)


def split_conflict(count: int, example: str) -> Doubt:
    """The doubt about images that are in several splits."""
    message = "images are in several splits; the first of train, val, test is taken"
    return Doubt("SPLIT_CONFLICT", message, "leave each in one", count, example)


@dataclass(frozen=True, slots=True)
class YoloRows:
    """How the lines of YOLO label files are to be read.

    `keypoints` is how many numbers of a line describe keypoints; `scores` says that a score stands at the end of each
    line, and a track behind it where there is one number more; `ranks` that a line is a score and the name of a class,
    as classifiers' predictions are, best first.
    """

    keypoints: int = 0
    scores: bool = False
    ranks: bool = False


PLAIN_ROWS = YoloRows()
"""Boxes and outlines only."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A folder, understood.

    Each file is exactly one of `images`, `label_files`, `lists` and `left`.

    Attributes:
        format: the format of the label files, `images` where there are none.
        images: the pictures to import, in order.
        label_files: the files that label images, in order.
        lists: the files that name classes or splits, or both.
        left: the files that are left alone, with the reason.
        label_of: the label file of each image that has one; of several COCO files the first.
        more_labels: further label files of an image, each in a file of its own (Pascal VOC).
        unplaced: why a label file has no image, by label file.
        splits: the split of each image that has one.
        without_place: how many of `images` will be no image of their own: copies, and those that cannot be used. None
            of them is in `splits`.
        split_lists: the places that the splits come from.
        class_lists: the lists of class names that are used.
        class_list_of: the list of each folder of label files, as an index into `class_lists`.
        labels: the classes in the order of the files, also those without objects.
        pixel_origin: the number of the first pixel, 0 or 1, in Pascal VOC's corners.
        rows: how YOLO's lines are to be read.
        doubts: what somebody should look at, each kind once.
        stops: why the folder cannot be imported as it is.
    """

    format: Format
    images: Sequence[str] = ()
    label_files: Sequence[str] = ()
    lists: Sequence[str] = ()
    left: Mapping[str, Left] = field(default_factory=dict)
    label_of: Mapping[str, str] = field(default_factory=dict)
    more_labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unplaced: Mapping[str, Finding] = field(default_factory=dict)
    splits: Mapping[str, Split] = field(default_factory=dict)
    without_place: int = 0
    split_lists: Sequence[SplitList] = ()
    class_lists: Sequence[ClassList] = ()
    class_list_of: Mapping[str, int] = field(default_factory=dict)
    labels: Sequence[LabelSpec] = ()
    pixel_origin: int = 1
    rows: YoloRows = PLAIN_ROWS
    doubts: Sequence[Doubt] = ()
    stops: Sequence[Finding] = ()

    def names(self, label_file: str) -> Mapping[int, str] | None:
        """The class names by class number that apply to a label file; None where there are none."""
        number = self.class_list_of.get(label_file.rpartition("/")[0])
        return None if number is None else self.class_lists[number].names

    def to_json(self, *, limit: int | None = None) -> dict[str, object]:
        """The plan as JSON values; each list is cut after `limit` bytes of names, and always counted."""
        return {
            "image_count": len(self.images),
            "labelled_count": len(self.label_of),
            "unlabelled": _some(filterfalse(self.label_of.__contains__, self.images), limit),
            "label_file_count": len(self.label_files),
            "without_image": _some(self.unplaced, limit),
            "lists": _some(self.lists, limit),
            "left": [
                {
                    "reason": reason.value,
                    "files": _some((name for name, why in self.left.items() if why is reason), limit),
                }
                for reason in sorted(set(self.left.values()))
            ],
            "class_lists": self._class_lists(_Room(limit)),
            "class_list_count": len(self.class_lists),
            "classes": [
                {"name": one.name, "source_id": one.source_id, "supercategory": one.supercategory}
                for one in _cut(self.labels, limit, lambda one: (one.name, one.source_id, one.supercategory))
            ],
            "class_count": len(self.labels),
            "split_lists": [
                {"path": one.path, "split": one.split, "image_count": one.images}
                for one in _cut(self.split_lists, limit, lambda one: (one.path, one.split))
            ],
            "split_list_count": len(self.split_lists),
            "split_counts": dict(sorted(Counter(self.splits.values()).items())),
            "without_split_count": len(self.images) - self.without_place - len(self.splits),
            "doubts": [asdict(doubt) for doubt in self.doubts],
            "stops": [
                {"code": one.code, "message": one.message, "hint": one.hint, "path": one.path}
                for one in _cut(self.stops, limit, lambda one: (one.message, one.hint, one.path))
            ],
            "stop_count": len(self.stops),
            "first_pixel": self.pixel_origin,
            "scores": self.rows.scores,
            "keypoint_numbers": self.rows.keypoints,
        }

    def _class_lists(self, room: "_Room") -> list[dict[str, object]]:
        folders: list[list[str]] = [[] for _ in self.class_lists]
        for folder, number in self.class_list_of.items():
            folders[number].append(folder)
        return [
            {
                "path": one.path,
                "names": {str(key): name for key, name in one.names.items() if room.holds(name)},
                "name_count": len(one.names),
                "folders": list(filter(room.holds, used_by)),
                "folder_count": len(used_by),
            }
            for one, used_by in zip(self.class_lists, folders, strict=True)
            if room.holds(one.path)
        ]


class _Room:
    """The bytes that the names of a list may have; behind the first that has no room, none has."""

    def __init__(self, limit: int | None) -> None:
        self._left = float("inf") if limit is None else limit

    def holds(self, *names: str) -> bool:
        """Take the bytes of some names, if they are there."""
        self._left -= sum(len(name.encode("utf-8", "replace")) + _NAME_BYTES for name in names)
        return self._left >= 0


def _cut(values: Iterable[T], limit: int | None, names: Callable[[T], Iterable[str]]) -> Iterator[T]:
    room = _Room(limit)
    return takewhile(lambda value: room.holds(*names(value)), values)


def _some(names: Iterable[str], limit: int | None) -> dict[str, object]:
    """The names that have room, and how many there are."""
    room, left, paths = _Room(limit), 0, list[str]()
    for name in names:
        if room.holds(name):
            paths.append(name)
        else:
            left += 1
    return {"count": len(paths) + left, "paths": paths}
