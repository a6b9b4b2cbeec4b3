"""Lists of class names: which files hold one, and which list is meant where there are several.

A label file takes the list nearest to it: of its own folder, then of the folders above, then the closest of the others.
Lists of one folder are one list where they agree.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from bloomery_vision.formats.class_files import READERS, classes_in
from bloomery_vision.formats.model import FormatError
from bloomery_vision.formats.names import base_of, folder_of, nfc, split_suffix, upwards
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.texts import read_head, read_lines, read_text
from bloomery_vision.formats.tree import Tree
from bloomery_vision.formats.yaml_files import Config

Names = Mapping[int, str]
"""The class names by class number."""

_TEXT_LISTS = re.compile(
    r"^_?((predefined_|obj_|my_)?(class|classes|categor(y|ies)|labels?|names)([-_ ]?(names?|dict|list|labels?|map))?"
    r"|obj\.names|class\.names)\.(csv|json|txt)$"
)
_NUMBERED = re.compile(r"(\d+)(\s*[:,]\s*|\s+)(\S.*)")
_LARGEST = 4 << 20
"""Bytes of a list of classes that is JSON or a table."""
_VOC_LIST = "labelmap.txt"
_STUDIO_LIST = "notes.json"
_NAMES_HINT = "names is a list of labels, or a mapping from class number (0 to 2147483647) to label"


@dataclass(frozen=True, slots=True)
class ClassList:
    """The names that a file gives to class numbers."""

    path: str
    names: Names


class ContradictionError(ValueError):
    """Two lists are equally near and name one class number differently; `path` is the first of them."""

    def __init__(self, first: ClassList, second: ClassList, number: int) -> None:
        names = f"{first.names[number]!r} and {second.names[number]!r}"
        super().__init__(f"{first.path} and {second.path} call class {number} {names}")
        self.path = first.path


def is_list(name: str) -> bool:
    """Whether the name of a file says that it lists classes."""
    base = base_of(name).lower()
    suffix = split_suffix(base)[1]
    return suffix in (".names", ".labels", ".pbtxt") or base == _VOC_LIST or bool(_TEXT_LISTS.match(base))


def text_lists(tree: Tree) -> list[str]:
    """The files that list classes by their names."""
    return list(filter(is_list, tree.ending(".txt", ".names", ".labels", *READERS)))


def read_list(source: Source, name: str) -> ClassList:
    """The classes of a file, numbered by its lines but comments where it does not number them itself.

    Raises FormatError as `read_text` does, and BROKEN_CONFIG for a broken one that is no plain text.
    """
    if split_suffix(name)[1] in READERS:
        return ClassList(name, _other_list(source, name))
    lines: Sequence[str] = _without_comments(read_lines(source, name))
    if base_of(name).lower() == _VOC_LIST:
        lines = list(_voc_names(lines))
    lines = _without_numbers(lines)
    return ClassList(name, {number: nfc(line) for number, line in enumerate(lines) if line})


def _other_list(source: Source, name: str) -> Names:
    """The classes of a file that is no plain text; none of one that is large: it is only called so."""
    small = len(read_head(source, name, _LARGEST + 1)) <= _LARGEST
    return classes_in(name, read_text(source, name)) if small else {}


def is_firm(path: str) -> bool:
    """Whether a file that lists classes is about the label files for sure.

    JSON, tables and label maps may be about something else, and often count from 1: they apply where no other does.
    """
    return split_suffix(path)[1] not in READERS or base_of(path).lower() == _STUDIO_LIST


def studio_list(source: Source, tree: Tree) -> Iterator[ClassList]:
    """The categories that Label Studio lists beside its YOLO files."""
    for name in tree.ending(".json"):
        if base_of(name).lower() == _STUDIO_LIST:
            try:
                content = json.loads(read_text(source, name))
                names = {int(one["id"]): nfc(str(one["name"])) for one in content["categories"]}
            except (FormatError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
            if names and "images" not in content and all(map(_is_number, names)):
                yield ClassList(name, names)


def names_of_config(path: str, content: Config) -> ClassList | None:
    """The classes of a configuration; None where it names none. Raises FormatError BROKEN_CONFIG."""
    names = content.get("names")
    if names is None:
        return None
    entries = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, list) else ()
    try:
        numbered = [(int(number), nfc(label.strip())) for number, label in entries]
    except (ValueError, AttributeError, TypeError):
        numbered = []
    found = dict(numbered)
    if not found or not all(found.values()) or not all(map(_is_number, found)):
        raise FormatError("BROKEN_CONFIG", f"the names in {path} are not a list of labels", _NAMES_HINT)
    if len(found) < len(numbered):
        raise FormatError("BROKEN_CONFIG", f"in {path} a class number has two names", _NAMES_HINT)
    return ClassList(path, found)


def nearest(folder: str, lists: Sequence[ClassList]) -> ClassList | None:
    """The list for the label files of a folder; lists that agree are joined under the path of the first.

    Raises:
        ContradictionError: nearness does not decide.
    """
    firm, others = (_by_folder(one for one in lists if is_firm(one.path) is kind) for kind in (True, False))
    chosen = _above(folder, firm) or _above(folder, others) or _closest(folder, firm) or _closest(folder, others)
    return _joined(chosen) if chosen else None


def _by_folder(lists: Iterable[ClassList]) -> Mapping[str, Sequence[ClassList]]:
    found: defaultdict[str, list[ClassList]] = defaultdict(list)
    for one in lists:
        found[folder_of(one.path)].append(one)
    return found


def _above(folder: str, lists: Mapping[str, Sequence[ClassList]]) -> Sequence[ClassList]:
    return next((lists[place] for place in upwards(folder) if place in lists), ())


def _closest(folder: str, lists: Mapping[str, Sequence[ClassList]]) -> Sequence[ClassList]:
    shared = {place: _common(place, folder) for place in lists}
    closest = max(shared.values(), default=0)
    return [one for place in sorted(lists) if shared[place] == closest for one in lists[place]]


def _joined(lists: Iterable[ClassList]) -> ClassList:
    first, *others = lists
    names = dict(first.names)
    for other in others:
        for number, label in other.names.items():
            if names.setdefault(number, label) != label:
                raise ContradictionError(first, other, number)
    return ClassList(first.path, names)


def _is_number(number: int) -> bool:
    return 0 <= number < 1 << 31


def _without_comments(lines: Sequence[str]) -> Sequence[str]:
    """The lines that do not begin with `#`, nor are empty where some do; all of them where each does."""
    kept = [line for line in lines if line and not line.startswith("#")]
    return kept if kept and any(line.startswith("#") for line in lines) else lines


def _without_numbers(lines: Sequence[str]) -> Sequence[str]:
    """The names of `0 cat`, `1: dog`, where each line but empty ones begins with its own number."""
    numbered = [(str(number), _NUMBERED.match(line)) for number, line in enumerate(lines) if line]
    names = [match[3] for number, match in numbered if match and match[1] == number]
    return names if names and len(names) == len(numbered) else lines


def _voc_names(lines: Sequence[str]) -> Iterator[str]:
    """Of `label:color:parts:actions`, where black is no class but what lies behind all of them."""
    for line in lines:
        label, _, rest = line.partition(":")
        if label and not label.startswith("#") and not (label == "background" and rest.startswith(("0,0,0", ":"))):
            yield label


def _common(first: str, second: str) -> int:
    parts = zip(first.split("/"), second.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], parts))
