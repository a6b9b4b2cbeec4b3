"""Files that people bring for jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "inputs",
        sa.Column("project_uid", sa.String(32), primary_key=True),
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.Column("use_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("inputs_use_time", "inputs", ["use_time"])
