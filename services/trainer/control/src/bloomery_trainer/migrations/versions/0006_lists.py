"""Indexes of the lists that people ask for, in the order in which they are shown."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make them; those of groups and of open jobs had another order."""
    for name in ("jobs_group", "jobs_open"):
        op.drop_index(name, "jobs")
    for column in ("state", "kind", "model", "group"):
        op.create_index(f"jobs_{column}", "jobs", ["project", column, "number"])
    still_open = sa.text("state < 8")
    op.create_index("jobs_open", "jobs", ["state", "number"], sqlite_where=still_open, postgresql_where=still_open)
