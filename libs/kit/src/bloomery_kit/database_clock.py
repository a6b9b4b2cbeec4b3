"""The time by the database's clock, for what several processes must judge alike."""

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from bloomery_kit.database import Transaction


class Now(sa.ColumnElement[float]):
    """Seconds since 1970 by the database's clock, at the moment and not at the transaction's start."""

    type = sa.Float()
    inherit_cache = True


@compiles(Now, "sqlite")
def _sqlite_now(_element: Now, _compiler: SQLCompiler, **_options: object) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(Now, "postgresql")
def _postgres_now(_element: Now, _compiler: SQLCompiler, **_options: object) -> str:
    return "extract(epoch from clock_timestamp())"


async def read_clock(tx: Transaction) -> float:
    """Seconds since 1970 by the database's clock, now."""
    now: float = (await tx.execute(sa.select(Now()))).scalar_one()
    return float(now)
