"""Results on stdout: a table for people, the API's own messages for scripts."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.table import Table

from bloomery.cli._options import Output

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from bloomery._fields import Fields

HandleT = TypeVar("HandleT", bound="Fields[Any]")
_UNBOUNDED = 100_000
"""Columns, more than any table has."""


def _write(table: Table) -> None:
    """Write a table to stdout; where that is no terminal, nothing is cut off, wrapped or filled up with blanks."""
    out = Console(highlight=False)
    if out.is_terminal:
        out.print(table)
        return
    wide = Console(highlight=False, width=_UNBOUNDED)
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def show(message: "Message", rows: Mapping[str, object], output: Output) -> None:
    """Write one resource: the message, or `rows` of title and value for people."""
    if output is not Output.table:
        dump(as_json(message), output)
    else:
        fields(rows)


def fields(rows: Mapping[str, object]) -> None:
    """Write titles and values for people; what is empty is left out."""
    table = Table.grid(padding=(0, 2))
    for title, value in rows.items():
        if value not in ("", None):
            table.add_row(f"[dim]{title}[/]", text(value))
    _write(table)


def listing(
    handles: Iterable[HandleT],
    columns: Mapping[str, Callable[[HandleT], object]],
    output: Output,
    limit: int = 0,
) -> None:
    """Write resources: their messages, or a table with a row each."""
    found = list(islice(handles, limit + 1 if limit else None))
    shown = found[:limit] if limit else found
    messages(
        [handle.proto for handle in shown],
        list(columns),
        [[column(handle) for column in columns.values()] for handle in shown],
        output,
    )
    if len(found) > len(shown):
        Console(stderr=True).print(f"[dim]there are more than {limit}: --limit 0 lists all[/]")


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
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(text, row))
    _write(table)


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
    """A value as people read it, safe to print with markup."""
    from rich.markup import escape

    match value:
        case None:
            return ""
        case datetime():
            return _when(value)
        case float():
            return "0.9999" if 0.9999 < value < 1 else f"{value:.4g}"
        case Mapping():
            return escape("  ".join(f"{key}={text(one)}" for key, one in value.items()))
        case str():
            return escape(value)
        case Iterable():
            return escape(", ".join(map(str, value)))
        case _:
            return escape(str(value))


def _when(moment: datetime) -> str:
    if moment.timestamp() == 0:
        return ""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """A number of bytes as people read it."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
