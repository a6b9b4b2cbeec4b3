"""Which projects a list shows: the one that is asked for, or all that the caller may see."""

import sqlalchemy as sa

from bloomery_kit.context import visible_projects


def shown(column: sa.ColumnElement[str], project: str | None, *, prefix: str = "") -> list[sa.ColumnElement[bool]]:
    """The conditions on a column with `prefix` and the project's id; None as the project stands for all."""
    if project is not None:
        return [column == project]
    seen = visible_projects()
    return [] if seen is None else [column.in_(sorted(f"{prefix}{one}" for one in seen))]
