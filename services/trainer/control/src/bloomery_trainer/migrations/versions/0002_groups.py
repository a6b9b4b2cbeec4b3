"""Groups of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; jobs that are there belong to no group."""
    op.add_column("jobs", sa.Column("group", sa.String(63), nullable=False, server_default=""))
    op.create_index("jobs_group", "jobs", ["project", "group"])
