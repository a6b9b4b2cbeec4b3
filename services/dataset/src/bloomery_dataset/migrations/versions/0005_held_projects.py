"""A dataset holds its project from its creation on."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Write down what is known of the projects; who holds none yet is found by the housekeeping."""
    op.add_column("datasets", sa.Column("project_uid", sa.String, nullable=False, server_default=""))
    op.add_column("datasets", sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE datasets SET project_uid = coalesce((SELECT project_uid FROM versions"
        " WHERE dataset_uid = datasets.uid ORDER BY ordinal DESC LIMIT 1), '')"
    )
    unheld = sa.text("NOT held")
    op.create_index("datasets_unheld", "datasets", ["uid"], sqlite_where=unheld, postgresql_where=unheld)
