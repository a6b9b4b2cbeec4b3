"""Lists of classes in files that are no plain lines: JSON, tables, and TensorFlow's label maps."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from bloomery_vision.formats.lookup import is_image
from bloomery_vision.formats.model import FormatError
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
_COLOR = re.compile(r"#?[0-9A-Fa-f]{6,8}")
_NO_TEXT = re.compile(rf"\s*|{_COLOR.pattern}|-?\d+(\.\d+)?")
_ASIDE = re.compile(r"""\"[^"\n]*"|'[^'\n]*'|#[^\n]*""")
"""Of a label map: texts and comments, in which a brace is none."""
_HINT = "correct it, with one name for each number, or delete it where it does not list the classes"
_NAME_KEYS = ("names", "classes", "labels", "class_names", "categories")

Numbered = Mapping[int, str]


class _BrokenError(ValueError):
    """What lists classes does it wrongly: another program would read other classes in it."""


def classes_in(name: str, content: str) -> Numbered:
    """The class names by number in a file of one of the `READERS`' endings; none where it is something else.

    Raises FormatError BROKEN_CONFIG where it is cut off or otherwise broken, or names one number twice.
    """
    try:
        found = READERS[split_suffix(name)[1]](content) if content.strip() else ()
        names = {number: nfc(label.strip()) for number, label in found}
    except (json.JSONDecodeError, csv.Error, _BrokenError) as problem:
        raise FormatError("BROKEN_CONFIG", f"{name} cannot be read: {problem}", _HINT) from problem
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return {}
    return names if all(names.values()) and all(0 <= number < 1 << 31 for number in names) else {}


def _of_json(content: str) -> Iterable[tuple[int, str]]:
    value = json.loads(content, object_pairs_hook=_object)
    if isinstance(value, dict) and "images" not in value and "annotations" not in value:
        value = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), dict | list)), value)
    pairs = _pairs(value)
    _refuse_records([label for _, label in pairs])
    return _distinct(pairs)


def _object(entries: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Raises _BrokenError where a key stands twice: the last one would win in silence."""
    found = dict(entries)
    if len(found) < len(entries):
        raise _BrokenError(f"{_first_twice(key for key, _ in entries)!r} stands twice")
    return found


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


def _refuse_records(labels: Sequence[str]) -> None:
    """Raises ValueError where a file seems to say which image is what, not which classes there are."""
    if len(set(labels)) < len(labels) or any(map(is_image, labels)):
        raise ValueError("a name stands twice, or is that of an image")


def _distinct(pairs: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    """The pairs. Raises _BrokenError where a number stands twice."""
    if len(dict(pairs)) < len(pairs):
        raise _BrokenError(f"number {_first_twice(number for number, _ in pairs)} stands twice")
    return pairs


def _first_twice(keys: Iterable[object]) -> object:
    return Counter(keys).most_common(1)[0][0]


def _of_table(content: str) -> Iterable[tuple[int, str]]:
    rows = _rows(content)
    head = [cell.lower() for cell in rows[0]] if rows else []
    if _NAME_HEADS.isdisjoint(head):
        number, name = _columns_without_head(rows)
    else:
        rows = rows[1:] if _HEADS.issuperset(head) else []
        number, name = _columns(head, rows)
    # Beside names stand numbers and colours; with texts it is a table of something else, such as which image is what.
    others = (cell for row in rows for place, cell in enumerate(row) if place != name)
    if any(len(row) <= name for row in rows) or not all(map(_NO_TEXT.fullmatch, others)):
        return ()
    labels = [row[name] for row in rows]
    _refuse_records(labels)
    return _numbered(_column(rows, number), labels)


def _rows(content: str) -> Sequence[Sequence[str]]:
    """The cells between commas, semicolons or tabs, whichever most lines have. Raises csv.Error."""
    lines = content.split("\n")
    separator = max(",;\t", key=lambda one: sum(one in line for line in lines))
    table = csv.reader(io.StringIO(content), delimiter=separator, skipinitialspace=True, strict=True)
    return [[cell.strip() for cell in row] for row in table if any(row)]


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Where numbers and names stand: `label` and `class` may mean either. Without numbers it is the place after all."""
    named = [place for place, one in enumerate(head) if one in _NAME_HEADS]
    name = next((place for place in named if not _all_numbers(_column(rows, place))), named[0])
    numbers = (place for place, one in enumerate(head) if place != name and one in _NUMBER_HEADS | _NAME_HEADS)
    return next(numbers, len(head)), name


def _columns_without_head(rows: Sequence[Sequence[str]]) -> tuple[int, int]:
    """As `_columns`. A name before three numbers, or before something that is no number, has a colour."""
    if all(len(row) == 2 for row in rows) and _all_numbers(_column(rows, 0)):
        return 0, 1
    colored = any(len(row) > 3 or (_COLOR.fullmatch(row[1]) and not row[1].isdecimal()) for row in rows if len(row) > 1)
    return (max(map(len, rows)) if colored else 1), 0


def _column(rows: Sequence[Sequence[str]], place: int) -> Sequence[str]:
    return [row[place] if place < len(row) else "" for row in rows]


def _all_numbers(cells: Sequence[str]) -> bool:
    return all(map(str.isdecimal, cells))


def _numbered(numbers: Sequence[str], labels: Sequence[str]) -> Iterable[tuple[int, str]]:
    """The names with the numbers beside them, by their lines where none has any. Raises _BrokenError."""
    if not any(numbers):
        return enumerate(labels)
    for number, label in zip(numbers, labels, strict=True):
        if not number.isdecimal():
            raise _BrokenError(f"{label!r} has no number, and others have")
    return _distinct([(int(number), label) for number, label in zip(numbers, labels, strict=True)])


def _of_label_map(content: str) -> Iterable[tuple[int, str]]:
    """TensorFlow keeps 0 for what is no object; no other program does."""
    if _ITEM.search(content):
        _refuse_cut(content)
    pairs: list[tuple[int, str]] = []
    for item in _items(content):
        number = _ITEM_NUMBER.search(item)
        name = next(filter(None, (pattern.search(item) for pattern in _ITEM_NAMES)), None)
        if not (number and name):
            raise _BrokenError("an item lacks its id or name")
        pairs.append((int(number[1]), name[1][1:-1]))
    first = min((number for number, _ in pairs), default=0)
    return [(number - bool(first), label) for number, label in _distinct(pairs)]


def _refuse_cut(content: str) -> None:
    """Raises _BrokenError where the last item is not whole."""
    plain = _ASIDE.sub("", content)
    if plain.count("{") != plain.count("}") or plain.rpartition("}")[2].strip():
        raise _BrokenError("it ends within an item")


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
