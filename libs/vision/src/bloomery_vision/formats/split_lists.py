"""Which split each image is in, as files of a folder say it: configurations and lists of names.

A list's line is a whole name, with folders or without, with its ending or without; behind it may stand the -1, 0 or 1
of Pascal VOC's lists for one class. A configuration names for each split a folder, a list, or several of them, often
with the paths of another machine: the longest end of such a path that exists here is meant.
"""

import posixpath
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bloomery_vision.formats.lookup import AmbiguousNameError
from bloomery_vision.formats.model import FormatError, Split
from bloomery_vision.formats.names import base_of, fold, folder_of, split_suffix, upwards
from bloomery_vision.formats.packed import NO_NAMES, Names
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.split_words import SPLIT_WORDS, split_word
from bloomery_vision.formats.stems import Stems
from bloomery_vision.formats.texts import read_lines
from bloomery_vision.formats.tree import Listed, Tree
from bloomery_vision.formats.yaml_files import Config

PRECEDENCE: tuple[Split, ...] = ("train", "val", "test")
"""An image in several splits belongs to the first of these, so that nothing is tested that was trained on."""

_FIRST: tuple[Split | None, ...] = (
    None,
    *(next(split for at, split in enumerate(PRECEDENCE) if bits >> at & 1) for bits in range(1, 1 << len(PRECEDENCE))),
)
"""The split of an image by the bits of those that it is in."""

_LIST_FOLDERS = ("main", "imagesets", "segmentation", "layout", "action")
"""Where Pascal VOC keeps its lists, the most telling first; others count as less telling than all of them."""

_FLAGS = ("-1", "0", "1")


@dataclass(frozen=True, slots=True)
class SplitList:
    """A place that puts images in a split: a list, or a path in a configuration (`data.yaml: images/va`)."""

    path: str
    split: Split
    images: int


@dataclass
class Splits:
    """What was found: the splits of each image; names that fit no image, or several, and why files are broken."""

    images: Names = field(default_factory=lambda: NO_NAMES)
    lists: list[SplitList] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    undecided: list[tuple[str, str]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    _roots: defaultdict[str, set[Split]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        # A bit for each split that an image is in.
        self._bits = bytearray(len(self.images))

    def add(self, path: str, split: Split, places: Sequence[int], *, root: str, fills: bool = False) -> None:
        """Notes that a file puts images, told by their places, in a split; `root` is the folder that it is about.

        One that only `fills` says nothing of images that are in a split already.
        """
        bit = 1 << PRECEDENCE.index(split)
        for place in places:
            if not (fills and self._bits[place]):
                self._bits[place] |= bit
        if places:
            self._roots[root].add(split)
        self.lists.append(SplitList(path, split, len(places)))

    def get(self, image: str) -> Split | None:
        """The split that the files put an image in."""
        place = self.images.place(image) if self._roots else None
        return None if place is None else _FIRST[self._bits[place]]

    def __contains__(self, image: object) -> bool:
        return isinstance(image, str) and self.get(image) is not None

    def decided_for(self, folder: str, split: Split) -> bool:
        """Whether files say which images of a folder are in that split, so that its name no longer does."""
        return any(
            split in splits and (not root or f"{folder}/".startswith(f"{root}/"))
            for root, splits in self._roots.items()
        )

    @cached_property
    def conflicts(self) -> Names:
        """The images in several splits."""
        return self.images.flagged(bytearray(bits.bit_count() > 1 for bits in self._bits))


class SplitReader:
    """Collects the splits of a tree from the files that it is shown."""

    def __init__(self, source: Source, tree: Tree) -> None:
        self._source, self._tree = source, tree
        self.found = Splits(tree.images)
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
        members = {name: self._members(name) for name in _plain_first(names)}
        found = any(members.values())
        if not (found or told):
            return False
        self.used.update(name for name in members if told or members[name])
        for name in sorted(members, key=_is_union):
            if told or members[name]:
                split = _split_of_list(name) or "train"
                self.found.add(name, split, members[name], root=_root(name), fills=_is_union(name))
        return found

    def _members(self, name: str) -> Sequence[int]:
        """The places of a list's images."""
        if (listed := self._tree.listed.get(name)) is None:
            listed = self._tree.listed[name] = self._listed(name)
        self.found.missing += ((line, name) for line in listed.missing)
        self.found.undecided += ((line, name) for line in listed.undecided)
        self.found.broken += ((name, why) for why in listed.broken)
        return listed.images

    def _listed(self, name: str) -> Listed:
        found = Listed()
        try:
            for line in filter(None, read_lines(self._source, name)):
                self._look_up(line, name, found)
        except FormatError as problem:
            found.broken.append(problem.message)
        return found

    def _look_up(self, line: str, near: str, found: Listed) -> None:
        index = self._tree.index
        try:
            image = next((one for spelling in _readings(line) if (one := index.find(spelling, near=near))), None)
        except AmbiguousNameError:
            found.undecided.append(line)
            return
        if image:
            found.images.append(self._tree.images.numbered(image))
        else:
            found.missing.append(line)

    def _path(self, config: str, split: Split, value: str, root: str) -> None:
        is_list = split_suffix(base_of(value))[1] == ".txt"
        known = self._texts_called(value) if is_list else self._folders
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

    @cached_property
    def _folders(self) -> Mapping[str, str]:
        return _by_spelling(_all_folders(self._tree.images))

    def _texts_called(self, value: str) -> Mapping[str, str]:
        stem = split_suffix(fold(base_of(value.replace("\\", "/"))))[0]
        texts = self._texts
        return _by_spelling(texts.names[place] for place in texts.places(stem))

    @cached_property
    def _texts(self) -> Stems:
        return Stems(self._tree.ending(".txt"))


def _readings(line: str) -> Iterator[str]:
    """What a line may mean, the whole of it first."""
    yield line
    *before, last = line.rsplit(maxsplit=1) or [""]
    bare = before[0] if before and last in _FLAGS else line
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


def _below(images: Names, prefix: str) -> range:
    """The places of the images whose names begin so."""
    start = bisect_left(images, prefix)
    # What follows the slash that a prefix ends in.
    return range(start, bisect_left(images, f"{prefix[:-1]}0", start) if prefix else len(images))


def _all_folders(names: Iterable[str]) -> frozenset[str]:
    found = {"."}
    for folder in {folder_of(name) for name in names}:
        found.update(upwards(folder))
    return frozenset(found - {""})
