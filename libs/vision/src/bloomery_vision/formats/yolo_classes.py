"""The class lists of a YOLO folder, and which of them applies to which label files."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from bloomery_vision.findings import Finding, error
from bloomery_vision.formats.class_lists import (
    ClassList,
    ContradictionError,
    is_firm,
    names_of_config,
    nearest,
    read_list,
    studio_list,
    text_lists,
)
from bloomery_vision.formats.model import FormatError
from bloomery_vision.formats.names import base_of, folder_of, upwards
from bloomery_vision.formats.plan import Doubt
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.tree import Tree
from bloomery_vision.formats.yaml_files import Config, is_about_data, read_config, read_keys
from bloomery_vision.formats.yolo_files import Text, look_at

_DARKNET_KEYS = frozenset({"names", "train", "valid"})
_SIDE = re.compile(r"\d{1,9}")
_MANY_KEYPOINTS = 1 << 16
"""Numbers of a line that no configuration means."""


@dataclass
class Classes:
    """What names classes in a folder: `configs` by path, all `lists`, and the files that should and cannot be read.

    `without_names` are called like lists and are something else.
    """

    configs: dict[str, Config] = field(default_factory=dict)
    lists: list[ClassList] = field(default_factory=list)
    broken: dict[str, FormatError] = field(default_factory=dict)
    without_names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, source: Source, tree: Tree) -> "Classes":
        """Reads them, those near the root first."""
        found = cls()
        for name in sorted(tree.ending(".yaml", ".yml"), key=_depth):
            found.read_yaml(source, name)
        for name in sorted(tree.ending(".data"), key=_depth):
            found.read_darknet(source, name)
        for name in text_lists(tree):
            found.read_text(source, name)
        found.lists += studio_list(source, tree)
        if not (found.lists or found.broken):
            found.lists += found.stray_lists(source, tree)
        return found

    def read_yaml(self, source: Source, name: str) -> None:
        """Reads a configuration, if it is one."""
        try:
            if (content := read_config(source, name)) and is_about_data(name, content):
                if listed := names_of_config(name, content):
                    self.lists.append(listed)
                self.configs[name] = content
        except FormatError as problem:
            self.broken[name] = problem

    def stray_lists(self, source: Source, tree: Tree) -> Iterator[ClassList]:
        """The names in YAML files that say nothing else of a data set: any program may write such a key."""
        for name in sorted(set(tree.ending(".yaml", ".yml")) - self.configs.keys(), key=_depth):
            with suppress(FormatError):
                if (content := read_config(source, name)) and (listed := names_of_config(name, content)):
                    yield listed

    def read_darknet(self, source: Source, name: str) -> None:
        """Reads a Darknet file of keys, if it is one."""
        try:
            content = read_keys(source, name)
        except FormatError:
            return
        if _DARKNET_KEYS & content.keys():
            self.configs[name] = content

    def read_text(self, source: Source, name: str) -> None:
        """Reads a list, if it is one."""
        if name.lower().endswith(".txt") and look_at(source, name) is Text.YOLO:
            return
        try:
            found = read_list(source, name)
        except FormatError as problem:
            self.broken[name] = problem
        else:
            if found.names:
                self.lists.append(found)
            else:
                self.without_names.append(name)

    @property
    def findings(self) -> list[Finding]:
        """Why files that are about labels for sure cannot be read."""
        return [_finding(path, problem) for path, problem in self.broken.items() if is_firm(path)]

    @property
    def keypoints(self) -> int:
        """How many numbers of a line describe keypoints, as a configuration says."""
        for content in self.configs.values():
            shape = content.get("kpt_shape")
            if isinstance(shape, list) and len(shape) == 2 and all(_SIDE.fullmatch(str(side)) for side in shape):
                count = int(shape[0]) * int(shape[1])
                return count if count < _MANY_KEYPOINTS else 0
        return 0

    def named_by_darknet(self) -> set[str]:
        """The file names of the lists that Darknet's files of keys name."""
        return {base_of(str(one["names"])) for one in self.configs.values() if isinstance(one.get("names"), str)}


@dataclass
class Applied:
    """The lists in use, and for each folder of label files its list; see `Plan`.

    `stopped` are the folders whose list is not decided, or cannot be read.
    """

    lists: list[ClassList] = field(default_factory=list)
    class_list_of: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)
    doubts: list[Doubt] = field(default_factory=list)
    stops: list[Finding] = field(default_factory=list)

    def stop(self, folder: str, why: Finding) -> None:
        """Notes why a folder has no list."""
        self.stopped.add(folder)
        self.stops.append(why)


def apply_lists(classes: Classes, folders: Sequence[str]) -> Applied:
    """The list that is nearest to each folder of label files."""
    applied = Applied(used={one.path for one in classes.lists})
    preferred = [one for one in classes.lists if base_of(one.path) in classes.named_by_darknet()]
    numbers: dict[tuple[str, tuple[tuple[int, str], ...]], int] = {}
    for folder in folders:
        try:
            chosen = _nearest(folder, classes.lists, preferred)
        except ContradictionError as problem:
            hint = "delete the wrong one, or put each into the folder whose label files it is about"
            applied.stop(folder, error("CLASS_LISTS_DIFFER", str(problem), hint=hint, path=problem.path))
            continue
        if not _broken(classes.broken, folder, chosen, applied) and chosen is not None:
            key = (chosen.path, tuple(sorted(chosen.names.items())))
            if numbers.setdefault(key, len(applied.lists)) == len(applied.lists):
                applied.lists.append(chosen)
            applied.class_list_of[folder] = numbers[key]
    applied.stops = list(dict.fromkeys(applied.stops))
    applied.doubts += _about_broken(classes, applied)
    applied.doubts += _about_repeated(applied.lists)
    applied.doubts += _about_counts(classes)
    applied.doubts += _about_overruled(classes, applied)
    return applied


def _nearest(folder: str, lists: Sequence[ClassList], preferred: Sequence[ClassList]) -> ClassList | None:
    try:
        return nearest(folder, lists)
    except ContradictionError:
        chosen = nearest(folder, preferred) if preferred else None
        if chosen is None:
            raise
        return chosen


def _broken(broken: Mapping[str, FormatError], folder: str, chosen: ClassList | None, applied: Applied) -> bool:
    """Whether the list that is meant cannot be read, so that another one would be a guess."""
    for path, problem in broken.items():
        if chosen is None or _nearness(path, folder) > _nearness(chosen.path, folder):
            applied.stop(folder, _finding(path, problem))
            return True
    return False


def _nearness(path: str, folder: str) -> tuple[bool, bool, int]:
    """Compares as the lists in and above a folder are preferred; those that are elsewhere are all equal."""
    place = folder_of(path)
    above = not place or f"{folder}/".startswith(f"{place}/")
    return above, above and is_firm(path), len(place) if above else 0


def _finding(path: str, problem: FormatError) -> Finding:
    return error(problem.code, problem.message, hint=problem.hint, path=path)


def _about_broken(classes: Classes, applied: Applied) -> Iterator[Doubt]:
    stopped = {stop.path for stop in applied.stops}
    unsure = any(not is_firm(one.path) for one in applied.lists)
    left = {
        path: problem for path, problem in classes.broken.items() if path not in stopped and (unsure or is_firm(path))
    }
    if left:
        path, problem = next(iter(left.items()))
        yield Doubt(problem.code, f"{problem.message}; it is not used", problem.hint, len(left), path)


def _about_repeated(lists: Iterable[ClassList]) -> Iterator[Doubt]:
    for one in lists:
        repeated = sorted(name for name, count in Counter(one.names.values()).items() if count > 1)
        if repeated:
            message = (
                f"names stand more than once in a list of classes: {', '.join(repeated[:3])}; each becomes one class"
            )
            yield Doubt("DUPLICATE_CLASS", message, "give each class its own name", len(repeated), one.path)


def _about_counts(classes: Classes) -> Iterator[Doubt]:
    counts = {path: str(content.get("nc", "")) for path, content in classes.configs.items()}
    wrong = [one.path for one in classes.lists if counts.get(one.path, "") not in ("", str(len(one.names)))]
    if wrong:
        message = "configurations say another number of classes (nc) than they have names"
        yield Doubt("CLASS_COUNT_DIFFERS", message, "correct nc, or add the names", len(wrong), wrong[0])


def _about_overruled(classes: Classes, applied: Applied) -> Iterator[Doubt]:
    """Configurations that say otherwise than a list that is nearer to the label files."""
    configured = {folder_of(one.path): one for one in reversed(classes.lists) if one.path in classes.configs}
    overruled = {
        config.path: applied.lists[number].path
        for folder, number in applied.class_list_of.items()
        for config in (configured[above] for above in upwards(folder) if above in configured)
        if _differ(config, applied.lists[number])
    }
    if overruled:
        config, nearer = next(iter(overruled.items()))
        message = f"configurations call classes otherwise than lists that are nearer to label files, such as {nearer}"
        hint = "the nearer list is taken, while trainers read the configuration: delete the wrong one"
        yield Doubt("CLASS_LISTS_DIFFER", message, hint, len(overruled), config)


def _differ(first: ClassList, second: ClassList) -> bool:
    return any(second.names.get(number, label) != label for number, label in first.names.items())


def _depth(name: str) -> tuple[int, bool, str]:
    return name.count("/"), not name.endswith("data.yaml"), name
