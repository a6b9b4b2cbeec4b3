"""Rows by keys of several columns."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa


def among(columns: tuple[sa.Column[Any], ...], keys: Collection[tuple[object, ...]]) -> sa.ColumnElement[bool]:
    """Whether a row has one of the keys.

    For a condition on several columns at once SQLite reads the whole table; one on the first of them, which an index
    begins with, leaves it little to read.
    """
    return sa.and_(columns[0].in_({key[0] for key in keys}), sa.tuple_(*columns).in_(list(keys)))
