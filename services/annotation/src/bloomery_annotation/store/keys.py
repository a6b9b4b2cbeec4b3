"""Rows by many keys, and some rows of many."""

import json
from collections.abc import Collection, Iterable
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from bloomery_kit.database import Transaction


class _Texts(TypeDecorator[list[str]]):
    """Many texts as one parameter: a statement with a parameter for each would be put together anew each time."""

    impl = sa.String
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        kind = postgresql.ARRAY(sa.String) if dialect.name == "postgresql" else sa.String()
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: list[str] | None, dialect: sa.Dialect) -> Any:
        return value if dialect.name == "postgresql" else json.dumps(value)


class _OneOf(FunctionElement[bool]):
    type = sa.Boolean()
    inherit_cache = True

    def self_group(self, against: object = None) -> Self:  # noqa: ARG002 - as every expression has it
        """Itself: compared with true, as a function would be, no index would help SQLite."""
        return self


@compiles(_OneOf, "sqlite")
def _of_json(element: _OneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, texts = (compiler.process(one, **options) for one in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({texts}))"  # noqa: S608 - what the compiler wrote


@compiles(_OneOf, "postgresql")
def _of_array(element: _OneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, texts = (compiler.process(one, **options) for one in element.clauses)
    return f"{column} = ANY ({texts})"


def one_of(column: sa.ColumnElement[Any], values: Iterable[str]) -> sa.ColumnElement[bool]:
    """Whether a column has one of many values."""
    return _OneOf(column, sa.bindparam(None, list(values), type_=_Texts))


def of_sets(
    asset_uid: sa.ColumnElement[Any], set_id: sa.ColumnElement[Any], keys: Collection[tuple[str, str]]
) -> sa.ColumnElement[bool]:
    """Whether a row is of one of the sets, given by their assets' uids and their ids."""
    # An index finds the images' rows by the first condition; the second leaves out those of other sets.
    names = (f"{uid}/{identifier}" for uid, identifier in keys)
    return sa.and_(one_of(asset_uid, {uid for uid, _ in keys}), one_of(asset_uid + "/" + set_id, names))


def among(columns: tuple[sa.Column[Any], ...], keys: Collection[tuple[object, ...]]) -> sa.ColumnElement[bool]:
    """Whether a row has one of the keys.

    For a condition on several columns at once SQLite reads the whole table; one on the first of them, which an index
    begins with, leaves it little to read.
    """
    return sa.and_(columns[0].in_({key[0] for key in keys}), sa.tuple_(*columns).in_(list(keys)))


async def delete_some(tx: Transaction, table: sa.Table, condition: sa.ColumnElement[bool], limit: int) -> int:
    """Delete at most `limit` of the rows that fulfil a condition; how many there were."""
    # By a key of several columns SQLite would read the whole table for each row.
    sqlite = tx.dialect.name == "sqlite"
    key: list[sa.ColumnElement[Any]] = [sa.literal_column("rowid")] if sqlite else list(table.primary_key.columns)
    some = sa.select(*key).select_from(table).where(condition).limit(limit)
    return (await tx.execute(sa.delete(table).where(sa.tuple_(*key).in_(some)))).rowcount
