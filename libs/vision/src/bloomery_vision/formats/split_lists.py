"""Which split each image is in, as files of a folder say it: configurations and lists of names.

A list's line is a whole name, with folders or without, with its ending or without; behind it may stand the -1, 0 or 1
of Pascal VOC's lists for one class. A configuration names for each split a folder, a list, or several of them, often
with the paths of another machine: the longest end of such a path that exists here is meant.
"""

import posixpath
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bloomery_vision.formats.lookup import AmbiguousNameError
from bloomery_vision.formats.model import FormatError, Split
from bloomery_vision.formats.names import base_of, fold, folder_of, split_suffix, upwards
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.split_words import SPLIT_WORDS, split_word
from bloomery_vision.formats.texts import read_lines
from bloomery_vision.formats.tree import Tree
from bloomery_vision.formats.yaml_files import Config

PRECEDENCE: tuple[Split, ...] = ("train", "val", "test")
"""An image in several splits belongs to the first of these, so that nothing is tested that was trained on."""

_LIST_FOLDERS = ("main", "imagesets", "segmentation", "layout", "action")
"""Where Pascal VOC keeps its lists, the most telling first; others count as less telling than all of them."""

_FLAG = re.compile(r"\s+(-1|0|1)$")


@dataclass(frozen=True, slots=True)
class SplitList:
    """A place that puts images in a split: a list, or a path in a configuration (`data.yaml: images/va`)."""

    path: str
    split: Split
    images: int


@dataclass
class Splits:
    """What was found: the splits of each image; names that fit no image, or several, and why files are broken."""

    of: defaultdict[str, set[Split]] = field(default_factory=lambda: defaultdict(set))
    lists: list[SplitList] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    undecided: list[tuple[str, str]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    _roots: defaultdict[str, set[Split]] = field(default_factory=lambda: defaultdict(set))

    def add(self, path: str, split: Split, images: Iterable[str], *, root: str, fills: bool = False) -> None:
        """Notes that a file puts images in a split; `root` is the folder of the set that it is about.

        One that only `fills` says nothing of images that are in a split already.
        """
        members = list(images)
        for image in members:
            if not (fills and image in self.of):
                self.of[image].add(split)
        if members:
            self._roots[root].add(split)
        self.lists.append(SplitList(path, split, len(members)))

    def get(self, image: str) -> Split | None:
        """The split that the files put an image in."""
        named = self.of.get(image, ())
        return next((split for split in PRECEDENCE if split in named), None)

    def decided_for(self, folder: str, split: Split) -> bool:
        """Whether files say which images of a folder are in that split, so that its name no longer does."""
        return any(
            split in splits and (not root or f"{folder}/".startswith(f"{root}/"))
            for root, splits in self._roots.items()
        )

    @cached_property
    def conflicts(self) -> list[str]:
        """The images in several splits."""
        return sorted(image for image, named in self.of.items() if len(named) > 1)


class SplitReader:
    """Collects the splits of a tree from the files that it is shown."""

    def __init__(self, source: Source, tree: Tree) -> None:
        self._source, self._tree = source, tree
        self._folders = _by_spelling(_all_folders(tree.images))
        self._texts = _by_spelling(tree.ending(".txt"))
        self.found = Splits()
        self.used: set[str] = set()

    def read_config(self, name: str, content: Config) -> None:
        """The splits of a configuration."""
        root = content.get("path")
        for key, value in content.items():
            split = SPLIT_WORDS.get(str(key).lower())
            for one in value if isinstance(value, list) else [value]:
                if split and isinstance(one, str) and one:
                    self._path(name, split, one, root if isinstance(root, str) else "")

    def read_lists(self, names: Sequence[str]) -> None:
        """The splits of lists that no configuration names: of those in the most telling folder."""
        groups: defaultdict[int, list[str]] = defaultdict(list)
        for name in names:
            if name not in self.used and _split_of_list(name):
                groups[_rank(name)].append(name)
        for rank in sorted(groups):
            if self._group(groups[rank], told=rank < len(_LIST_FOLDERS)):
                return

    def _group(self, names: Sequence[str], *, told: bool) -> bool:
        members = {name: list(self._members(name)) for name in _plain_first(names)}
        found = any(members.values())
        if not (found or told):
            return False
        self.used.update(name for name in members if told or members[name])
        for name in sorted(members, key=_is_union):
            if told or members[name]:
                split = _split_of_list(name) or "train"
                self.found.add(name, split, members[name], root=_root(name), fills=_is_union(name))
        return found

    def _members(self, name: str) -> Iterator[str]:
        try:
            lines = read_lines(self._source, name)
        except FormatError as problem:
            self.found.broken.append((name, problem.message))
            return
        for line in lines:
            if line and (image := self._image(line, name)):
                yield image

    def _image(self, line: str, near: str) -> str | None:
        try:
            for spelling in _readings(line):
                if image := self._tree.index.find(spelling, near=near):
                    return image
        except AmbiguousNameError:
            self.found.undecided.append((line, near))
        else:
            self.found.missing.append((line, near))
        return None

    def _path(self, config: str, split: Split, value: str, root: str) -> None:
        is_list = split_suffix(base_of(value))[1] == ".txt"
        known = self._texts if is_list else self._folders
        ends = (end for path in _ends(f"{root}/{value}", folder_of(config)) for end in (path, fold(path)))
        place = next((known[end] for end in ends if end in known), None)
        if place is None:
            self.found.lists.append(SplitList(f"{config}: {value}", split, 0))
        elif is_list:
            self.used.add(place)
            self.found.add(place, split, self._members(place), root=folder_of(config))
        else:
            images = _below(self._tree.images, "" if place == "." else f"{place}/")
            self.found.add(f"{config}: {value}", split, images, root=folder_of(config))


def _readings(line: str) -> Iterator[str]:
    """What a line may mean, the whole of it first."""
    yield line
    bare = _FLAG.sub("", line)
    if bare != line:
        yield bare
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        yield bare[1:-1]
    if (words := line.split()) and words[0] not in (line, bare):
        yield words[0]


def _split_of_list(name: str) -> Split | None:
    stem = split_suffix(base_of(name))[0]
    return split_word(stem) or (split_word(stem.rpartition("_")[2]) if _rank(name) < len(_LIST_FOLDERS) else None)


def _plain_first(names: Sequence[str]) -> Iterator[str]:
    """The lists of all images; those of one class only for a split that has none of all."""
    plain = [name for name in names if split_word(split_suffix(base_of(name))[0])]
    splits = {(folder_of(name), _split_of_list(name)) for name in plain}
    yield from plain
    yield from (name for name in names if name not in plain and (folder_of(name), _split_of_list(name)) not in splits)


def _rank(name: str) -> int:
    folder = base_of(folder_of(name)).lower()
    return _LIST_FOLDERS.index(folder) if folder in _LIST_FOLDERS else len(_LIST_FOLDERS)


def _root(name: str) -> str:
    head, found, _ = f"/{name}".lower().rpartition("/imagesets/")
    return name[: len(head)].strip("/") if found else folder_of(name)


def _is_union(name: str) -> bool:
    return split_suffix(base_of(name))[0].lower().endswith("trainval")


def _ends(path: str, base: str) -> Iterator[str]:
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for start in range(len(parts) or 1):
        for folder in (base, ""):
            yield posixpath.normpath(posixpath.join(folder, *parts[start:]))


def _by_spelling(paths: Iterable[str]) -> dict[str, str]:
    """The paths by themselves, and by what all spellings of them share."""
    known = {path: path for path in paths}
    return {fold(path): path for path in known} | known


def _below(images: Sequence[str], prefix: str) -> Iterator[str]:
    for at in range(bisect_left(images, prefix), len(images)):
        if not images[at].startswith(prefix):
            return
        yield images[at]


def _all_folders(names: Iterable[str]) -> frozenset[str]:
    found = {"."}
    for folder in {folder_of(name) for name in names}:
        found.update(upwards(folder))
    return frozenset(found - {""})
