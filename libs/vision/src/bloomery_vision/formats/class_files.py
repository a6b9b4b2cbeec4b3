"""Lists of classes in files that are no plain lines: JSON, tables, and TensorFlow's label maps."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from bloomery_vision.formats.lookup import is_image
from bloomery_vision.formats.names import nfc, split_suffix

_ITEM = re.compile(r"\bitem\s*\{")
_ITEM_NUMBER = re.compile(r"\bid\s*:\s*(\d+)")
_ITEM_NAMES = (
    re.compile(r"""\bdisplay_name\s*:\s*("[^"\n]*"|'[^'\n]*')"""),
    re.compile(r"""(?<!_)\bname\s*:\s*("[^"\n]*"|'[^'\n]*')"""),
)
_NUMBER_HEADS = frozenset(
    {"class_id", "classid", "id", "idx", "index", "label_id", "number", "pixel value", "pixel_value", "value"}
)
_NAME_HEADS = frozenset({"category", "class", "class_name", "classname", "label", "label_name", "name", "names"})
_COLOR_HEADS = frozenset({"a", "alpha", "b", "blue", "color", "colour", "g", "green", "hex", "r", "red", "rgb"})
_HEADS = frozenset({"", *_NUMBER_HEADS, *_NAME_HEADS, *_COLOR_HEADS})
_NO_TEXT = re.compile(r"\s*|#?[0-9A-Fa-f]{6,8}|-?\d+(\.\d+)?")
_NAME_KEYS = ("names", "classes", "labels", "class_names", "categories")

Numbered = Mapping[int, str]


def classes_in(name: str, content: str) -> Numbered:
    """The class names by number in a file of one of the `READERS`' endings; none where it is something else."""
    try:
        found = READERS[split_suffix(name)[1]](content)
        names = {number: nfc(label.strip()) for number, label in found}
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, csv.Error):
        return {}
    return names if all(names.values()) and all(0 <= number < 1 << 31 for number in names) else {}


def _of_json(content: str) -> Iterable[tuple[int, str]]:
    value = json.loads(content)
    if isinstance(value, dict) and "images" not in value and "annotations" not in value:
        value = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), dict | list)), value)
    return _distinct(_pairs(value))


def _pairs(value: object) -> Sequence[tuple[int, str]]:
    """The names of a list, or of a mapping either way. Raises ValueError, TypeError or KeyError for anything else."""
    match value:
        case dict() if all(isinstance(one, int) for one in value.values()):
            return [(number, label) for label, number in value.items()]
        case dict():
            return [(int(number), _text(label)) for number, label in value.items()]
        case list() if all(isinstance(one, dict) for one in value):
            return [(int(one["id"]), _text(one["name"])) for one in value]
        case list():
            return [(number, _text(label)) for number, label in enumerate(value)]
    raise TypeError("it is neither a list nor a mapping")


def _text(label: object) -> str:
    if not isinstance(label, str):
        raise TypeError("a name is no text")
    return label


def _distinct(pairs: Iterable[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    """The pairs. Raises ValueError where they seem to say which image is what, not which classes there are."""
    pairs = list(pairs)
    if any(len(set(column)) < len(pairs) for column in zip(*pairs, strict=True)):
        raise ValueError("a number or a name stands twice")
    if any(is_image(label) for _, label in pairs):
        raise ValueError("a name is that of an image")
    return pairs


def _of_table(content: str) -> Iterable[tuple[int, str]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(content.splitlines()) if any(row)]
    number, name = 1, 0
    head = [cell.lower() for cell in rows[0]] if rows else []
    if names := _NAME_HEADS.intersection(head):
        name = min(head.index(one) for one in names)
        number = next((place for place, one in enumerate(head) if one in _NUMBER_HEADS), len(head))
        rows = rows[1:] if _HEADS.issuperset(head) else []
    elif all(len(row) == 2 and row[0].isdecimal() for row in rows):
        number, name = 0, 1
    # Beside names stand numbers and colours; with texts it is a table of something else, such as which image is what.
    others = (cell for row in rows for place, cell in enumerate(row) if place != name)
    if any(len(row) <= name for row in rows) or not all(map(_NO_TEXT.fullmatch, others)):
        return ()
    return _distinct(_numbered(rows, number, name))


def _numbered(rows: Sequence[Sequence[str]], number: int, name: int) -> Iterable[tuple[int, str]]:
    """The names with the numbers beside them, by their lines where not all have one of their own."""
    told = [row[number] for row in rows if number < len(row) and row[number].isdecimal()]
    if len(set(told)) == len(rows):
        return [(int(row[number]), row[name]) for row in rows]
    return enumerate(row[name] for row in rows)


def _of_label_map(content: str) -> Iterable[tuple[int, str]]:
    """TensorFlow keeps 0 for what is no object; no other program does."""
    pairs: list[tuple[int, str]] = []
    for item in _items(content):
        number = _ITEM_NUMBER.search(item)
        name = next(filter(None, (pattern.search(item) for pattern in _ITEM_NAMES)), None)
        if number and name:
            pairs.append((int(number[1]), name[1][1:-1]))
    first = min((number for number, _ in pairs), default=0)
    return [(number - bool(first), label) for number, label in pairs]


def _items(content: str) -> Iterator[str]:
    """What stands between braces. One search up to the next `}` would begin anew at each item that has none."""
    end = 0
    while (start := _ITEM.search(content, end)) and (end := content.find("}", start.end())) >= 0:
        yield content[start.end() : end]


READERS: Mapping[str, Callable[[str], Iterable[tuple[int, str]]]] = {
    ".json": _of_json,
    ".csv": _of_table,
    ".pbtxt": _of_label_map,
}
"""By the ending of the file."""
