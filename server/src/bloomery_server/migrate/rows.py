"""A row as SQLite has it and as PostgreSQL takes it, without what it means to a service: its texts stay as they are.

A column of documents, which a service may not be able to read, goes as the text that it is.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator, TypeEngine

from bloomery_server.migrate.parts import CONSTANT

Row = tuple[Any, ...]
Convert = Callable[[Any], object]
_BATCH_ROWS = 2000
_BATCH_BYTES = 8 << 20


@dataclass(frozen=True)
class Content:
    """How many rows a table has, and the sum of their SHA-256 digests: the same in whatever order they are read."""

    rows: int
    digest: str


class Digest:
    """Adds rows up to the `Content` of a table."""

    def __init__(self) -> None:
        self._rows = self._sum = 0

    def add(self, row: Row) -> None:
        """Count a row as `Columns.convert` gives it and as PostgreSQL's driver does, which is the same."""
        self._rows += 1
        self._sum += int.from_bytes(hashlib.sha256(repr(row).encode()).digest(), "big")

    def content(self) -> Content:
        """What was added."""
        return Content(self._rows, f"{self._sum % (1 << 256):064x}")


class BadRowError(ValueError):
    """A row that PostgreSQL would not take as it is; the message names the column."""


class Columns:
    """The columns of a table in their order, and how the values of each are converted."""

    def __init__(self, table: sa.Table) -> None:
        constant = CONSTANT.get(table.name, {})
        self.names = [column.name for column in table.columns]
        self.keys = [self.names.index(column.name) for column in table.primary_key]
        self._converts = [
            partial(_constant, constant[column.name]) if column.name in constant else _converter(column)
            for column in table.columns
        ]

    def convert(self, row: Sequence[object]) -> Row:
        """A row as PostgreSQL takes it. Raise BadRowError."""
        try:
            return tuple([convert(value) for convert, value in zip(self._converts, row, strict=True)])
        except (ValueError, TypeError):
            self._tell(row)

    def key(self, row: Row) -> Row:
        """The primary key of a row."""
        return tuple(row[place] for place in self.keys)

    def _tell(self, row: Sequence[object]) -> NoReturn:
        for name, convert, value in zip(self.names, self._converts, row, strict=True):
            try:
                convert(value)
            except (ValueError, TypeError) as error:
                raise BadRowError(f"column {name} {error}") from None
        raise AssertionError(row)


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows, so many at a time as are quickly sent and never take much memory."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _converter(column: sa.Column[Any]) -> Convert:
    convert = _of_type(_plain(column.type))
    return partial(_optional, convert) if column.nullable else partial(_required, convert)


def _plain(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type of the database's own below those that a service made of it."""
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    return kind


def _of_type(kind: TypeEngine[Any]) -> Convert:
    match kind:
        case sa.JSON():
            return _json
        case sa.String():
            return partial(_text, kind.length)
        case sa.LargeBinary():
            return _bytes
        case sa.Boolean():
            return _truth
        case sa.DateTime():
            return _time
        case sa.SmallInteger():
            return partial(_whole, 16)
        case sa.BigInteger():
            return partial(_whole, 64)
        case sa.Integer():
            return partial(_whole, 32)
        case sa.Float():
            return float
    raise TypeError(f"nobody said how {kind!r} is moved")


def _constant(value: object, _given: object) -> object:
    return value


def _optional(convert: Convert, value: object) -> object:
    return None if value is None else convert(value)


def _required(convert: Convert, value: object) -> object:
    if value is None:
        raise ValueError("is NULL, which it must not be")
    return convert(value)


def _text(length: int | None, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise ValueError("is no UTF-8") from None
    if "\0" in text:
        raise ValueError("has a NUL character, which PostgreSQL keeps in no text")
    if length is not None and len(text) > length:
        raise ValueError(f"has {len(text)} characters; PostgreSQL keeps {length} there")
    return text


def _json(value: bytes) -> str:
    text = _text(None, value)
    json.loads(text, parse_constant=_no_number)
    return text


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"has {name}, which PostgreSQL takes for no JSON")


def _bytes(value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"is {value!r}, which is no bytes")
    return value


def _truth(value: int) -> bool:
    if value not in (0, 1):
        raise ValueError(f"is {value!r} in place of 0 or 1")
    return bool(value)


def _time(value: bytes) -> datetime:
    return datetime.fromisoformat(value.decode()).replace(tzinfo=UTC)


def _whole(bits: int, value: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"is {value!r}, which is no whole number")
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(f"is {value}, which {bits} bits do not hold")
    return value
