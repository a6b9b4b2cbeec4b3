"""What each pass of the reconciler reads of the jobs that wait, without the rest."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_WRITE = sa.text("UPDATE jobs SET cpus = :cpus, memory_bytes = :memory_bytes, gpus = :gpus WHERE uid = :uid")
_COLUMNS: dict[str, sa.types.TypeEngine[float] | sa.types.TypeEngine[int]] = {
    "cpus": sa.Float(),
    "memory_bytes": sa.BigInteger(),
    "gpus": sa.Integer(),
}


def upgrade() -> None:
    """Write down what the jobs that are not terminal take; of the others nobody asks."""
    for name, kind in _COLUMNS.items():
        op.add_column("jobs", sa.Column(name, kind, nullable=False, server_default="0"))
    op.create_index(
        "jobs_waiting", "jobs", ["number"], sqlite_where=sa.text("state = 1"), postgresql_where=sa.text("state = 1")
    )
    connection = op.get_bind()
    for uid, spec in connection.execute(sa.text("SELECT uid, spec FROM jobs WHERE state < 8")).all():
        taken = json.loads(str(spec)).get("resources", {})
        values = {name: taken.get(name, 0) for name in _COLUMNS}
        connection.execute(_WRITE, {"uid": uid, **values})
