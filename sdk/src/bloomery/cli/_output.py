"""Results on stdout: a table for people, the API's own messages for scripts."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from bloomery.cli._options import Output

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from bloomery._fields import Fields

HandleT = TypeVar("HandleT", bound="Fields[Any]")
T = TypeVar("T")
_GAP = "  "


def _write(rows: Sequence[Sequence[str]], titles: Sequence[str] = (), first: str = "") -> None:
    """Write rows of cells below each other, which may have several lines; `first` is the style of the first column.

    Where stdout is no terminal, nothing is cut off, wrapped or filled up with blanks.
    """
    if is_terminal(sys.stdout):
        _draw(rows, titles, first)
        return
    for line in _lines([titles, *rows] if titles else rows):
        sys.stdout.write(line + "\n")


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is one, or is to be taken for one."""
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR"))


def _draw(rows: Iterable[Sequence[str]], titles: Sequence[str], first: str) -> None:
    # Imported here and below, as it takes half as long to import as a whole client, and scripts need none of it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=bool(titles), header_style="bold", padding=(0, len(_GAP), 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    for start, *others in rows:
        table.add_row(Text(start, first), *map(Text, others))
    Console(highlight=False).print(table)


def _lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    # A row may have fewer cells than others.
    split = [[cell.split("\n") for cell in row] for row in rows]
    widths = [max(_width(line) for cell in column for line in cell) for column in zip_longest(*split, fillvalue=[""])]
    for row in split:
        for cells in zip_longest(*row, fillvalue=""):
            padded = (cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=False))
            yield _GAP.join(padded).rstrip()


def _width(cell: str) -> int:
    if cell.isascii():
        return len(cell)
    from rich.cells import cell_len

    return cell_len(cell)


def show(message: "Message", rows: Mapping[str, object], output: Output) -> None:
    """Write one resource: the message, or `rows` of title and value for people."""
    if output is not Output.table:
        dump(as_json(message), output)
    else:
        fields(rows)


def fields(rows: Mapping[str, object]) -> None:
    """Write titles and values for people; what is empty is left out."""
    _write([(title, text(value)) for title, value in rows.items() if value not in ("", None)], first="dim")


def listing(
    handles: Iterable[HandleT],
    columns: Mapping[str, Callable[[HandleT], object]],
    output: Output,
    limit: int = 0,
) -> None:
    """Write resources: their messages, or a table with a row each."""
    shown = taken(handles, limit)
    messages(
        [handle.proto for handle in shown],
        list(columns),
        [[column(handle) for column in columns.values()] for handle in shown],
        output,
    )


def taken(things: Iterable[T], limit: int) -> list[T]:
    """At most `limit` of some things, and word to people where there are more; all where it is 0."""
    found = list(islice(things, limit + 1 if limit else None))
    if not limit or len(found) <= limit:
        return found
    from rich.console import Console

    Console(stderr=True).print(f"[dim]there are more than {limit}: --limit 0 lists all[/]")
    return found[:limit]


def messages(
    protos: Sequence["Message"], titles: Sequence[str], rows: Iterable[Sequence[object]], output: Output
) -> None:
    """Write messages, or a table with a row each."""
    if output is not Output.table:
        dump([as_json(proto) for proto in protos], output)
        return
    grid(titles, rows)


def grid(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table for people."""
    _write([list(map(text, row)) for row in rows], titles)


def as_json(message: "Message") -> dict[str, Any]:
    """A message in protobuf's JSON form, free-form parameters with whole numbers, shapes as people read them."""
    from google.protobuf.json_format import MessageToDict

    from bloomery._shapes import shape_json

    found = MessageToDict(message)
    if found.get("shapes") and isinstance(shapes := getattr(message, "shapes", None), Sequence):
        found["shapes"] = [shape_json(shape) for shape in shapes]
    for key in _STRUCTS & found.keys():
        # Those of a recipe are a list of messages.
        if isinstance(found[key], dict):
            found[key] = {name: _whole(value) for name, value in found[key].items()}
    return found


_STRUCTS = frozenset({"parameters", "effectiveParameters"})


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def dump(value: object, output: Output) -> None:
    """Write plain values as JSON or YAML."""
    if output is Output.json:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        return
    import yaml

    yaml.safe_dump(value, sys.stdout, sort_keys=False, allow_unicode=True)


def text(value: object) -> str:
    """A value as people read it."""
    match value:
        case None:
            return ""
        case datetime():
            return _when(value)
        case float():
            return "0.9999" if 0.9999 < value < 1 else f"{value:.4g}"
        case Mapping():
            return "  ".join(f"{key}={text(one)}" for key, one in value.items())
        case str():
            return value
        case Iterable():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _when(moment: datetime) -> str:
    if moment.timestamp() == 0:
        return ""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
