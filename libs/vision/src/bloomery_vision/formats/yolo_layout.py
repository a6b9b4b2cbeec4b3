"""Which image is in which split, and which label file is whose, in a YOLO folder.

A `data.yaml` names for each split a folder, a list file, or several of them, often with the paths of another machine:
the longest end of such a path that exists here is meant. Without it the folders' names say the split.
"""

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import cast

import yaml

from bloomery_vision.formats.cleaning import read_small
from bloomery_vision.formats.lookup import AmbiguousNameError, NameIndex, is_image, split_of, split_word
from bloomery_vision.formats.model import FormatError, Split
from bloomery_vision.formats.source import Source

_SPLIT_KEYS: tuple[Split, ...] = ("train", "val", "test")
"""An image in several splits belongs to the first, as where `val` repeats `train`."""

_CLASS_FILES = frozenset({"classes.txt", "obj.names", "class_names.txt"})
_CONFIG_HINT = "data.yaml needs names: a list of labels, or a mapping from class number to label"


@dataclass(frozen=True, slots=True)
class Layout:
    """A YOLO folder, understood.

    `names` are the labels by class number, None where nothing lists them. `label_of` gives the label file of an image,
    `orphans` are label files without one. `keypoints` is how many numbers of a line describe keypoints.
    """

    names: Mapping[int, str] | None = None
    splits: Mapping[str, Split] = field(default_factory=dict)
    label_of: Mapping[str, str] = field(default_factory=dict)
    orphans: tuple[str, ...] = ()
    keypoints: int = 0

    def split(self, image: str) -> Split | None:
        """The split of an image."""
        return self.splits.get(image) if self.splits else split_of(image)


def understand(source: Source) -> Layout:
    """The layout of a source.

    Raises:
        FormatError: BROKEN_CONFIG where a file names the labels and cannot be used; FILE_TOO_LARGE, UNREADABLE.
    """
    names = source.names()
    images = list(filter(is_image, names))
    labels = label_files(names)
    label_of = _pairs(images, labels)
    orphans = tuple(sorted(set(labels) - set(label_of.values())))
    config = find_config(source)
    if config is None:
        return Layout(_from_class_file(source, names), {}, label_of, orphans)
    content = _load(source, config)
    splits = _Resolver(source, config, names, images).splits(content)
    return Layout(_class_names(content["names"]), splits, label_of, orphans, _keypoints(content.get("kpt_shape")))


def label_files(names: Sequence[str]) -> list[str]:
    """The text files that stand in a folder `labels` or beside an image of the same name."""
    stems = {posixpath.splitext(name)[0] for name in names if is_image(name)}
    return [name for name in names if name.lower().endswith(".txt") and _is_label(name, stems)]


def find_config(source: Source) -> str | None:
    """The YAML file that names the labels, the one nearest to the root where there are several."""
    files = [name for name in source.names() if name.lower().endswith((".yaml", ".yml"))]
    for name in sorted(files, key=lambda name: (name.count("/"), not name.endswith("data.yaml"), name)):
        if "names" in _load(source, name):
            return name
    return None


def folder_class(image: str) -> str | None:
    """The label of an image that lies in `<split>/<label>/`, as classification data does."""
    parts = PurePosixPath(image).parts
    if len(parts) < 3 or not split_word(parts[-3]) or parts[-2].lower() == "images":
        return None
    return parts[-2]


def _is_label(name: str, image_stems: set[str]) -> bool:
    path = PurePosixPath(name)
    if path.name.lower() in _CLASS_FILES:
        return False
    return "labels" in (part.lower() for part in path.parts[:-1]) or posixpath.splitext(name)[0] in image_stems


def _pairs(images: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """First by the folders' convention, then what is left by a stem that is unique on both sides."""
    by_place = {posixpath.splitext(name)[0].lower(): name for name in labels}
    pairs = {image: by_place[place] for image in images for place in _places(image) if place in by_place}
    free_images, free_labels = set(images) - pairs.keys(), set(labels) - set(pairs.values())
    by_stem = _unique_stems(free_labels)
    found = {image: by_stem[stem] for stem, image in _unique_stems(free_images).items() if stem in by_stem}
    return pairs | found


def _places(image: str) -> Iterator[str]:
    stem = posixpath.splitext(image)[0].lower()
    yield stem
    before, found, behind = f"/{stem}".rpartition("/images/")
    if found:
        yield f"{before}/labels/{behind}".removeprefix("/")


def _unique_stems(names: Iterable[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(PurePosixPath(name).stem.lower(), []).append(name)
    return {stem: members[0] for stem, members in found.items() if len(members) == 1}


def _load(source: Source, name: str) -> Mapping[str, object]:
    try:
        content = yaml.safe_load(read_small(source, name))
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        raise FormatError("BROKEN_CONFIG", f"{name} cannot be read: {problem}", "write valid YAML") from problem
    return cast("Mapping[str, object]", content) if isinstance(content, dict) else {}


def _class_names(names: object) -> Mapping[int, str]:
    entries = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, list) else ()
    found = {number: str(label).strip() for number, label in entries if isinstance(label, str | int | float)}
    if not found or not all(isinstance(number, int) for number in found) or not all(found.values()):
        raise FormatError("BROKEN_CONFIG", "its names are not a list of labels", _CONFIG_HINT)
    return found


def _from_class_file(source: Source, names: Sequence[str]) -> Mapping[int, str] | None:
    name = next((name for name in names if PurePosixPath(name).name.lower() in _CLASS_FILES), None)
    if name is None:
        return None
    lines = read_small(source, name).decode("utf-8-sig", "replace").splitlines()
    return {number: line.strip() for number, line in enumerate(lines) if line.strip()}


def _keypoints(shape: object) -> int:
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(side, int) for side in shape):
        return int(shape[0] * shape[1])
    return 0


class _Resolver:
    """Finds the images that a configuration file puts in each split."""

    def __init__(self, source: Source, config: str, names: Sequence[str], images: Sequence[str]) -> None:
        self._source, self._base = source, posixpath.dirname(config)
        self._names, self._images = set(names), images
        self._index = NameIndex(images)
        self._folders = {str(folder) for image in images for folder in PurePosixPath(image).parents}

    def splits(self, content: Mapping[str, object]) -> dict[str, Split]:
        root = content.get("path")
        found: dict[str, Split] = {}
        for split in _SPLIT_KEYS:
            values = content.get(split)
            for value in values if isinstance(values, list) else [values]:
                if isinstance(value, str):
                    for image in self._members(value, root if isinstance(root, str) else ""):
                        found.setdefault(image, split)
        return found

    def _members(self, value: str, root: str) -> Iterator[str]:
        known = self._names if value.endswith(".txt") else self._folders
        place = next((end for end in self._ends(f"{root}/{value}") if end in known), None)
        if place in self._names:
            yield from self._listed(place)
        elif place is not None:
            prefix = "" if place == "." else f"{place}/"
            yield from (image for image in self._images if image.startswith(prefix))

    def _ends(self, path: str) -> Iterator[str]:
        parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        for start in range(len(parts) or 1):
            for base in (self._base, ""):
                yield posixpath.normpath(posixpath.join(base, *parts[start:]))

    def _listed(self, name: str) -> Iterator[str]:
        for line in read_small(self._source, name).decode("utf-8-sig", "replace").splitlines():
            wanted = posixpath.normpath(line.strip())
            try:
                found = self._index.find(wanted, near=name) if wanted != "." else None
            except AmbiguousNameError:
                continue
            if found:
                yield found
