"""Images without an official split are left out by the word "drop", which was "none"."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_BEFORE, _NOW = "none", "drop"


def upgrade() -> None:
    """Write the word anew where it stands: versions of equal specs are found again."""
    versions = sa.table("versions", sa.column("uid", sa.String()), sa.column("spec", sa.JSON()))
    connection = op.get_bind()
    rows: Sequence[Any] = connection.execute(sa.select(versions.c.uid, versions.c.spec)).all()
    for uid, spec in rows:
        if spec["split"].get("unassigned") == _BEFORE:
            changed = {**spec, "split": {**spec["split"], "unassigned": _NOW}}
            connection.execute(versions.update().where(versions.c.uid == uid).values(spec=changed))
