"""A job holds its project from its creation on; those that are there begin to when they are tidied up."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Note of no job that it does."""
    op.add_column("jobs", sa.Column("project_held", sa.Boolean, nullable=False, server_default=sa.false()))
    unheld = sa.text("NOT project_held")
    op.create_index("jobs_unheld", "jobs", ["number"], sqlite_where=unheld, postgresql_where=unheld)
